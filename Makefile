# Everything runs in .venv, made from python3 and the pinned versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-fast check lint docs bench lock audit

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "no $(PYTHON) of version 3.10 or newer; install one, or name it: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; run: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV); the first time this takes some minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e '.[dev,tensorboard,mlflow,wandb,weights,onnx,openvino,nncf,serve,grpc,ray,search,pgvector,qdrant,tools-tests]'
	@touch $@

# Trains on the built-in scenes of handwritten digits and writes runs/demo/report.html.
demo: setup
	$(BIN)/labelwise demo --out runs/demo

# The whole suite; nothing in it asks the network. Each worker has one thread, and there is one more than cores, for
# some tests wait. Compiled files are kept, whatever the shell says: the suite starts some hundred processes, and each
# would compile the package anew.
WORKERS = $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')
PYTEST = PYTHONDONTWRITEBYTECODE= HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
test: setup
	$(PYTEST)

# The main path in about a minute: data, heads, losses, metrics, one training, the command line.
test-fast: setup
	$(PYTEST) @tests/fast.txt

lint: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check .
	$(BIN)/mypy

# What CI checks beside the tests; changes no file. Types are also checked as on Windows and macOS.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32
	$(BIN)/mypy --platform darwin

# The documentation as a site of its own under site/.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Short forms, for one look; each file says how to measure in full.
bench: setup
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/losses.py --repeats 5
	$(BIN)/python benchmarks/growth.py --short
	$(BIN)/python benchmarks/loop.py --steps 5 --rounds 1
	$(BIN)/python benchmarks/processes.py --epochs 1
	$(BIN)/python benchmarks/heads.py
	$(BIN)/python benchmarks/decoupling.py
	$(BIN)/python benchmarks/inference.py

# Pins with hashes for Python 3.10 to 3.13, from the ranges of pyproject.toml and the versions of constraints.txt: of all
# extras but litert, whose converter needs an older typing-extensions than constraints.txt's pydantic, and of the two
# targets of the Dockerfile, which also need setuptools to install the source.
LOCK = $(BIN)/uv pip compile --universal --python-version 3.10 --generate-hashes -q -c constraints.txt \
  --no-emit-index-url --no-emit-find-links --no-header
EXTRAS = $$(sed -n '/^\[project.optional-dep/,/^$$/s/^\([a-z-]*\) = .*/--extra \1/p' pyproject.toml | grep -v litert)
lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) pyproject.toml $(EXTRAS) -o requirements.lock
	echo 'setuptools>=77' | $(LOCK) -c requirements.lock pyproject.toml - \
	  --extra serve --extra onnx --extra openvino -o requirements-serve.lock
	echo 'setuptools>=77' | $(LOCK) -c requirements.lock runtime/pyproject.toml - --extra serve -o runtime/requirements.lock
	$(BIN)/python tools/licences.py

# Compares the lock with the public list of vulnerabilities; the one step that needs the network for its answer.
audit: setup
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip_audit -r requirements.lock --no-deps --disable-pip
