# walsync: `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
SEEDS ?= 1..20
WORKERS ?= -n 3 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-long fix lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed ## make .venv with everything, as the lock says

.venv/.installed: uv.lock pyproject.toml $(shell find walsync -name '*.pyx' -o -name '*.pxd')
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv sync --quiet --frozen --all-extras
	@touch $@

demo: install ## replicate into five databases, kill walsync on the way, prove that all rows are equal
	$(BIN)/walsync demo

check: install ## format, lint, types, import contracts, unit and property tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q -m "not long" $(WORKERS) tests/unit tests/property

test: install ## every test, on embedded servers
	$(BIN)/pytest -m "not long" $(WORKERS)

test-long: install ## the long forms: many seeds, every server version
	$(BIN)/pytest -m long --timeout 3600

fix: install ## format, mend what the linter can mend, write docs/configuration.md anew
	$(BIN)/python docs/configuration.py
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: install ## take the newest versions that pyproject.toml allows into the lock
	UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv lock --upgrade
