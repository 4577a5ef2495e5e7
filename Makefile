# make cluster   a real kubeadm cluster on local docker hosts
# make test      lint, types, fast tests, histories and end-to-end tests
# make chaos     runs killed after every single change, 10,000 histories, and tests whose turn it is not today
# make bench     how long clusters take, beside a plain shell script's
# make newer-releases   what upstream has released since this package's tables were written; needs the internet
# make clean     remove everything that the two made on this machine, except the cache
# make clean-cache   remove the cache too

CLUSTER ?= kubeadm
CONTROL_PLANES ?= 1
WORKERS ?= 1
DEBIAN ?= 12
KUBERNETES_VERSION ?= 1.37.2

# Two modules of end-to-end tests at a time, in the order that tests/e2e/conftest.py gives them.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder --verbose

# Each test of these takes a minute, so that no file goes to one process alone.
HISTORIES := tests/simulation/test_histories.py

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
	  --debian $(DEBIAN) --data kubernetes_version=$(KUBERNETES_VERSION)
	.venv/bin/pyinfra -y inventories/docker.py deploys/cluster.py
	@$(PYTHON) -m tests.lab.hosts show --cluster $(CLUSTER)

test: lint
	$(PYTHON) -m tests.lab.daemon start
	$(PYTHON) -m tests.lab.mirror build --kubernetes $$($(PYTHON) -m tests.e2e.turns)
	$(PYTHON) -m pytest --numprocesses 2 --dist loadfile --ignore tests/e2e --ignore $(HISTORIES) tests
	$(PYTHON) -m pytest --numprocesses 2 $(HISTORIES)
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/e2e

lint: .venv/ready
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/shellcheck --external-sources --check-sourced --source-path=SCRIPTDIR $(SCRIPTS)

chaos: .venv/ready
	$(PYTHON) -m tests.lab.daemon start
	$(PYTHON) -m tests.lab.mirror build --kubernetes 1.37.2 1.36.5
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) -m chaos tests/e2e
	$(PYTHON) -m pytest --numprocesses 2 -m chaos $(HISTORIES)

bench: .venv/ready
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

# Debian's python3 comes without venv; as root it is installed, otherwise the message says what to install.
.venv/ready: pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed' >&2; exit 1; }
	@python3 -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends python3-venv; } || \
	  { echo "Python's venv is missing; install python3-venv" >&2; exit 1; }
	python3 -m venv --clear .venv
	.venv/bin/pip install --quiet --upgrade pip
	.venv/bin/pip install --quiet --editable . --group dev
	@touch .venv/ready
