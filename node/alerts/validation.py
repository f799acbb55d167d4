"""Whether an alert may be released: field rules, conditions and intake rules, as violations that tell the mend.

Descriptions name the field, the rule and the mend. They never repeat what stands in a field, since they travel to
logs, registries and quarantine tables.
"""

from __future__ import annotations

from dief.v1.alert_pb2 import DiversionAlert
from google.protobuf.message import Message

from node.alerts.bodies import field_path, validator
from node.alerts.conditions import broken_conditions
from node.alerts.intake import check_intake
from node.alerts.violation import Severity, Violation


def field_violations(message: Message) -> list[Violation]:
    """Field rules that any message breaks, as protovalidate tells them.

    Args:
        message: An alert, an event, or a request.
    """
    return [
        Violation(
            field_path(found),
            f"{found.proto.message[:1].upper()}{found.proto.message[1:]}.",
            rule=found.proto.rule_id,
        )
        for found in validator().collect_violations(message)
    ]


def validate_alert(alert: DiversionAlert, now_ms: int) -> list[Violation]:
    """Everything that is wrong or doubtful with an alert before its own State releases it.

    Args:
        alert: The alert as it would leave.
        now_ms: Moment of the check, milliseconds since the epoch.

    Returns:
        Violations; the alert may be released where none is an ERROR.
    """
    found = field_violations(alert) + broken_conditions(alert) + check_intake(alert, now_ms)
    return sorted(found, key=_errors_first)


def _errors_first(violation: Violation) -> bool:
    return violation.severity is Severity.WARNING
