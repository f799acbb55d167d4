"""dief-node: one State's node in the Diversion Information Exchange Forum."""
