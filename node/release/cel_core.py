"""The CEL evaluator without its command line.

The package `cel` imports its interactive shell, and with it prompt_toolkit and tables of character widths: a sixth of
every start of a node. Nothing here uses that, so an empty module stands in for it while the evaluator is loaded.
"""

from __future__ import annotations

import sys
from types import ModuleType

_SHELL = "cel.cli"

if _SHELL in sys.modules:
    import cel
else:
    sys.modules[_SHELL] = ModuleType(_SHELL)
    try:
        import cel
    finally:
        del sys.modules[_SHELL]

__all__ = ["cel"]
