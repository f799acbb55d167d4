"""The root of every error tree in the node: what is wrong, and what mends it.

Rules:
- Each package has one tree below DiefError, its classes named for what is wrong.
- `reason` is a stable machine word; where the error can reach the wire it is the name of a
  `dief.v1.ErrorReason` value. Words for people may change, reasons may not.
- No text of an error ever contains alert content, names, serial numbers or key material.
"""

from __future__ import annotations

from typing import ClassVar


class DiefError(Exception):
    """Something a person or a peer must be told about, with the mend beside it.

    Subclasses set `default_reason` and, where one mend fits every case, `default_mend`.

    Attributes:
        reason: stable word for machines, UPPER_SNAKE_CASE.
        diagnosis: one sentence for people: what is wrong.
        mend: one sentence for people: what to do about it.
    """

    default_reason: ClassVar[str] = "INTERNAL"
    default_mend: ClassVar[str] = "Report this to the operator of the node."

    def __init__(self, diagnosis: str, mend: str | None = None, *, reason: str | None = None) -> None:
        super().__init__(diagnosis, mend)
        self.reason: str = self.default_reason if reason is None else reason
        self.diagnosis: str = diagnosis
        self.mend: str = self.default_mend if mend is None else mend

    def __str__(self) -> str:
        return f"{self.diagnosis} {self.mend}"
