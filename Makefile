# `make help` lists the targets. PYTHON names the interpreter that .venv is made from.
PYTHON ?= python3
# Test sets and clips of the benchmark: set5/HR, photos/valid_HR, video/.
DATA ?= ../shared/data
# What `make dashboard` shows: folders with run folders below them.
RUNS ?= $(wildcard logs) experiments
VENV := .venv
BIN := $(VENV)/bin
# Build environments (basicsr is built from source) obey the pins too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-web test-fast lint benchmark docs dashboard wasm demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/core: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet torch
	$(BIN)/python -m pip install --quiet --editable '.[samples]'
	touch $@

$(VENV)/full: $(VENV)/core
	$(BIN)/python -m pip install --quiet --editable '.[samples,video,benchmark,int8,basicsr,spandrel,tensorboard,sweeps,mlflow,workspaces,docs,test,dev]'
	touch $@

setup: $(VENV)/full ## install everything into .venv from pinned versions

quickstart: $(VENV)/core ## the whole pipeline, offline, on photos that come along (about 5 minutes)
	$(BIN)/python train.py experiment=quickstart

test: $(VENV)/full ## all tests (about 20 minutes)
	$(BIN)/python -m pytest

test-web: $(VENV)/full ## those in headless Chromium, where WebGPU and WebGL2 take long on a CPU
	$(BIN)/python -m pytest tests/web

test-fast: $(VENV)/full ## the tests without the slow ones
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/full ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(VENV)/full ## quality and speed of the students, their teacher and their peers
	$(BIN)/python -m kd_lightning.benchmark --data $(DATA)
	@if [ -d $(DATA)/video ]; then $(BIN)/python -m kd_lightning.benchmark.calls --clips $(DATA)/video; \
	else echo "no clips in $(DATA)/video for the section on calls: make benchmark DATA=FOLDER"; fi

docs: $(VENV)/full ## the documentation site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

dashboard: $(VENV)/core ## dashboard.html: all runs of logs/ and experiments/ on one page
	$(BIN)/python -m kd_lightning.commands.dashboard $(RUNS) -o dashboard.html

wasm: ## build the kernel of web/src/engines/wasm.js (needs clang and wasm-ld)
	web/wasm/build.sh

demo: $(VENV)/core ## the student in the browser: builds web/dist and serves it on this machine
	$(BIN)/python -m web.serve

clean: ## remove what the build made; logs/ stays
	rm -rf $(VENV) web/dist build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
