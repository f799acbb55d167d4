"""Tests of the node and the adapters; see tests/support for what they share."""
