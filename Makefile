# Two commands for newcomers: `make demo` and `make test`. Each sets up .venv first, if it is not there.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One thread per process: two workers on two cores would otherwise fight for them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# All tests of a file in one process: what they share is made once, and files come in their order.
BY_FILE := --dist loadfile --no-loadscope-reorder
# Without a network: make demo WHEELS=kit/wheels
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt $(if $(WHEELS),--no-index --find-links "$(WHEELS)")

.PHONY: demo test lint notebooks site pages lab bench prefetch clean
.DEFAULT_GOAL := help

help:            ## show the commands
	@sed -n 's/^\([a-z]*\):.*## */\1\t/p' $(MAKEFILE_LIST)

demo: $(READY)   ## run the quickstart on the recordings that come along, no download
	$(BIN)/python -m eeglab_models demo

test: lint       ## everything that CI runs: style, tests, every notebook, the site
	$(PYTEST) -n 2 $(BY_FILE) --ignore=tests/browser
	$(MAKE) site
	$(PYTEST) tests/browser

lint: $(READY)   ## check style of package, tests and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

notebooks: $(READY) ## execute every notebook, top to bottom, into build/notebooks
	rm -rf build/notebooks
	mkdir -p build
	cp -r notebooks build/notebooks
	$(PYTEST) -n 2 --nbmake --overwrite --nbmake-timeout=600 -W default build/notebooks

site: notebooks  ## execute every notebook, and build the site from them in build/site
	$(MAKE) pages

pages: $(READY)  ## build the site from the notebooks as they were last executed
	rm -rf build/source build/site
	cp -r docs build/source
	cp -r CHANGELOG.md build/notebooks benchmarks/results build/source
	$(BIN)/sphinx-build -q -W --keep-going build/source build/site

lab: $(READY)    ## open JupyterLab
	$(BIN)/jupyter lab notebooks

bench: $(READY)  ## compare speed with braindecode: make bench PEER_PYTHON=...
	$(BIN)/python benchmarks/run.py --peer-python "$(PEER_PYTHON)"

prefetch: $(READY) ## fill the folder kit with all that a workshop needs without a network
	$(BIN)/eeglab-models prefetch --workshop

clean:           ## remove the environment and all outputs
	rm -rf .venv outputs build

# CPU torch comes first and pinned, so that nothing else can choose a larger build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e ".[notebooks,test,dev,site]"
	touch $(READY)
