"""Adapters: connect a national registry to its own State's node, over RegistryService only."""
