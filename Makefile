# make demo   set up, then the whole chain on small embedded data, to its figures
# make test   set up, then the tests
# make lint   set up, then the style checks
# make docs   set up, then the reference docs/api.md from the docstrings
# make benchmark   set up, then the library against a plain yardstick, and its cost as the work grows

PYTHON ?= python3
CORES ?= all
VENV := .venv
RUN := . $(VENV)/bin/activate &&

.PHONY: setup demo test lint docs benchmark clean

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

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) python docs/build_api.py --check
	$(RUN) snakemake --lint --configfile config/demo.yaml

docs: setup
	$(RUN) python docs/build_api.py

benchmark: setup
	$(RUN) python benchmarks/run.py
	$(RUN) python benchmarks/growth.py

clean:
	rm -rf $(VENV) results logs .snakemake
