"""What every sink offers: notices written to where the registry reads them, each at least once.

Rules:
- A sink writes only what the registry's administrator offered: one table, one folder, one address.
- `write` returns once the notices are safe there, or raises; what it raised for is handed over again later.
- The same notice may come twice; a sink that can keeps it once.
- Sinks are composed, not inherited: three members are all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from registry_adapters.notice import Notice


@runtime_checkable
class Sink(Protocol):
    """Takes notices for one registry stream."""

    @property
    def kind(self) -> str:
        """Kind, for people."""

    def check(self) -> None:
        """Try whether notices could be written, without writing one.

        Raises:
            SinkError: They could not; says what is missing.
        """

    def write(self, notices: Sequence[Notice]) -> None:
        """Write notices, all of them or none where the registry can do that.

        Raises:
            SinkError: They are not all safe; the same ones come again.
        """
