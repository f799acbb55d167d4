"""dief-node: one State's node in the Diversion Information Exchange Forum."""

__version__ = "0.1.0"
