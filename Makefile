# The platform's commands. `make` alone prints them. Needs Python 3.11 or newer, git and make; what
# else there is comes from the hashed lock files, into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# Added to every port: make demo PORT_OFFSET=100
PORT_OFFSET := 0
# How much of what is tried over and over `make endurance` does; `make test-system` does a part.
ROTATIONS := 100
WATCH_SECONDS := 300
CASES := 3000
EXAMPLES := 150
# What `make chaos` does: cells by pattern (none: CELLS=) and at most so many, the other faults unless
# FAULTS=no, so many seconds of kills under 200 requests for 50 environments, so many random trials;
# with RESUME=yes no cell that the last run hit.
CELLS := *
LIMIT :=
FAULTS := yes
SECONDS := 300
TRIALS := 200
SEED :=
RESUME := no
PACKAGES := idp_kernel control_plane idp_dagster execution_workers local_stack idp_cli observability
# Seconds after which one of the long tests counts as hanging, unless it says otherwise: four parts of
# them share the machine, each at work most of the time, and a test waits for its turn.
HANGS := 300
# What `make bench` measures beside the platform, each in an environment of its own.
PEERS := temporal dbos prefect
PART :=
LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--python-version 3.11 --custom-compile-command "make lock"

.PHONY: help
help: ## Print this help
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

.PHONY: demo
demo: venv ## Start everything, onboard, provision and rotate for real, stop everything
	@$(BIN)/idp demo --port-offset $(PORT_OFFSET)

.PHONY: up
up: venv ## Start everything and stay; Ctrl-C stops everything
	@$(BIN)/idp up --port-offset $(PORT_OFFSET)

.PHONY: down
down: venv ## Stop what `make up` started in another shell
	@$(BIN)/idp down

.PHONY: observe
observe: venv ## Watch what `make up` started with Prometheus and Alertmanager; Ctrl-C stops them
	@exec $(BIN)/python -m observability.serve --port-offset $(PORT_OFFSET)

.PHONY: test tests
test: lint ## Lint, check types and run the tests, but for those of `make test-system`
	@$(MAKE) --jobs=2 typecheck tests
tests: venv-dev
	tests/side_by_side.sh $(BIN)/pytest -m "not system and not endurance and not nightly"

.PHONY: test-system
test-system: venv-dev ## Run the tests that need packages of Debian and npm (installs them) or take long
	tests/system/install.sh
	recorded=$$(mktemp -d) && trap "rm -rf $$recorded" EXIT && \
	IDP_TEST_RECORDED_CALLS_OF_SUITES=$$recorded tests/side_by_side.sh --and-alone \
		$(BIN)/pytest -o timeout=$(HANGS) -m "(system or endurance) and not nightly" && \
	$(BIN)/python -m tests.contract.vendors --present --recorded $$recorded

.PHONY: nightly
nightly: venv-dev ## Run the tests that take longest, which the others leave out: the other steps killed, the other faults
	tests/system/install.sh
	tests/side_by_side.sh $(BIN)/pytest -o timeout=$(HANGS) -m nightly

.PHONY: contract
contract: venv-dev ## Hold every request that providers are sent against the vendors' own descriptions
	tests/system/install.sh
	$(BIN)/python -m tests.contract.vendors

.PHONY: observe-check
observe-check: venv-dev ## Check rules, dashboards and runbooks against a platform at work and one that is broken
	tests/system/install.sh
	$(BIN)/pytest tests/unit/observability tests/docs/test_runbooks.py tests/integration/observability \
		tests/e2e/test_observability.py tests/e2e/test_runbooks.py

.PHONY: endurance
endurance: venv-dev ## Rotate a login under kills, watch, live a day, and try commands, for an hour and more
	IDP_TEST_ROTATIONS=$(ROTATIONS) IDP_TEST_WATCH_SECONDS=$(WATCH_SECONDS) \
	IDP_TEST_CASES=$(CASES) IDP_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -s -m endurance \
		tests/e2e/test_endurance.py tests/endurance tests/contract tests/property

.PHONY: chaos
chaos: venv-dev ## Kill every process at every boundary of every workflow, and ask the providers what became of it
	@$(BIN)/python -m tests.chaos --cells='$(CELLS)' $(if $(LIMIT),--limit=$(LIMIT)) \
		$(if $(filter no,$(FAULTS)),--no-faults) --seconds=$(SECONDS) --trials=$(TRIALS) \
		$(if $(filter yes,$(RESUME)),--resume) $(if $(SEED),--seed=$(SEED)) $(if $(filter-out 0,$(PORT_OFFSET)),--port-offset=$(PORT_OFFSET))

.PHONY: bench
bench: venv-dev ## Measure the platform beside others that do the same work; PART=scaling, PART=growth
	@$(if $(filter scaling,$(PART)),tests/system/install.sh)
	@$(BIN)/python -m tests.bench $(PART) --port-offset $(PORT_OFFSET)

.PHONY: lint
lint: venv-dev ## Check style, format and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: typecheck
typecheck: venv-dev ## Check types
	$(BIN)/mypy

.PHONY: format
format: venv-dev ## Bring every file into the format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: venv ## Write the pages of docs/ and the files of observability/ that are made from the code
	$(BIN)/python docs/generate.py
	$(BIN)/python -m observability.generate

.PHONY: lock
lock: ## Resolve the dependencies of pyproject.toml into the lock files; needs uv
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	for peer in $(PEERS); do $(LOCK) tests/bench/peers/$$peer.in -o tests/bench/peers/$$peer.lock; done

.PHONY: clean
clean: ## Remove the virtual environment and what tools left; the platform's data stays
	rm -rf $(VENV) .venv-bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is stamped with the lock files it was made from, so a second call does nothing.
.PHONY: venv venv-dev
venv:
	@deploy/install-environment $(VENV) requirements.lock
venv-dev:
	@deploy/install-environment $(VENV) requirements-dev.lock
