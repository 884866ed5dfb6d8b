# Every target works from a bare checkout: it first makes .venv from the hash-pinned requirements, with the newest
# Python that is here. With another one: PYTHON=python3.12 make demo

export VENV ?= .venv
bin := $(VENV)/bin
uv := $(or $(shell command -v uv),$(bin)/uv)
compile := $(uv) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

# Containers often set it. The tests start hundreds of processes, each of which would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# Many tests wait for real time-outs: six processes fill two cores. A file's tests stay together, because they
# share what they started.
parallel := --numprocesses 6 --dist loadfile --no-loadscope-reorder

.PHONY: demo test run check check-pythons bench bench-peers bench-imports chaos screenshots lock clean setup

demo: setup
	@echo "demo: a simulated HubSpot, the bridge and a receiver, on loopback"
	@$(bin)/python -m demo

test: setup
	@echo "test: the whole suite, with a real PostgreSQL"
	@$(bin)/python -m pytest $(parallel) $(TESTS)

run: setup
	@echo "run: the bridge on port $${PORT:-8000} of this machine alone"
	@$(bin)/python -m bridge serve --host 127.0.0.1

check: setup
	@echo "check: style"
	@$(bin)/ruff check
	@$(bin)/ruff format --check
	@echo "check: types"
	@$(bin)/mypy
	@echo "check: who imports whom"
	@$(bin)/lint-imports
	@$(bin)/deptry .
	@echo "check: the migrations are in step with the code"
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export DATABASE_URL="sqlite:///$$folder/bridge.db" \
		&& $(bin)/python -m bridge migrate && $(bin)/alembic check
	@echo "check: tests, and what they cover"
	@$(bin)/python -m pytest $(parallel) --cov --cov-report=
	@$(bin)/coverage report
	@$(bin)/coverage report --include='bridge/core/*' --fail-under=100

# The demo and the suite with every Python from 3.11 on that is here, each in a virtual environment of its own.
# `make check-pythons TESTS=tests/core` runs only a part of the suite.
check-pythons:
	@for minor in 11 12 13 14 15; do \
		python=python3.$$minor; \
		./setup.sh --find $$python >/dev/null || { echo "check-pythons: $$python is not here"; continue; }; \
		echo "check-pythons: $$python"; \
		PYTHON=$$python VENV=.venv-3.$$minor $(MAKE) --no-print-directory demo test || failed="$$failed $$python"; \
	done; [ -z "$$failed" ] || { echo "check-pythons: failed with$$failed" >&2; exit 1; }

bench: setup
	@echo "bench: the bridge against its bounds"
	@$(bin)/python -m bench

bench-peers: setup
	@echo "bench-peers: the bridge against other job queues"
	@$(bin)/python -m bench --peers

bench-imports: setup
	@echo "bench-imports: imports as they are, with the bridge and with other job queues"
	@$(bin)/python -m bench --imports

# `make chaos CHAOS="--seed 7 --seconds 300 --database postgresql"` says what is to happen.
chaos: setup
	@echo "chaos: processes die at random; no watch may be lost"
	@$(bin)/python -m tests.chaos $(CHAOS)

screenshots: setup
	@echo "screenshots: the operators' page, into docs/images, by Debian's chromium"
	@$(bin)/python -m tests.web.admin.screenshots

# Keeps the versions that still fit; `make lock LOCK=--upgrade` takes the newest.
lock: setup
	@echo "lock: pinning what pyproject.toml asks for"
	@$(compile) $(LOCK) pyproject.toml --output-file requirements.txt
	@$(compile) $(LOCK) --extra otel --constraint requirements.txt pyproject.toml --output-file requirements-otel.txt
	@$(compile) $(LOCK) --group dev --constraint requirements-otel.txt --output-file requirements-dev.txt

clean:
	@echo "clean: removing .venv, caches and coverage"
	@rm -rf .venv .venv-3.* .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@./setup.sh
