"""Tables, engine and migrations: where the node keeps what it must not lose.

Integer surrogate keys inside, UUIDs only at the rim: the layout decides a factor of five in catch-up speed.
"""
