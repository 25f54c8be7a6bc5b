# PYTHON: which interpreter makes the virtual environment (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
FLASK := $(BIN)/flask --app app
# A running server writes nothing outside var/.
QUIET := PYTHONDONTWRITEBYTECODE=1

.PHONY: run serve test soak bench lint format openapi

run: .venv/installed  ## everything from nothing: install, migrate, demo, serve
	$(QUIET) $(FLASK) db upgrade
	$(QUIET) $(FLASK) demo
	@$(MAKE) --no-print-directory serve

serve:  ## the server alone
	@$(QUIET) exec $(BIN)/python -m config.serve

test: .venv/installed-dev  ## everything, on SQLite and on PostgreSQL
	$(BIN)/python -m pytest

soak: .venv/installed-dev  ## the faults at length; SOAK_SECONDS of load at the end, 600 unless told
	$(BIN)/python -m pytest -m soak tests/faults

bench: .venv/installed-dev  ## load the service beside a bare floor; BENCH="--rounds 1" to choose
	@$(BIN)/python -m bench $(BENCH)

lint: .venv/installed-dev  ## format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed-dev  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

openapi: .venv/installed-dev  ## write docs/openapi.json anew, when a route or a schema has changed
	$(BIN)/python -m reference.openapi

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
