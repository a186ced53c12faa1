# `make` alone lists the targets. Every one of them first makes the environment it needs, in .venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check bench train eval clean

python := .venv/bin/python
recipe := pyproject.toml constraints.txt scripts/setup

# A test's own servers and browser keep other cores busy; 0 is no process beside pytest's own.
testers := $(shell n=$$(nproc); echo $$((n < 2 ? 0 : n < 4 ? 2 : n < 8 ? n / 2 : 4)))

PROMPT ?=
ARGS ?=
export PROMPT

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/.embedded ## make .venv with all that demo, serve and the kinora command need
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "setup: .venv is ready")

demo: setup ## render one prompt (PROMPT="…") to demo.mp4, through the whole service
	@.venv/bin/kinora demo $${PROMPT:+"$$PROMPT"} $(ARGS)

serve: setup ## run the whole service on this machine until Ctrl-C (ARGS="--port 8000")
	@.venv/bin/kinora serve $(ARGS)

test: .venv/.dev ## run every check and test, real services included (ARGS="tests/app -k keys")
	@scripts/services
	@$(python) -m pytest -q -n $(testers) $(ARGS)

check: .venv/.dev ## ruff, import rules and types; no tests
	@$(python) -m ruff check --output-format concise .
	@.venv/bin/lint-imports --no-logo
	@$(python) -m pyright

bench: .venv/.dev ## run the benchmarks of speed, memory and drift; each prints a table
	@for name in against_diffusers api clip_memory drift dtypes; do $(python) "bench/$$name.py"; done

train: setup ## train kinora-tiny from nothing, resumable (hours on a CPU)
	@$(python) -m model.training all $(ARGS)

eval: setup ## score kinora-tiny's clips against their held-out prompts
	@$(python) -m model.training evaluate $(ARGS)

clean: ## remove caches and demo.mp4 (.venv and data stay)
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache demo.mp4
	@find app worker model tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per set of extras; newer pyproject.toml or constraints.txt make it stale.
.venv/.embedded: $(recipe)
	@scripts/setup embedded

.venv/.dev: $(recipe)
	@scripts/setup dev
