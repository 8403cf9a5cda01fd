# CGO_ENABLED=0: everything but the race detector works without a C compiler.
GO    ?= go
# Packages tested at the same time: most of theirs is waiting.
P     ?= 4
export CGO_ENABLED = 0
# Whatever is built, by tests too, what Go has compiled for one is there for the other.
export GOFLAGS ?= -trimpath
# For `make run`, the first also for `make run-pool`, `make run-proxy` and `make run-links`: LISTEN=host:port, NODE=COOKIEFILE or http://user:pass@host:port, ADDRESS=…, MODE=solo
export LISTEN NODE ADDRESS MODE

.PHONY: build help module install manual api run run-pool run-proxy run-links test torture check bench fmt lint tidy race fuzz
build:
	$(GO) build -trimpath -o bin/ ./cmd/...

help:
	@echo 'make            build the programs into bin/'
	@echo 'make run        try it: a private chain, a pool and two simulated miners, in run/'
	@echo '                LISTEN=host:port NODE=http://user:pass@host:port ADDRESS=… MODE=solo'
	@echo 'make run-pool   try the money: blocks are divided among three miners and paid out'
	@echo '                LISTEN=host:port'
	@echo 'make run-proxy  try a proxy: three miners at it are one account of a pool'
	@echo '                LISTEN=host:port'
	@echo 'make run-links  try links: miners at two passthroughs and a node are those of one pool'
	@echo '                LISTEN=host:port'
	@echo 'make test       run the tests'
	@echo 'make check      formatting, vet, lint, race detector, fuzzing'
	@echo 'make torture    kill pool, ckdb and database under load, cut links, fill and stall the disk: over an hour'
	@echo 'make bench      measure it, for docs/performance.md'
	@echo 'make install    into PREFIX=/usr/local (DESTDIR= before it), logrotate into SYSCONFDIR=/etc'
	@echo 'make module     call the Go module otherwise, for a fork: PATH=example.org/me/ckpool'
	@echo 'make api        write anew what users of the library can name, see docs/library.md'
	@echo 'make manual     write manual pages, completions and the sample configuration anew'

