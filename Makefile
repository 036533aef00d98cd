# Two commands need nothing but Python 3.11+, make and git: `make lab` and `make test`. The rest are for developers.

PYTHON  ?= python3
VENV    ?= .venv
PORT    ?= 8888
BROWSER ?= yes

BIN       := $(VENV)/bin
START     := notebooks/00_start_here.ipynb
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
AS_ROOT   := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)
FAST      := not browser and not slow and not gpu
NB_TIMEOUT ?= 300
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help lab test check format bench sweep notebooks clean
.DELETE_ON_ERROR:

help: ## list the targets
	@echo "make TARGET [PYTHON=python3.12] [VENV=.venv]"
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

lab: $(VENV)/.for-lab ## open JupyterLab on the first notebook [PORT=8888] [BROWSER=no]
	@$(BIN)/jupyter trust $(NOTEBOOKS) >/dev/null # so that saved outputs look as designed before a cell runs
	$(BIN)/jupyter lab --port=$(PORT) --LabApp.default_url=/lab/tree/$(START) $(AS_ROOT) $(if $(filter no,$(BROWSER)),--no-browser)

test: $(VENV)/.for-test ## run every test, drive JupyterLab in a browser, execute every notebook
	$(BIN)/python -m pytest tests notebooks $(SIDE_BY_SIDE) --nbmake --nbmake-timeout=$(NB_TIMEOUT) --durations=15

check: $(VENV)/.for-test ## format, lint, types and the fast tests; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests $(SIDE_BY_SIDE) -m "$(FAST)" -q

format: $(VENV)/.for-test ## let ruff rewrite the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.for-test ## measure trtlab against its peers
	$(BIN)/trtlab bench

sweep: $(VENV)/.for-test ## the exhaustive sweeps that the tests sample, such as all 2^32 float32 numbers: minutes
	TRTLAB_SWEEP=1 $(BIN)/python -m pytest tests -m sweep -q
	$(BIN)/python -m tests.numeric.sweep

notebooks: $(VENV)/.for-test ## execute every notebook and save its outputs
	$(BIN)/python -m tools.publish $(NOTEBOOKS)

clean: ## remove the virtual environment and every cache
	[ ! -e $(VENV)/pyvenv.cfg ] || rm -rf $(VENV)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# A stamp file per kind of installation: nothing is installed twice until pyproject.toml or constraints.txt changes.
$(VENV)/.for-lab: pyproject.toml constraints.txt trtlab/jupyter/overrides.json | $(BIN)/pip
	@echo "Installing trtlab into $(VENV): 1.3 GB and about two minutes, more where PyTorch brings CUDA ..."
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.for-test: pyproject.toml constraints.txt trtlab/jupyter/overrides.json | $(BIN)/pip
	@echo "Installing trtlab and its test tools into $(VENV): 1.5 GB and about two minutes ..."
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.for-lab

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "error: '$(PYTHON)' was not found; install Python 3.11 or newer, or say: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: trtlab needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) -V 2>&1); say: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: '$(PYTHON)' cannot create virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: '$(PYTHON) -m venv $(VENV)' failed; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
