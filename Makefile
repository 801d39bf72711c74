# make demo    phantoms, training, evaluation and inference of the brain-tumour bundle; ends with a report
# make test    lint and all tests
# make lint | bench | clean | distclean
# Every target makes .venv first when it is missing; PYTHON=... chooses the interpreter.

SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
DEMO ?= demo
COMMA := ,
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
	$(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[backends,bundle,dicom,search,test,text,video]"
	@touch $@

# Each step leaves a file, so that a second call is quick and changes nothing.
CONFIGS := $(BUNDLE)/configs
MONAI := $(RUN) -W ignore -m monai.bundle run
DEMO_ARGS := --dataset_dir $(DEMO)/data --ckpt_dir $(DEMO)/models --output_dir $(DEMO)/eval
STAGE = $(MONAI) --config_file "['$(CONFIGS)/train.json','$(CONFIGS)/$(1).json','$(CONFIGS)/demo.json']" \
	$(DEMO_ARGS) --log_dir $(DEMO)/logs/$(1)
EVALUATE = $(MONAI) --config_file \
	"['$(CONFIGS)/train.json','$(CONFIGS)/demo.json','$(CONFIGS)/evaluate.json'$(1)]" $(DEMO_ARGS)

demo: $(DEMO)/predictions/summary.csv $(DEMO)/eval/report.html
	@echo "predictions: $(abspath $(DEMO)/predictions)"
	@echo "report: $(abspath $(DEMO)/eval/report.html)"

$(DEMO)/data/datalist.json: | $(INSTALLED)
	$(RUN) -m medvlm phantom $(DEMO)/data --sources brats2021,brats2023,kaggle_yes_no --cases_per_source 32 --shape 96,96,20
	$(RUN) -m medvlm prepare mixed --root $(DEMO)/data --out $@ --fractions 0.6,0.2,0.2 --healthy_masks

# a stage's weights are there before it has ended, so each leaves a mark when it has
$(DEMO)/.stage_1: $(DEMO)/data/datalist.json
	$(call STAGE,stage_1_segmentation)
	@touch $@

$(DEMO)/.stage_2: $(DEMO)/.stage_1
	$(call STAGE,stage_2_classification)
	@touch $@

$(DEMO)/.stage_3: $(DEMO)/.stage_2
	$(call STAGE,stage_3_joint)
	@touch $@

$(DEMO)/models/operating_point.json: $(DEMO)/.stage_3
	$(call EVALUATE,$(COMMA)'$(CONFIGS)/calibrate.json') --output_dir $(DEMO)/eval/validation

$(DEMO)/eval/report.html: $(DEMO)/models/operating_point.json
	$(call EVALUATE)

$(DEMO)/predictions/summary.csv: $(DEMO)/models/operating_point.json
	$(MONAI) --config_file $(CONFIGS)/inference.json --dataset_dir $(DEMO)/data/datalist.json --input_section test \
		--image_size 96 --checkpoint $(DEMO)/models/model.pt --operating_point $(DEMO)/models/operating_point.json \
		--output_dir $(DEMO)/predictions

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
