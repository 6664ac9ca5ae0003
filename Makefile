# Two commands from a bare clone: `make demo` and `make test`. Everything they need is installed into .venv.

VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && \
            $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
# Two workers: most tests are one thread each, and those of the engine start processes of their own.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist worksteal
# robomimic's egl_probe asks for a CMake older than CMake 4 accepts; the simulator's threads fight over two cores.
export CMAKE_POLICY_VERSION_MINIMUM = 3.5
export TOKENIZERS_PARALLELISM = false
# Hundreds of processes would compile the package, each for itself.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint docs leaderboard bench doctor lock clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(READY): pyproject.toml setup.cfg constraints.txt
	@test -n "$(PYTHON)" || { echo "robo_orl needs Python 3.11 or 3.12 (robosuite needs numpy 1.26); set PYTHON=/path/to/python" >&2; exit 1; }
	@for tool in cmake c++; do command -v $$tool >/dev/null || { echo "robo_orl needs $$tool to build robomimic's dependencies; install it (Debian: apt-get install cmake g++ python3-dev)" >&2; exit 1; }; done
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned versions into $(VENV) (several GB with PyTorch, a few minutes the first time) ..."
	@$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

install: $(READY) ## install everything into .venv

demo: $(READY) ## the main job: a small real benchmark that ends in runs/quick/report.html
	@$(VENV)/bin/robo-orl bench --suite quick --out runs/quick

test: $(READY) ## the tests, under 12 minutes on two cores
	$(PYTEST) -m "not slow"

test-all: $(READY) ## the slow tests as well
	$(PYTEST)

lint: $(READY) ## ruff, and the layers of the package
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports

docs: $(READY) ## the documentation site, in site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo "The documentation is in site/index.html."

leaderboard: $(READY) ## the leaderboard of results/, in site/leaderboard/
	@$(VENV)/bin/robo-orl leaderboard build results --out site/leaderboard

bench: $(READY) ## the fuller benchmark, hours; resumable: SUITE=standard|controls|horizon_controls|methods
	$(VENV)/bin/robo-orl bench --suite $(or $(SUITE),standard)

doctor: $(READY) ## what works on this machine
	@$(VENV)/bin/robo-orl doctor

lock: $(READY) ## write the installed versions into constraints.txt
	@{ head -1 constraints.txt; $(PY) -m pip freeze --exclude-editable --exclude setuptools --exclude pip; } > constraints.new && mv constraints.new constraints.txt

clean: ## remove the environment and caches (runs/ stays)
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
