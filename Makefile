# Short names for what people run often. .ci/run and .ci/nightly need root and a
# machine of their own; everything else runs anywhere.

.DEFAULT_GOAL := help
.PHONY: help test-fast test ci nightly golden bench fuzz mutants lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test-fast: ## the quick tests: no engine, no sshd, no browser, no node
	go test -short ./...

test: ## all tests that this machine can run
	go test ./...

ci: ## everything that a change has to pass; as root
	.ci/run

nightly: ## tests that take long: order, load, race, fuzzing, mutants; as root
	.ci/nightly

golden: ## write the files that tests compare output with; look at the diff
	go test ./cli ./config ./report ./internal/fleets -update
	go test . -run README -update

bench: ## measure portcheck beside ss and lsof, as root
	go run ./testdata/bench

fuzz: ## each fuzz target on 20,000 inputs
	bash -c 'set -euo pipefail; . .ci/lib; fuzz 20000'

mutants: ## change the code in 200 places and list the changes that no test notices
	go run ./testdata/mutants

lint: ## vet, staticcheck, gofumpt, shellcheck
	go vet ./... ./testdata/demo ./testdata/bench ./testdata/mutants
	go tool -modfile=.ci/tools.mod staticcheck ./... ./testdata/demo ./testdata/bench ./testdata/mutants
	test -z "$$(go tool -modfile=.ci/tools.mod gofumpt -l . | tee /dev/stderr)"
	shellcheck --external-sources $$(grep -lxE "#!(/usr/bin/env bash|/bin/sh)" .ci/* setup/*)
