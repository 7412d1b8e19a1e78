# The targets that people type. Nothing here is generated.

GO       ?= go
# Executions of each fuzz target. Not a time: at its end go test can report a
# deadline of its own as a failure (golang/go issue 75804, fixed in Go 1.27).
FUZZTIME ?= 10000x
# How often each drill of make drill-kill kills.
N        ?= 300
# Tools are pinned in a module of their own, so that theirs are not our dependencies.
TOOL = $(GO) tool -modfile=tools/go.mod

.PHONY: help build up down try test race differential mutants lint vuln fuzz bench e2e e2e-ci conformance conformance-ci kube-integration drill-kill ci

# Modules of their own, so that what they need never reaches the main one.
NESTED = bench e2e

# This list.
help:
	@awk '/^# /{c=substr($$0,3)} /^[a-z0-9-]+:/{split($$0,t,":"); printf "  %-16s %s\n",t[1],c; c=""}' Makefile

# One static binary, left at bin/etcdguard.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/etcdguard ./cmd/etcdguard

# A secured cluster on this machine, ready to use: make up ARGS="--members 1"
up: build
	./bin/etcdguard up $(ARGS)

# Stops what "make up" started; the data stays.
down: build
	./bin/etcdguard down $(ARGS)

# The same in a throw-away directory and on other ports, and gone again.
try: build
	dir=$$(mktemp -d) && trap './bin/etcdguard down --dir "$$dir" --purge --yes "$$dir"' EXIT && \
	./bin/etcdguard up --dir "$$dir" --listen 127.0.0.1:23790 && ./bin/etcdguard status --dir "$$dir"

# All that needs nothing but Go; the differential with stock etcd is among it.
test:
	$(GO) test -timeout 30m ./...
	cd bench && $(GO) test ./...

# The same under the race detector.
race:
	$(GO) test -race -timeout 30m ./...

# 50,000 random requests to stock etcd and to the member, answers compared: without
# sealing, and with it.
differential:
	$(GO) test ./member -run 'TestThe(Guarded|Sealed)MemberAnswers' -count=1 -v -difftest.steps=50000 -timeout 60m

# Bugs planted in the guard, one at a time; each must be noticed. About 20 minutes.
mutants:
	$(GO) test ./internal/difftest/mutants -mutants -timeout 2h -v

# gofmt, vet and staticcheck, in every module.
lint:
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	for m in $(NESTED); do (cd $$m && $(GO) vet ./...) || exit 1; done

# Known vulnerabilities; needs its database, vuln.go.dev.
vuln:
	$(TOOL) govulncheck ./...

# Every fuzz target there is, one after the other. None at all is a mistake.
fuzz:
	@set -e; found=0; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			found=1; echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg; \
		done; \
	done; test $$found = 1

# Side by side with stock etcd; writes docs/performance.md. About half an hour.
bench: build
	cd e2e && $(GO) run ./cmd/peers etcd
	cd bench && $(GO) run . -stock ../e2e/bin/etcd -etcdguard ../bin/etcdguard -docs ../docs

# Under a real kube-apiserver, and against every other identity.
e2e: build
	cd e2e && $(GO) run ./cmd/peers
	cd e2e && $(GO) test -count=1 -timeout 60m ./...

# The part of it that CI runs.
e2e-ci: build
	cd e2e && $(GO) run ./cmd/peers
	cd e2e && $(GO) test -count=1 -timeout 30m -short ./...

# Members and commands killed at random, N times each, while a cluster goes up and down
# with sealing under load, and while one is scrubbed. 300 take about an hour each.
drill-kill: build
	cd e2e && $(GO) test -count=1 -v -timeout 12h ./drills -run WhoeverIsKilled -kills $(N)

# etcd's own end-to-end suites with etcdguard as the etcd under test.
conformance: build
	cd e2e && $(GO) run ./conformance -suite all

# A named part of them.
conformance-ci: build
	cd e2e && $(GO) run ./conformance -suite ci

# Kubernetes' integration tests of Secrets and of encryption at rest, on etcdguard.
kube-integration: build
	cd e2e && $(GO) run ./conformance -suite kubernetes

# What must pass before a change lands.
ci:
	.ci/run
