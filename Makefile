# make demo    phantoms, training, evaluation and inference of the brain-tumour bundle; ends with a report
# make test    lint and all tests
# make lint | bench | clean | distclean
# Every target makes .venv first when it is missing; PYTHON=... chooses the interpreter.

SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
DEMO ?= demo
BUNDLE := bundles/brats_mri_multitask
RIGHT_PYTHON := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c '$(RIGHT_PYTHON)' 2>/dev/null && { echo $$p; break; }; done)

export PYTHONUNBUFFERED := 1

.PHONY: demo test lint bench clean distclean install
.DELETE_ON_ERROR:

install: $(INSTALLED)

# reinstalled only when one of these files changes
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@test -x $(RUN) || test -n "$(PYTHON)" || \
		{ echo "error: no Python 3.11 to 3.13 with venv found; install one, or say make PYTHON=/path/to/python"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[backends,bundle,test]"
	@touch $@

# Each step leaves a file, so that a second call is quick and changes nothing.
MONAI := $(RUN) -W ignore -m monai.bundle run
DEMO_ARGS := --dataset_dir $(DEMO)/data --ckpt_dir $(DEMO)/models --output_dir $(DEMO)/eval

demo: $(DEMO)/eval/report.html
	@echo "report: $(abspath $<)"

$(DEMO)/data/datalist.json: | $(INSTALLED)
	$(RUN) -m medvlm phantom $(DEMO)/data
	$(RUN) -m medvlm prepare mixed --root $(DEMO)/data --out $@

$(DEMO)/models/model.pt: $(DEMO)/data/datalist.json
	$(MONAI) --config_file $(BUNDLE)/configs/train.json $(DEMO_ARGS)

$(DEMO)/eval/report.html: $(DEMO)/models/model.pt
	$(MONAI) --config_file "['$(BUNDLE)/configs/train.json','$(BUNDLE)/configs/evaluate.json']" $(DEMO_ARGS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .

test: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile

bench: $(INSTALLED)
	@for file in benchmarks/*.py; do echo "$$file"; $(RUN) $$file || exit 1; done

clean:
	rm -rf $(DEMO) build dist .pytest_cache .ruff_cache *.egg-info
	find medvlm transforms tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
