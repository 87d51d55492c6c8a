# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip --disable-pip-version-check install --quiet

# One thread: two on a busy machine can be many times slower.
export OMP_NUM_THREADS = 1

.PHONY: demo test lint types ships wheel compat docs support results bench gpu wheels clean

demo: $(VENV)/.demo
	$(BIN)/sparse-plugin demo

# worksteal: with loadfile, a run whose worker died may never end.
# ROOM=attachment: the tests of that room and of all that may import it.
test: $(VENV)/.test
	$(BIN)/pytest -n auto --dist worksteal $(if $(ROOM),$$($(BIN)/python .ci/rooms.py $(ROOM) || echo no-such-room)) $(ARGS)

lint: $(VENV)/.test ships
	$(BIN)/ruff check .
	cd build/ships && PYTHONPATH=../../.ci ../../$(BIN)/lint-imports ../../pyproject.toml

types: $(VENV)/.test ships
	cd build/ships && ../../$(BIN)/mypy --config-file ../../pyproject.toml

# What ships, in which the mapped folders are seen under their real names.
ships: $(VENV)/.test
	rm -rf build
	$(PIP) --no-deps --target build/ships .
	rm -rf sparse_plugin.egg-info  # which would hide entry points that are added later

# The wheel alone, in an environment that has never seen the checkout.
wheel: $(VENV)/.test
	rm -rf build dist
	$(BIN)/python -m build --quiet --wheel
	$(BIN)/python tests/wheel_check.py dist/*.whl

# The core rooms' tests on the oldest supported Python with every requirement at its lower bound, and on the newest
# Python that torch has wheels for: PAIR=oldest or newest for one of them, PYTHON for another interpreter.
compat:
	python3 tests/compat.py $(PAIR) $(if $(filter command environment,$(origin PYTHON)),--python $(PYTHON)) $(if $(ARGS),-- $(ARGS))

# The site, in site/: whatever it warns of fails, which --quiet would hide. Its reference is of what ships, under the real names.
docs: $(VENV)/.docs
	rm -rf build site
	$(PIP) --no-deps --target build/docs .
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo site/index.html

# The README's table of hosts, from real checkouts in the folder HOSTS.
support: $(VENV)/.test
	$(BIN)/python tests/support_table.py $(HOSTS) $(ARGS)

# Tables, figures and words of README and docs, from the recorded runs alone.
results: $(VENV)/.test
	$(BIN)/sparse-plugin results docs/results/runs.jsonl --page README.md --page docs/results.md $(ARGS)

bench: $(VENV)/.test
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks

# All that a GPU is needed for, on a machine that has torch and, where there is no network, the folder of wheels that
# `make wheels` filled. DEVICE=cpu QUICK=1 tries it out. ARGS="--data cifar10-train.zip --test-data cifar10-test.zip --images FOLDER".
DEVICE ?= cuda
WHEELS ?= wheels
gpu: $(VENV)/.gpu
	$(BIN)/python benchmarks/gpu --device $(DEVICE) $(if $(QUICK),--quick) $(ARGS)

# The machine's own torch is used; everything else comes from WHEELS, if it is there.
$(VENV)/.gpu: pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv --system-site-packages $(VENV)
	$(PIP) $(if $(wildcard $(WHEELS)),--no-index --find-links $(WHEELS)) "$(or $(wildcard $(WHEELS)/sparse_plugin-*.whl),.)[experiments]"
	touch $@

# Wheels of this project and of all that it takes but torch, for another machine: WHEELS_PYTHON and WHEELS_TORCH are its.
WHEELS_PYTHON ?= 3.12
WHEELS_TORCH ?= 2.11
wheels: $(VENV)/.test
	$(BIN)/python benchmarks/gpu/wheels.py --into $(WHEELS) --python $(WHEELS_PYTHON) --torch $(WHEELS_TORCH)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

# torch_mimicry's own requirements name TensorFlow, which training does not need; the extra lists what it does need.
$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e ".[demo]"
	$(PIP) --no-deps torch_mimicry==0.1.16
	touch $@

$(VENV)/.test: pyproject.toml tests/third_party.txt tests/third_party_deps.txt | $(VENV)/.demo
	$(PIP) -e ".[dev]"
	$(PIP) -r tests/third_party_deps.txt
	$(PIP) --no-deps -r tests/third_party.txt
	touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/.demo
	$(PIP) -e ".[docs]"
	touch $@

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
