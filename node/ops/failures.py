"""What may be told of an exception that nobody thought of: its class and its place, never its text.

The text of an exception of ours is safe (node.ops.errors); that of any other may quote what was being worked on, as
PostgreSQL's does with the values of a row.
"""

from __future__ import annotations

import traceback

from node.ops.errors import DiefError


def failure(error: BaseException) -> dict[str, str]:
    """Fields of a log line."""
    fields = {"error": type(error).__name__, "place": place_of(error)}
    return {**fields, "detail": str(error)} if isinstance(error, DiefError) else fields


def place_of(error: BaseException) -> str:
    """Where an exception arose: the innermost line of this node's code, "module:function:line", without any text."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [frame for frame in frames if str(frame[0].f_globals.get("__name__", "")).startswith("node.")]
    if not own:
        return ""
    frame, line = own[-1]
    return f"{frame.f_globals['__name__']}:{frame.f_code.co_name}:{line}"
