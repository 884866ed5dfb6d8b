# Every target works from a bare checkout: it first makes .venv from the hash-pinned requirements.
# With another Python than `python3` (3.11 to 3.13): PYTHON=python3.12 make demo

PYTHON ?= python3
UV_VERSION := 0.13.9

bin := .venv/bin
uv := .venv/.uv-$(UV_VERSION)
ready := .venv/.ready
compile := $(bin)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

# Many tests wait for real time-outs: three processes fill two cores. A file's tests stay together, because they
# share what they started.
parallel := --numprocesses 3 --dist loadfile --no-loadscope-reorder

# The set-up uses the Python that is here, and never fetches one.
export UV_PYTHON_DOWNLOADS := never

.PHONY: demo test run check bench bench-peers chaos lock clean

demo: $(ready)
	@echo "demo: a simulated HubSpot, the bridge and a receiver, on loopback"
	@$(bin)/python -m demo

test: $(ready)
	@echo "test: the whole suite, with a real PostgreSQL"
	@$(bin)/python -m pytest $(parallel)

run: $(ready)
	@echo "run: the bridge on port $${PORT:-8000} of this machine alone"
	@$(bin)/python -m bridge serve --host 127.0.0.1

check: $(ready)
	@echo "check: style"
	@$(bin)/ruff check
	@$(bin)/ruff format --check
	@echo "check: types"
	@$(bin)/mypy
	@echo "check: who imports whom"
	@$(bin)/lint-imports
	@$(bin)/deptry .
	@echo "check: the diagram and the migrations are in step with the code"
	@$(bin)/python -m bridge.diagram --check ARCHITECTURE.md
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export DATABASE_URL="sqlite:///$$folder/bridge.db" \
		&& $(bin)/python -m bridge migrate && $(bin)/alembic check
	@echo "check: tests, and what they cover"
	@$(bin)/python -m pytest $(parallel) --cov --cov-report=
	@$(bin)/coverage report
	@$(bin)/coverage report --include='bridge/core/*' --fail-under=100

bench: $(ready)
	@echo "bench: the bridge against its bounds"
	@$(bin)/python -m bench

bench-peers: $(ready)
	@echo "bench-peers: the bridge against other job queues"
	@$(bin)/python -m bench --peers

# `make chaos CHAOS="--seed 7 --seconds 300 --database postgresql"` says what is to happen.
chaos: $(ready)
	@echo "chaos: processes die at random; no watch may be lost"
	@$(bin)/python -m tests.chaos $(CHAOS)

# Keeps the versions that still fit; `make lock LOCK=--upgrade` takes the newest.
lock: $(uv)
	@echo "lock: pinning what pyproject.toml asks for"
	@$(compile) $(LOCK) pyproject.toml --output-file requirements.txt
	@$(compile) $(LOCK) --group dev --constraint requirements.txt --output-file requirements-dev.txt

clean:
	@echo "clean: removing .venv, caches and coverage"
	@rm -rf .venv .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(ready): requirements.txt requirements-dev.txt $(uv)
	@echo "set-up: installing the pinned requirements"
	@$(bin)/uv pip sync --quiet --require-hashes --python $(bin)/python requirements.txt requirements-dev.txt
	@touch $@

$(uv):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
		echo "The bridge needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is" \
			"$$($(PYTHON) --version 2>/dev/null || echo not installed)." >&2; \
		echo "Name another one: PYTHON=python3.12 make $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "set-up: making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@$(bin)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@rm -f .venv/.uv-* && touch $@
