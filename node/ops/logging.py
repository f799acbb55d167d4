"""Logs for operators and machines. Never any alert content, name, serial or key in them.

Console lines for people, one JSON object a line in containers. Context (peer, request id, log) is bound with
structlog's context variables, so that it appears on every line of a call or stream.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def configure(level: str, style: str, stream: TextIO = sys.stderr) -> None:
    """Set structlog up for the process.

    Args:
        level: debug, info, warning or error.
        style: "console" or "json".
        stream: Where lines go.
    """
    renderer: structlog.types.Processor
    if style == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
