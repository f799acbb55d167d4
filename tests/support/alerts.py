"""Alerts for tests: the smallest valid one, the case patterns, and as many distinct ones as a bench wants."""

from __future__ import annotations

from node.bench.samples import sample_alert
from tests.support.alert_parts import alert_name, minimal_alert
from tests.support.case_patterns import CASE_PATTERNS, case_pattern

__all__ = ["CASE_PATTERNS", "alert_name", "case_pattern", "minimal_alert", "sample_alert"]
