# All commands of a checkout. They need Python 3.11 or newer and make; no key, Docker or root.

PORT   ?= 2024
PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready
# Tests spend half their time waiting for servers and Postgres: use more processes than processors.
PYTEST := $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

# Without bytecode files, each test process and server would compile everything: 35 s of CPU.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: dev setup test check bench picture format lock clean

dev: $(READY)          ## serve on http://127.0.0.1:$(PORT)
	@exec $(BIN)/graph-memory dev --port $(PORT)

setup: $(READY)        ## create the environment only

test: $(READY)         ## run all tests; store, schema and operations on both PostgreSQL versions
	$(PYTEST)
	PGSERVER_POSTGRES_VERSION=16 $(PYTEST) --quiet tests/contract tests/schema $(addprefix tests/integration/test_, \
	  audit.py backup.py backup_chain.py backup_parts.py brain.py deliveries.py facts.py hybrid.py index_migration.py \
	  indexing.py jobs.py memory.py migrations.py moving.py operations.py operations_schema.py relationships.py \
	  rights.py schema_parts.py store.py switching.py) \
	  -k "not InMemoryStore and not AsyncPostgresStore and not killed"

check: $(READY)        ## linters, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --quiet -n 0 tests/architecture/test_house.py

bench: $(READY)        ## measure the store against its peers (about ten minutes)
	$(BIN)/python -m benchmarks.store

picture: $(READY)      ## retake the README's pictures of the inspector; needs Chromium
	$(BIN)/python -m tests.browser.picture

format: $(READY)       ## fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:                  ## pin the newest versions that fit pyproject.toml into requirements.lock
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --upgrade "pip>=25.1"
	.venv-lock/bin/pip install --quiet ".[local]" --group dev
	.venv-lock/bin/pip freeze --exclude graph-native-memory > requirements.lock
	rm -rf .venv-lock

clean:                 ## remove everything that make created, with the embedded database
	rm -rf .venv .data .langgraph_api

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Making .venv (about a minute, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)
