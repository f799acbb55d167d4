"""Makes the importable package `dief` from protos/dief/**/*.proto; nothing generated is committed.

Three ways in, one compilation:

- hatchling calls `ProtoBuildHook` for `pip install .`, `pip install -e .` and wheels;
- `python protos/build_hook.py generate` refreshes `gen/` after a proto was edited (`make proto`);
- `python protos/build_hook.py image OUT [--protos DIR]` writes the descriptor image that `buf lint` and
  `buf breaking` read (buf alone cannot resolve the imports without a network).

`gen/` holds `dief` (messages, services and their type stubs) and `buf` (the protovalidate rules that the
generated code imports and that no package ships for google.protobuf).
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import stat
import sys
import tempfile
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from protovalidate import FieldPathPb

ROOT = Path(__file__).resolve().parent.parent
RULES = "buf/validate/validate.proto"
PLUGINS = {"protoc-gen-mypy": "main", "protoc-gen-mypy_grpc": "grpc"}
PACKAGE_DOC = '"""Generated from protos/ by protos/build_hook.py; do not edit."""\n'


class ProtoError(Exception):
    """The .proto files do not compile; protoc has printed file, line and cause."""


def _rules_descriptors() -> bytes:
    """Returns protovalidate's rules and all they import, as a serialised FileDescriptorSet."""
    descriptors = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(descriptors.file.add())
    descriptors.file.add().ParseFromString(FieldPathPb.desc().file.proto.to_binary())
    return descriptors.SerializeToString()


def _compile(protos: Path, work: Path, outputs: list[str], *, with_rules: bool) -> None:
    """Runs protoc over every proto below `protos`.

    Args:
        protos: Include root; the files' import paths are relative to it.
        work: A scratch folder.
        outputs: protoc's output options.
        with_rules: Also emit code for the protovalidate rules.

    Raises:
        ProtoError: If there is no proto, or protoc refuses one.
    """
    sources = sorted(path.relative_to(protos).as_posix() for path in protos.glob("dief/**/*.proto"))
    if not sources:
        raise ProtoError(f"no .proto file below {protos / 'dief'}")
    rules = work / "rules.binpb"
    rules.write_bytes(_rules_descriptors())
    includes = [
        protos,
        distribution("googleapis-common-protos").locate_file(""),
        files("grpc_tools") / "_proto",
    ]
    arguments = ["protoc", *(f"-I{include}" for include in includes), f"--descriptor_set_in={rules}"]
    if protoc.main([*arguments, *outputs, *sources, *([RULES] if with_rules else [])]) != 0:
        raise ProtoError("protoc refused the .proto files; see its lines above")


def _plugin_options(work: Path, target: Path) -> list[str]:
    """Returns options for the stub generators, started by this interpreter whatever PATH says."""
    options = []
    for plugin, entry in PLUGINS.items():
        launcher = work / plugin
        launcher.write_text(
            f"#!/bin/sh\nexec '{sys.executable}' -c 'from mypy_protobuf.main import {entry}; {entry}()'\n"
        )
        launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
        options += [
            f"--plugin={plugin}={launcher}",
            f"--{plugin.removeprefix('protoc-gen-')}_out=quiet:{target}",
        ]
    return options


def _mirror(source: Path, target: Path) -> None:
    """Makes `target` equal to `source`, touching only files that differ (a running test keeps its own)."""
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    for present in [path for path in target.rglob("*") if path.is_file()]:
        if "__pycache__" not in present.parts and present.relative_to(target) not in wanted:
            present.unlink()
    for name in wanted:
        new, old = source / name, target / name
        if not old.is_file() or not filecmp.cmp(new, old, shallow=False):
            old.parent.mkdir(parents=True, exist_ok=True)
            partial = old.with_name(f".{old.name}.partial")
            shutil.copyfile(new, partial)
            partial.replace(old)


def generate(root: Path = ROOT) -> None:
    """Brings `gen/dief` and `gen/buf` below `root` up to date with `protos/`.

    Raises:
        ProtoError: If the protos do not compile; `gen/` is then left as it was.
    """
    with tempfile.TemporaryDirectory() as scratch:
        work, made = Path(scratch), Path(scratch) / "gen"
        made.mkdir()
        outputs = [f"--python_out={made}", f"--grpc_python_out={made}", *_plugin_options(work, made)]
        _compile(root / "protos", work, outputs, with_rules=True)
        for folder in (made / "dief", *(path for path in (made / "dief").rglob("*") if path.is_dir())):
            (folder / "__init__.py").write_text(PACKAGE_DOC)
        (made / "dief" / "py.typed").touch()
        _mirror(made, root / "gen")


def write_image(out: Path, protos: Path) -> None:
    """Writes the descriptor image, with comments and imports, that buf's checks read.

    Raises:
        ProtoError: If the protos do not compile.
    """
    with tempfile.TemporaryDirectory() as scratch:
        outputs = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}"]
        _compile(protos, Path(scratch), outputs, with_rules=False)


class ProtoBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Generates before a wheel is built; an editable wheel finds `gen/` through dev-mode-dirs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; `version` is "editable" for `pip install -e`."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        generate(root)
        if version != "editable":
            build_data["force_include"].update({str(root / "gen" / name): name for name in ("dief", "buf")})


def main() -> int:
    """Command line: `generate`, or `image OUT [--protos DIR]`. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Generate code or a buf image from the .proto files.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("generate", help="refresh gen/")
    image = commands.add_parser("image", help="write a descriptor image for buf")
    image.add_argument("out", type=Path)
    image.add_argument("--protos", type=Path, default=ROOT / "protos")
    arguments = parser.parse_args()
    try:
        if arguments.command == "generate":
            generate()
        else:
            write_image(arguments.out, arguments.protos.resolve())
    except ProtoError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
