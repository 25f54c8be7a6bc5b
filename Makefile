# PYTHON is the interpreter (3.11 or newer) that creates the virtual environment.
PYTHON ?= python3
BIN := .venv/bin
FLASK := $(BIN)/flask --app app
# A running server writes nothing outside var/ (STATE_DIR).
QUIET := PYTHONDONTWRITEBYTECODE=1
# Webhooks of the demo may reach this machine, unless the environment or .env says otherwise.
DEMO_NETWORKS := $(if $(WEBHOOK_ALLOW_NETWORKS)$(WEBHOOK_ALLOW_NETWORKS_FILE)$(shell grep -s '^ *WEBHOOK_ALLOW_NETWORKS' .env),,WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8)

.PHONY: run serve test soak bench lint format openapi images audit help

run: .venv/installed  ## install, migrate, create the demo and serve
	@$(QUIET) $(BIN)/python -m config.serve --check
	$(QUIET) $(FLASK) db upgrade
	$(QUIET) $(FLASK) demo
	@# Not `make serve`: stopping this make would leave the inner one running.
	@$(DEMO_NETWORKS) $(QUIET) exec $(BIN)/python -m config.serve

serve:  ## only start the server
	@$(QUIET) exec $(BIN)/python -m config.serve

# Three processes share the two cores: the fault tests of the third mostly wait.
THIRD := tests/faults tests/test_desk_browser.py tests/test_docs_page.py tests/test_property.py
OTHERS := $(filter-out $(THIRD),$(wildcard tests/test_*.py))
SECOND := postgresql or generated_clients or test_bench

test: .venv/installed-dev  ## run all tests, on SQLite and PostgreSQL; INSTALL=1 lets root install missing Debian packages
	@mkdir -p var; export INSTALL=$(INSTALL); \
	$(BIN)/python -m pytest -rs $(THIRD) >var/test-third.log 2>&1 & third=$$!; \
	$(BIN)/python -m pytest -rs $(OTHERS) -k "$(SECOND)" >var/test-second.log 2>&1 & second=$$!; \
	$(BIN)/python -m pytest -rs $(OTHERS) -k "not ($(SECOND))"; first=$$?; \
	wait $$second; second=$$?; cat var/test-second.log; \
	wait $$third; third=$$?; cat var/test-third.log; exit $$((first | second | third))

soak: .venv/installed-dev  ## run the long fault tests, then SOAK_SECONDS (600 by default) of load
	$(BIN)/python -m pytest -m soak tests/faults tests/test_desk_browser.py

bench: .venv/installed-dev  ## compare the service with a bare floor under load; options: BENCH="--rounds 1"
	@$(BIN)/python -m bench $(BENCH)

lint: .venv/installed-dev  ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed-dev  ## format the code and fix its style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

openapi: .venv/installed-dev  ## rebuild docs/openapi.json and docs/mcp_tools.json after changing a route or a schema
	$(BIN)/python -m reference.openapi

images: .venv/installed-dev  ## retake the screenshots of the README
	IMAGES=on $(BIN)/python -m pytest tests/test_desk_browser.py -k "screenshots and sqlite"

# The tools have an environment of their own, so that they do not decide which versions we test.
audit: var/audit/installed  ## look for known vulnerabilities (pip-audit) and write var/sbom.json (CycloneDX); options: AUDIT="--vulnerability-service osv"
	PYTHONWARNINGS=ignore var/audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-file var/sbom.json requirements.txt
	var/audit/bin/pip-audit --strict --no-deps --disable-pip $(AUDIT) --requirement requirements.txt

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

var/audit/installed: requirements-audit.txt
	$(PYTHON) -m venv var/audit
	var/audit/bin/pip install --quiet --disable-pip-version-check -r requirements-audit.txt
	touch $@
