"""The type of integer keys that may grow beyond 2^31."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer

BIG_KEY = BigInteger().with_variant(Integer, "sqlite")
"""A key of 64 bits. SQLite keeps a row under its INTEGER PRIMARY KEY itself; a BIGINT one would be a second index."""
