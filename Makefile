# make setup | run | test | test-all | oracle | pins | wheel | accelerator | screenshots | lint | clean. Stamps make a second call instant.
PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
HOST ?= $(or $(LAB_HOST),127.0.0.1)
PORT ?= $(or $(LAB_PORT),7860)
# Two more than cores: tests that drive an app wait for much of their time.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 2)
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --reruns 1 --only-rerun TimeoutError --durations 40 --durations-min 5
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)

.PHONY: setup run test test-all oracle pins wheel accelerator screenshots lint clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.ready

run: setup
	@echo "Delta Lab starts on http://$(HOST):$(PORT)  (stop with Ctrl-C)"
	@$(PY) app.py --host $(HOST) --port $(PORT)

test: $(VENV)/.ready-test $(VENV)/.ready-system
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.ready-test $(VENV)/.ready-ray $(VENV)/.ready-system
	@$(MAKE) --no-print-directory oracle || echo "The adapters library is not there: the tests that compare with it are skipped."
	$(PYTEST) --hypothesis-profile=thorough

# The adapters library pins an older transformers, so the tests that compare with it need an environment of their own.
oracle:
	@tests/oracles/adapters_env.sh $(PYTHON)

# The oldest and the newest transformers and gradio that requirements.txt allows, each beside the rest in .venv-pins.
pins: $(VENV)/.ready-test
	@$(PY) tests/pins.py

# The two packages, built of copies of the sources: setuptools writes beside them.
wheel: $(PY)
	@mkdir -p dist && source=$$(mktemp -d) && cp -r lab presets pyproject.toml setup.py README.md LICENSE requirements*.txt $$source \
		&& $(PY) -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist $$source $$source/presets/data; rm -rf $$source; ls dist/*.whl

# What this machine's accelerator does with the lab, in about eight minutes (docs/accelerator.md).
accelerator: $(VENV)/.ready-test
	$(PY) benchmarks/accelerator.py --out accelerator.json

# Pictures of the docs, from the real app, with a pair of runs trained for them.
screenshots: $(VENV)/.ready-test $(VENV)/.ready-system
	$(PY) docs/screenshots.py --run

# The pages' scripts too, where node is there: by eslint and prettier of package.json, which are put into node_modules the first time.
lint: $(VENV)/.ready-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check --quiet .
	$(PY) -m mypy
	@if ! command -v npm >/dev/null; then echo "There is no npm: the scripts of the pages are not checked."; \
	elif $(MAKE) --no-print-directory node_modules/.ready; then npm run --silent lint; \
	else echo "The checks of package.json could not be installed: the scripts of the pages are not checked."; fi

node_modules/.ready: package.json package-lock.json
	@echo "Installing the checks of package.json"
	@npm ci --silent --no-audit --no-fund
	@touch $@

clean:
	rm -rf $(VENV) .venv-adapters .venv-pins dist node_modules .pytest_cache .ruff_cache .mypy_cache .hypothesis

# Debian's python3.11 without python3.11-venv has no ensurepip: then the pip that is there puts one in.
$(PY):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Delta Lab needs Python 3.11; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(PY) install --quiet pip; }

$(VENV)/.ready: requirements.txt | $(PY)
	@echo "Installing requirements.txt (about 2 GB, some minutes the first time)"
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready requirements-test.txt requirements-postgres.txt requirements-quantised.txt
	@echo "Installing requirements-test.txt"
	@$(PIP) -r requirements-test.txt -r requirements-postgres.txt -r requirements-quantised.txt
	@touch $@

$(VENV)/.ready-ray: $(VENV)/.ready requirements-ray.txt
	@echo "Installing requirements-ray.txt"
	@$(PIP) -r requirements-ray.txt
	@touch $@

# Chromium with fonts that have Latin and Chinese glyphs, and PostgreSQL for the store's tests.
$(VENV)/.ready-system: | $(PY)
	@if command -v chromium >/dev/null && ls /usr/share/fonts/truetype/dejavu /usr/share/fonts/truetype/wqy /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null; then \
		echo "Installing chromium, fonts and postgresql with apt-get"; \
		$(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium fonts-dejavu-core fonts-wqy-microhei postgresql >/dev/null; \
	else echo "There is no apt-get here: install chromium, DejaVu and WenQuanYi fonts and PostgreSQL yourself for all tests to run."; fi
	@touch $@
