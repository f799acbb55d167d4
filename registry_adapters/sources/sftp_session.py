"""A session with an SFTP server: its key pinned, every wait bounded, what fails told without a name or a secret.

Rules:
- Nothing of this machine's own SSH set-up is used: no configuration, no agent, no known hosts but those of the mapping.
- The server is only listed and read.
- Names come as bytes and stay what they are; one that is no plain name of a file ends the run.

Source: RFC 4251 section 4.1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import asyncssh

from registry_adapters.errors import MappingError, SourceError
from registry_adapters.sources.sftp_settings import SftpSettings

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Looks:
    """How a file on the server looks.

    Attributes:
        size: Bytes.
        changed: Seconds since the epoch, by the server's clock.
    """

    size: int
    changed: int


class Session:
    """An open session.

    Args:
        client: The SFTP client.
        settings: `[fetch]` of the mapping.
    """

    def __init__(self, client: asyncssh.SFTPClient, settings: SftpSettings) -> None:
        self._client = client
        self._settings = settings
        self._folder = os.fsencode(settings.folder)

    async def listing(self) -> dict[str, Looks]:
        """Regular files of the folder by name.

        Raises:
            SourceError: It cannot be listed, holds too much, or names that are none.
        """
        found: dict[str, Looks] = {}
        entries = self._client.scandir(self._folder)
        for _ in range(self._settings.max_entries + 3):
            try:
                async with asyncio.timeout(self._settings.silent_seconds):
                    entry = await anext(entries)
            except StopAsyncIteration:
                return found
            name = os.fsdecode(entry.filename)
            if "/" in name or "\0" in name or not name:
                raise SourceError(
                    "The SFTP server lists a name that is none of a file in its folder.",
                    "Ask who runs the server: this is a fault or an attack.",
                    reason="SERVER_NAMES_UNFIT",
                )
            if name not in (".", ".."):
                looks = _looks(entry.attrs)
                if looks is not None:
                    found[name] = looks
        raise SourceError(
            f"The folder on the SFTP server holds more than max_entries = {self._settings.max_entries}.",
            "Have files removed there that were read long ago, or raise the limit.",
            reason="TOO_MANY_FILES",
        )

    async def look(self, name: str) -> Looks | None:
        """How a file looks now; None where it is gone, or no regular file."""
        try:
            async with asyncio.timeout(self._settings.silent_seconds):
                return _looks(await self._client.lstat(self._path(name)))
        except asyncssh.SFTPNoSuchFile:
            return None

    async def content(self, name: str, size: int) -> AsyncIterator[bytes]:
        """The first bytes of a file, as many as it had, in parts; fewer where it has become shorter."""
        async with asyncio.timeout(self._settings.silent_seconds):
            file = await self._client.open(self._path(name), "rb")
        try:
            done = 0
            while done < size:
                async with asyncio.timeout(self._settings.silent_seconds):
                    chunk = cast(bytes, await file.read(min(_CHUNK, size - done), done))
                if not chunk:
                    return
                done += len(chunk)
                yield chunk
        finally:
            async with asyncio.timeout(self._settings.silent_seconds):
                await file.close()

    def _path(self, name: str) -> bytes:
        return self._folder.rstrip(b"/") + b"/" + os.fsencode(name)


@asynccontextmanager
async def connected(settings: SftpSettings, home: Path) -> AsyncIterator[Session]:
    """A session with the server of the mapping.

    Args:
        settings: `[fetch]` of the mapping.
        home: Folder of the mapping file.

    Raises:
        MappingError: A file or variable that the mapping names cannot be used.
        SourceError: The server cannot be reached, is another one, refuses the adapter, or goes away.
    """
    options = _options(settings, home)
    asyncssh.set_log_level(logging.WARNING)  # who logs in where is nothing for a log
    asyncssh.set_sftp_log_level(logging.WARNING)
    try:
        async with asyncio.timeout(settings.connect_seconds):
            connection = await asyncssh.connect(settings.host, settings.port, config=None, **options)
        async with connection:
            async with asyncio.timeout(settings.silent_seconds):
                client = await connection.start_sftp_client()
            async with client:
                yield Session(client, settings)
    except asyncssh.HostKeyNotVerifiable:
        raise SourceError(
            "The SFTP server shows a key that the mapping does not name: it is another server, or its key was changed.",
            "Ask who runs it for the fingerprint of its key, on another way, and mend `host_key` or known_hosts.",
            reason="HOST_KEY_UNKNOWN",
        ) from None
    except asyncssh.PermissionDenied:
        raise SourceError(
            "The SFTP server does not let the adapter in.",
            "Check `user` and the key or password of [fetch].",
            reason="SERVER_DENIES",
        ) from None
    except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPNoSuchFile) as error:
        words = "is not there" if isinstance(error, asyncssh.SFTPNoSuchFile) else "may not be read"
        raise SourceError(
            f"A file or folder on the SFTP server {words}.",
            "Check `folder` of [fetch] and what the account may read.",
            reason="SERVER_DENIES",
        ) from None
    except (asyncssh.Error, TimeoutError, OSError) as error:
        raise SourceError(
            f"The SFTP server cannot be reached or went away: {type(error).__name__}.",
            "Try it by hand; what was fetched stays, and the next run goes on.",
            reason="SERVER_AWAY",
        ) from None


class _Pinned(asyncssh.SSHClient):
    """Takes a server for the right one by the fingerprint of its key."""

    def __init__(self, fingerprints: tuple[str, ...]) -> None:
        self._fingerprints = fingerprints

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Whether the mapping names the key."""
        return key.get_fingerprint("sha256") in self._fingerprints


def _options(settings: SftpSettings, home: Path) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": settings.user,
        "agent_path": None,
        "gss_kex": False,
        "gss_auth": False,
        "host_based_auth": False,
        "x509_trusted_certs": None,
        "compression_algs": None,
        "login_timeout": settings.connect_seconds,
        "keepalive_interval": 15,
        "client_factory": lambda: _Pinned(settings.host_key),
    }
    try:
        text = (
            "" if settings.known_hosts is None else (home / settings.known_hosts).read_text(encoding="utf-8")
        )
        options["known_hosts"] = asyncssh.import_known_hosts(text)
    except (OSError, ValueError) as error:
        raise MappingError(
            f"known_hosts cannot be used: {type(error).__name__}.", "Name a file in OpenSSH's form."
        ) from None
    if settings.password_env is not None:
        options |= {"client_keys": None, "password": _secret(settings.password_env)}
        return options
    passphrase = None if settings.passphrase_env is None else _secret(settings.passphrase_env)
    try:
        key = asyncssh.read_private_key(home / (settings.key_file or ""), passphrase)
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise MappingError(
            f"key_file cannot be used: {type(error).__name__}.",
            "Name a private key that the adapter may read, and its passphrase by passphrase_env if it has one.",
        ) from None
    return options | {"client_keys": [key], "password_auth": False, "kbdint_auth": False}


def _secret(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise MappingError(f"The environment variable {name} is not set.", "Set it for the adapter.")
    return value


def _looks(attrs: asyncssh.SFTPAttrs) -> Looks | None:
    """What a regular file looks like; None for anything else."""
    regular = attrs.type == asyncssh.FILEXFER_TYPE_REGULAR or (
        attrs.permissions is not None and stat.S_ISREG(attrs.permissions)
    )
    if not regular or attrs.size is None:
        return None
    return Looks(attrs.size, int(attrs.mtime or 0))
