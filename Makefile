# One command each. `make help` lists them.
#
# The toolchain lives in .venv and is exactly requirements.lock: every package by version and hash.

.DEFAULT_GOAL := help
.PHONY: help setup web page demo test proofs check static bench features format lint types docs lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.rspp-installed
WEB := src/rspp/server/web/index.html
WEB_SOURCES := $(shell find web -name node_modules -prune -o -type f -print)
# Two workers fit the smallest machine we support; more of them do not make a short suite shorter.
WORKERS ?= 2

# A certificate that pip was given must serve uv too: on a machine behind a proxy, it is the only one that works.
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

help:  ## show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv what requirements.lock says (nothing to do when it already is)

$(STAMP): requirements.lock pyproject.toml tools/bootstrap.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) bash tools/bootstrap.sh
	@touch $@

web: $(WEB)  ## build the operator's console into the package (nothing to do when it already is)

$(WEB): $(WEB_SOURCES) tools/web.sh | $(STAMP)
	@VENV=$(VENV) bash tools/web.sh ci
	@VENV=$(VENV) bash tools/web.sh run build
	@touch $@

demo: setup web  ## a real conversation with local models, interrupted; LISTEN=1 then takes calls at a page
	@$(BIN)/rspp demo $(if $(LISTEN),--listen 127.0.0.1:8080)

test: static  ## the static checks, then every test but those of `make proofs`
	$(BIN)/pytest -q -n $(WORKERS) -m "not long"

proofs: setup  ## the tests that need a whole fleet of processes, one after the other; some need root
	$(BIN)/pytest -q -m long

check: static  ## the static checks, then the fast tests
	$(BIN)/pytest -q -n $(WORKERS) -m "not slow"

static: lint types page

lint: setup  ## format, lint and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: setup  ## the strict type check
	$(BIN)/mypy

page: setup web  ## check the console's types and its own tests
	@VENV=$(VENV) bash tools/web.sh run check
	@VENV=$(VENV) bash tools/web.sh test

format: setup  ## rewrite files into the format that lint asks for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## measure kernel and host
	@$(BIN)/rspp bench kernel
	@$(BIN)/rspp bench sessions
	@$(BIN)/rspp bench interrupt

features: setup  ## which feature rows are proven by tests, area by area
	@$(BIN)/python tools/features.py $(if $(AREA),--area $(AREA))

docs: setup  ## rewrite the pages that are generated from code
	$(BIN)/rspp docs --out docs/reference
	$(BIN)/rspp kernel diagrams --out docs

lock: setup  ## resolve the dependencies anew into requirements.lock
	VENV=$(VENV) bash tools/lock.sh

clean:  ## remove the toolchain and every cache
	rm -rf $(VENV) web/node_modules src/rspp/server/web .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
