# The front door. `make demo` and `make test` do all their own set-up: an environment in .venv with the
# packages that requirements*.txt pin by hash, and this package installed into it, editable.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# Folders too, so that a .proto file added or removed counts as a change.
PROTOS := $(shell find protos/dief -name '*.proto' -o -type d)
CODE := node registry_adapters tests protos/build_hook.py
TYPED := node registry_adapters tests/support protos/build_hook.py
UNIT := tests/unit tests/property

# Set-up is remembered where it happened, so that removing .venv or gen forgets it.
STAMPS := $(VENV)/stamps
CREATED := $(STAMPS)/created
RUNTIME := $(STAMPS)/runtime
DEV := $(STAMPS)/dev
PACKAGE := $(STAMPS)/package
GENERATED := gen/dief/py.typed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check e2e bench lint format proto lock

help:  ## Show this list
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /make \1\t/' | expand -t 14

demo: $(PACKAGE) $(GENERATED)  ## Start four States on this machine and watch an alert travel
	$(BIN)/dief demo

test: lint  ## Everything that must hold before a change lands
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 --cov --cov-report=term

check: lint  ## The quick part of `make test`: lint, unit and property tests
	$(BIN)/pytest -n 2 --dist loadfile $(wildcard $(UNIT))

e2e: $(DEV) $(PACKAGE) $(GENERATED)  ## Containers for real, and adapters on every database
	DIEF_E2E=1 $(BIN)/pytest $(wildcard tests/integration/test_container*.py) tests/integration/test_adapter_live.py

bench: $(PACKAGE) $(GENERATED)  ## Measure the promises of speed on this machine
	$(BIN)/dief bench all

lint: $(DEV) $(PACKAGE) $(GENERATED)  ## Style, types, layers and protos
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --no-logo
	protos/check.sh

format: $(DEV)  ## Bring the code into our style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

proto: $(PACKAGE)  ## Generate the package `dief` again after a .proto file was edited
	$(BIN)/python protos/build_hook.py generate
	@touch $(GENERATED)

UV_LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml \
	--all-extras --group

lock: $(DEV)  ## Pin again what pyproject.toml asks for (LOCK="--upgrade" for newer versions)
	$(UV_LOCK) build $(LOCK) -o requirements.txt
	$(UV_LOCK) dev -c requirements.txt $(LOCK) -o requirements-dev.txt

# -- Set-up

$(CREATED):
	@python=$$(for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	        && echo "$$candidate" && break; done); \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11 or newer with its venv module is missing. On Debian or Ubuntu:" >&2; \
	    echo "    sudo apt-get install -y python3 python3-venv make" >&2; \
	    exit 1; \
	fi; \
	[ -x $(BIN)/python ] || "$$python" -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(RUNTIME): requirements.txt | $(CREATED)
	@echo "Installing the pinned packages of requirements.txt into $(VENV)"
	@$(PIP) --require-hashes -r requirements.txt
	@touch $@

$(DEV): requirements-dev.txt | $(CREATED)
	@echo "Installing the pinned packages of requirements-dev.txt into $(VENV)"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@
	@touch $(RUNTIME)

$(PACKAGE): pyproject.toml $(RUNTIME)
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@ $(GENERATED)

$(GENERATED): protos/build_hook.py $(PROTOS) | $(PACKAGE)
	@$(BIN)/python protos/build_hook.py generate
	@touch $@
