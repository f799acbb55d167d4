"""`[fetch] kind = "sftp"`: where the files of the drop folder come from, when they have to be fetched.

Rules:
- The server is known by its key, pinned here; there is no "trust at first sight".
- No secret stands in the mapping: a password or passphrase comes from the environment, a key from its file.
- Which files are wanted, and when they are finished, `[source]` says: its pattern, handover and settle_seconds hold on
  the server as well as in the folder.

Source: RFC 4251, draft-ietf-secsh-filexfer-02.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from registry_adapters.mapping.part import Part, Seconds

Fingerprint = Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]


class SftpSettings(Part):
    """`[fetch] kind = "sftp"`.

    Attributes:
        host: Name or address of the server.
        port: Its port.
        user: Who the adapter is there.
        folder: Folder on the server.
        known_hosts: File in OpenSSH's form that holds the server's key, relative to the mapping; or
        host_key: fingerprints of its keys, as `ssh-keygen -lf` shows them.
        key_file: The adapter's private key, relative to the mapping; or
        password_env: the environment variable that holds its password.
        passphrase_env: Environment variable that holds the passphrase of the key.
        connect_seconds: How long connecting and logging in may take.
        silent_seconds: How long the server may be silent.
        max_entries: Files and folders that the folder on the server may hold.
    """

    kind: Literal["sftp"]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    user: Annotated[str, Field(min_length=1, max_length=200)]
    folder: Annotated[str, Field(min_length=1, max_length=4096)] = "."
    known_hosts: Path | None = None
    host_key: tuple[Fingerprint, ...] = ()
    key_file: Path | None = None
    password_env: str | None = None
    passphrase_env: str | None = None
    connect_seconds: Annotated[Seconds, Field(gt=0, le=600)] = 30
    silent_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 60
    max_entries: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000

    @model_validator(mode="after")
    def _one_of_each(self) -> SftpSettings:
        if (self.known_hosts is None) == (not self.host_key):
            raise ValueError("needs one of known_hosts, host_key")
        if (self.key_file is None) == (self.password_env is None):
            raise ValueError("needs one of key_file, password_env")
        if self.passphrase_env is not None and self.key_file is None:
            raise ValueError("passphrase_env needs key_file")
        return self
