# CGO_ENABLED=0: everything but the race detector works without a C compiler.
GO    ?= go
# Packages tested at the same time. Some tests measure time, so not all cores.
P     ?= 2
export CGO_ENABLED = 0
# For `make run`: LISTEN=host:port, NODE=http://user:pass@host:port, ADDRESS=…, MODE=solo
export LISTEN NODE ADDRESS MODE

.PHONY: build run test check bench fmt vet lint tidy race fuzz
build:
	$(GO) build -trimpath -o bin/ ./cmd/...

run: build
	@exec bin/ckbench run

test:
	$(GO) test -p $(P) -timeout 8m ./...

# What the test run leaves out. Needs gcc for the race detector.
check: fmt vet tidy lint race fuzz

bench:
	$(GO) test -run '^$$' -bench . -benchmem -p 1 ./...

fmt:
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not gofmt'ed:" $$files; exit 1; }

vet:
	$(GO) vet ./...

tidy:
	$(GO) mod tidy -diff

# A module of its own keeps the linter's dependencies out of ckpool's.
lint:
	$(GO) build -C tools/lint -o $(CURDIR)/bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run ./...

race:
	@command -v gcc >/dev/null || { echo "make check: the race detector needs gcc: apt-get install gcc libc6-dev"; exit 1; }
	CGO_ENABLED=1 $(GO) test -race -p $(P) -timeout 10m ./...

fuzz:
	@GO=$(GO) .ci/fuzz
