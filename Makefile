# Needs python3 (>= 3.11), make and a package index, nothing else; the first run makes .venv.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
MANAGE := $(BIN)/python example_project/manage.py

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo serve test check bench bench-large docs soak faults

define install
@command -v "$(PYTHON)" >/dev/null || { echo "papyra: Python 3.11 or newer is needed, and there is no $(PYTHON); \
name one with make PYTHON=/path/to/python3" >&2; exit 1; }
@"$(PYTHON)" tools/bootstrap.py $(1)
endef

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo:  ## run the example order desk to its end and print what its stored history says
	$(call install,django example)
	@$(MANAGE) migrate --no-input --verbosity 0
	@$(MANAGE) papyra_demo

serve:  ## serve the example with its admin on 127.0.0.1 (PORT=8000)
	$(call install,django example)
	@$(MANAGE) migrate --no-input --verbosity 0
	@$(MANAGE) demo_login || true
	@echo "The order desk: http://127.0.0.1:$(PORT)/ and its admin: http://127.0.0.1:$(PORT)/admin/"
	@$(BIN)/python -m uvicorn --app-dir example_project --lifespan on --port $(PORT) orderdesk_site.asgi:application

test:  ## run every test (ARGS="-k words" narrows)
	$(call install,test)
	@$(BIN)/python -m pytest $(ARGS)

check:  ## lint, format, types, layers, dependencies, migrations
	$(call install,test dev)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --no-incremental
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .
	$(MANAGE) makemigrations --check --dry-run

bench:  ## measure speed beside its floors
	$(call install,test)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-large:  ## measure pages of ten million records in files, made for it and removed after: 11 GB
	$(call install,test)
	@$(BIN)/python -m benchmarks storage-pages-large $(ARGS)

docs:  ## build docs/_build/html; a warning is an error
	$(call install,dev)
	@$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

soak:  ## kill the example a hundred times and look for what was lost (PAPYRA_KILLS=100)
	$(call install,test)
	@PAPYRA_KILLS=$${PAPYRA_KILLS:-100} $(BIN)/python -m pytest -s tests/system/example/test_kill.py

faults:  ## break the stores in every known way, and take each guard out in turn (PAPYRA_FAULTS=ci: less)
	$(call install,test)
	@PAPYRA_FAULTS=$${PAPYRA_FAULTS:-whole} $(BIN)/python -m pytest -s -o faulthandler_timeout=1200 \
	    tests/faults_files tests/system/test_kill_files.py tests/system/test_kill_spill.py \
	    tests/contract/test_json_damage.py tests/contract/test_rotating_damage.py \
	    tests/faults_redis tests/django/test_same_history.py $(ARGS)
	@$(BIN)/python tools/try_mutants.py $(MUTANTS)
