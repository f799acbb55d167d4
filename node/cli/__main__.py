"""`python -m node.cli`: the same as `dief`."""

from node.cli import main

main()
