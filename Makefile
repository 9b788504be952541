# Everything sets itself up on a Debian 12 or 13 that has git, python3, make and root.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CATALOGUES := $(wildcard cli/antiseche/locale/*/LC_MESSAGES/*.po)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_NOCOLOR ?= $(if $(CI),1,)

.PHONY: help ready demo test unit integration integration-long molecule lint bench messages reference lock wheel clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make ready        set up and do nothing else
ready: $(READY)

## make demo         the example practice: answered, deployed, verified, broken, repaired, on machines started for it
demo: $(READY)
	@.ci/setup lab
	antiseche demo

## make test         lint, unit tests, and integration tests on lab machines where this machine can start some
test: lint
	@.ci/test

## make unit         unit tests only: no root, seconds
unit: $(READY)
	pytest tests/unit

## make integration  tests on real lab machines: root
integration: $(READY)
	@.ci/setup machines
	pytest -m "not long" tests/integration

## make integration-long  what takes too long for each change: root, a quarter of an hour
integration-long: $(READY)
	@.ci/setup machines
	pytest -m long tests/integration

## make molecule     every role and the whole practice on Debian 12 and 13: root, long; ROLES="firewall" to choose
molecule: $(READY)
	@.ci/setup machines
	@.ci/molecule $(ROLES)

## make lint         ruff, mypy, ansible-lint, yamllint, import rules, catalogues
lint: $(READY)
	@.ci/lint

## make bench        seconds and tasks per host of a drift pass; against devsec.hardening where it is installed: root
bench: $(READY)
	@.ci/setup lab
	python tests/bench

## make messages     extract the French strings into the English catalogue, Click's own into the French one
messages: $(READY)
	@python .ci/messages

## make reference    write the reference of the answers and their JSON Schema from the model
reference: $(READY)
	@python .ci/reference

## make lock         resolve the dependencies again
lock: $(READY)
	@.ci/lock

## make wheel        build the wheel into dist/
wheel: $(READY)
	python -m build --wheel --no-isolation --outdir dist

## make clean        forget the virtual environment and caches
clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .ansible

$(VENV)/.packages: requirements/dev.lock .ci/setup
	@.ci/setup base
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements/dev.lock
	@touch $@

$(READY): $(VENV)/.packages pyproject.toml hatch_build.py $(CATALOGUES)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@
