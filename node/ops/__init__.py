"""What every other layer of the node stands on: errors, settings, logging, metrics, health."""
