# Everything runs in .venv, which these targets create and fill. Needed: make, git, Python 3.11 or 3.12.

VENV := .venv
GPU_VENV := .venv-gpu-wheels
DEV_VENV := .venv-dev
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
SOURCES := pyproject.toml $(shell find onnxzoo exports validators training -type f -not -name '*.pyc')
# ncnn's converter for onnxzoo convert; it declares PyTorch, which is not needed for ONNX files.
PNNX := pnnx==20261020
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Most modules of the dependencies are never imported: they are compiled when they are.
export PIP_NO_COMPILE := 1

.PHONY: demo dev docs fast test test-large test-gpu-wheels web graphs pin-sources verify-official mutants fuzz check clean install eval-imagenet

demo: install
	$(BIN)/python examples/demo.py

# Two processes halve the time; more hold as many times the gigabyte of a Paddle model.
test: check web
	$(BIN)/pytest -n $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder

# The packages that build and test the web client. Without npm, or a network at the first time, its tests are skipped.
web: clients/web/node_modules/.installed

clients/web/node_modules/.installed: clients/web/package.json clients/web/package-lock.json
	@if cd clients/web && npm ci --ignore-scripts --loglevel=error; then touch node_modules/.installed; \
		else echo "the packages of the web client cannot be installed: its tests will be skipped"; fi

# For daily work: what needs neither Paddle nor much time, some 95 s of processor time.
fast: install
	$(BIN)/pytest -n $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder \
		-m "not paddle and not slow and not large and not gpu and not gpu_wheels"

# All models at their real sizes: 25 minutes, 24 GB of memory, 5 GB of disk.
test-large: install
	$(BIN)/pytest -m large

# The real packages for NVIDIA GPUs, which need no GPU to say what they accept: 3 GB of disk, fetched once.
test-gpu-wheels: $(GPU_VENV)/.dependencies
	rm -rf build onnxzoo.egg-info
	$(GPU_VENV)/bin/pip install --quiet --no-deps --no-build-isolation --force-reinstall .
	rm -rf build onnxzoo.egg-info
	$(GPU_VENV)/bin/pytest -m gpu_wheels -rP tests/engines/test_gpu_wheels.py

$(GPU_VENV)/.dependencies: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 found; name one: make PYTHON=/path/to/python3.12"; exit 1; }
	test -x $(GPU_VENV)/bin/python || $(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/pip install --quiet -c constraints.txt ".[gpu]" onnxruntime-ep-nv-tensorrt-rtx-cu13 onnx pytest setuptools
	touch $@

# Would a test notice? A hundred single changes to the source, each tried on a copy: ten minutes at most.
mutants: install
	$(BIN)/python tests/mutants.py

# What only a machine with a network can show: the official weights (5 GB) give the numbers that others publish of them.
# With DATA=, ImageNet's validation images, also their accuracies.
verify-official: install
	$(BIN)/python benchmarks/verify_official.py $(if $(DATA),--data "$(DATA)")

# Once, by a maintainer with a network: commits and hashes of the official weights, written into models.json.
pin-sources: install
	$(BIN)/python benchmarks/pin_sources.py onnxzoo/models.json

# The graphs that ship without weights, those of which have become stale: a quarter of an hour, 8 GB of memory for the largest.
graphs: install
	$(BIN)/python -P -m onnxzoo.exports.graphs --out onnxzoo/graphs

# 20,000 mutants of the files that come from outside, and 10,000 of requests to a server: three or four minutes on two
# cores.
fuzz: install
	$(BIN)/python tests/fuzz.py
	$(BIN)/python tests/fuzz_requests.py

# The documentation as a site, in out/site; `.venv/bin/mkdocs serve` shows it while it is edited.
docs: install
	$(BIN)/python docs/tools/write_tables.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "out/site/index.html"

eval-imagenet: install
	@test -n "$(DATA)" || { echo "say where ImageNet is: make eval-imagenet DATA=/data/imagenet"; exit 2; }
	$(BIN)/python benchmarks/eval_imagenet.py --data "$(DATA)"

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	cd $(VENV) && bin/lint-imports --config ../.importlinter --no-logo
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p onnxzoo

install: $(VENV)/.installed

# The package is installed as its users install it, not in editable mode: mypy and import-linter see all of it
# only so, and the tests test what would be shipped. Dependencies come first and change rarely.
$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES)
	rm -rf build onnxzoo.egg-info
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --force-reinstall .
	rm -rf build onnxzoo.egg-info
	touch $@

# An environment of its own (1.6 GB) in which edits count at once. pip's editable mode finds onnxzoo.exports and its
# siblings while a program runs; type checkers and editors find them by the links, which git ignores.
dev: $(DEV_VENV)/.dependencies
	$(DEV_VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	rm -rf build onnxzoo.egg-info
	for folder in exports training validators; do ln -sfn ../$$folder onnxzoo/$$folder; done

$(VENV)/.dependencies $(DEV_VENV)/.dependencies: %/.dependencies: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 found; name one: make PYTHON=/path/to/python3.12"; exit 1; }
	test -x $*/bin/python || $(PYTHON) -m venv $*
	$*/bin/pip install --quiet -c constraints.txt ".[cpu,export,ray,serve,docs,dev]" setuptools
	$*/bin/pip install --quiet --no-deps "$(PNNX)"
	touch $@

clean:
	rm -rf $(VENV) $(GPU_VENV) $(DEV_VENV) clients/web/node_modules clients/web/dist onnxzoo/exports onnxzoo/training onnxzoo/validators out build onnxzoo.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
