# make demo   set up, then the whole chain on small embedded data, to its figures
# make test   set up, then the tests
# make lint   set up, then the style checks
# make faults   set up, then the workflow killed KILLS times, starved and damaged (all of it as root)
# make benchmark   set up, then the library against a plain yardstick, and its cost as the work grows

PYTHON ?= python3
CORES ?= all
KILLS ?= 20
SEED ?= 0
VENV := .venv
RUN := . $(VENV)/bin/activate &&

.PHONY: setup demo test faults lint benchmark clean

setup: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(RUN) snakemake --configfile config/demo.yaml --cores $(CORES)
	@echo "Figures: results/demo/demo/figures. Tables: results/demo/demo/tables."

test: setup
	$(RUN) python -m pytest

faults: setup
	$(RUN) python tests/faults.py --kills $(KILLS) --seed $(SEED) --cores $(CORES)

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint --configfile config/demo.yaml

benchmark: setup
	$(RUN) python benchmarks/run.py
	$(RUN) python benchmarks/growth.py

clean:
	rm -rf $(VENV) results logs .snakemake
