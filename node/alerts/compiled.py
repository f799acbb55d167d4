"""The field rules of the protos, compiled to Python over the wire bytes: a quick and sound yes for the catch-up path.

Rules:
- `CompiledRules.hold` says True only where protovalidate finds no violation; the reverse is not promised. Whoever
  hears False asks protovalidate, which has the last word and the words for people.
- It walks bytes that a protobuf parser has accepted, in the form that serialisers write: known fields, ascending,
  each singular one at most once, no explicit zeros. Anything else is not refused, only not answered with True.
- A rule that is not known here makes its message never hold, so a rule added to the protos can cost time, never
  safety. `unsupported` names such rules, so that a test can refuse them.
- Only rules in buf.validate are compiled; conditions between fields stand in node.alerts.conditions.

protovalidate reads a legacy protobuf message through its Python objects, every field of every part; most fields are
absent, and absent fields cost nothing here.

Source: buf.validate rules as protovalidate reads them; protobuf encoding specification; protos/dief/v1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

Gathered = list[tuple[int, Any]]
Check = Callable[[bytes, int, int, Gathered], bool]

_FIELD = validate_pb2.field
_MESSAGE = validate_pb2.message
_ONEOF = validate_pb2.oneof
_ALPHA2 = "^[A-Z]{2}$"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SIGNS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
_VARINTS = frozenset({FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_BOOL})
_BYTES = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE})
_NEXT = ["t = b[i] if i < e else 0", "if t > 127: t |= b[i + 1] << 8"]


def _varint(b: bytes, i: int) -> tuple[int, int]:
    """Value of the base-128 number at `i`, and where it ends."""
    value = shift = 0
    while True:
        byte = b[i]
        i += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, i
        shift += 7


def _characters(b: bytes, i: int, j: int) -> int:
    """Characters of the UTF-8 text between two positions."""
    return len(b[i:j].decode())


def _holds_nothing(_b: bytes, _i: int, _e: int, _o: Gathered) -> bool:
    return False


class CompiledRules:
    """Checks of one message type and of everything below it.

    Example:
        rules = CompiledRules(AlertPublished.DESCRIPTOR)
        event = AlertPublished.FromString(body)
        if not rules.hold(body):
            violations = validator.collect_violations(event)
    """

    def __init__(self, descriptor: Descriptor, gather: Mapping[str, int] | None = None) -> None:
        """Compile; takes some milliseconds, so keep the object.

        Args:
            descriptor: The message type.
            gather: Fields whose values are wanted as well, by full name, each with a code of the caller's: texts,
                enums, and lists of enums as bytes. Read on the way they cost a tenth of a second walk.
        """
        self.unsupported: set[str] = set()
        self._gather = gather or {}
        self._names: dict[str, Any] = {
            "varint": _varint,
            "characters": _characters,
            "double": struct.Struct("<d").unpack_from,
            "alpha2": frozenset(a.encode() + b.encode() for a in _LETTERS for b in _LETTERS),
        }
        check: Check = self._names[self._compile(descriptor)]
        self._check = _holds_nothing if self.unsupported else check

    def hold(self, body: bytes) -> bool:
        """Whether all rules certainly hold.

        Args:
            body: Serialised message that a protobuf parser has accepted.
        """
        return self._check(body, 0, len(body), [])

    def gather(self, body: bytes) -> Gathered | None:
        """Code and value of each wanted field that is present, in the order of the bytes; None where `hold` is False.

        Args:
            body: Serialised message that a protobuf parser has accepted.
        """
        found: Gathered = []
        return found if self._check(body, 0, len(body), found) else None

    def _compile(self, descriptor: Descriptor) -> str:
        """Name of the function that checks this message type."""
        name = "check_" + descriptor.full_name.replace(".", "_")
        if name in self._names:
            return name
        self._names[name] = _holds_nothing  # where a message type contains itself
        if descriptor.GetOptions().HasExtension(_MESSAGE):
            self.unsupported.add(descriptor.full_name)
            return name
        wanted = [o for o in descriptor.oneofs if o.GetOptions().Extensions[_ONEOF].required]
        lines = [f"{oneof.name} = False" for oneof in wanted] + _NEXT
        for field in sorted(descriptor.fields, key=lambda field: field.number):
            lines += self._field(field)
        lines.append(" and ".join(["return i == e", *(oneof.name for oneof in wanted)]))
        source = "\n    ".join([f"def {name}(b, i, e, o):", *lines])
        exec(source, self._names)  # noqa: S102 - the source is made from our own descriptors alone
        return name

    def _field(self, field: FieldDescriptor) -> list[str]:
        rules = field.GetOptions().Extensions[_FIELD]
        present, absent_holds = (
            self._repeated(field, rules) if field.is_repeated else self._singular(field, rules)
        )
        oneof = field.containing_oneof
        if oneof is not None and oneof.GetOptions().Extensions[_ONEOF].required:
            present.append(f"{oneof.name} = True")
        lines = [f"if t == {self._tag(field)}:", *(f"    {line}" for line in present + _NEXT)]
        return lines if absent_holds else [*lines, "else: return False"]

    def _tag(self, field: FieldDescriptor) -> int:
        """The tag as `_NEXT` reads it: one or two bytes, the first one lowest."""
        long = field.type in _BYTES or field.is_repeated
        wire = 2 if long else int(field.type == FieldDescriptor.TYPE_DOUBLE)
        tag = field.number << 3 | wire
        return tag if tag < 128 else tag & 127 | 128 | tag >> 7 << 8

    def _length(self, field: FieldDescriptor) -> list[str]:
        """Reads a length: `i` and `j` then enclose the value, which is not empty unless it is a message."""
        skip = 1 if field.number < 16 else 2
        lines = [f"n = b[i + {skip}]", f"i += {skip + 1}", "if n > 127: n, i = varint(b, i - 1)", "j = i + n"]
        return lines if field.message_type is not None else [*lines, "if not n: return False"]

    def _singular(self, field: FieldDescriptor, rules: Any) -> tuple[list[str], bool]:
        """Statements for the field where it is present, and whether its absence breaks no rule."""
        absent_holds = not rules.required
        if field.type in _BYTES:
            tests, zero_holds = self._text_tests(field, rules)
            lines = [*self._length(field), *(f"if {test}: return False" for test in tests)]
            lines += [*self._keep(field, "b[i:j].decode()"), "i = j"]
        else:
            skip = 1 if field.number < 16 else 2
            tests, zero_holds = self._number_tests(field, rules)
            if field.type == FieldDescriptor.TYPE_DOUBLE:
                lines = [f"v = double(b, i + {skip})[0]", f"i += {skip + 8}"]
            else:
                lines = [f"v = b[i + {skip}]", f"i += {skip + 1}", "if v > 127: v, i = varint(b, i - 1)"]
            if not field.has_presence:
                lines.append("if not v: return False")
            lines += [f"if {test}: return False" for test in tests] + self._keep(field, "v")
        ignored = field.has_presence or rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE
        return lines, absent_holds and (ignored or zero_holds)

    def _repeated(self, field: FieldDescriptor, rules: Any) -> tuple[list[str], bool]:
        self._only(field, rules, "repeated", "required")
        limits = rules.repeated
        self._only(field, limits, "min_items", "max_items", "unique", "items")
        least = max(limits.min_items, int(rules.required))
        packed = field.type not in _BYTES
        if packed:
            lines = self._packed(field, limits)
        else:
            tests, _ = self._text_tests(field, limits.items)
            loop = [*self._length(field), *(f"if {test}: return False" for test in tests)]
            if limits.unique:
                loop += ["u.add(b[i:j])"]
            loop += [*self._keep(field, "b[i:j].decode()"), "c += 1", "i = j", *_NEXT]
            lines = ["c = 0", *(["u = set()"] if limits.unique else [])]
            lines += [f"while t == {self._tag(field)}:", *(f"    {line}" for line in loop)]
            if limits.unique:
                lines.append("if len(u) != c: return False")
        if limits.HasField("max_items"):
            lines.append(f"if c > {limits.max_items}: return False")
        if least > 1:
            lines.append(f"if c < {least}: return False")
        return lines, not least

    def _keep(self, field: FieldDescriptor, value: str) -> list[str]:
        code = self._gather.get(field.full_name)
        return [] if code is None else [f"o.append(({code}, {value}))"]

    def _packed(self, field: FieldDescriptor, limits: Any) -> list[str]:
        """Packed numbers of one byte each: all enums of the protos; others are not answered with True."""
        lines = [*self._length(field), "v = b[i:j]", "c = n", "i = j", "if max(v) > 127: return False"]
        lines += self._keep(field, "v")
        if limits.unique:
            lines.append("if len(set(v)) != c: return False")
        items = limits.items
        if items.enum.not_in:
            self._only(field, items, "enum")
            self._only(field, items.enum, "not_in")
            lines += [f"if {value} in v: return False" for value in items.enum.not_in]
        else:
            self._only(field, items)
        return lines

    def _text_tests(self, field: FieldDescriptor, rules: Any) -> tuple[list[str], bool]:
        """Expressions over the value between `i` and `j`, true where a rule is broken; whether "" breaks none."""
        if field.message_type is not None:
            self._only(field, rules, "required", "ignore")
            if field.message_type.full_name.startswith("google.protobuf."):
                return [], True
            return [f"not {self._compile(field.message_type)}(b, i, j, o)"], True
        kind = "string" if field.type == FieldDescriptor.TYPE_STRING else "bytes"
        self._only(field, rules, kind, "required", "ignore")
        own = getattr(rules, kind)
        self._only(field, own, "min_len", "max_len", "len", "pattern", "not_in")
        size = "n" if kind == "bytes" else "characters(b, i, j)"
        tests = []
        zero_holds = True
        if own.HasField("len"):
            tests.append(f"{size} != {own.len}")
            zero_holds = own.len == 0
        if own.min_len:
            tests += [f"n < {own.min_len} or {size} < {own.min_len}"] if own.min_len > 1 else []
            zero_holds = False
        if own.HasField("max_len"):
            tests.append(f"n > {own.max_len} and {size} > {own.max_len}")
        if own.pattern:
            test, matches_nothing = self._pattern(field, own.pattern)
            tests.append(test)
            zero_holds = zero_holds and matches_nothing
        if own.not_in:
            words = frozenset(v.encode() if isinstance(v, str) else v for v in own.not_in)
            tests.append(f"n <= {max(map(len, words))} and b[i:j] in {self._constant(words)}")
            zero_holds = zero_holds and b"" not in words
        return tests, zero_holds

    def _pattern(self, field: FieldDescriptor, pattern: str) -> tuple[str, bool]:
        if pattern == _ALPHA2:
            return "b[i:j] not in alpha2", False
        inner = pattern[1:-1]
        flat = inner
        while (shorter := re.sub(r"\([^()]*\)", "", flat)) != flat:
            flat = shorter
        bare = inner.replace(r"\.", "")
        if pattern[0] != "^" or pattern[-1] != "$" or "|" in flat or re.search(r"[\\^$.]|\(\?", bare):
            self.unsupported.add(f"{field.full_name}: string.pattern")
            return "True", False
        match = re.compile(inner.encode("ascii")).fullmatch
        return f"not {self._constant(match)}(b, i, j)", match(b"") is not None

    def _number_tests(self, field: FieldDescriptor, rules: Any) -> tuple[list[str], bool]:
        """Expressions over the number `v`, true where a rule is broken, and whether zero breaks none."""
        kind = rules.WhichOneof("type")
        if kind is None:
            self._only(field, rules, "required", "ignore")
            return [], True
        self._only(field, rules, kind, "required", "ignore")
        own = getattr(rules, kind)
        self._only(field, own, "not_in", *_SIGNS)
        if field.type not in _VARINTS and field.type != FieldDescriptor.TYPE_DOUBLE:
            self.unsupported.add(f"{field.full_name}: {kind}")
        tests = [f"v in {tuple(own.not_in)}"] if own.not_in else []
        if field.type != FieldDescriptor.TYPE_ENUM:
            tests += [
                f"not v {sign} {getattr(own, rule)!r}" for rule, sign in _SIGNS.items() if own.HasField(rule)
            ]
        if field.type in _VARINTS:
            tests.append("v > 0x7FFFFFFF")
        zero_holds = not any(eval(test, {"v": 0}) for test in tests)  # noqa: S307 - made above
        return tests, zero_holds

    def _constant(self, value: Any) -> str:
        name = f"k{len(self._names)}"
        self._names[name] = value
        return name

    def _only(self, field: FieldDescriptor, rules: Any, *known: str) -> None:
        """Note the rules of a set that are not among those known."""
        self.unsupported.update(
            f"{field.full_name}: {rule.name}" for rule, _ in rules.ListFields() if rule.name not in known
        )
