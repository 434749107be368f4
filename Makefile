# Every target sets itself up: it needs only make, a compiler and a Python >= 3.11.
#   make demo              the whole tour on digits: runs/quickstart/report.html
#   make test              the test suite
#   make check             format, lint, types
#   make test PYTHON=python3.13 VENV=.venv313
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check format clean
.DELETE_ON_ERROR:

$(VENV)/.core: setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jdm needs Python >= 3.11; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@

demo: $(VENV)/.core
	$(BIN)/python -m experiments.quickstart --workdir=runs/quickstart

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

check: $(VENV)/.dev
	$(BIN)/python -m pyink --check --quiet .
	$(BIN)/python -m ruff check --quiet .
	$(BIN)/python -m pyrefly check

format: $(VENV)/.dev
	$(BIN)/python -m pyink --quiet .
	$(BIN)/python -m ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info
