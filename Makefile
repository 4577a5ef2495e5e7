# make cluster   create a real kubeadm cluster on local docker hosts
# make test      run lint, types, fast tests, histories and end-to-end tests
# make chaos     run what takes too long for `make test`: runs killed after every change, 10,000 histories
# make bench     measure how long clusters take, compared with a plain shell script
# make newer-releases   list upstream releases that are newer than this package's tables; needs the internet
# make lint      check formatting, types and shell scripts
# make clean     remove everything created on this machine, except the cache
# make clean-cache   remove the cache too
# make help      print this list

CLUSTER ?= kubeadm
CONTROL_PLANES ?= 1
WORKERS ?= 1
DEBIAN ?= 12
# The releases that are built and tested; the first one is the default.
KUBERNETES_VERSIONS := 1.37.2 1.36.5
KUBERNETES_VERSION ?= $(firstword $(KUBERNETES_VERSIONS))
# Extra host data, like swap=keep, separated by spaces.
DATA ?=

# Run two modules or packages of end-to-end tests at a time, in the order set by tests/e2e/conftest.py.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder --verbose

# Many fast tests wait for processes and time limits, so three at a time keep two processors busy.
FAST := --numprocesses 3 --dist loadfile

# These files have tests of a minute each, so they are distributed one by one, not by file.
ONE_BY_ONE := tests/simulation/test_scenarios_upgrade.py tests/simulation/test_histories.py

SCRIPTS := deploys/kubeadm_deploys/scripts/*.sh

PYTHON := .venv/bin/python
export CLUSTER

.PHONY: cluster test lint chaos bench newer-releases clean clean-cache help

help:
	@grep '^# make' Makefile | cut -c3-

cluster: .venv/ready
	$(PYTHON) -m tests.lab.daemon start
	$(PYTHON) -m tests.lab.mirror build --kubernetes $(KUBERNETES_VERSION)
	$(PYTHON) -m tests.lab.mirror serve
	$(PYTHON) -m tests.lab.hosts up --cluster $(CLUSTER) --control-planes $(CONTROL_PLANES) --workers $(WORKERS) \
	  --debian $(DEBIAN) $(addprefix --data ,kubernetes_version=$(KUBERNETES_VERSION) $(DATA))
	.venv/bin/pyinfra -y inventories/docker.py deploys/cluster.py
	@$(PYTHON) -m tests.lab.hosts show --cluster $(CLUSTER)

test: lint
	$(PYTHON) -m tests.lab.daemon start
	$(PYTHON) -m tests.lab.mirror build --kubernetes $(KUBERNETES_VERSIONS)
	$(PYTHON) -m pytest $(FAST) $(addprefix --ignore ,tests/e2e $(ONE_BY_ONE)) tests
	$(PYTHON) -m pytest --numprocesses 2 $(ONE_BY_ONE)
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/e2e

lint: .venv/ready
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/shellcheck --external-sources --check-sourced --source-path=SCRIPTDIR $(SCRIPTS)

chaos: .venv/ready
	$(PYTHON) -m tests.lab.daemon start
	$(PYTHON) -m tests.lab.mirror build --kubernetes $(KUBERNETES_VERSIONS)
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) -m chaos tests/e2e
	$(PYTHON) -m pytest --numprocesses 2 -m chaos --ignore tests/e2e tests

bench: .venv/ready
	$(PYTHON) -m tests.lab.daemon start
	$(PYTHON) -m tests.lab.mirror build --kubernetes $(KUBERNETES_VERSIONS)
	$(PYTHON) -m tests.lab.mirror serve
	$(PYTHON) -m tests.bench

newer-releases: .venv/ready
	$(PYTHON) -m tests.newer_releases

clean: .venv/ready
	$(PYTHON) -m tests.lab.hosts down --all
	$(PYTHON) -m tests.lab.daemon stop
	$(PYTHON) -m tests.lab.inotify
	rm -f $(CLUSTER).kubeconfig

clean-cache:
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/kubeadm-deploys"

# Debian's python3 comes without venv: root installs it, anyone else gets a message that says what to install.
.venv/ready: pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is required' >&2; exit 1; }
	@python3 -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends python3-venv; } || \
	  { echo "Python's venv is missing; install python3-venv" >&2; exit 1; }
	python3 -m venv --clear .venv
	.venv/bin/pip install --quiet --upgrade pip
	.venv/bin/pip install --quiet --editable '.[backup,hetzner]' --group dev
	@touch .venv/ready
