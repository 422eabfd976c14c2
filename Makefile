# Two commands matter: `make demo` and `make test`. Each sets up .venv on its first run.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   := $(VENV)/.installed-demo
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

export PYTHONSAFEPATH = 1

# pytest runs one process a core; more BLAS threads than that only wait for each other.
THREADS := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: demo test soundness bench lint wheel clean

# The demo needs neither torch nor the test tools, so it does not wait for them.
$(DEMO): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "verify needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e ".[demo]"
	touch $@

$(STAMP): $(DEMO)
	$(PIP) install -c constraints.txt -e ".[test,dev]"
	touch $@

demo: $(DEMO)
	$(BIN)/verify demo

# Counted campaigns run at a tenth of their count, with fixed seeds.
test: $(STAMP)
	$(THREADS) $(BIN)/python -m pytest -n auto --dist worksteal --durations=15 tests

# The full counts; the log says count, seed and seconds of each campaign.
soundness: $(STAMP)
	$(THREADS) VERIFY_CAMPAIGN=full $(BIN)/python -m pytest -n auto --dist worksteal -m soundness -rP tests

bench: $(STAMP)
	$(THREADS) $(BIN)/python -m pytest --benchmark-enable --benchmark-only -s tests/benchmarks

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell verify conditions kernels reports tests README.md CHANGELOG.md CONTRIBUTING.md

wheel: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info
