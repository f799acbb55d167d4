"""What can be wrong with a question about alerts."""

from __future__ import annotations

from typing import ClassVar

from node.ops.errors import DiefError


class AlertError(DiefError):
    """Root of the alerts' errors."""

    default_reason: ClassVar[str] = "INVALID"


class PageTokenError(AlertError):
    """A page token is not one of ours, or belongs to another question."""

    default_mend: ClassVar[str] = (
        "Take next_page_token from the answer before, with the same filter; or begin again."
    )
