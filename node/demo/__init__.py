"""The demonstration: four States on this machine exchange alerts, with real processes, keys, sockets and files."""
