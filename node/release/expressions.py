"""Conditions of the release policy: CEL over a draft, checked when the policy is loaded.

Rules:
- Two names: `alert` (dief.v1.DiversionAlert) and `draft` (see DRAFT_FIELDS). Codes are their names without the list's
  prefix, as text: `alert.urgency == 'IMMEDIATE'`. Moments are timestamps, or null where absent.
- A field that is not set reads as its default, down to the last level; so `has()` says nothing and is refused.
- Found when loading: syntax, names, fields and functions that do not exist, lists read as if they were one thing, codes
  that their list does not have, a result that is not a boolean.
- A condition that fails on a draft raises: the caller holds the draft. Nothing is released by an error (I1).

Source: Common Expression Language, cel.dev.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from dief.v1.alert_pb2 import DiversionAlert
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from node.release.cel_core import cel
from node.release.errors import ConditionError, ConditionFailedError

MAX_LENGTH = 4000
DRAFT_FIELDS: Mapping[str, Any] = {
    "action": "PUBLISH",
    "withdrawal_reason": "UNSPECIFIED",
    "drafter": "spiffe://xa.dief/officer/example",
    "drafter_kind": "officer",
    "stream": "",
    "revision": 1,
    "items": 1,
    "recipients": ["XB"],
    "stripped": 0,
    "personal_data": False,
}
"""Fields of `draft` with an example of each: what it would do, why it withdraws, who made it (SPIFFE ID and its kind),
the registry's stream, the revision that it would become, the number of items with those in list parts, the States that
would receive it, how many fields are stripped, and whether it holds personal data."""

_FUNCTIONS = frozenset(
    [
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "timestamp",
        "duration",
        "string",
        "int",
        "uint",
        "double",
        "bytes",
        "type",
        "dyn",
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ]
)
_LITERAL = re.compile(r"""[rR]?("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""")
_HAS = re.compile(r"\bhas\s*\(")
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|filter|map)\s*\(\s*([A-Za-z_]\w*)\s*,")
_PATH = re.compile(r"(?<![\w.\])])([A-Za-z_]\w*)((?:\s*\.\s*[A-Za-z_]\w*(?:\s*\[\s*\d+\s*\])?)*)")
_STEP = re.compile(r"\.\s*([A-Za-z_]\w*)\s*(\[\s*\d+\s*\])?")
_AFTER = re.compile(r"\s*(?:==|!=|in)\s*(\[[^\]]*\]|\S+)")
_BEFORE = re.compile(r"""["'](\w*)["']\s*(?:==|!=|in)\s*$""")
_WORD = re.compile(r"""["'](\w*)["']""")


class Condition:
    """One checked condition.

    Attributes:
        source: As written.
        fields: Fields of `alert` that it reads; the others need not be shown to it.
    """

    def __init__(self, source: str) -> None:
        """Compile and check.

        Raises:
            ConditionError: Says what can not be right.
        """
        if len(source) > MAX_LENGTH:
            raise ConditionError(f"The condition is longer than {MAX_LENGTH} characters.")
        self.source = source
        try:
            self._program = cel.compile(source)
        except ValueError as error:
            raise ConditionError(f"The condition does not parse: {_syntax(str(error))}.") from None
        self.fields = _check_names(source, self._program)
        example = {name: value for name, value in _example().items() if name in self.fields}
        try:
            result = self._program.execute(cel.Context({"alert": example, "draft": dict(DRAFT_FIELDS)}))
        except Exception as error:  # noqa: BLE001 - the library raises plain exceptions of many kinds
            raise ConditionError(f"The condition fails on a plain draft: {_words(error)}.") from None
        if not isinstance(result, bool):
            raise ConditionError("The condition gives no boolean: compare it with something.")

    def holds(self, context: cel.Context) -> bool:
        """Whether it holds.

        Args:
            context: From `context_of`.

        Raises:
            ConditionFailedError: It could not be evaluated.
        """
        try:
            result = self._program.execute(context)
        except Exception as error:  # noqa: BLE001 - whatever it is, the draft is held
            raise ConditionFailedError(
                f"The condition could not be evaluated ({type(error).__name__})."
            ) from None
        if not isinstance(result, bool):
            raise ConditionFailedError("The condition gave no boolean.")
        return result


def context_of(
    alert: DiversionAlert, draft: Mapping[str, Any], fields: Collection[str] | None = None
) -> cel.Context:
    """What conditions see of a draft.

    Args:
        alert: As handed in.
        draft: A value for each of DRAFT_FIELDS.
        fields: Fields of the alert that the conditions read, None for all: handing over the whole alert costs more
            than everything else that is asked of a policy.
    """
    return cel.Context({"alert": view(alert, fields), "draft": dict(draft)})


def view(message: Message, fields: Collection[str] | None = None) -> dict[str, Any]:
    """A message as conditions see it: every field, or those named; codes as short names."""
    shown = {
        name: value
        for name, value in _defaults(message.DESCRIPTOR).items()
        if fields is None or name in fields
    }
    for field, value in message.ListFields():
        if field.name not in shown:
            continue
        shown[field.name] = (
            [_value(field, each) for each in value] if field.is_repeated else _value(field, value)
        )
    return shown


def short_name(enum: EnumDescriptor, number: int) -> str:
    """Name of a code without its list's prefix; the number where the code is not known."""
    value = enum.values_by_number.get(number)
    return str(number) if value is None else value.name.removeprefix(_prefix(enum))


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return short_name(field.enum_type, value)
    if field.message_type is None:
        return value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return datetime.fromtimestamp(value.seconds, tz=UTC).replace(microsecond=value.nanos // 1000)
    return view(value)


@cache
def _defaults(descriptor: Descriptor) -> dict[str, Any]:
    """Defaults of all fields; shared, so never changed."""
    shown: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.is_repeated:
            shown[field.name] = []
        elif field.enum_type is not None:
            shown[field.name] = short_name(field.enum_type, 0)
        elif field.message_type is None:
            shown[field.name] = field.default_value
        elif field.message_type.full_name == "google.protobuf.Timestamp":
            shown[field.name] = None
        else:
            shown[field.name] = _defaults(field.message_type)
    return shown


@cache
def _prefix(enum: EnumDescriptor) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"


@cache
def _example() -> dict[str, Any]:
    """An alert with one element in every list and a moment in every place, for trying conditions out."""

    def filled(descriptor: Descriptor) -> dict[str, Any]:
        return {field.name: element(field) for field in descriptor.fields}

    def element(field: FieldDescriptor) -> Any:
        if field.message_type is None:
            value = short_name(field.enum_type, 0) if field.enum_type is not None else field.default_value
            if field.is_repeated:
                value = "UNSPECIFIED" if field.enum_type is not None else ""
        elif field.message_type.full_name == "google.protobuf.Timestamp":
            value = datetime(2026, 1, 1, tzinfo=UTC)
        else:
            value = filled(field.message_type)
        return [value] if field.is_repeated else value

    return filled(DiversionAlert.DESCRIPTOR)


def _syntax(text: str) -> str:
    found = re.search(r"<input>:(\d+):(\d+): ([^\n]*)", text)
    return f"at character {found[2]}, {found[3].strip()}"[:200] if found else "see cel.dev for the syntax"


def _words(error: Exception) -> str:
    """What failed, for the author of a policy: the example holds no content."""
    if isinstance(error, KeyError):
        return f"there is no field {error.args[0]!r}"
    return f"{type(error).__name__}: {str(error).split('.')[0][:150]}"


# -- names, fields and codes -------------------------------------------------------------------------------------------

_Place = Descriptor | FieldDescriptor | None
"""What a path leads to: a message, a field that is none (or a list), None where it is not known (`draft`)."""


def _check_names(source: str, program: cel.Program) -> frozenset[str]:
    """Check what a condition names; returns the fields of the alert that it reads."""
    bare = _LITERAL.sub(lambda found: " " * len(found[0]), source)
    if _HAS.search(bare):
        raise ConditionError(
            "has() is always true here: compare with the default instead, such as size(x) > 0."
        )
    macros = _MACRO.findall(bare)
    unknown = set(program.variables()) - {"alert", "draft", *macros}
    if unknown:
        raise ConditionError(f"There is no {min(unknown)!r}: conditions see `alert` and `draft`.")
    strange = {name for name in program.functions() if name[0].isalpha()} - _FUNCTIONS
    if strange:
        raise ConditionError(f"There is no function {min(strange)!r}.")
    variables: dict[str, list[_Place]] = {"alert": [DiversionAlert.DESCRIPTOR]}
    for path in _PATH.finditer(bare):
        for place in _walk(bare, path, variables):
            _check_codes(source, path, place)
    return _fields_read(bare)


def _fields_read(bare: str) -> frozenset[str]:
    names = set()
    for path in _PATH.finditer(bare):
        if path[1] == "alert":
            first = _STEP.match(path[2].lstrip())
            if first is None:
                return frozenset(DiversionAlert.DESCRIPTOR.fields_by_name)
            names.add(first[1])
    return frozenset(names)


def _walk(bare: str, path: re.Match[str], variables: dict[str, list[_Place]]) -> list[_Place]:
    """Follow one path; a macro at its end gives its variable the type of the list's elements."""
    root = path[1]
    if root == "draft":
        _check_draft(bare, path)
        return []
    if root not in variables:
        return []
    steps = list(_STEP.finditer(path[2]))
    method = bare[path.end() :].lstrip().startswith("(")
    called = steps.pop() if method else None
    places: list[_Place] = []
    faults = []
    for start in variables[root]:
        try:
            places.append(_follow(start, steps))
        except ConditionError as error:
            faults.append(error)
    if not places:
        raise faults[0]
    macro = _MACRO.match(bare, path.end() - len(path[2]) + called.start()) if called is not None else None
    if macro is not None:
        elements: list[_Place] = []
        for place in places:
            if not isinstance(place, FieldDescriptor) or not place.is_repeated:
                raise ConditionError(f"`{_text(path, steps)}` is no list.")
            elements.append(place.message_type or place)
        variables[macro[1]] = variables.get(macro[1], []) + elements
    return [] if method else places


def _follow(start: _Place, steps: list[re.Match[str]]) -> _Place:
    place = start
    for step in steps:
        if isinstance(place, FieldDescriptor):
            what = "a list: use exists() or all()" if place.is_repeated else "no message"
            raise ConditionError(f"`{place.name}` is {what}, so it has no `{step[1]}`.")
        if place is None:
            return None
        field = place.fields_by_name.get(step[1])
        if field is None:
            raise ConditionError(f"`{step[1]}` is not a field of {place.name}.")
        single = not field.is_repeated or step[2] is not None
        is_part = field.message_type is not None and not field.message_type.full_name.startswith("google.")
        place = field.message_type if single and is_part else field
    return place


def _check_draft(bare: str, path: re.Match[str]) -> None:
    name = _STEP.search(path[2])
    if name is not None and name[1] not in DRAFT_FIELDS and not bare[name.end() :].startswith("("):
        raise ConditionError(f"`{name[1]}` is not a field of draft: it has {', '.join(DRAFT_FIELDS)}.")


def _check_codes(source: str, path: re.Match[str], place: _Place) -> None:
    if not isinstance(place, FieldDescriptor) or place.enum_type is None:
        return
    known = {short_name(place.enum_type, value.number) for value in place.enum_type.values}
    for word in _compared(source, path):
        if word not in known:
            raise ConditionError(
                f"{word!r} is not a code of {place.enum_type.name}: {', '.join(sorted(known))}."
            )


def _compared(source: str, path: re.Match[str]) -> Iterator[str]:
    """Words that the value of a path is compared with."""
    after = _AFTER.match(source, path.end())
    if after is not None:
        yield from _WORD.findall(after[1])
    before = _BEFORE.search(source, 0, path.start())
    if before is not None:
        yield before[1]


def _text(path: re.Match[str], steps: list[re.Match[str]]) -> str:
    return path[1] + "".join(f".{step[1]}" for step in steps)
