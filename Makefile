# The front door: `make demo` and `make test` do all their own set-up.
PY := .venv/bin/python

.PHONY: proto
proto:  ## Generate the package `dief` again after a .proto file was edited
	$(PY) protos/build_hook.py generate
