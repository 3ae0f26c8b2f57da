# Two commands for newcomers: `make demo` and `make test`. Each sets up .venv first, if it is not there.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One thread per process: two workers on two cores would otherwise fight for them.
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: demo test lint notebooks lab bench clean
.DEFAULT_GOAL := help

help:            ## show the commands
	@sed -n 's/^\([a-z]*\):.*## */\1\t/p' $(MAKEFILE_LIST)

demo: $(READY)   ## run the quickstart on the simulated data set, no download
	$(BIN)/python -m eeglab_models demo

test: lint       ## everything that CI runs: style, tests, every notebook
	$(PARALLEL)
	$(MAKE) notebooks

lint: $(READY)   ## check style of package, tests and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

notebooks: $(READY) ## execute every notebook, top to bottom
	$(PARALLEL) --nbmake --nbmake-timeout=600 -W default notebooks

lab: $(READY)    ## open JupyterLab
	$(BIN)/jupyter lab notebooks

bench: $(READY)  ## compare speed with braindecode: make bench PEER_PYTHON=...
	$(BIN)/python benchmarks/run.py --peer-python "$(PEER_PYTHON)"

clean:           ## remove the environment and all outputs
	rm -rf .venv outputs

# CPU torch comes first and pinned, so that nothing else can choose a larger build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[notebooks,test,dev]"
	touch $(READY)
