# `make demo` and `make test` need only git, make and Python >= 3.11.4 with venv: earlier ones have no filter for archives.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo test test-slow test-chains test-team test-documents test-slurm smoke-papers bench bench-step bench-sharing bench-images bench-scale papers lint format rulegraph artifacts clean-environment

# With more seeds: make demo SEEDS=10.
demo: $(READY)
	$(BIN)/snakemake $(if $(SEEDS),--config seeds=$(SEEDS))
	@echo 'Results: results/report.html'

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadscope --no-loadscope-reorder -m "not slow and not chains and not papers and not team and not documents and not slurm" --durations=5

test-slow: $(READY)
	$(BIN)/pytest -m slow

# Whole chains by Snakemake, shared, stopped and changed.
test-chains: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadscope --no-loadscope-reorder -m chains --durations=5

# Several people who share results through git and DVC.
test-team: $(READY)
	$(BIN)/pytest -m team --durations=5

# The report in Chromium, the tables in LaTeX: installs both, which needs root on Debian where they are not there.
test-documents: $(READY)
	$(BIN)/pytest -m documents --durations=5

# A real one-node Slurm, installed and started for it and stopped again: needs root on Debian.
test-slurm: $(READY)
	$(BIN)/pytest -m slurm --durations=12

# How fast students learn, beside torchdistill, which goes into .bench/ the first time. Options: BENCH='--device cuda'.
bench: $(READY)
	$(BIN)/python -m tests.bench_training $(BENCH)

# Where the time of a training step goes, and what each trick for speed gains. Options: BENCH='--device cuda --compile'.
bench-step: $(READY)
	$(BIN)/python -m tests.bench_step $(BENCH)

# share, push, pull and a run with nothing to do, with 1,000 networks of small files.
bench-sharing: $(READY)
	$(BIN)/python -m tests.bench_sharing

# Images per second from files and from stores, beside torchvision's.
bench-images: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench_images

# Start-up of each step, plans and tables of up to 1,000 experiments, cost by generation: 13 minutes on two busy cores.
bench-scale: $(READY)
	$(BIN)/python -m tests.bench_scale

# Every published table at a small scale on embedded data.
smoke-papers: $(READY)
	$(BIN)/pytest -m papers --durations=5

# torch goes first, and alone: nothing else may choose its build.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "Python 3.11.4 or later is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet $$(grep '^torch==' requirements.lock)
	$(BIN)/pip install --disable-pip-version-check --quiet -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --editable .
	touch $@

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow

# The list of the published tables in config/paper/README.md.
papers: $(READY)
	$(BIN)/python -m gendistill papers

# The picture of the rules in README.md.
rulegraph: $(READY)
	$(BIN)/python -m tests.rulegraph

# The data sets in dvc.yaml.
artifacts: $(READY)
	$(BIN)/python -m tests.dataset_artifacts

clean-environment:
	rm -rf $(VENV)
