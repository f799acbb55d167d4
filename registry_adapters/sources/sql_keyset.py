"""The comparison of keys: from time to time, all keys and marks of a relation against those of the last comparison.

Rules:
- Only the key, the watermark and the columns that the mapping names are read of every row; whole rows only
  where a key is new or its mark is another. So it finds what committed too late for any window, and what
  vanished.
- What was found then stands in a file of the adapter's own folder, never on the registry's side. Without it
  every row is new once; nothing is lost.
- Marks of a page are kept when its rows were handed over, its keys before: a comparison that is interrupted
  anywhere goes on at its last page, shows a row twice rather than never, and calls no key gone that it met.
- Where most keys are gone at once, nothing is told as deleted before a person has agreed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from registry_adapters.errors import SourceError, StateError
from registry_adapters.keys import join_key
from registry_adapters.source import Cursor, Milestone, Row
from registry_adapters.sources.sql_relation import Found, Relation
from registry_adapters.sources.sql_rows import KIND, RowMaker

FEW: Final = 20
_AT_ONCE: Final = 500
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS known (key TEXT PRIMARY KEY, mark BLOB NOT NULL, scan TEXT NOT NULL) WITHOUT ROWID
"""


class KeyMemory:
    """Keys and marks of the last comparison.

    Args:
        path: The file; made where it does not exist.

    Raises:
        StateError: It cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 10000; {_TABLE}")
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"The adapter's folder cannot be used: {type(error).__name__}.",
                "Give the adapter a folder that it may write, by `state` of the mapping or --state.",
            ) from None

    def differing(self, page: Mapping[str, bytes]) -> list[str]:
        """Keys of a page that are new, or whose mark is another."""
        keys, held = list(page), dict[str, bytes]()
        for begin in range(0, len(keys), _AT_ONCE):
            part = keys[begin : begin + _AT_ONCE]
            marks = ",".join("?" * len(part))
            held.update(self._db.execute(f"SELECT key, mark FROM known WHERE key IN ({marks})", part))  # noqa: S608
        return [key for key in keys if held.get(key) != page[key]]

    def met(self, page: Mapping[str, bytes], scan: str) -> None:
        """Keep that one comparison met a page's keys; their marks stay as they were."""
        self._many(
            "INSERT INTO known (key, mark, scan) VALUES (?, x'', ?)"
            " ON CONFLICT (key) DO UPDATE SET scan = excluded.scan",
            [(key, scan) for key in page],
        )

    def note(self, page: Mapping[str, bytes]) -> None:
        """Keep the marks of a page whose rows were handed over."""
        self._many("UPDATE known SET mark = ? WHERE key = ?", [(mark, key) for key, mark in page.items()])

    def _many(self, statement: str, values: list[tuple[str | bytes, ...]]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(statement, values)
        self._db.execute("COMMIT")

    def counts(self, scan: str) -> tuple[int, int]:
        """How many keys there are, and how many of them one comparison has not met."""
        query = "SELECT count(*), coalesce(sum(scan <> ?), 0) FROM known"
        whole, missed = self._db.execute(query, (scan,)).fetchone()
        return int(whole), int(missed)

    def missed(self, scan: str) -> list[str]:
        """Some keys that one comparison has not met."""
        found = self._db.execute("SELECT key FROM known WHERE scan <> ? LIMIT ?", (scan, _AT_ONCE))
        return [key for (key,) in found]

    def drop(self, keys: list[str]) -> None:
        """Forget keys."""
        self._db.executemany("DELETE FROM known WHERE key = ?", [(key,) for key in keys])

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Comparison:
    """Compares a relation's keys.

    Args:
        relation: What is compared.
        maker: Makes its rows.
        marks: Columns besides the key whose change counts.
        memory: Where the last comparison is kept.
        clock: Ours, seconds since the epoch.
        accept_vanished: Tell keys as deleted also where most are gone.
    """

    def __init__(
        self,
        relation: Relation,
        maker: RowMaker,
        marks: tuple[str, ...],
        memory: Path,
        clock: Callable[[], float],
        *,
        accept_vanished: bool,
    ) -> None:
        self._relation = relation
        self._maker = maker
        self._marks = marks
        self._memory = memory
        self._clock = clock
        self._accept_vanished = accept_vanished

    def read(self, state: dict[str, Any]) -> Iterator[Row | Milestone]:
        """Rows that are new, changed or gone since the last comparison.

        Args:
            state: The cursor's state; `comparing` in it is where an interrupted comparison goes on.

        Returns:
            Rows and milestones; the last milestone says when the comparison ended.

        Raises:
            SourceError: The registry cannot be read, or most keys are gone.
        """
        with closing(KeyMemory(self._memory)) as memory:
            held = state.get("comparing") or {"scan": uuid4().hex, "after": None}
            scan = held["scan"]
            pick = tuple(dict.fromkeys((*self._maker.key, *self._marks)))
            width = len(self._maker.key)
            for chunk in self._relation.ordered(self._maker.key, held["after"], pick):
                keys = {join_key(found[:width]): found[:width] for found in chunk}
                page = {join_key(found[:width]): _digest(found[width:]) for found in chunk}
                here = Cursor(KIND, {**state, "comparing": held})
                memory.met(page, scan)
                yield from self._current([keys[key] for key in memory.differing(page)], here)
                held = {"scan": scan, "after": list(chunk[-1][:width])}
                yield Milestone(Cursor(KIND, {**state, "comparing": held}))
                memory.note(page)
            yield from self._vanished(memory, scan, Cursor(KIND, {**state, "comparing": held}))
        done = {name: value for name, value in state.items() if name != "comparing"}
        yield Milestone(Cursor(KIND, {**done, "compared": self._clock()}))

    def _current(self, keys: list[Found], cursor: Cursor) -> Iterator[Row]:
        found, _ = self._relation.by_keys(self._maker.key, keys)
        yield from self._maker.rows(found, cursor.state, None)

    def _vanished(self, memory: KeyMemory, scan: str, cursor: Cursor) -> Iterator[Row | Milestone]:
        whole, missed = memory.counts(scan)
        if missed > FEW and missed * 2 > whole and not self._accept_vanished:
            raise SourceError(
                f"The registry no longer shows {missed} of {whole} keys, most of all.",
                "If they are gone for good, run once with --accept-vanished; else restore the registry.",
                reason="VANISHED_TOO_MANY",
            )
        while keys := memory.missed(scan):
            for key in keys:
                yield self._maker.gone(key, cursor)
            yield Milestone(cursor)
            memory.drop(keys)


def _digest(marks: Found) -> bytes:
    """Eight bytes of the marks; moments count in UTC whatever the session's zone."""
    plain = [
        mark.astimezone(UTC).isoformat()
        if isinstance(mark, datetime) and mark.tzinfo is not None
        else repr(mark)
        for mark in marks
    ]
    return blake2b("\0".join(plain).encode("utf-8", "surrogatepass"), digest_size=8).digest()
