# Everything a user or contributor types; `make` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

RATE ?= 50
SEED ?= 1
DURATION ?=
KILLS ?= 20
STOPS ?= 10
EVENTS ?= 200000
AWAY ?= 600

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: setup
setup: $(VENV)/.dev ## own virtual environment with the pinned dependencies, development tools included

.PHONY: run
run: $(VENV)/.run ## the product on one screen: embedded broker, worker, a made-up shop, an alert (RATE=, SEED=, DURATION=)
	@$(BIN)/engage run --rate $(RATE) --seed $(SEED)

.PHONY: test
test: $(VENV)/.dev ## everything; what needs a real Kafka says so when it is skipped (and fails when CI is set)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: test-fast
test-fast: $(VENV)/.dev ## what takes no broker of its own and little time
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not kafka and not slow"

.PHONY: check
check: $(VENV)/.dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.dev ## format the code and write the generated pages anew
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m streams.schema > docs/events.md
	$(BIN)/python -m streams.handbook > docs/measures.md
	$(BIN)/python -m collector.handbook > docs/producers.md
	$(BIN)/python -m agents.metrics docs/metrics.md
	$(BIN)/python deploy/grafana/build.py > deploy/grafana/dashboards/overview.json

.PHONY: kafka kafka-stop kafka-clean
kafka: ## start a real Apache Kafka on this machine (PORT=, DATA=; Java 17 and Maven)
	@$(PYTHON) deploy/kafka/kafka.py start
kafka-stop: ## stop it
	@$(PYTHON) deploy/kafka/kafka.py stop
kafka-clean: ## stop it and delete its data
	@$(PYTHON) deploy/kafka/kafka.py clean

.PHONY: prove-exact
prove-exact: $(VENV)/.dev ## kill -9, SIGSTOP and broker kills on a real Kafka against an oracle (KILLS=, STOPS=, EVENTS=)
	$(BIN)/python benchmarks/prove_exact.py --kills $(KILLS) --stops $(STOPS) --events $(EVENTS)

.PHONY: prove-alerts
prove-alerts: $(VENV)/.dev ## storms in, webhooks out: a real Alertmanager, kills and outages in between, nothing missed and nothing twice
	$(BIN)/python benchmarks/prove_alerts.py

.PHONY: prove-door
prove-door: $(VENV)/.dev ## kill -9 of the collector and its broker under load: what was acknowledged is counted once (KILLS=, AWAY=)
	$(BIN)/python benchmarks/prove_door.py --kills $(KILLS) --broker-seconds $(AWAY)

.PHONY: smoke
smoke: $(VENV)/.dev ## docker-compose.yml for real, with stand-ins where no image can be pulled
	$(BIN)/python deploy/docker/smoke.py

.PHONY: bench
bench: $(VENV)/.dev ## events per CPU-second: the door beside a bare handler, then the worker beside a bare loop on the same real Kafka
	$(BIN)/python benchmarks/door.py
	$(BIN)/python benchmarks/bench.py
