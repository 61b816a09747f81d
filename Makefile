# `make demo` and `make test` do all the set-up on a fresh machine with Python >= 3.10.
# `make test` is for every change of a line (under 5 minutes on 2 cores), `make types` and
# `make test-slow` are for what is to be handed in.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow lint types format clean

demo: $(READY)
	$(BIN)/softprior study smoothing --out results

test: $(READY) lint
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

# Also the laws that are drawn (those of hypothesis), with ten times the examples.
test-slow: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow or hypothesis" --hypothesis-profile thorough

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "softprior wants Python >= 3.10, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	@echo "installing into .venv (a minute or two the first time) ..."
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt "torch>=2.5"
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[study,test]"
	@touch $@

clean:
	rm -rf .venv results build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
