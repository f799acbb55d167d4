#!/bin/sh
# buf lint over protos/, and buf breaking against the commit named in protos/BASELINE (absent before the
# first release). Both read images made by protos/build_hook.py. Usage: protos/check.sh, from anywhere.
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

image() { .venv/bin/python protos/build_hook.py image "$@"; }

image "$scratch/new.binpb"
.venv/bin/buf lint "$scratch/new.binpb" --path dief/v1 --config protos/buf.yaml
echo "buf lint: clean"

if [ ! -f protos/BASELINE ]; then
    echo "buf breaking: not run, protos/BASELINE names no released commit yet"
    exit 0
fi
baseline=$(cat protos/BASELINE)
if [ "$(git rev-parse --is-shallow-repository 2>/dev/null || echo none)" != false ]; then
    echo "buf breaking: not run, this is no git clone with its whole history (git fetch --unshallow)"
    exit 0
fi
mkdir "$scratch/old"
if ! git archive --output "$scratch/old.tar" "$baseline" protos; then
    echo "buf breaking: commit $baseline of protos/BASELINE is not in this clone" >&2
    exit 1
fi
tar -xf "$scratch/old.tar" -C "$scratch/old"
image "$scratch/old.binpb" --protos "$scratch/old/protos"
.venv/bin/buf breaking "$scratch/new.binpb" --against "$scratch/old.binpb" --path dief/v1 --config protos/buf.yaml
echo "buf breaking: clean against $baseline"
