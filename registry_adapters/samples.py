"""The sample registries, in an installed package as well as in a checkout."""

from __future__ import annotations

from pathlib import Path


def samples_folder() -> Path:
    """Folder that holds `licensing_a` and `seizures_c`: packaged as registry_adapters/samples, or deploy/registries."""
    package = Path(__file__).resolve().parent
    packaged = package / "samples"
    return packaged if packaged.is_dir() else package.parent / "deploy" / "registries"
