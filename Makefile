# CGO_ENABLED=0: everything but the race detector works without a C compiler.
GO    ?= go
# Packages tested at the same time. Some tests measure time, so not all cores.
P     ?= 2
export CGO_ENABLED = 0
# For `make run`: LISTEN=host:port, NODE=COOKIEFILE or http://user:pass@host:port, ADDRESS=…, MODE=solo
export LISTEN NODE ADDRESS MODE

.PHONY: build install manual run test check bench fmt vet lint tidy race fuzz
build:
	$(GO) build -trimpath -o bin/ ./cmd/...

PREFIX ?= /usr/local
PROGRAMS = ckpool ckpmsg notifier ckbench
# Into $(DESTDIR)$(PREFIX). The capability is for ports below 1024.
install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	for p in $(PROGRAMS); do \
		install bin/$$p $(DESTDIR)$(PREFIX)/bin/ && \
		install -m 644 contrib/man/$$p.1 $(DESTDIR)$(PREFIX)/share/man/man1/ && \
		install -m 644 contrib/completion/$$p.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$p && \
		install -m 644 contrib/completion/$$p.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$p || exit 1; \
	done
	ln -sf ckpool $(DESTDIR)$(PREFIX)/bin/ckproxy
	-setcap cap_net_bind_service=+ep $(DESTDIR)$(PREFIX)/bin/ckpool

# Manual pages and completions are printed by the programs.
manual: build
	@mkdir -p contrib/man contrib/completion
	for p in $(PROGRAMS); do \
		bin/$$p --manual man > contrib/man/$$p.1 && \
		bin/$$p --manual bash > contrib/completion/$$p.bash && \
		bin/$$p --manual zsh > contrib/completion/$$p.zsh || exit 1; \
	done

run: build
	@exec bin/ckbench run

test:
	$(GO) test -p $(P) -timeout 8m ./...

# What the test run leaves out. Needs gcc for the race detector.
check: fmt vet tidy lint race fuzz

# Under 20 minutes on a quiet machine of two cores; see docs/performance.md.
bench: build
	bin/ckbench table --into docs/performance.md

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
