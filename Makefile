.DEFAULT_GOAL := help

GO       ?= go
FUZZTIME ?= 10s
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := -X github.com/waybill-dev/waybill/cmd/waybill/app.version=$(VERSION)

# Pinned tools: kept below .local, named for their version, so that a new pin is a new file.
TOOLS                 := $(CURDIR)/.local/bin
GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT         := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK           := golang.org/x/vuln/cmd/govulncheck@v1.8.0

SCRIPTS   := .ci/run .ci/smoke deploy/local/up deploy/local/down deploy/local/node deploy/local/install $(wildcard deploy/local/*.sh)
GENERATED := docs/config.md docs/schema.json docs/states.md

# Where the brokers are, for everything below that talks to one: RABBITMQ_URL, RABBITMQ_MANAGEMENT_URL, KAFKA_BROKERS,
# POSTGRES_URL. Recipes that bring the brokers up first read the file themselves, since it may be new.
ifneq ($(wildcard .local/brokers.env),)
include .local/brokers.env
export RABBITMQ_URL RABBITMQ_MANAGEMENT_URL KAFKA_BROKERS POSTGRES_URL
endif
WITH_BROKERS := set -a; . ./.local/brokers.env; set +a;

.PHONY: help
help: ## Print this.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build bin/waybill.
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/waybill ./cmd/waybill

.PHONY: run
run: build ## Run the sample pipeline on the embedded broker; the first time with some orders.
	bin/waybill run --config deploy/sample/embedded.yaml --seed orders-in=deploy/sample/orders.jsonl

.PHONY: test
test: brokers gcc ## Run all tests, on real servers, with the race detector.
	$(WITH_BROKERS) $(GO) test -race -timeout 15m ./...

.PHONY: test-short
test-short: ## Run the tests that need no server.
	$(GO) test -short ./...

.PHONY: behaviours
behaviours: brokers gcc ## Run all tests and say which rows of docs/behaviours.md they have shown.
	$(WITH_BROKERS) $(GO) test -json -race -timeout 15m ./... | $(GO) run ./cmd/behaviours

.PHONY: prove
prove: brokers ## Prove the promises at full size (an hour); the ledger is .local/prove.json.
	$(WITH_BROKERS) WAYBILL_PROVE=full WAYBILL_LEDGER=$(CURDIR)/.local/prove.json \
		$(GO) test -count=1 -timeout 60m -v ./cmd/waybill/prove

.PHONY: mutations
mutations: brokers ## Break the product on purpose and see the checks fail.
	$(WITH_BROKERS) $(GO) test -count=1 -timeout 60m -tags mutation -run TestMutations -v ./cmd/waybill/prove ./pipeline/broker/brokertest

.PHONY: brokers
brokers: ## Bring up RabbitMQ, Kafka and PostgreSQL; where they are is in .local/brokers.env.
	@deploy/local/up

.PHONY: brokers-down
brokers-down: ## Stop them and drop their data.
	@deploy/local/down

# make bench BROKER=kafka N=100000 ROUNDS=5 FLAGS='-impl raw,waybill'
BENCH_FLAGS = $(if $(BROKER),-broker $(BROKER)) $(if $(N),-n $(N)) $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(SWEEP),-sweep $(SWEEP)) $(FLAGS)

.PHONY: bench
bench: build ## Measure against the bare clients: BROKER=kafka N=100000 ROUNDS=5 SWEEP=keys FLAGS=-help.
	$(GO) build -o bin/bench ./cmd/bench
	bin/bench $(BENCH_FLAGS)

.PHONY: profile
profile: build ## Profile Waybill under the same drain, into .local/profile: BROKER=kafka FLAGS='-variant "4 partitions"'.
	$(GO) build -o bin/bench ./cmd/bench
	rm -rf .local/profile
	bin/bench -profile .local/profile $(BENCH_FLAGS)
	@for p in .local/profile/*.pprof; do \
		printf '\n==> %s\n' "$$p"; \
		$(GO) tool pprof -top -nodecount=20 $$(case $$p in *.allocs.*) echo -sample_index=alloc_space;; esac) bin/bench "$$p" 2>/dev/null; \
	done

.PHONY: lint
lint: $(GOLANGCI_LINT) shellcheck ## Run the linters, with the import directions among them.
	$(GOLANGCI_LINT) run
	shellcheck -x $(SCRIPTS)

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code.
	$(GOLANGCI_LINT) fmt

.PHONY: generate
generate: build ## Write the generated documents.
	bin/waybill schema --reference >docs/config.md.new && mv docs/config.md.new docs/config.md
	bin/waybill schema >docs/schema.json.new && mv docs/schema.json.new docs/schema.json
	$(GO) test ./pipeline/store -run TestStatesPage -update

.PHONY: verify
verify: generate ## Check that the generated documents are up to date.
	git diff --exit-code -- $(GENERATED)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s).
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd handlers middleware pipeline routerconfig | \
	while IFS=: read -r file func; do \
		$(GO) test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) "./$${file%/*}" || exit; \
	done

.PHONY: vuln
vuln: ## Look for known vulnerabilities; needs the database at vuln.go.dev.
	$(GO) run $(GOVULNCHECK) ./...

.PHONY: clean
clean: brokers-down ## Remove everything that was built, installed or written here.
	rm -rf bin data .local

# Not in "help": what other targets need.

$(GOLANGCI_LINT):
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION), once (2 minutes)"
	@GOBIN=$(TOOLS) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv $(TOOLS)/golangci-lint $@

.PHONY: gcc
gcc: # for the race detector
	@command -v $(CC) >/dev/null || deploy/local/install gcc libc6-dev

.PHONY: shellcheck
shellcheck:
	@command -v shellcheck >/dev/null || deploy/local/install shellcheck
