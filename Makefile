# make demo    a look at it, with sample data (needs Python 3.11+, make, and on Debian nothing else)
# make serve   the admin, the queue and a local Bytemark on the demo's data; Ctrl-C ends all
# make test    every check and every test
# make screenshots   the README's pictures, taken anew in Chromium
# make test-mysql   the same on a MySQL server besides, by TEST_MYSQL_URL
# make bench   the benchmark, with its targets, written to docs/benchmarks.md (QUICK=1: two minutes, prints alone)
# make faults  the fault campaign: N=1000 scenarios from SEED=1 (LANE=sqlite|mariadb|redis|clock for one alone, LANE=mysql)
# make supply-chain   licences and known vulnerabilities of everything that is pinned
# make mutation  mutation tests of client, matching and storing (an hour; PART=answers|client|config|matching|storing)
.POSIX:
N = 1000
SEED = 1
PYTHON = .venv/bin/python
PYTEST_ARGS = -n 2 --dist loadscope
LAPTOP = DEBUG=1 DATABASE_URL=sqlite:///$(CURDIR)/.test-tmp/check.sqlite3

.PHONY: screenshots help setup setup-test demo serve lint check test test-mysql bench faults supply-chain mutation clean

help:
	@echo "make demo | serve | test | test-mysql | bench | faults | supply-chain | mutation | lint | setup | setup-test | clean"

setup:
	@scripts/setup.sh demo

setup-test:
	@scripts/setup.sh test

demo: setup
	@$(PYTHON) scripts/demo.py

serve: setup
	@$(PYTHON) scripts/serve.py

lint: setup-test
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	@mkdir -p .test-tmp
	$(LAPTOP) $(PYTHON) -m mypy

check: setup-test
	@mkdir -p .test-tmp
	$(LAPTOP) $(PYTHON) manage.py check
	$(LAPTOP) $(PYTHON) manage.py makemigrations --check --dry-run

test: lint check
	$(PYTHON) -m pytest $(PYTEST_ARGS)

test-mysql:
	@if [ -z "$$TEST_MYSQL_URL" ]; then \
		echo "Set TEST_MYSQL_URL=mysql://user:password@127.0.0.1:3306/ to a MySQL server whose user may make"; \
		echo "databases and users. Every test that has a MariaDB half then runs on that server too; what the tests make"; \
		echo "there begins with t_ or template_, and is dropped at the end."; exit 2; fi
	@$(MAKE) lint check
	$(PYTHON) -m pytest $(PYTEST_ARGS)

bench: setup-test
	@QUICK=$(QUICK) $(PYTHON) -m tests.benchmark $(PARTS)

screenshots: setup-test
	$(PYTHON) scripts/screenshots.py

faults: setup-test
	@$(PYTHON) -m tests.faults -n $(N) --seed $(SEED) $(if $(LANE),--lane $(LANE)) $(FAULTS_ARGS)

supply-chain: setup-test
	@$(PYTHON) scripts/supply_chain.py

mutation: setup-test
	@nice -n 10 $(PYTHON) scripts/mutation.py $(PART)

clean:
	rm -rf .demo .test-tmp .mypy_cache .ruff_cache .pytest_cache .hypothesis
