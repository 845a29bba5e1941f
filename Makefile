# All commands of a checkout. They need Python 3.11 or newer and make; no key, Docker or root.

PORT   ?= 2024
PYTHON ?= python3
BIN    := .venv/bin
FREEZE := .venv-lock/bin/pip freeze --all --exclude pip --exclude wheel --exclude graph-native-memory
READY  := .venv/.ready
TESTED := .venv/.ready-dev
# Tests spend half their time waiting for servers and Postgres: use more processes than processors.
PYTEST := $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

# Without bytecode files, each test process and server would compile everything: 35 s of CPU.
unexport PYTHONDONTWRITEBYTECODE

# uv installs in seconds what takes pip half a minute: the one on the PATH, or one that pip fetches.
# The locks are complete, so nothing is resolved. uv reads no pip.conf; where it fails, pip does it.
define install
	@if uv=$$(command -v uv || command -v $(BIN)/uv) && \
	    $$uv pip install --quiet --python $(BIN)/python --no-deps $(1); then :; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps $(1); fi
endef

.PHONY: dev setup test check bench picture format lock clean

dev: $(READY)          ## serve on http://127.0.0.1:$(PORT)
	@exec $(BIN)/graph-memory dev --port $(PORT)

setup: $(READY)        ## create the environment only

test: $(TESTED)        ## run all tests; store, schema and operations on both PostgreSQL versions
	$(PYTEST)
	PGSERVER_POSTGRES_VERSION=16 $(PYTEST) --quiet tests/contract tests/schema $(addprefix tests/integration/test_, \
	  as_of.py hybrid.py indexing.py memory.py operations_schema.py runs.py schema_parts.py store.py) \
	  -k "not InMemoryStore and not AsyncPostgresStore and not killed"

check: $(TESTED)       ## linters, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --quiet -n 0 tests/architecture/test_house.py

bench: $(TESTED)       ## measure the store against its peers (about ten minutes)
	$(BIN)/python -m benchmarks.store

picture: $(TESTED)     ## retake the README's pictures of the inspector; needs Chromium
	$(BIN)/python -m tests.browser.picture

format: $(TESTED)      ## fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:                  ## pin the newest versions that fit pyproject.toml: what serves, and what tests need besides
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --upgrade "pip>=25.1" setuptools
	.venv-lock/bin/pip install --quiet ".[local]"
	$(FREEZE) > requirements.lock
	.venv-lock/bin/pip install --quiet --constraint requirements.lock --group dev
	$(FREEZE) | grep --line-regexp --fixed-strings --invert-match --file requirements.lock > requirements-dev.lock
	rm -rf .venv-lock

clean:                 ## remove everything that make created, with the embedded database
	rm -rf .venv .data .langgraph_api

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Making .venv (half a minute at most, once)"
	@if command -v uv > /dev/null; then $(PYTHON) -m venv --without-pip .venv; else \
	  $(PYTHON) -m venv .venv && { $(BIN)/pip install --quiet --disable-pip-version-check uv || true; }; fi
	$(call install,-r requirements.lock)
	$(call install,--editable .)
	@touch $(READY)

$(TESTED): requirements-dev.lock $(READY)
	@echo "Adding what the tests need"
	$(call install,-r requirements-dev.lock)
	@touch $(TESTED)
