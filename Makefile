# `make help` lists the targets: the line behind each `##` is what it prints.
.POSIX:
# Also under `make -j`: setup-test and setup-dev run pip in the same .venv.
.NOTPARALLEL:
N = 1000
SEED = 1
STEPS = 20000
# After a whole campaign, not after one that N or LANE narrows.
SEARCH = $(filter search,$(LANE))$(if $(LANE),,$(filter file,$(origin N)))
PYTHON = .venv/bin/python
PYTEST_ARGS = -n 3 --dist loadscope --no-loadscope-reorder
# The tests start hundreds of processes. Containers often ask Python to keep no bytecode: each would compile everything anew.
PYTEST = PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest $(PYTEST_ARGS)
FAST = not server and not cluster and not browser and not slow
LAPTOP = DEBUG=1 DATABASE_URL=sqlite:///$(CURDIR)/.test-tmp/check.sqlite3

.PHONY: help demo serve test test-fast test-mysql test-pythons lint fmt check bench faults mutation supply-chain update screenshots image test-image release-fixture setup setup-dev setup-test clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

demo: setup ## sample orders in a SQLite file, a local Bytemark, the real command between them
	@$(PYTHON) scripts/demo.py

serve: setup ## admin, queue and a local Bytemark on the demo's data; Ctrl-C ends all (PORT=8001)
	@$(PYTHON) scripts/serve.py

test: setup-test lint check ## every check and every test, on SQLite and a private MariaDB
	$(PYTEST)

test-fast: lint check ## the checks, and the tests that need no server, cluster or browser; about a minute
	$(PYTEST) -m "$(FAST)"

test-mysql: ## the same on a MySQL server besides (TEST_MYSQL_URL=mysql://user:password@host:port/)
	@if [ -z "$$TEST_MYSQL_URL" ]; then \
		echo "Set TEST_MYSQL_URL=mysql://user:password@127.0.0.1:3306/ to a MySQL server whose user may make"; \
		echo "databases and users. Every test that has a MariaDB half then runs on that server too; what the tests make"; \
		echo "there begins with t_ or template_, and is dropped at the end."; exit 2; fi
	@$(MAKE) setup-test lint check
	$(PYTEST)

test-pythons: ## every test on each Python of 3.11 to 3.14 that is found (PYTHONS="3.12 3.14")
	@PYTHONS="$(PYTHONS)" PYTHONDONTWRITEBYTECODE= scripts/test_pythons.sh $(PYTEST_ARGS)

lint: setup-dev ## ruff, mypy, and import-linter's contracts; changes nothing
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	@mkdir -p .test-tmp
	$(LAPTOP) $(PYTHON) -m mypy
	.venv/bin/lint-imports

fmt: setup-dev ## let ruff mend and format the code
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

check: setup-dev ## Django's system checks, and that no migration is missing
	@mkdir -p .test-tmp
	$(LAPTOP) $(PYTHON) manage.py check
	$(LAPTOP) $(PYTHON) manage.py makemigrations --check --dry-run

bench: setup-test ## measure against the targets, write docs/benchmarks.md (QUICK=1: two minutes; PARTS=million)
	@QUICK=$(QUICK) SCALE=$(SCALE) $(PYTHON) -m tests.benchmark $(PARTS)

faults: setup-test ## N fault scenarios from SEED (LANE=sqlite|mariadb|redis|clock|mysql: one alone), or LANE=search: STEPS
	@$(if $(filter search,$(LANE)),:,$(PYTHON) -m tests.faults -n $(N) --seed $(SEED) $(if $(LANE),--lane $(LANE)) $(FAULTS_ARGS))
	@$(if $(SEARCH),$(PYTHON) -m tests.search --seed $(SEED) --steps $(STEPS) $(SEARCH_ARGS),:)

mutation: setup-test ## mutation tests, an hour (PART=answers|client|config|matching|storing)
	@nice -n 10 $(PYTHON) scripts/mutation.py $(PART)

supply-chain: setup-test ## licences and known vulnerabilities of everything that is pinned
	@$(PYTHON) scripts/supply_chain.py

update: setup ## renew what is pinned and show what changed; installs nothing (PACKAGE=django: that alone)
	@$(PYTHON) scripts/update.py $(if $(PACKAGE),"$(PACKAGE)")

screenshots: setup-test ## the README's pictures, taken anew in Chromium
	$(PYTHON) scripts/screenshots.py

image: ## the container's image (IMAGE=bytemark-sync:latest BASE_IMAGE=debian:trixie-slim ENGINE=docker|podman|buildah)
	@scripts/image.sh

test-image: setup-test image ## build the image and try it: web, a run through the queue, SIGTERM, read-only
	@$(PYTHON) -m tests.container

release-fixture: setup-test ## keep a database as this version leaves it, for the upgrade tests of later ones
	$(PYTHON) -m tests.upgrade

setup: ## .venv with what the product runs on; what the system lacks is said, then installed by apt or sudo apt
	@scripts/setup.sh demo

setup-dev: ## the same with the checkers and pytest
	@scripts/setup.sh dev

setup-test: ## the same with MariaDB, Redis and Chromium for the tests
	@scripts/setup.sh test

clean: ## delete the demo, caches and test data; .venv stays
	rm -rf .demo .test-tmp .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
