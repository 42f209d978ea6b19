# `make quickstart` trains a small policy against FLIP and against the LLM-judge baseline and draws both curves.
# `make test` runs lint, format, types and tests. Both set up .venv first; later calls reuse it.

PYTHON ?= python3
BIN := .venv/bin
# One version for everybody who works on the package; the extras take a range.
TORCH ?= torch==2.13.0
STEPS ?= 60
SEED ?= 1

.PHONY: quickstart test lint format bench docs extras clean

quickstart: .venv/ready
	bash scripts/train/grpo_flip.sh --profile local --steps $(STEPS) --seed $(SEED) --out runs/flip --overwrite
	bash scripts/train/grpo_llmjudge.sh --profile local --steps $(STEPS) --seed $(SEED) --out runs/llmjudge --overwrite
	$(BIN)/flip compare runs/flip runs/llmjudge --out runs/compare

test: .venv/ready lint
	$(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready
	$(BIN)/python benchmarks/similarity.py
	$(BIN)/python benchmarks/client.py
	$(BIN)/python benchmarks/scale.py

# The documentation site, in site/.
docs: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Whether each extra can be installed; asks the package index, installs nothing.
extras: .venv/ready
	$(BIN)/python scripts/check_extras.py

# The stamp is older than these when the dependencies have changed.
.venv/ready: setup.py Makefile
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,dev]' '$(TORCH)'
	@touch $@

clean:
	rm -rf runs build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
