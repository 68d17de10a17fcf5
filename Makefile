# `make test` is all that a change has to pass. `make help` lists the rest.
SHELL := /bin/bash
GO    ?= go
FUZZTIME ?= 10m
TESTFLAGS ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/nightjar-mqtt/nightjar/internal/cli.version=$(VERSION)
LINT     := $(GO) tool -modfile=tools/go.mod golangci-lint

# Where people run Nightjar. GOARM=7: Raspberry Pi 2 and later; softfloat: routers with MIPS.
CROSS := linux/amd64 linux/arm64 linux/arm/7 linux/riscv64 linux/mipsle/softfloat darwin/arm64 windows/amd64 freebsd/amd64

.PHONY: help build test reload test-all deps vet lint budgets race crash fuzz cross man completions deb sbom fmt clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

build: ## the binary, stripped, as bin/nightjar
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/nightjar ./cmd/nightjar

test: deps vet lint budgets race ## install what the tests need, then vet, lint and every test with the race detector

deps: ## what the tests need: Debian's mosquitto, and the clients of other languages
	./test/install.sh
	@if [ -x test/interop/install.sh ]; then ./test/interop/install.sh; fi

vet:
	$(GO) vet ./...

lint: ## golangci-lint, pinned in tools/go.mod
	$(LINT) run ./...

budgets: ## what may be allocated, counted without the race detector, which makes pools lose things
	$(GO) test -run 'Alloc' ./mqtt/... ./internal/core/... ./internal/edge/... ./broker/...

race: ## every test with the race detector
	$(GO) test -race -timeout 20m $(TESTFLAGS) ./...

test-all: test fuzz cross ## the above, long fuzzing and all platforms

crash: ## 300 kills of the process, 1,000 power cuts, every call of a failing disk in turn
	$(GO) test -timeout 60m -v ./test/crash -crash.long

fuzz: ## every fuzz target for FUZZTIME (10m) each
	./test/fuzz.sh $(FUZZTIME)

reload: ## a thousand reloads while a thousand clients publish
	$(GO) test ./test/dropin -v -run ReloadUnderLoad -reloads 1000 -clients 1000 -timeout 30m

cross: ## build for every platform of CROSS, under bin/
	./test/cross.sh $(CROSS)

man: ## manual pages and completions, made from the commands and options, under bin/doc
	$(GO) run ./docs/man -out bin/doc -version '$(VERSION)'

deb: ## Debian packages for DEBARCH (this machine's architecture; or e.g. "amd64 arm64 armhf"), under bin/
	VERSION='$(VERSION)' ./deploy/debian/build.sh $(or $(DEBARCH),$(shell dpkg --print-architecture))

sbom: build ## bill of materials (CycloneDX) and licences of what bin/nightjar is made of, under bin/
	$(GO) run ./deploy/sbom -version '$(VERSION)' -sbom bin/nightjar.cdx.json -licences bin/licences.txt bin/nightjar

completions: man ## completions for bash, zsh and fish, under bin/doc/completions

fmt: ## gofmt
	$(GO) fmt ./...

clean: ## remove what was built
	rm -rf bin
