"""I10: over random changes of random alerts, the compiled rules never accept what protovalidate refuses."""

from __future__ import annotations

import protovalidate
from dief.v1.event_pb2 import AlertPublished
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from node.alerts.compiled import CompiledRules
from tests.support.alerts import CASE_PATTERNS, case_pattern, sample_alert

RULES = CompiledRules(AlertPublished.DESCRIPTOR)
VALIDATOR = protovalidate.Validator()
BODIES = [
    AlertPublished(alert=alert).SerializeToString()
    for alert in (sample_alert(1), *(case_pattern(n) for n in CASE_PATTERNS))
]


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(BODIES),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_no_flipped_byte_gets_past_a_rule(body: bytes, flips: list[tuple[int, int]]) -> None:
    changed = bytearray(body)
    for position, value in flips:
        changed[position % len(changed)] = value
    raw = bytes(changed)
    try:
        event = AlertPublished.FromString(raw)
    except DecodeError:
        return
    if RULES.hold(raw):
        assert not VALIDATOR.collect_violations(event)
