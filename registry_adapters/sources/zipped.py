"""A ZIP file from outside, unpacked within bounds.

Rules:
- What is unpacked is counted while it is read, whatever the file says of its sizes.
- Names that stand there twice, encrypted members and unusual compression are refused. Nothing is written anywhere.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import IO, Final

from registry_adapters.errors import SourceError

_MAX_MEMBERS: Final = 10_000
_CHUNK: Final = 1 << 18
_OLE: Final = b"\xd0\xcf\x11\xe0"
_MEND: Final = "Save it again as .xlsx or .ods, without a password, or move it out of the folder."


class Archive:
    """A ZIP file.

    Args:
        file: The file.
        name: What it is called, for errors.
        limit: Bytes that may be unpacked from it in one pass over a member.

    Raises:
        SourceError: It is none, is broken, or holds something that is refused.
    """

    def __init__(self, file: IO[bytes], name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        file.seek(0)
        if file.read(4) == _OLE:
            raise self._fault("is encrypted, or in the format of Excel before 2007")
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            raise self._fault("is no workbook, or was cut off") from None
        members = self._zip.infolist()
        self.names = frozenset(member.filename for member in members)
        if len(members) > _MAX_MEMBERS or len(self.names) < len(members):
            raise self._fault("holds too many members, or two of one name")

    def open(self, member: str) -> IO[bytes]:
        """A member, to be read from its beginning.

        Raises:
            SourceError: It is missing or encrypted.
        """
        try:
            info = self._zip.getinfo(member)
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._fault("is encrypted or packed in an unusual way")
            return io.BufferedReader(_Counted(self._zip.open(info), self._name, self._limit), 1 << 16)
        except KeyError:
            raise self._fault(f"lacks {member!a}") from None
        except (zipfile.BadZipFile, OSError, NotImplementedError):
            raise self._fault("is broken") from None

    def check(self, member: str) -> None:
        """Read a member through before anything of it is used: it must be whole, by its checksum.

        Raises:
            SourceError: It is not, or it is beyond the limit.
        """
        with self.open(member) as stream:
            while stream.read(_CHUNK):
                pass

    def _fault(self, words: str) -> SourceError:
        return SourceError(f"{self._name} {words}.", _MEND, reason="WORKBOOK_UNREADABLE")


class _Counted(io.RawIOBase):
    """A member that counts what is read from it."""

    def __init__(self, member: IO[bytes], name: str, limit: int) -> None:
        self._member = member
        self._name = name
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        try:
            data = self._member.read(len(view))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
            raise SourceError(
                f"{self._name} is broken or was cut off.", _MEND, reason="WORKBOOK_UNREADABLE"
            ) from None
        self._left -= len(data)
        if self._left < 0:
            raise SourceError(
                f"{self._name} unpacks to more than max_unpacked_bytes.",
                "Raise the limit if the workbook is really that large; else it is an attack.",
                reason="WORKBOOK_TOO_LARGE",
            )
        view[: len(data)] = data
        return len(data)
