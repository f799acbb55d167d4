"""The quick answer for an alert of one row is the one that the rules give (design: Log and entry)."""

from __future__ import annotations

import pytest

from node.alerts.states import Held, Row, View, current, set_heads


@pytest.mark.parametrize("held", list(Held))
@pytest.mark.parametrize("part", [False, True], ids=["alert", "list part"])
@pytest.mark.parametrize("reader_role", [0, 1], ids=["everybody", "law enforcement"])
def test_the_only_row_of_an_alert_is_its_head_for_whoever_may_know_of_it(
    held: Held, part: bool, reader_role: int
) -> None:
    row = Row(1, 1, 1, 1, 1, part, held, 99, reader_role)
    set_heads([row])
    wanted = View.LAW_ENFORCEMENT if current([row]) is row else View(0)
    if reader_role == 0 and wanted:
        wanted |= View.EVERYBODY
    assert row.head == wanted
