# Pileus: `make up` starts a cloud on this machine, `make test` runs all tests.

PYTHON_FILES = src tests bench
T ?=

.PHONY: help install install-test up down test lint tempest bench

help:
	@echo "make up           install what is missing, start the cloud, boot a first server and log in to it"
	@echo "make down         stop the cloud and remove every trace of it, its data too"
	@echo "make test         run the tests; T=tests/compute for a part of them"
	@echo "make lint         ruff and mypy"
	@echo "make tempest      run OpenStack's own test suite; T=smoke, or a regular expression"
	@echo "make bench        print the figures of the benchmarks; T=memory for one of them"

install:
	@scripts/install

install-test:
	@scripts/install test

up: install
	@.venv/bin/pileus up --detach
	@.venv/bin/pileus demo

down: install
	@.venv/bin/pileus down --purge
	@rm -f openrc clouds.yaml

test: install-test
	.venv/bin/python -m pytest $(T)

lint: install-test
	.venv/bin/ruff check $(PYTHON_FILES)
	.venv/bin/ruff format --check $(PYTHON_FILES)
	.venv/bin/mypy

tempest: install-test
	.venv/bin/python -m tests.tempest.run $(if $(T),'$(T)')

bench: install-test
	@.venv/bin/python -m bench $(T)
