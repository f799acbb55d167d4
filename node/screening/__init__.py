"""Screening: whether what an application names meets an alert, each hit explained; nobody else learns of it (I7)."""

from node.screening.screen import Hit, NotSearched, Screening, screen
from node.screening.terms import Term

__all__ = ["Hit", "NotSearched", "Screening", "Term", "screen"]
