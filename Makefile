# The same verbs for people and for CI.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: help setup demo ui test lint format bench docs soak lock clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

setup: .venv/development .venv/companions  ## Create .venv from the lock file

demo: .venv/runtime  ## Materialize everything that is missing or out of date, and show what came of it
	@$(BIN)/python -m convergence.cli demo

ui: .venv/runtime  ## Start Dagster's UI and daemon on 127.0.0.1:3000
	@$(BIN)/python -m convergence.cli ui

test: lint .venv/companions  ## Lint, types and the whole suite with coverage
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term --durations=10

lint: .venv/development  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/development  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/bench .venv/companions  ## Measure against hand-written code; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks

docs: .venv/runtime  ## Write the numbers of README.md and of the use cases' pages from the lake
	@$(BIN)/convergence docs

soak: .venv/runtime  ## 200 trials of exactly-once landing under faults; an hour
	$(BIN)/convergence chaos --runs 200 --parallel 2

lock: .venv/uv  ## Resolve the lock files again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK) -o requirements-dev.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements-dev.lock $(LOCK) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group bench -c requirements-dev.lock $(LOCK) -o requirements-bench.lock
	$(BIN)/uv pip compile --group companions $(LOCK) -o requirements-companions.lock

clean:  ## Remove the environment and all state
	rm -rf .venv .convergence

LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

.venv/uv: requirements-uv.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-uv.lock
	@touch $@

.venv/runtime: .venv/uv requirements.lock pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@# an application, not a library: the folder is put on the path and the command beside Python
	@$(BIN)/python -c "import site, pathlib; pathlib.Path(site.getsitepackages()[0], 'convergence.pth').write_text('$(CURDIR)')"
	@printf '#!%s\nfrom convergence.cli import main\n\nmain()\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/convergence
	@chmod +x $(BIN)/convergence
	@# dbt's manifest, which the graph is loaded from: made here, and again only when a file of dbt/ has changed
	@cd "$(CURDIR)" && $(BIN)/python -c "from resources.dbt import manifest; manifest()"
	@touch $@

.venv/development: .venv/runtime requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

.venv/bench: .venv/development requirements-bench.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-bench.lock
	@touch $@

# Evidently and Feast, beside the platform: a Python of their own, so that pandas stays out of ours
.venv/companions: .venv/uv requirements-companions.lock
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/companions
	$(BIN)/uv pip install --quiet --python .venv/companions/bin/python --require-hashes -r requirements-companions.lock
	@touch $@
