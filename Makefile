# make demo    phantoms, training, evaluation and inference of both bundles; ends with the reports
#              (make demo-brain and make demo-coronary: one of them)
# make test    lint and all tests
# make lint | bench | clean | distclean
# Every target makes .venv first when it is missing; PYTHON=... chooses the interpreter.

SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
DEMO ?= demo
CINES = $(DEMO)/coronary
COMMA := ,
BUNDLE := bundles/brats_mri_multitask
BUNDLE_2 := bundles/coronary_angiography_clip
RIGHT_PYTHON := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c '$(RIGHT_PYTHON)' 2>/dev/null && { echo $$p; break; }; done)

export PYTHONUNBUFFERED := 1

.PHONY: demo demo-brain demo-coronary test lint bench clean distclean install
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
CONFIGS_2 := $(BUNDLE_2)/configs
CINE_ARGS = --bundle_root $(BUNDLE_2) --dataset_dir $(CINES)/data --ckpt_dir $(CINES)/models --log_dir $(CINES)/logs
CINE = $(MONAI) --meta_file $(CONFIGS_2)/metadata.json --config_file "['$(CONFIGS_2)/train.json',$(1)]" $(CINE_ARGS)
PROBE = '$(CONFIGS_2)/train_probe.json','$(CONFIGS_2)/demo_probe.json','$(CONFIGS_2)/evaluate_probe.json'
DEMO_ARGS := --dataset_dir $(DEMO)/data --ckpt_dir $(DEMO)/models --output_dir $(DEMO)/eval
STAGE = $(MONAI) --config_file "['$(CONFIGS)/train.json','$(CONFIGS)/$(1).json','$(CONFIGS)/demo.json']" \
	$(DEMO_ARGS) --log_dir $(DEMO)/logs/$(1)
EVALUATE = $(MONAI) --config_file \
	"['$(CONFIGS)/train.json','$(CONFIGS)/demo.json','$(CONFIGS)/evaluate.json'$(1)]" $(DEMO_ARGS)

demo: demo-brain demo-coronary
	@echo "brain tumours, predictions: $(abspath $(DEMO)/predictions)"
	@echo "coronary arteries, predictions: $(abspath $(CINES)/predictions)"
	@echo "coronary arteries, reports: $(abspath $(CINES)/eval/report.html) and $(abspath $(CINES)/probe/report.html)"
	@echo "report: $(abspath $(DEMO)/eval/report.html)"

demo-brain: $(DEMO)/predictions/summary.csv $(DEMO)/eval/report.html

demo-coronary: $(CINES)/predictions/summary.csv $(CINES)/eval/report.html $(CINES)/probe/report.html

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

$(DEMO)/.stage_4: $(DEMO)/.stage_3
	$(call STAGE,stage_4_refinement)
	@touch $@

$(DEMO)/models/operating_point.json: $(DEMO)/.stage_4
	$(call EVALUATE,$(COMMA)'$(CONFIGS)/calibrate.json') --output_dir $(DEMO)/eval/validation

$(DEMO)/eval/report.html: $(DEMO)/models/operating_point.json
	$(call EVALUATE)

$(DEMO)/predictions/summary.csv: $(DEMO)/models/operating_point.json
	$(MONAI) --config_file $(CONFIGS)/inference.json --dataset_dir $(DEMO)/data/datalist.json --input_section test \
		--image_size 96 --checkpoint $(DEMO)/models/model.pt --operating_point $(DEMO)/models/operating_point.json \
		--output_dir $(DEMO)/predictions

$(CINES)/data/datalist.json: | $(INSTALLED)
	$(RUN) -m medvlm phantom_coronary $(CINES)/data --studies 600 --views 2 --frames 6 --difficulty easy \
		--stenosis_fraction 0.7 --boilerplate 0.2 --fractions 0.62,0.08,0.3
	$(RUN) -m medvlm prepare cine_manifest --root $(CINES)/data/coronary --out $@

$(CINES)/.trained: $(CINES)/data/datalist.json
	$(call CINE,'$(CONFIGS_2)/demo.json')
	@touch $@

$(CINES)/.probed: $(CINES)/.trained
	$(call CINE,'$(CONFIGS_2)/train_probe.json'$(COMMA)'$(CONFIGS_2)/demo_probe.json')
	@touch $@

$(CINES)/models/operating_points.json: $(CINES)/.probed
	$(call CINE,$(PROBE)$(COMMA)'$(CONFIGS_2)/calibrate_probe.json') --output_dir $(CINES)/probe/validation

$(CINES)/probe/report.html: $(CINES)/models/operating_points.json
	$(call CINE,$(PROBE)) --output_dir $(CINES)/probe

$(CINES)/predictions/summary.csv: $(CINES)/models/operating_points.json
	$(RUN) -W ignore -m medvlm search $(BUNDLE_2) --build --dataset_dir $(CINES)/data --overlays demo_inference \
		--models_dir $(CINES)/models
	$(RUN) -W ignore -m medvlm predict $(BUNDLE_2) $(CINES)/data/coronary/dicom/study_0000 $(CINES)/predictions \
		--overlays demo_inference --models_dir $(CINES)/models

$(CINES)/eval/report.html: $(CINES)/.trained
	$(call CINE,'$(CONFIGS_2)/demo.json'$(COMMA)'$(CONFIGS_2)/evaluate.json') --generate::mode greedy --output_dir $(CINES)/eval

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .

test: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile

# the others need data or a run to compare; each says in its head how it is called
BENCHMARKS := backends captioning cine_reading contrastive_memory inference_3d lesionwise mvit shrinking startup

bench: $(INSTALLED)
	@for name in $(BENCHMARKS); do echo "benchmarks/$$name.py"; $(RUN) benchmarks/$$name.py || exit 1; done

clean:
	rm -rf $(DEMO) build dist .pytest_cache .ruff_cache *.egg-info
	find medvlm transforms tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
