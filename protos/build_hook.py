"""Generates the importable package `dief` (and `buf`) from the protos, at build time.

Nothing generated is committed. hatchling runs this as a custom build hook for `pip install .`, `pip install -e .`,
wheels and `uv sync`; after an edit of a proto in an editable checkout, `make proto` runs it as a script:

    python protos/build_hook.py generate        # writes gen/dief and gen/buf
    python protos/build_hook.py image OUT.binpb # descriptor image with comments, for buf lint and buf breaking

- protovalidate ships no `buf/validate/validate_pb2.py`, yet code generated from a proto with rules imports it, so it
  is generated here from the descriptor that protovalidate carries.
- The mypy-protobuf plugins are reached through launcher scripts made for the running interpreter, so that isolated
  builds need nothing on PATH.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script where hatchling is not installed
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
VALIDATE = "buf/validate/validate.proto"


def _validate_descriptors() -> bytes:
    """Descriptor set of buf/validate/validate.proto and what it imports, by protovalidate's public API."""
    import protovalidate
    from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2

    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    validate = protovalidate.FieldPathPb.desc().file.proto.to_binary()
    files.file.add().ParseFromString(validate)
    return files.SerializeToString()


def _includes() -> list[str]:
    grpc_tools = importlib.util.find_spec("grpc_tools")
    if grpc_tools is None or grpc_tools.origin is None:
        raise RuntimeError("grpcio-tools is not installed in the build environment")
    common = importlib.metadata.distribution("googleapis-common-protos").locate_file("")
    return [str(PROTOS), str(common), str(Path(grpc_tools.origin).parent / "_proto")]


def _sources(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / "dief").rglob("*.proto"))


def _protoc(arguments: Sequence[str]) -> None:
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as scratch:
        descriptors = Path(scratch) / "validate.binpb"
        descriptors.write_bytes(_validate_descriptors())
        plugins = []
        for name, module in (("mypy", "main"), ("mypy_grpc", "grpc")):
            launcher = Path(scratch) / f"protoc-gen-{name}"
            launcher.write_text(f"#!{sys.executable}\nfrom mypy_protobuf.main import {module}\n{module}()\n")
            launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
            plugins.append(f"--plugin=protoc-gen-{name}={launcher}")
        command = ["protoc", *(f"-I{path}" for path in _includes()), f"--descriptor_set_in={descriptors}"]
        if protoc.main([*command, *plugins, *arguments]) != 0:
            raise RuntimeError("protoc failed; its messages stand above")


def generate(out: Path) -> None:
    """Write the packages `dief` and `buf` with their type stubs below `out`, replacing what stood there."""
    sources = _sources(PROTOS)
    if not sources:
        raise RuntimeError(f"no protos below {PROTOS}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as fresh:
        _protoc(
            [
                f"--python_out={fresh}",
                f"--mypy_out={fresh}",
                f"--grpc_python_out={fresh}",
                f"--mypy_grpc_out={fresh}",
                *sources,
            ]
        )
        _protoc([f"--python_out={fresh}", f"--mypy_out={fresh}", VALIDATE])
        for package in ("dief", "dief/v1"):
            (Path(fresh) / package / "__init__.py").write_text('"""Generated from protos/; do not edit."""\n')
        for package in ("dief", "buf"):
            (Path(fresh) / package / "py.typed").touch()
            shutil.rmtree(out / package, ignore_errors=True)
            (Path(fresh) / package).rename(out / package)


def image(out: Path) -> None:
    """Write the descriptor image that `buf lint` and `buf breaking` read without a network."""
    _protoc(["--include_imports", "--include_source_info", f"--descriptor_set_out={out}", *_sources(PROTOS)])


class ProtoBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling's custom hook: generates before a wheel or an editable install is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate, and for a real wheel take the result in.

        Args:
            version: "editable" or "standard".
            build_data: hatchling's mutable description of the build.
        """
        if self.target_name != "wheel":
            return
        out = Path(self.root) / "gen"
        generate(out)
        if version != "editable":
            build_data["force_include"] |= {str(out / "dief"): "dief", str(out / "buf"): "buf"}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate"]:
            generate(ROOT / "gen")
        case ["image", target]:
            image(Path(target))
        case _:
            sys.exit(__doc__)
