# Two commands from an empty clone: `make demo` and `make test`. Both need only
# Python 3.11 or 3.12 with pip.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin

.PHONY: setup demo test test-cluster lint gpu clean

setup: .venv/.installed

.venv/.installed: requirements.lock setup.cfg pyproject.toml
	@case "$$(uname -sm)" in "Linux x86_64") ;; *) \
		echo "requirements.lock is for Linux on x86-64. Got $$(uname -sm): use such a machine."; \
		exit 2;; esac
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; set PYTHON=/path/to/one."; exit 2; }
	# Not every Python has ensurepip: this environment borrows the pip that made it.
	$(PYTHON) -m venv --without-pip --clear .venv
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --no-deps -r requirements.lock
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --no-deps --no-build-isolation -e .
	# Spark's Java starts sooner with it, and all the same without.
	-$(BIN)/python -m xray.java --archive >/dev/null
	touch $@

demo: setup
	$(BIN)/python experiments/demo.py

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not cluster"

# What needs several hosts (network namespaces, root) or minutes; much of it waits.
test-cluster: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m cluster

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# On a machine with an NVIDIA GPU: TensorFlow and JAX with CUDA, without tensorflow-cpu.
gpu: setup
	$(PYTHON) -m pip --python $(BIN)/python uninstall --quiet --yes tensorflow-cpu
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --no-deps -r requirements-gpu.lock

clean:
	rm -rf .venv .demo .emr
