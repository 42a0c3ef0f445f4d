# make demo: findings for synthetic and real chest DICOM files (small install, no TensorFlow)
# make test: everything the tests need, then the tests and the linter
PYTHON ?= python3
VENV ?= .venv
OUT ?= covidcx-demo
# Two files of tests at a time; PYTEST_ARGS="tests/imaging -x" runs a part, in one process.
PYTEST_ARGS ?= -n 2 --dist loadfile

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# One stamp per kind of install; it is older than its inputs only when something has to be installed again.
VENV_STAMP := $(VENV)/.made
DEMO_STAMP := $(VENV)/.demo-installed
TEST_STAMP := $(VENV)/.test-installed
# KServe's pins do not go together with ours: a server in its own environment, as in a hospital.
KSERVE := $(VENV)-kserve
KSERVE_STAMP := $(KSERVE)/.installed

.PHONY: demo test lint clean help
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile
	@echo "make lint: the linter alone"
	@echo "make clean: remove $(VENV), $(OUT) and caches"

demo: $(DEMO_STAMP)
	$(BIN)/covidcx demo --out $(OUT)

test: $(TEST_STAMP) $(KSERVE_STAMP)
	$(BIN)/ruff check .
	COVIDCX_KSERVE_PYTHON=$(abspath $(KSERVE)/bin/python) $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(TEST_STAMP)
	$(BIN)/ruff check .

$(VENV_STAMP):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	"covidcx needs Python 3.11 to 3.13, %s is %d.%d; run: make PYTHON=python3.12 ..." % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(DEMO_STAMP): pyproject.toml $(VENV_STAMP)
	@echo "installing covidcx into $(VENV) (about 450 MB) ..."
	$(PIP) install -e '.[demo]'
	@touch $@

$(TEST_STAMP): requirements.txt pyproject.toml $(VENV_STAMP)
	@echo "installing the development set into $(VENV) (about 3 GB) ..."
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps -e .
	@touch $@ $(DEMO_STAMP)

$(KSERVE_STAMP): $(VENV_STAMP)
	$(PYTHON) -m venv $(KSERVE)
	$(KSERVE)/bin/python -m pip --disable-pip-version-check --quiet install 'kserve==0.21.*'
	@touch $@

clean:
	rm -rf $(VENV) $(KSERVE) $(OUT) .pytest_cache .ruff_cache build covidcx.egg-info
	find covidcx tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
