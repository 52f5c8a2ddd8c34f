# `make demo` shows what Kiln does, `make test` checks it, `make bench` measures it. Each installs what it needs; all run as root.

ROOTS := target/fixtures
TARGET = target/$(shell rustc -vV | sed -n 's/^host: //p')
KILN = $(TARGET)/release/kiln

.PHONY: all demo test bench lint packages roots compiler

all: $(KILN)

.PHONY: $(KILN)
$(KILN): compiler
	cargo build --release --package cli

compiler:
	fixtures/packages.sh gcc libc6-dev make

demo: $(KILN) demo-packages
	fixtures/demo.sh $(KILN) $(ROOTS)

.PHONY: demo-packages
demo-packages:
	fixtures/packages.sh busybox-static

packages:
	fixtures/packages.sh busybox-static docker-registry mmdebstrap util-linux-extra bsdutils python3-minimal xz-utils bzip2 erofs-utils git e2fsprogs xfsprogs btrfs-progs mount nftables skopeo umoci zstd qemu-system-x86 kmod binutils openssh-client openssh-server

roots: packages $(ROOTS)/busybox.tar $(ROOTS)/debian-gcc.tar $(ROOTS)/vm-bookworm/initrd $(ROOTS)/vm-trixie/initrd $(ROOTS)/foreign/qemu $(ROOTS)/readers

$(ROOTS)/busybox.tar: fixtures/busybox-root.sh
	mkdir -p $(ROOTS)
	fixtures/busybox-root.sh $@

$(ROOTS)/debian-gcc.tar: fixtures/debian-root.sh
	mkdir -p $(ROOTS)
	fixtures/debian-root.sh $@

$(ROOTS)/vm-%/initrd: fixtures/vm-kernel.sh
	fixtures/vm-kernel.sh $* $(ROOTS)/vm-$*

$(ROOTS)/foreign/qemu: fixtures/foreign-root.sh
	fixtures/foreign-root.sh bookworm $(ROOTS)/foreign

$(ROOTS)/readers: fixtures/readers-root.sh
	mkdir -p $(ROOTS)
	fixtures/readers-root.sh $@

test: compiler roots
	command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest
	cargo nextest run --workspace

bench: $(KILN) roots
	fixtures/packages.sh hyperfine e2fsprogs
	fixtures/bench.sh $(KILN) $(ROOTS)
	cargo bench --package frontend
	cargo bench --package solver
	fixtures/bench-files.sh $(KILN) $(ROOTS)

# Needs a nightly toolchain and a C++ compiler; FUZZ_SECONDS is how long it runs.
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz:
	command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	cargo +nightly fuzz run dockerfile -- -max_total_time=$(FUZZ_SECONDS) -max_len=16384

lint:
	cargo clippy --workspace --all-targets -- -D warnings
	cargo fmt --check
