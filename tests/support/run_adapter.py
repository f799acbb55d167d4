"""One run of an adapter in a process of its own, so that a test can kill it: MAPPING ADDRESS CA CERT KEY."""

from __future__ import annotations

import sys
from pathlib import Path

from registry_adapters import Mapping, Runner, State, connect, open_source


def main() -> None:
    """Run once."""
    path, address, ca, cert, key = sys.argv[1:]
    mapping = Mapping.load(Path(path))
    with (
        State.open(Path(path).parent / "state", mapping.stream) as state,
        connect(address, Path(ca), Path(cert), Path(key)) as client,
    ):
        Runner(mapping, open_source(mapping), client, state).run_once()


if __name__ == "__main__":
    main()
