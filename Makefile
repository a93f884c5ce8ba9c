# make demo   installs into .venv, then tries every command on a thousand rendered words
# make test   the demo, then lint, types and tests
# Run again, they install and try the commands only where something has changed; lint, types and tests always run.
# Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
COMPILED := $(shell find crnn_cli -name '*.c')
SOURCES := $(shell find crnn_cli examples -name '*.py' -o -name '*.sh' -o -name '*.txt')

.PHONY: demo test
.DELETE_ON_ERROR:

demo: demo/summary.txt
	@cat demo/summary.txt

test: demo
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

demo/summary.txt: .venv/installed $(SOURCES)
	bash examples/demo.sh $(BIN)

.venv/installed: pyproject.toml setup.py $(COMPILED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "crnn-cli needs Python 3.10 or later")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@
