# `make` alone lists what there is. All that CI does, a laptop can do.

SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION = $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
CARGO_BUILD := cargo build --release --locked

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Build and run everything in one process; prints the URL of the page
	$(CARGO_BUILD) --package standalone
	exec target/release/standalone $(ARGS)

.PHONY: build
build: ## Build all programs, optimised, into target/release, each in its own file
	$(CARGO_BUILD) --workspace --exclude shaddock

.PHONY: test
test: ## Run all checks and tests; STAGES="lint clients" runs only these
	@command -v node >/dev/null || { echo "make test needs node 20 or later, which is missing" >&2; exit 1; }
	@node scripts/test.mjs $(STAGES)

.PHONY: conformance
conformance: ## Compare with the original: vectors, recordings, its clients; prints a table
	@scripts/setup node python go
	cargo build --workspace --all-targets --locked
	@SHADDOCK_BIN_DIR=target/debug node tests/conformance/all.mjs

.PHONY: lint
lint: ## Check format, clippy, rustdoc and the rules of crates/tidy
	@scripts/setup rust
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cargo test --package tidy --locked

.PHONY: chart
chart: ## Check the Helm chart for all values, Helm and Kubernetes versions; a table
	@scripts/setup node chart
	@node tests/chart/all.mjs $(ARGS)

.PHONY: chart-readme
chart-readme: ## Write the table of values in helm/README.md
	@scripts/setup node
	@node tests/chart/readme.mjs

.PHONY: e2e-smoke
e2e-smoke: build ## Install, scale and restart on the cluster of KUBECONFIG, while clients chat
	@IMAGE=$(IMAGE) node tests/e2e/smoke.mjs

.PHONY: e2e
e2e: build ## The same with 500 clients, all that operators do and much that may happen; a table
	@scripts/setup node
	@IMAGE=$(IMAGE) node tests/e2e/suite.mjs $(ARGS)

.PHONY: image
image: ## Build the image with Docker; IMAGE=shaddock:0.1.0
	docker build --file deploy/Dockerfile --tag $(or $(IMAGE),shaddock:$(VERSION)) .

.PHONY: image-tar
image-tar: ## Make the same as an OCI archive in target/image, without Docker
	$(CARGO_BUILD) --package shaddock
	@IMAGE=$(IMAGE) deploy/image/tar

.PHONY: image-check
image-check: image-tar ## Try that image in a chroot, with a read-only root; needs root
	@scripts/setup node
	@node deploy/image/check.mjs

.PHONY: fmt
fmt: ## Format all Rust code
	cargo fmt --all

.PHONY: cluster
cluster: build ## Run gate, 3 connectors, 3 chat shards and web-server as processes
	@deploy/cluster/up

.PHONY: cluster-down
cluster-down: ## End what `make cluster` started
	@deploy/cluster/down

.PHONY: example-time
example-time: ## Build and show a fifth service and a gate that calls it (docs/extending.md)
	@scripts/setup node
	$(CARGO_BUILD) $(addprefix --package ,chat connector web-server time-server time-gate)
	@SHADDOCK_BIN_DIR=target/release node examples/time/run.mjs

.PHONY: sim
sim: ## Simulate clusters under faults by chance, SEEDS=200 FROM=0, or all of one: SEED=7
	@cargo run --profile sim --package sim --locked -- $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),200) --from $(or $(FROM),0))

.PHONY: model
model: ## Try every interleaving of a few messages and faults, with and without each guard
	@cargo run --profile sim --package interleavings --locked -- $(ARGS)

.PHONY: bench
bench: build ## Measure the cost of a delivery and of an idle session
	target/release/loadgen bench --bin-dir target/release $(ARGS)

.PHONY: bench-store
bench-store: build ## Measure what an acknowledged message costs in each store
	@scripts/setup postgres
	target/release/loadgen bench-store --bin-dir target/release $(ARGS)

.PHONY: verify
verify: build ## Break things under 300 clients for 6 minutes, check every rule; STORE=sqlite
	target/release/verify run --bin-dir target/release $(addprefix --store ,$(STORE)) $(ARGS)

.PHONY: verify-ops
verify-ops: build ## Play the acceptance tests of operations with a fake API server; ARGS="--tests 9,11"
	@scripts/setup postgres
	target/release/verify ops --bin-dir target/release $(ARGS)

.PHONY: mutants
mutants: ## Plant bugs in all programs, and see that `verify` finds each
	@scripts/setup rust
	cargo build --locked --package verify
	CARGO_TARGET_DIR=target/planted cargo build --locked --package chat --package connector \
		--features chat/planted,connector/planted
	CARGO_TARGET_DIR=target/planted cargo test --locked --package store --package connector \
		--features store/planted,connector/planted --test planted
	target/debug/verify mutants --bin-dir target/planted/debug $(ARGS)

.PHONY: fuzz
fuzz: ## Fuzz the decoders, SECONDS=60 for each; needs nightly Rust
	@scripts/fuzz $(or $(SECONDS),60)
