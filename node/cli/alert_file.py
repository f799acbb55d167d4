"""Alert files: TOML or JSON as officers write them, read into a DraftInput.

Field names are those of dief.v1.DiversionAlert. Beyond the protobuf JSON mapping, short forms are understood:
codes without their list's prefix (`DETECTED`), partial dates as text (`2026-07`), moments as dates.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar

from dief.v1 import alert_pb2, draft_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from node.ops.errors import DiefError

MAX_FILE_BYTES = 64 << 20
_PARTIAL_DATE = re.compile(r"^(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")


class AlertFileError(DiefError):
    """An alert file does not parse or names something that does not exist."""

    default_reason: ClassVar[str] = "INVALID"
    default_mend: ClassVar[str] = "`dief alert template` prints a file with every common field explained."


def read_draft(path: Path) -> draft_pb2.DraftInput:
    """Read an alert file.

    Raises:
        AlertFileError: Names the field and the mend; values are not repeated.
    """
    if not path.is_file():
        raise AlertFileError(f"There is no file {path}.", "Check the path.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise AlertFileError(
            f"{path} is over 64 MiB.", "Split the list, or submit it through a registry adapter."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        position = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise AlertFileError(f"{path} does not parse: {position}.") from None
    further = values.pop("further_items", [])
    draft = draft_pb2.DraftInput()
    _fill(draft.alert, values)
    for index, item in enumerate(further):
        _fill(draft.further_items.add(), item, f"further_items[{index}]")
    return draft


def _fill(target: Any, values: dict[str, Any], path: str = "") -> None:
    translated = _message(values, target.DESCRIPTOR, path)
    try:
        json_format.ParseDict(translated, target)
    except json_format.ParseError as error:
        field = str(error).split(":")[0][:120]
        raise AlertFileError(
            f"The file breaks a rule of its format at {path or 'the top level'}: {field}."
        ) from None


def _message(values: Any, descriptor: Descriptor, path: str) -> Any:
    if descriptor.full_name == "dief.v1.PartialDate":
        return _partial_date(values, path)
    if descriptor.full_name == "google.protobuf.Timestamp":
        return _moment(values, path)
    if not isinstance(values, dict):
        raise AlertFileError(f"`{path}` must be a table of fields.")
    translated = {}
    for name, value in values.items():
        field = descriptor.fields_by_name.get(name)
        where = f"{path}.{name}" if path else name
        if field is None:
            known = ", ".join(sorted(descriptor.fields_by_name))
            raise AlertFileError(f"`{where}` is not a field.", f"Known here: {known}.")
        if field.is_repeated:
            items = value if isinstance(value, list) else [value]
            translated[name] = [_value(item, field, f"{where}[{index}]") for index, item in enumerate(items)]
        else:
            translated[name] = _value(value, field, where)
    return translated


def _value(value: Any, field: FieldDescriptor, path: str) -> Any:
    if field.message_type is not None:
        return _message(value, field.message_type, path)
    if field.enum_type is not None and isinstance(value, str):
        return _code(value, field.enum_type, path)
    return value


def _code(value: str, enum: EnumDescriptor, path: str) -> str:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    for candidate in (value, prefix + value):
        if candidate in enum.values_by_name:
            return candidate
    known = ", ".join(
        name.removeprefix(prefix) for name in enum.values_by_name if not name.endswith("_UNSPECIFIED")
    )
    raise AlertFileError(f"`{path}` is not a code of {enum.name}.", f"Known: {known}.")


def _partial_date(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return value
    if isinstance(value, dt.date):
        return {"year": value.year, "month": value.month, "day": value.day}
    match = _PARTIAL_DATE.match(str(value))
    if match is None:
        raise AlertFileError(f"`{path}` is not a date.", "Write 2026, 2026-07 or 2026-07-15.")
    return {
        name: int(part) for name, part in zip(("year", "month", "day"), match.groups(), strict=True) if part
    }


def _moment(value: Any, path: str) -> str:
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = str(value)
    return f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else text


def alert_to_dict(alert: alert_pb2.DiversionAlert) -> dict[str, Any]:
    """An alert for JSON output, with the protos' field names."""
    return json_format.MessageToDict(alert, preserving_proto_field_name=True)


TEMPLATE = """\
# A diversion alert for `dief alert draft FILE`. Delete what you do not know; nothing here is compulsory
# but: status, a stage or topic, one thing that can be searched, and handling.
titles = [{ language = "en", text = "Consignee unknown at the stated address" }]
authority = "Export Control Office"            # a body, not a person
status = "SUSPECTED"                           # SUSPECTED, DETECTED, ATTEMPTED_PREVENTED, REFUSED_APPLICATION, ...
topics = ["CASE"]                              # ATT Article 11(5), or CASE
legal_scopes = ["ART_2_1"]                     # ART_2_1, ART_3 (ammunition), ART_4 (parts), OUTSIDE
urgency = "ROUTINE"                            # ROUTINE, PRIORITY, IMMEDIATE (then urgency_reason)
requested_actions = ["SCREEN"]                 # SCREEN, TRACE, STOP, VERIFY_EUC, CONTACT_US, INFORMATION_ONLY
exercise = false                               # true marks a drill on every screen

[confidence]
level = "PROBABLE"

[diversion]
stages = ["BEFORE_TRANSFER"]
types = ["FALSE_END_USER"]
modus_operandi = ["FORGED_EUC"]

[[items]]
category = "SMALL_ARM_OR_LIGHT_WEAPON"         # ATT Article 2(1) and others; then a subtype
subtype = "RIFLE_OR_CARBINE"
make = "Example Arms"
model = "EA-1"
disposition = "AT_LARGE"
[[items.serials]]
as_read = "EX 004417"
kind = "MANUFACTURER"
place = "FRAME_RECEIVER"
condition = "INTACT"

[[parties]]
party_id = "P1"
roles = ["CONSIGNEE"]
kind = "COMPANY"
involvement = "WITTING_SUSPECTED"              # NAMED_ONLY, MISUSED (a victim), WITTING_SUSPECTED, ...
[[parties.names]]
full = "Example Trading L.L.C."
kind = "PRIMARY"

[[provenance]]
kind = "LICENSING"
verified_by_state = true

[handling]
tlp = "AMBER"
purposes = ["LICENSING"]
expires_on = 2029-10-31
[handling.audience]
kind = "STATES_PARTIES"                        # or NAMED_STATES with states = ["XB", "XD"]
[handling.legal_basis]
text = "Export Control Act, section 12 (2)"
"""
