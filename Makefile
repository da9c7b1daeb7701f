# make demo   set up, then the whole chain on small embedded data, to its figures
# make test   set up, then the tests
# make check-determinism   set up, then the demo in several ways, and whether its results are the same bytes
# make lint   set up, then the checks of style and types
# make report CONFIG=config/demo.yaml   set up, then one HTML page of all results of that config
# make publish CONFIG=config/demo.yaml   set up, then copy that study's tables and figures to results/published
# make rulegraph   set up, then draw the workflow's rules (needs dot, of graphviz)
# make package   set up, then the wheel for an index, in dist, tried outside the checkout
# make faults   set up, then the workflow killed KILLS times, without room and read-only (all of it as root)
# make docs   set up, then the generated tables, config/schema.json, and the documentation as a site in site/
# make guide   set up, then what the code of docs/library.md prints and draws
# make benchmark   set up, then the library against a plain yardstick, and its cost as the work grows

PYTHON ?= python3
CORES ?= all
CONFIG ?= config/demo.yaml
KILLS ?= 20
SEED ?= 0
VENV := .venv
RUN := . $(VENV)/bin/activate &&

.PHONY: setup demo report publish test check-determinism faults lint docs guide rulegraph package benchmark clean

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

report: setup
	$(RUN) snakemake --configfile $(CONFIG) --report report.html

publish: setup
	$(RUN) python workflow/scripts/publish.py $(CONFIG)

test: setup
	$(RUN) python -m pytest

check-determinism: setup
	$(RUN) python tests/determinism.py $(WAYS)

faults: setup
	$(RUN) KILLS=$(KILLS) SEED=$(SEED) python -m pytest -rs tests/faults.py

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) pyright
	$(RUN) python docs/build_settings.py --check
	$(RUN) python docs/build_results.py --check
	$(RUN) snakemake --lint --configfile config/demo.yaml

rulegraph: setup
	$(RUN) snakemake --configfile config/demo.yaml --rulegraph dot \
		| python docs/rulegraph.py | tred | dot -Tsvg > docs/rulegraph.svg.new
	test -s docs/rulegraph.svg.new  # a pipe's status is that of its last part
	mv docs/rulegraph.svg.new docs/rulegraph.svg

docs: setup
	$(RUN) python docs/build_settings.py
	$(RUN) python docs/build_results.py
	$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "The site: site/index.html"

guide: setup
	$(RUN) python docs/build_guide.py

package: setup
	$(RUN) python -m build --no-isolation
	$(RUN) python -m pytest -q tests/test_package.py
	@echo "The wheel and the source: dist"

benchmark: setup
	$(RUN) python benchmarks/run.py
	$(RUN) python benchmarks/growth.py

clean:
	rm -rf $(VENV) build dist logs site .snakemake $(filter-out results/published,$(wildcard results/*))
