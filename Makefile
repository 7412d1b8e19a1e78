# The targets that people type. Each is one command; nothing is generated.

GO ?= go
LINT = $(GO) run honnef.co/go/tools/cmd/staticcheck@2026.1

.PHONY: build up down test race lint fuzz bench e2e conformance ci clean

# One static binary. VCS stamping is on: etcdguard --version says what it is.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/etcdguard ./cmd/etcdguard

# A secured cluster on this machine, ready to use. ARGS="--members 1", for example.
up: build
	./bin/etcdguard up $(ARGS)

down: build
	./bin/etcdguard down $(ARGS)

test:
	$(GO) test ./...

race:
	$(GO) test -race ./...
