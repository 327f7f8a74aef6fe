# Sluice. `make` alone tells what there is. Works as root, or as a user who may use sudo.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-print-directory

# SwiftPM's build plans depend on hash order otherwise, and rebuild for nothing.
export SWIFT_DETERMINISTIC_HASHING := 1
export LC_ALL ?= C.UTF-8

SWIFT ?= swift
CLANG ?= clang-14
LLVM_STRIP ?= llvm-strip-14
# Where everything is built.
SCRATCH ?= .build
scratch := $(abspath $(SCRATCH))
sudo := $(if $(filter 0,$(shell id -u)),,sudo)
programs := sluiced sluice-api sluice
# More for `swift build -c release`, for example --static-swift-stdlib.
RELEASE_FLAGS ?=
# Folder of built programs, for `make install`.
BIN ?= $(scratch)/release

.PHONY: help
help:
	@echo 'Sluice: programmable packet processing on Linux.'
	@echo
	@echo '  make demo       a whole session, as root: two namespaces, a daemon, an API, a million packets'
	@echo '  make demo-keep  the same, left running, to talk to'
	@echo '  make test       every test, as root'
	@echo '  make exactness  10 million verdicts of the XDP program beside the reference classifier and libpcap (some minutes)'
	@echo '  make test-guest zero-copy drivers, two NUMA nodes and huge pages in virtual machines (about 6 minutes)'
	@echo '  make bench      how fast it is, as root, beside the programs in PEERS=dir; writes the table in README.md'
	@echo '  make bench-api  how many requests the API answers, on each database, with wrk; writes its table in README.md'
	@echo
	@echo '  make build      debug build             make release   release build'
	@echo '  make deps       Debian packages that are missing (the others install what they need)'
	@echo '  make bpf        the XDP programs        make generate  gRPC code from the proto files'
	@echo '  make install    PREFIX=$(PREFIX), DESTDIR respected        make uninstall'
	@echo '  make clean      forget all builds'
	@echo
	@echo 'SCRATCH=dir builds elsewhere than in .build; SWIFT=path names another toolchain.'

# ---- Debian packages -------------------------------------------------------------------------------------------------

# The last five: what the toolchain itself runs on.
build_packages := clang-14 llvm-14 libbpf-dev libxdp-dev libsodium-dev libpq-dev libmariadb-dev libsqlite3-dev pkg-config \
  zlib1g-dev libcrypt-dev libc6-dev libstdc++-12-dev git libncurses6 libxml2 libcurl4 libuuid1 tzdata
# prometheus for promtool, systemd for systemd-analyze, nfdump for its collector of flows; the last three are measured.
test_packages = iproute2 ethtool postgresql-15 mariadb-server prometheus tshark tcpdump protobuf-compiler libprotobuf-dev \
  curl jq python3 python3-venv bpftool valgrind binutils procps systemd ca-certificates nfdump \
  nftables iptables xdp-tools

# build-deps: what a build needs; deps: what tests, demo and benchmarks need, too.
.PHONY: build-deps deps
build-deps:
	@command -v $(SWIFT) >/dev/null || { echo 'swift is not in PATH: https://www.swift.org/install/linux' >&2; exit 69; }
	@Tests/Checks/install-packages.sh '$(scratch)/deps.log' $(build_packages)

deps: build-deps
	@Tests/Checks/install-packages.sh '$(scratch)/deps.log' $(test_packages)

# ---- XDP programs ----------------------------------------------------------------------------------------------------

