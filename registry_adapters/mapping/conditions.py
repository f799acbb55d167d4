"""Conditions over the columns of a row: which rows become drafts, which withdraw, where a field applies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Values = Callable[[str], str]
"""Column to its cleaned text, "" where it is blank."""


class Condition(BaseModel):
    """One test of a column, or a combination of conditions. Text compares without case and outer blanks.

    Exactly one of: a column with `in`, `equals`, `not_in`, `contains` or `present`; `all`; `any`; `not`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    column: str | None = None
    is_in: Annotated[tuple[str, ...] | None, Field(alias="in", min_length=1)] = None
    equals: str | None = None
    not_in: tuple[str, ...] | None = None
    contains: str | None = None
    present: bool | None = None
    all: tuple[Condition, ...] | None = None
    any: tuple[Condition, ...] | None = None
    negated: Annotated[Condition | None, Field(alias="not")] = None

    @model_validator(mode="after")
    def _one_thing(self) -> Condition:
        tests = [self.is_in, self.equals, self.not_in, self.contains, self.present]
        groups = [self.all, self.any, self.negated]
        tested = sum(test is not None for test in tests)
        grouped = sum(group is not None for group in groups)
        if (self.column is None and (tested or grouped != 1)) or (
            self.column is not None and (tested != 1 or grouped)
        ):
            raise ValueError(
                "needs a column with one of in, equals, not_in, contains, present; or all, any, not"
            )
        return self

    @cached_property
    def compared(self) -> frozenset[str]:
        """What the column is compared with, as `fold` gives it."""
        single = [text for text in (self.equals, self.contains) if text is not None]
        return frozenset(map(fold, (*(self.is_in or ()), *(self.not_in or ()), *single)))

    def holds(self, values: Values) -> bool:
        """Whether it is true of a row."""
        if self.all is not None:
            return all(part.holds(values) for part in self.all)
        if self.any is not None:
            return any(part.holds(values) for part in self.any)
        if self.negated is not None:
            return not self.negated.holds(values)
        assert self.column is not None
        text = fold(values(self.column))
        if self.is_in is not None or self.equals is not None:
            return text in self.compared
        if self.not_in is not None:
            return text not in self.compared
        if self.contains is not None:
            return all(part in text for part in self.compared)
        return (text != "") == self.present

    def columns(self) -> Iterator[str]:
        """Columns it looks at."""
        if self.column is not None:
            yield self.column
        for part in (*(self.all or ()), *(self.any or ()), *([self.negated] if self.negated else [])):
            yield from part.columns()


def fold(value: Any) -> str:
    """Text as codes and conditions compare it."""
    return str(value).strip().casefold()
