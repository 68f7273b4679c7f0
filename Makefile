# Every verb installs what it needs. `make` alone lists them.

UV_VERSION := 0.13.9
WORKERS := 2
# One more than the cores: the tests of the stack wait for its servers and for time to pass.
STACKS := 3
# Those of `make test-slow` wait more.
SLOW_STACKS := 4
BIN := .venv/bin
STAMP := .venv/.installed
BEAM_STAMP := .venv-beam/.installed
# uv from the PATH, else our own in .tools. Each call of uv names our environment, because another one
# may be active.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
LOCKS := requirements.lock requirements-dev.lock requirements-beam.lock
# The uv that requirements-dev.lock pins: another version may write the locks in another form.
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --no-header --universal --python-version 3.12 pyproject.toml
COMPILE_DEV = $(COMPILE) --extra local --extra service --extra vis --group dev
# bqemulator limits some versions, so the runtime lock follows the development lock.
COMPILE_RUNTIME = $(COMPILE) --extra service --no-annotate
# Beam's lock has the development lock's versions, but for what Beam limits.
COMPILE_BEAM = $(COMPILE) --extra service --extra beam --no-annotate
PINS = grep -oE '^[A-Za-z0-9._-]+==[^ ;]+' requirements-dev.lock | grep -vE '^(numpy|pillow|pyarrow)=='

# Each process that the tests start would compile the sources again, and each pytest worker the tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install beam demo local notebook check check-types check-tests test test-slow test-long test-image test-browser pictures simulate lint format bench bench-peers \
	check-infrastructure lock upgrade check-locks vendor clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv with all packages

beam: $(BEAM_STAMP) ## create .venv-beam with the service's packages and Apache Beam

demo: $(STAMP) ## run the whole job on this machine: train, upload, register, score
	$(BIN)/python notebooks/demo.py

local: $(STAMP) ## run the local stack, with its data in .local/
	@mkdir -p .local
	$(BIN)/mlsys local up --samples --data-dir .local/data --env-file .local/env

notebook: $(STAMP) ## start Jupyter with the variables that `make local` wrote
	set -a; if [ -f .local/env ]; then . ./.local/env; fi; set +a; exec $(BIN)/jupyter lab notebooks

test: $(STAMP) ## run the tests in STACKS processes, with a local stack for each
	$(BIN)/pytest -n $(STACKS) --dist loadfile --no-loadscope-reorder

check: $(STAMP) ## check format, lint, types and import rules, and run the tests without the stack
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory -j 2 check-types check-tests

check-types: $(STAMP)
	$(BIN)/mypy

check-tests: $(STAMP)
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m 'not stack and not process and not slow and not long and not image'

test-slow: $(STAMP) ## run what takes seconds a test: kills, races, processes, many cases; the gate does too
	$(BIN)/pytest -n $(SLOW_STACKS) --dist loadfile --no-loadscope-reorder -m 'slow and not long and not image and not browser'

test-long: $(STAMP) ## run the long tests: hundreds of runs, a thousand kills, about half an hour
	$(BIN)/pytest -m long -s

test-browser: $(STAMP) node_modules/axe-core ## walk through the console in Chromium; needs chromium, chromium-driver, npm
	$(BIN)/pytest -m browser tests/browser

pictures: $(STAMP) ## draw the pictures of docs/images again, on a local stack; needs chromium, chromium-driver
	PYTHONPATH=tests/support $(BIN)/python tests/browser/draw_pictures.py docs/images

node_modules/axe-core: package-lock.json
	npm ci --silent || echo "npm cannot install axe-core: the tests in a browser are skipped" >&2

SEEDS := 0-2000
simulate: $(STAMP) ## play histories of crashes by SEEDS (docs/simulation.md)
	PYTHONPATH=tests/support $(BIN)/python -m simulator $(SEEDS)

test-image: $(STAMP) ## build the image with podman (or CONTAINER_ENGINE) and run it
	$(BIN)/pytest -m image tests/project/test_image.py

lint: $(STAMP) check-locks ## run every linter: ruff, mypy, import rules, secrets, workflows, stale locks
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pre-commit run --all-files --show-diff-on-failure
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code and apply ruff's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ARGS := --write
bench: $(STAMP) ## compare the service with other tools; ARGS selects a benchmark (CONTRIBUTING.md)
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(STAMP) $(BEAM_STAMP) ## install MLflow, Dask, Ray Data and Beam beside the project, for `make bench`
	@test -x .venv-peers/bin/python || $(UV) venv --quiet --python 3.12 .venv-peers
	@$(UV) pip install --quiet --compile-bytecode --python .venv-peers/bin/python --constraint requirements-dev.lock \
	  --requirement benchmarks/peers.txt

check-infrastructure: ## check Terraform: format, validity and tests of every root; needs terraform
	infrastructure/check

lock: $(STAMP) ## compile the lock files after a change of pyproject.toml
	$(COMPILE_DEV) --output-file requirements-dev.lock
	$(COMPILE_RUNTIME) --constraint requirements-dev.lock --output-file requirements.lock
	$(PINS) | $(COMPILE_BEAM) --constraint - --output-file requirements-beam.lock

upgrade: COMPILE += --upgrade
upgrade: lock ## compile the lock files with the newest versions that fit

check-locks: $(STAMP)
	@new=$$(mktemp -d) && trap 'rm -rf "$$new"' EXIT && \
	cp $(LOCKS) "$$new" && \
	$(COMPILE_DEV) --output-file "$$new/requirements-dev.lock" && \
	$(COMPILE_RUNTIME) --constraint requirements-dev.lock --output-file "$$new/requirements.lock" && \
	$(PINS) | $(COMPILE_BEAM) --constraint - --output-file "$$new/requirements-beam.lock" && \
	for lock in $(LOCKS); do \
	  if ! diff "$$lock" "$$new/$$lock"; then echo "$$lock is stale: run \`make lock\`" >&2; exit 1; fi; \
	done; \
	if grep -nE 'https?://' $(LOCKS); then \
	  echo "A lock file names a host. Compile it with \`make lock\`." >&2; exit 1; fi

# npm checks each package against package-lock.json's SHA-512.
VENDOR := app/console/static/vendor
vendor: ## copy the console's CSS and JavaScript of others from npm, with their checksums
	npm ci --silent
	cp node_modules/@tabler/core/dist/css/tabler.min.css node_modules/htmx.org/dist/htmx.min.js $(VENDOR)/
	cd $(VENDOR) && sha512sum htmx.min.js tabler.min.css >SHA512SUMS

clean: ## remove all generated files except .local
	rm -rf .venv .venv-peers .venv-beam .tools node_modules .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(STAMP): pyproject.toml requirements-dev.lock | $(UV)
	@echo "Installing into .venv"
	@test -x $(BIN)/python || $(UV) venv --quiet --python 3.12 .venv
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(BEAM_STAMP): pyproject.toml requirements-beam.lock | $(UV)
	@echo "Installing into .venv-beam"
	@test -x .venv-beam/bin/python || $(UV) venv --quiet --python 3.12 .venv-beam
	@$(UV) pip sync --quiet --compile-bytecode --python .venv-beam/bin/python --require-hashes requirements-beam.lock
	@$(UV) pip install --quiet --python .venv-beam/bin/python --no-deps --editable .
	@touch $@

.tools/bin/uv:
	@echo "uv is not on the PATH: installing it into .tools"
	@python3 -m venv .tools || { echo "python3 cannot make virtual environments: install its venv package (python3-venv), or uv" >&2; exit 1; }
	@.tools/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