bpf_objects := $(patsubst bpf/%.bpf.c,Sources/XDPPrograms/Objects/%.bpf.o,$(wildcard bpf/*.bpf.c))
bpf_headers := $(wildcard bpf/*.h bpf/include/*.h)
multiarch = $(shell $(CLANG) -print-multiarch)

.PHONY: bpf
bpf: $(bpf_objects)

$(bpf_objects): | build-deps

$(scratch)/bpf/%.bpf.o: bpf/%.bpf.c $(bpf_headers) Makefile | build-deps
	@mkdir -p $(@D)
	@echo 'bpf: $<'
	@$(CLANG) -target bpf -g -O2 -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/$(multiarch) -c $< -o $@
	@$(LLVM_STRIP) -g $@

# Written only if it differs: SwiftPM rebuilds what embeds it by its date.
Sources/XDPPrograms/Objects/%.bpf.o: $(scratch)/bpf/%.bpf.o
	@mkdir -p $(@D)
	@cmp -s $< $@ || cp $< $@

# ---- Swift -----------------------------------------------------------------------------------------------------------

.PHONY: build release
build: build-deps bpf
	$(SWIFT) build --scratch-path '$(scratch)'

release: build-deps bpf
	@for program in $(programs); do \
	  $(SWIFT) build -c release --scratch-path '$(scratch)' $(RELEASE_FLAGS) --product $$program; \
	done

.PHONY: test
test: deps bpf
	@SWIFT='$(SWIFT)' SCRATCH='$(scratch)' Tests/Checks/run.sh

# VERDICTS: how many packets are decided, shared out among many rule sets.
VERDICTS ?= 10000000

.PHONY: exactness
exactness: deps bpf
	@$(SWIFT) build -c release --scratch-path '$(scratch)' --product exactness
	@$(sudo) '$(scratch)/release/exactness' $(VERDICTS)

.PHONY: test-guest
test-guest: deps bpf
	@SWIFT='$(SWIFT)' SCRATCH='$(scratch)' Tests/Guest/run.sh

.PHONY: generate
generate: deps
	@SWIFT_BUILD_OPTIONS='--scratch-path $(scratch)' Sources/ControlProtocol/Protos/generate.sh

.PHONY: demo demo-keep bench bench-api
demo: deps release
	@BIN='$(scratch)/release' Tests/Demo/demo.sh

demo-keep: deps release
	@BIN='$(scratch)/release' Tests/Demo/demo.sh --keep

# PEERS: a folder of programs to measure beside ours, as `sluice bench --list` names them.
PEERS ?=
# Rounds of a second each: about ten minutes in all, and as long again for the captures.
BENCH_FLAGS ?= --seconds 1

bench: deps release
	@BIN='$(scratch)/release' Tests/Demo/bench.sh
	@$(sudo) '$(scratch)/release/sluice' bench $(if $(PEERS),--peers '$(abspath $(PEERS))') --markdown README.md $(BENCH_FLAGS)
	@$(sudo) '$(scratch)/release/sluice' bench rules --markdown README.md

# The load generator is no part of the tests.
bench-api: test_packages += wrk
bench-api: deps bpf
	$(SWIFT) build -c release --scratch-path '$(scratch)' $(RELEASE_FLAGS) --product sluice-api
	@$(sudo) python3 Tests/Demo/bench-api.py '$(scratch)/release' --markdown README.md --json '$(scratch)/bench-api.json'

# ---- Installation ----------------------------------------------------------------------------------------------------

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= /lib/systemd/system
SYSUSERSDIR ?= /usr/lib/sysusers.d
TMPFILESDIR ?= /usr/lib/tmpfiles.d
completions = $(DESTDIR)$(PREFIX)/share
# The programs look for Swift's libraries beside themselves: a toolchain may be another tomorrow, or in a home that units
# do not see.
libraries = $(DESTDIR)$(PREFIX)/lib/sluice

# The programs look below /etc by themselves.
config_line = $(if $(filter /etc,$(SYSCONFDIR)),,Environment=SLUICE_CONFIG=$(SYSCONFDIR)/sluice/sluice.yaml\n)

.PHONY: install
install:
	@for program in $(programs); do \
	  [ -x '$(BIN)'/$$program ] || { echo "$(BIN)/$$program is missing: make release" >&2; exit 66; }; \
	  install -D -m 0755 '$(BIN)'/$$program '$(libraries)'/$$program; \
	  install -d '$(DESTDIR)$(PREFIX)/bin'; \
	  ln -sfn ../lib/sluice/$$program '$(DESTDIR)$(PREFIX)'/bin/$$program; \
	done
	@ldd $(foreach program,$(programs),'$(BIN)/$(program)') | awk '$$3 ~ "/swift/linux/" { print $$3 }' | sort -u | \
	  xargs --no-run-if-empty install -m 0644 -t '$(libraries)'
	@install -d '$(DESTDIR)$(UNITDIR)'
	@for unit in sluiced sluice-api; do \
	  sed 's|/etc/sluice/|$(SYSCONFDIR)/sluice/|g; s|^ExecStart=/usr/local/bin/|$(config_line)ExecStart=$(PREFIX)/bin/|' \
	    systemd/$$unit.service >'$(DESTDIR)$(UNITDIR)'/$$unit.service; \
	  chmod 0644 '$(DESTDIR)$(UNITDIR)'/$$unit.service; \
	done
	@install -D -m 0644 systemd/sluice.sysusers.conf '$(DESTDIR)$(SYSUSERSDIR)/sluice.conf'
	@install -D -m 0644 systemd/sluice.tmpfiles.conf '$(DESTDIR)$(TMPFILESDIR)/sluice.conf'
	@file='$(DESTDIR)$(SYSCONFDIR)/sluice/sluice.yaml'; \
	if [ ! -e "$$file" ] || cmp -s config/sluice.yaml "$$file"; then \
	  install -D -m 0644 config/sluice.yaml "$$file"; \
	else \
	  install -m 0644 config/sluice.yaml "$$file.new"; \
	  echo "kept $$file; the new one is beside it: $$file.new"; \
	fi
	@write() { install -D -m 0644 /dev/stdin "$$2" < <('$(BIN)/sluice' --generate-completion-script "$$1"); }; \
	write bash '$(completions)/bash-completion/completions/sluice'; \
	write zsh '$(completions)/zsh/site-functions/_sluice'; \
	write fish '$(completions)/fish/vendor_completions.d/sluice.fish'
	@[ -n '$(DESTDIR)' ] || [ ! -d /run/systemd/system ] || \
	  echo 'next: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload &&' \
	    'systemctl enable --now sluiced sluice-api. Where they run already: systemctl kill -s KILL sluiced (packets are' \
	    'decided meanwhile; systemd starts it again) && systemctl restart sluice-api'

# Leaves configuration, state and users; what stays attached would go on deciding with nobody to ask.
.PHONY: uninstall
uninstall:
	@[ -n '$(DESTDIR)' ] || [ ! -d /run/systemd/system ] || ! systemctl is-active --quiet sluiced sluice-api || \
	  { echo 'they run: sluice detach each interface, then systemctl disable --now sluiced sluice-api' >&2; exit 75; }
	rm -rf '$(libraries)'
	rm -f $(foreach program,$(programs),'$(DESTDIR)$(PREFIX)/bin/$(program)') \
	  '$(DESTDIR)$(UNITDIR)/sluiced.service' '$(DESTDIR)$(UNITDIR)/sluice-api.service' \
	  '$(DESTDIR)$(SYSUSERSDIR)/sluice.conf' '$(DESTDIR)$(TMPFILESDIR)/sluice.conf' \
	  '$(completions)/bash-completion/completions/sluice' '$(completions)/zsh/site-functions/_sluice' \
	  '$(completions)/fish/vendor_completions.d/sluice.fish'

.PHONY: clean
clean:
	rm -rf '$(scratch)' $(bpf_objects) .demo .bench