# PATH is the module's new path here, for all that make starts too: where programs are
# is in what make was started with.
NEW = $(if $(filter command,$(firstword $(origin PATH))),$(PATH))
module:
	@old=$$(/bin/sed -n 's/^module //p' go.mod); \
	export PATH="$$(/usr/bin/tr '\0' '\n' </proc/$$PPID/environ | /bin/sed -n 's/^PATH=//p')"; \
	case '$(NEW)' in *.*/?*) ;; *) echo "make module: the path is missing: make module PATH=example.org/me/ckpool (now $$old)"; exit 1;; esac; \
	$(GO) mod edit -module='$(NEW)' && \
	grep -rIlZF --exclude-dir=.git --exclude-dir=bin --exclude-dir=run "$$old" . | \
		xargs -0 sed -i "s|$$(echo "$$old" | sed 's/\./\\./g')|$(NEW)|g" && \
	gofmt -w . && \
	echo "This is $(NEW) now."

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
PROGRAMS = ckpool ckdb ckpmsg notifier ckbench
TO       = $(DESTDIR)$(PREFIX)
# Into $(DESTDIR)$(PREFIX). The capability is for ports below 1024. The sample
# configuration is refused until somebody's address is in it: contrib/systemd says
# where the units expect the real one. Under sudo there often is no go in the PATH, or one
# that is too old for go.mod: what was built before is installed.
install: $(if $(filter install,$(MAKECMDGOALS)),$(if $(shell $(GO) list -m 2>/dev/null || :),build))
	@test -x bin/ckpool || { echo "make install: build first, by make: the PATH of this user has no $(GO) that can"; exit 1; }
	install -d $(TO)/bin $(TO)/share/man/man1 $(TO)/share/man/man5 $(TO)/share/doc/ckpool \
		$(TO)/share/bash-completion/completions $(TO)/share/zsh/site-functions \
		$(TO)/lib/systemd/system $(TO)/lib/sysusers.d $(DESTDIR)$(SYSCONFDIR)/logrotate.d
	for p in $(PROGRAMS); do \
		install bin/$$p $(TO)/bin/ && \
		install -m 644 contrib/man/$$p.1 $(TO)/share/man/man1/ && \
		install -m 644 contrib/completion/$$p.bash $(TO)/share/bash-completion/completions/$$p && \
		install -m 644 contrib/completion/$$p.zsh $(TO)/share/zsh/site-functions/_$$p || exit 1; \
	done
	install -m 644 contrib/man/ckpool.conf.5 $(TO)/share/man/man5/
	install -m 644 docs/*.* contrib/systemd/notify-reload.conf $(TO)/share/doc/ckpool/
	for u in ckpool.service ckpool@.service ckpool.socket ckdb.service; do \
		sed 's|/usr/local/|$(PREFIX)/|' contrib/systemd/$$u > $(TO)/lib/systemd/system/$$u && \
		chmod 644 $(TO)/lib/systemd/system/$$u || exit 1; \
	done
	install -m 644 contrib/systemd/ckpool.sysusers $(TO)/lib/sysusers.d/ckpool.conf
	test -e $(DESTDIR)$(SYSCONFDIR)/logrotate.d/ckpool || \
		install -m 644 contrib/logrotate/ckpool $(DESTDIR)$(SYSCONFDIR)/logrotate.d/ckpool
	ln -sf ckpool $(TO)/bin/ckproxy
	-setcap cap_net_bind_service=+ep $(TO)/bin/ckpool

# Manual pages, completions and the sample are printed by the programs.
manual: build
	@mkdir -p contrib/man contrib/completion
	for p in $(PROGRAMS); do \
		bin/$$p --manual man > contrib/man/$$p.1 && \
		bin/$$p --manual bash > contrib/completion/$$p.bash && \
		bin/$$p --manual zsh > contrib/completion/$$p.zsh || exit 1; \
	done
	bin/ckpool --manual man5 > contrib/man/ckpool.conf.5
	bin/ckpool --manual sample > docs/ckpool.conf

# For review: tests compare it with what the packages have.
api:
	$(GO) test ./internal/lint -run TestLibrary -update

run: build
	@exec bin/ckbench run

run-pool: build
	@exec bin/ckbench run-pool

run-proxy: build
	@exec bin/ckbench run-proxy

run-links: build
	@exec bin/ckbench run-links

# Tests need no symbols, and linking takes half as long without.
test race: GOFLAGS += -ldflags=-s

test:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
		echo 'make test: PostgreSQL is not installed, its tests are skipped: apt-get install postgresql'
	$(GO) test -p $(P) -timeout 25m ./...

# ROUNDS, RATE (shares a second) and SEED can be given; see docs/reliability.md.
ROUNDS ?= 50
RATE   ?= 5000
torture:
	$(GO) test -count 1 -timeout 3h -parallel 1 -v ./internal/operation -run 'TestTorture$$|TestSites$$|TestLinkOutages$$' \
		-torture.rounds $(ROUNDS) -torture.rate $(RATE) -torture.seed $(or $(SEED),0)

# What the test run leaves out. Needs gcc for the race detector.
check: fmt tidy lint race fuzz

# Under 20 minutes on a quiet machine of two cores; see docs/performance.md.
bench: build
	bin/ckbench table --into docs/performance.md

fmt:
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not gofmt'ed:" $$files; exit 1; }

tidy:
	$(GO) mod tidy -diff

# With go vet among its checks. A module of its own keeps its dependencies out of ckpool's.
lint:
	$(GO) build -C tools/lint -o $(CURDIR)/bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run ./...

race:
	@command -v gcc >/dev/null || { echo "make check: the race detector needs gcc: apt-get install gcc libc6-dev"; exit 1; }
	@GO=$(GO) .ci/race

fuzz:
	@GO=$(GO) .ci/fuzz
