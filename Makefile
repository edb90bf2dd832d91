# Lamina. Every target works on a machine that has git, make and Python 3.11 or newer with venv, and works again.
#
#   make demo    a store, a dozen questions, real answers
#   make test    everything that must be green
#   make help    the rest
#
# PYTHON=/path/to/python3.12 chooses the interpreter that makes .venv.

VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet
LOG := $(VENV)/install.log
FAILED := lamina: the install failed, its log is above. Run the target again, or start anew with: make clean
PYTHON ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint soak bench docs format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## try Lamina on memories about itself (FILE=notes.txt: on your own)
	@$(BIN)/lamina tour $(FILE)

test: lint ## check style, types, floors and behaviour; at most 10 minutes on two cores
	@echo "lamina: tests (random order; the seed is printed, repeat it with --randomly-seed=N)"
	@$(BIN)/python -m pytest

lint: $(VENV)/.dev
	@echo "lamina: ruff check"
	@$(BIN)/ruff check .
	@echo "lamina: ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "lamina: mypy --strict"
	@$(BIN)/mypy
	@echo "lamina: import-linter"
	@$(BIN)/lint-imports

soak: $(VENV)/.dev ## the long crash, fault, kill and model runs; at most 40 minutes
	@echo "lamina: soak (kills, crashes, faults; this takes a while)"
	@LAMINA_TEST_PROFILE=soak $(BIN)/python -m pytest -m soak --timeout=1800

bench: $(VENV)/.run ## measure start, add, recall and, with DATA=locomo.json, what is found
	@$(BIN)/lamina bench start
	@$(BIN)/lamina bench add
	@$(BIN)/lamina bench recall
	@if [ -n "$(DATA)" ]; then $(BIN)/lamina bench locomo --data "$(DATA)"; \
	 else echo "lamina: what is found is measured with: make bench DATA=path/to/locomo.json"; fi

docs: $(VENV)/.dev ## write the generated pages and the README's picture anew
	@$(BIN)/python scripts/docs.py

format: $(VENV)/.dev ## put the code into the project's format
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

clean: ## remove what the targets made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# A stamp says that .venv holds what pyproject.toml asks for; a failed install leaves none and shows its log.

$(BIN)/python:
	@python="$(PYTHON)"; \
	fits='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'; \
	if [ -z "$$python" ]; then \
	  for name in python3.13 python3.12 python3.11 python3.14 python3; do \
	    if "$$name" -c "$$fits" >/dev/null 2>&1; then python="$$name"; break; fi; \
	  done; \
	elif ! "$$python" -c "$$fits" >/dev/null 2>&1; then \
	  echo "lamina: $$python is not Python 3.11 or newer with venv." >&2; exit 1; \
	fi; \
	if [ -z "$$python" ]; then \
	  echo "lamina: needs Python 3.11 or newer with venv, and found none." >&2; \
	  echo "  Debian, Ubuntu: sudo apt install python3 python3-venv    macOS: brew install python@3.13" >&2; \
	  echo "  elsewhere: name one with  make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "lamina: making $(VENV) with $$("$$python" -V)"; \
	"$$python" -m venv --clear $(VENV)

$(VENV)/.run: pyproject.toml $(BIN)/python
	@echo "lamina: installing what Lamina needs into $(VENV)"
	@$(PIP) install --editable . >$(LOG) 2>&1 || { cat $(LOG) >&2; echo "$(FAILED)" >&2; exit 1; }
	@touch $@

# Dependency groups need pip 25.1; older ones come with most Pythons.
$(VENV)/.dev: pyproject.toml $(BIN)/python
	@echo "lamina: installing Lamina and its development tools into $(VENV)"
	@{ $(PIP) install --upgrade "pip>=25.1" && $(PIP) install --editable . --group dev; } >$(LOG) 2>&1 \
	 || { cat $(LOG) >&2; echo "$(FAILED)" >&2; exit 1; }
	@touch $(VENV)/.run $@
