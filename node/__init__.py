"""A State's node of the exchange: its ledger of alerts, its peers, its registries and its officers."""
