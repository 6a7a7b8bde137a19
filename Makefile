# Everything one does here is a target; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
WORKER := worker_stub
MANIFEST := $(WORKER)/packages/celery-manifest
WORKER_VENV := $(WORKER)/.venv
WORKER_BIN := $(WORKER_VENV)/bin
BENCH_VENV := bench/.venv
PIP_INSTALL = -m pip --disable-pip-version-check install
# One line per package is progress; what is there already is not news.
NEWS = grep --line-buffered -Ev '^Requirement already|^Looking in|^ +(Getting|Checking|Preparing|Installing)' || true

# The interpreters that pyenv keeps, where there is one: its commands python3.12 and the like do nothing else.
PYENVS = $$(pyenv versions --bare 2>/dev/null | grep -E '^3\.1[1-3]\.' | paste -sd:)

# Isolated builds (of `-e .`) are pinned too; pip before 25.3 and since read different variables.
PINNED = PIP_CONSTRAINT=$(CURDIR)/constraints/dev.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/constraints/dev.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ See it work
.PHONY: demo
demo: $(VENV)/.installed-web $(WORKER_VENV)/.installed ## From a saved note to its result, with every process real (needs no server)
	$(BIN)/python -m project.demo

.PHONY: run
run: $(VENV)/.installed-web $(WORKER_VENV)/.installed ## Keep web, worker, relay and results running, and print the admin's password
	$(BIN)/python -m project.run

##@ Work on it
.PHONY: test
test: $(VENV)/.installed-acceptance $(WORKER_VENV)/.installed ## The test suite; servers that are not there are named and skipped
	$(BIN)/python -m tests.suites -m "not slow" $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.installed-acceptance $(WORKER_VENV)/.installed ## The slow suites, which `make test` leaves out, and property tests with many examples
	$(BIN)/python -m tests.suites --slow $(PYTEST_ARGS)

.PHONY: browser
browser: $(VENV)/.installed-acceptance $(WORKER_VENV)/.installed ## The admin in a real browser; pictures of its pages go to var/screenshots/
	$(BIN)/python -m pytest tests/acceptance/browser $(PYTEST_ARGS)

.PHONY: faults
faults: $(VENV)/.installed-acceptance $(WORKER_VENV)/.installed ## Kill, stop, cut and fill up what can be, and count every message afterwards
	$(BIN)/python -m tests.suites --faults $(PYTEST_ARGS)

.PHONY: chaos
chaos: $(VENV)/.installed-acceptance $(WORKER_VENV)/.installed ## Kill, cut and restart at random under load, for MINUTES (10), and audit everything
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),10) $(CHAOS_ARGS)

.PHONY: test-all
test-all: test test-slow faults ## All three

.PHONY: matrix
matrix: $(VENV)/.installed-matrix ## Unit and integration tests on each promised Python, Django and Celery that is there
	PYENV_VERSION=$(PYENVS) $(BIN)/nox $(or $(NOX_ARGS),-t matrix)

.PHONY: guest
guest: $(VENV)/.installed-matrix ## Django's own test suites with dispatch installed, on each promised version that is there
	PYENV_VERSION=$(PYENVS) $(BIN)/nox -t guest

.PHONY: package
package: $(VENV)/.installed-matrix ## Build both distributions into dist/, check them, and try them in empty virtualenvs
	PYENV_VERSION=$(PYENVS) $(BIN)/nox -t package

.PHONY: lint
lint: $(VENV)/.installed-lint ## Format, lint, types, layers, templates, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=$(WORKER) $(BIN)/lint-imports
	git ls-files -zco --exclude-standard '*.py' | xargs -0 $(BIN)/django-upgrade --target-version 5.2 --check
	git ls-files -zco --exclude-standard '*.html' | xargs -0 -r $(BIN)/djade --target-version 5.2 --check
	DATABASE_URL=sqlite:// $(BIN)/python manage.py makemigrations --check --dry-run

.PHONY: format
format: $(VENV)/.installed-lint ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: messages
messages: $(VENV)/.installed-acceptance ## Gather the texts that are marked for translation, and compile the translations (needs gettext)
	cd dispatch && ../$(BIN)/django-admin makemessages --all --no-location --no-wrap --no-obsolete
	sed -i '/^"POT-Creation-Date:/d' dispatch/locale/*/LC_MESSAGES/django.po
	cd dispatch && ../$(BIN)/django-admin compilemessages

.PHONY: bench
bench: $(BENCH_VENV)/.installed ## Measure against peers and limits, and write bench/results/ (about eight minutes; BENCH_ARGS="--repeats 9")
	@failed=0; for script in bench/bench_*.py; do $(BENCH_VENV)/bin/python $$script $(BENCH_ARGS) || failed=1; done; \
	$(BENCH_VENV)/bin/python bench/table.py; exit $$failed

.PHONY: docs
docs: $(VENV)/.installed-docs ## Build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

##@ Virtualenvs
.PHONY: venv
venv: $(VENV)/.installed-web $(VENV)/.installed-acceptance $(VENV)/.installed-lint $(VENV)/.installed-docs $(WORKER_VENV)/.installed ## Build both virtualenvs with all that development needs

.PHONY: clean
clean: ## Remove virtualenvs, caches and everything that was built or written
	rm -rf $(VENV) $(WORKER_VENV) $(BENCH_VENV) var build dist docs/_build db.sqlite3* test_db*.sqlite3*
	rm -rf .mypy_cache .nox .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@echo "» virtualenv of the web project: $(VENV) ($$($(PYTHON) --version))"
	$(PYTHON) -m venv $(VENV)

# requirements/NAME.txt is installed once, and again when it, the pins or the package's dependencies change.
$(VENV)/.installed-%: requirements/%.txt requirements/web.txt constraints/dev.txt pyproject.toml | $(BIN)/python
	@echo "» $(VENV): requirements/$*.txt"
	@$(PINNED) $(BIN)/python $(PIP_INSTALL) -r requirements/$*.txt -c constraints/dev.txt | { $(NEWS); }
	@touch $@

$(WORKER_BIN)/python:
	@echo "» virtualenv of the worker: $(WORKER_VENV) ($$($(PYTHON) --version))"
	$(PYTHON) -m venv $(WORKER_VENV)

$(WORKER_VENV)/.installed: $(WORKER)/pyproject.toml $(MANIFEST)/pyproject.toml $(WORKER)/constraints.txt | $(WORKER_BIN)/python
	@echo "» $(WORKER_VENV): $(WORKER)/pyproject.toml"
	@$(WORKER_BIN)/python $(PIP_INSTALL) -c $(WORKER)/constraints.txt -e $(MANIFEST) -e '$(WORKER)[test]' | { $(NEWS); }
	@touch $@

$(BENCH_VENV)/bin/python:
	@echo "» virtualenv of the benchmarks: $(BENCH_VENV) ($$($(PYTHON) --version))"
	$(PYTHON) -m venv $(BENCH_VENV)

$(BENCH_VENV)/.installed: requirements/bench.txt constraints/dev.txt pyproject.toml | $(BENCH_VENV)/bin/python
	@echo "» $(BENCH_VENV): requirements/bench.txt"
	@$(PINNED) $(BENCH_VENV)/bin/python $(PIP_INSTALL) -r requirements/bench.txt -c constraints/dev.txt | { $(NEWS); }
	@touch $@

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
