# The one door. `make help` lists what it opens.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Continuous integration keeps compiled crates outside the checkout; nothing depends on their being there.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/modtier/target
# A build from scratch gains nothing by it, and pays for it in time and gigabytes.
export CARGO_INCREMENTAL ?= 0
endif
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# ccache keeps RocksDB's objects: the second build of it takes one minute, not twelve.
export CC = ccache cc
export CXX = ccache c++
export BIN = $(CARGO_TARGET_DIR)/debug

# What `make run` and `make up` pass on; see deploy/local/up.sh.
export DATA EDGE EDGE_ADMIN CENTER UPSTREAM SUMDB VERIFY REDIS TLS

NEEDS := $(if $(filter-out 0,$(REDIS)),redis) $(if $(filter-out 0,$(TLS)),tls)

.PHONY: help run up build test deep soak lint bench docs clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, start center, edge and syncer here, show a first download (REDIS=1: with Redis Streams; TLS=1: with a certificate)
	@exec deploy/local/up.sh --sample

up: build ## the same without the download, for scripts; writes $$DATA/run.json when ready
	@exec deploy/local/up.sh

build: ## the three binaries
	@deploy/prerequisites.sh build $(NEEDS)
	@cargo build --quiet --workspace --bins

test: ## everything: format, lints, docs, unit, property and end-to-end tests
	@tests/stages.sh test

deep: ## what takes longer: hundreds of kills, millions of generated cases; figures go to docs/deep.md
	@tests/stages.sh deep

soak: ## five minutes of mixed load under random faults (SOAK_SECONDS=3600: longer; MODTIER_SEED=…: the same choices again)
	@tests/stages.sh soak

lint: ## the quick check: format and lints
	@tests/stages.sh lint

bench: ## ours, nginx and a Go file server in turn, a million entries, crowds, a closure, choice of center; figures go to docs/benchmarks.md
	@deploy/prerequisites.sh build bench
	@cargo build --quiet --release --workspace --bins --examples
	@tests/bench/all.sh "$(abspath $(CARGO_TARGET_DIR))/release" "$(CURDIR)/docs/benchmarks.md"

docs: build ## write the generated pages: the settings of each binary
	@mkdir -p docs/configuration
	@for name in edge center syncer; do \
	  "$(BIN)/modtier-$$name" --print-config-reference > docs/configuration/$$name.md; \
	  "$(BIN)/modtier-$$name" --print-config-schema > docs/configuration/$$name.schema.json; \
	done

clean: ## remove what was built here; data of `make run` stays in .modtier
	@cargo clean
