# Two commands for a newcomer: `make demo`, `make test`. `make check` is what CI runs.
PYTHON ?= python3.11
BIN := .venv/bin
PIP := $(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help material demo install test check lint types imports manifests bench clean

help:  ## say what there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv .venv

# Each stamp stands for one finished installation of what pyproject.toml names.
.venv/runtime.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the runtime (about a minute)"
	$(PIP) --editable '.[data]'
	@touch $@

.venv/all.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing everything, torch included (a few minutes)"
	$(PIP) --editable '.[training,dev]'
	@touch $@ .venv/runtime.stamp

# Sample data, shipped weights and pretrained networks, each verified against its digest; quick when all is there.
material: .venv/runtime.stamp
	@$(BIN)/dvc pull data.dvc
	@$(BIN)/whodid models fetch
	@$(BIN)/whodid models install data/models/*

demo: material  ## enrol the sample subjects and analyse the sample clip
	$(BIN)/whodid enroll --folder data/enrol --gallery demo/gallery.db
	$(BIN)/whodid analyze data/scenes/demo/*.mp4 --gallery demo/gallery.db --out demo

install: .venv/all.stamp material  ## everything into .venv, with models and sample data

test: install  ## all tests
	$(BIN)/pytest

lint: .venv/all.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/all.stamp
	$(BIN)/mypy

imports: .venv/all.stamp
	$(BIN)/lint-imports

manifests: .venv/all.stamp  ## build and check every overlay; needs kubectl, no cluster
	$(BIN)/python -m training.manifests infra/overlays/* infra/platform
	$(BIN)/hadolint infra/images/*/Dockerfile

check: lint types imports manifests test  ## what CI runs: lint, types, import rules, manifests, tests

bench: install  ## speed and accuracy tables, with spread
	$(BIN)/python -m training.bench

clean:  ## remove what was built; keeps .venv and models
	rm -rf build demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
