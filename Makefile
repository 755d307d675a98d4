# Each target alone sets up everything on a machine with Python 3.11 or 3.12.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: study test browser soak notebooks lock clean

study: $(READY)  ## the quick study: tables and report in results/quick
	$(BIN)/fermoe study quick

test: $(READY)  ## format, lint, types, imports, tests, and the notebooks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder  # else Slurm, minutes on one core, comes last and alone
	$(BIN)/python -m tests.check_notebooks

browser: $(READY)  ## reports, accessibility and JupyterLab in the Chromium of this machine; skipped where there is none
	$(BIN)/python -m pytest -n 2 --dist loadfile -m browser tests/browser

soak: $(READY)  ## what takes too long for every time, into results/benchmarks/soak.md: kills, two processes, many images, 200 runs
	$(BIN)/python -m pytest -m soak
	$(BIN)/python -m tests.soak.kills --kills 20
	$(BIN)/python -m tests.soak.processes
	$(BIN)/python -m tests.soak.scheduling

notebooks: $(READY)  ## run every notebook top to bottom with its defaults and keep the outputs
	$(BIN)/python -m fermoe.study.notebooks notebooks/*.ipynb

lock:  ## resolve pyproject.toml again (needs uv); pins that still fit stay
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header --quiet -o requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
	    { echo "fermoe needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:  ## remove the environment and the caches; results stay
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
