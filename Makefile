# SPDX-License-Identifier: Apache-2.0
#
#   make          build/kuma-dns
#   make run      the main job, in a network namespace of its own
#   make check    build with gcc and clang, run every test
#   make fuzz     run each fuzz target for FUZZ_SECONDS
#   make bench    compare with the limits of a server and a forwarder, and with peers
#   make coverage lines that the unit tests reach
#   make static   build/static/kuma-dns, one file that needs no library, with musl
#   make install  to $(DESTDIR)$(PREFIX)
#
# Every build is the same archive with other flags: build/gcc (released), build/clang, build/asan, build/tsan,
# build/fuzz, build/cov. The daemon, each test and each fuzz target are that archive plus one file.

VERSION := 0.1.0
BUILD   := build
PREFIX  ?= /usr/local
PYTHON  ?= /usr/bin/python3
FUZZ_SECONDS ?= 60
JOBS    ?= $(shell nproc)

# eBPF at the sockets needs libbpf, bpftool and clang to build; EBPF=no leaves it out.
export PATH := $(PATH):/usr/sbin
EBPF  ?= $(shell pkg-config --exists 'libbpf >= 1.0' && command -v clang bpftool >/dev/null && echo yes || echo no)
EBPF_SRCS := redirect/ebpf.c redirect/inherit.c redirect/pins.c

SRCS  := $(filter-out dns/main.c redirect/sockets.bpf.c $(if $(filter yes,$(EBPF)),redirect/ebpf_none.c,$(EBPF_SRCS)), \
	$(wildcard conf/*.c dns/*.c dns/*/*.c redirect/*.c))
TESTS := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))
FUZZ  := $(patsubst fuzz/%.c,%,$(wildcard fuzz/fuzz_*.c))
# The tests of modules with threads run under ThreadSanitizer too.
THREADED := test_worker test_pages test_patch

PACKAGES      := libcares libevent_core libevent_extra libmnl libcap-ng jansson yaml-0.1 $(if $(filter yes,$(EBPF)),libbpf)
# c-ares and libmnl first came without .pc files in some releases; Debian 12 has all of these.
LIBS_CFLAGS   := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
LIBS          := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lpthread
TEST_LIBS     := -lcmocka -lldns

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
	-Wmissing-prototypes -Wundef -Wvla -Wcast-qual -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough \
	-Wnull-dereference -Wpointer-arith -Werror
WARNINGS_GCC := -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init
HARDEN := -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now -Wl,--as-needed

BASE := -std=gnu11 -D_GNU_SOURCE -DKUMA_DNS_VERSION='"$(VERSION)"' -I. -isystem $(BUILD)/bpf $(LIBS_CFLAGS) -g -MMD -MP

CC_gcc       := gcc
CFLAGS_gcc   := -O2 -fno-plt -D_FORTIFY_SOURCE=3 $(HARDEN) $(WARNINGS) $(WARNINGS_GCC)
LDFLAGS_gcc  := $(LDHARDEN)
CC_clang     := clang
CFLAGS_clang := -O2 -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fPIE $(WARNINGS)
LDFLAGS_clang := $(LDHARDEN)
CC_asan      := clang
CFLAGS_asan  := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all $(WARNINGS)
LDFLAGS_asan := -fsanitize=address,undefined
CC_tsan      := clang
CFLAGS_tsan  := -O1 -fno-omit-frame-pointer -fsanitize=thread $(WARNINGS)
LDFLAGS_tsan := -fsanitize=thread
CC_fuzz      := clang
CFLAGS_fuzz  := -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all $(WARNINGS)
LDFLAGS_fuzz := -fsanitize=fuzzer,address,undefined
CC_cov       := gcc
CFLAGS_cov   := -O0 --coverage $(WARNINGS)
LDFLAGS_cov  := --coverage

.PHONY: all libraries packages run check check-build fuzz bench bench-quick bench-publish coverage static static-libraries install uninstall clean format
all: $(BUILD)/kuma-dns

$(BUILD)/kuma-dns: $(BUILD)/gcc/kuma-dns
	ln -f $< $@

libraries:
	@pkg-config --exists $(PACKAGES) libxxhash || { \
		echo 'libraries are missing: run `make packages` as root, or see tests/packages' >&2; exit 1; }

packages:
	tests/packages build

run:
	@tests/packages run
	@echo "building $(BUILD)/kuma-dns"
	@$(MAKE) --no-print-directory -s -j$(JOBS) $(BUILD)/kuma-dns
	@KUMA_DNS=$(abspath $(BUILD)/kuma-dns) $(PYTHON) -B tests/netns/demo

check:
	@tests/packages check
	@echo 'building with gcc, clang, AddressSanitizer, ThreadSanitizer'
	@$(MAKE) --no-print-directory -s -j$(JOBS) check-build
	@tests/run --build $(BUILD) unit thread memory corpus manual e2e

check-build: $(BUILD)/kuma-dns $(BUILD)/clang/kuma-dns $(BUILD)/asan/kuma-dns \
	$(TESTS:%=$(BUILD)/gcc/tests/%) $(TESTS:%=$(BUILD)/asan/tests/%) $(FUZZ:%=$(BUILD)/asan/%) \
	$(patsubst %,$(BUILD)/tsan/tests/%,$(filter $(THREADED),$(TESTS)))

fuzz:
	@tests/packages check
	@echo 'building the fuzz targets'
	@$(MAKE) --no-print-directory -s -j$(JOBS) $(FUZZ:%=$(BUILD)/fuzz/%)
	@tests/run --build $(BUILD) --seconds $(FUZZ_SECONDS) fuzz

# Objects on the way to a test are kept. (Not .SECONDARY: a new source file that is older than the archive
# would never be compiled.)
# Lines that the unit tests reach, file by file.
coverage: $(TESTS:%=$(BUILD)/cov/tests/%)
	@find $(BUILD)/cov -name '*.gcda' -delete
	@for test in $^; do $$test >/dev/null 2>&1 || echo "failed: $$test"; done
	@gcov -n $$(find $(BUILD)/cov/dns $(BUILD)/cov/redirect $(BUILD)/cov/conf -name '*.gcda') 2>/dev/null | \
		sed -n "/^File '[cdr].*\.c'/{N;s/File '\(.*\)'\nLines executed:\(.*\)% of.*/\2 \1/p}" | sort -n

define variant
.PRECIOUS: $(BUILD)/$(1)/%.o
$(BUILD)/$(1)/%.o: %.c | libraries
	@mkdir -p $$(@D)
	$$(CC_$(1)) $$(BASE) $$(CFLAGS_$(1)) -c -o $$@ $$<
$(BUILD)/$(1)/libkuma-dns.a: $$(SRCS:%.c=$(BUILD)/$(1)/%.o)
	@rm -f $$@
	ar rcs $$@ $$^
$(BUILD)/$(1)/kuma-dns: $(BUILD)/$(1)/dns/main.o $(BUILD)/$(1)/libkuma-dns.a
	$$(CC_$(1)) $$(LDFLAGS_$(1)) -o $$@ $$^ $$(LIBS)
$(BUILD)/$(1)/tests/test_%: $(BUILD)/$(1)/tests/test_%.o $(BUILD)/$(1)/libkuma-dns.a
	$$(CC_$(1)) $$(LDFLAGS_$(1)) $$(WRAP_$$*) -o $$@ $$^ $$(LIBS) $$(TEST_LIBS)
endef
$(foreach v,gcc clang asan tsan fuzz cov,$(eval $(call variant,$(v))))

# The programs at the sockets, and a header that holds them for the loader.
$(BUILD)/bpf/sockets.skel.h: redirect/sockets.bpf.c redirect/sockets.h
	@mkdir -p $(@D)
	clang -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -I. -idirafter /usr/include/$(shell $(CC_gcc) -print-multiarch) \
		-c -o $(BUILD)/bpf/sockets.o $<
	bpftool gen skeleton $(BUILD)/bpf/sockets.o name sockets >$@.new && mv $@.new $@
$(foreach v,gcc clang asan tsan fuzz cov,$(BUILD)/$(v)/redirect/ebpf.o): $(BUILD)/bpf/sockets.skel.h

$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/fuzz/fuzz_%.o $(BUILD)/fuzz/libkuma-dns.a
	$(CC_fuzz) $(LDFLAGS_fuzz) -o $@ $^ $(LIBS) -lldns
# The same targets without libFuzzer: each replays its corpus.
$(BUILD)/asan/fuzz_%: $(BUILD)/asan/fuzz/fuzz_%.o $(BUILD)/asan/fuzz/main.o $(BUILD)/asan/libkuma-dns.a
	$(CC_asan) $(LDFLAGS_asan) -o $@ $^ $(LIBS) -lldns

# The benchmark's own programs: the limits, and the load.
$(BUILD)/bench/%: $(BUILD)/gcc/tests/bench/%.o $(patsubst %,$(BUILD)/gcc/tests/bench/%.o,queries measure options datagrams upstream tally churn)
	@mkdir -p $(@D)
	$(CC_gcc) $(LDFLAGS_gcc) -o $@ $^
$(BUILD)/bench/load_table: $(BUILD)/gcc/tests/bench/load_table.o $(BUILD)/gcc/libkuma-dns.a
	@mkdir -p $(@D)
	$(CC_gcc) $(LDFLAGS_gcc) -o $@ $^ $(LIBS)

bench bench-quick:
	tests/packages bench
	$(MAKE) --no-print-directory $(BUILD)/kuma-dns $(patsubst %,$(BUILD)/bench/%,echo forwarder load load_table asker)
	$(PYTHON) tests/bench/bench --build $(BUILD) $(if $(filter bench-quick,$@),--quick)

# The picture that README.md shows: of a full run, on a machine that does nothing else.
bench-publish:
	cp $(BUILD)/bench/bench.svg tests/bench/bench.svg

# With musl, static, its addresses random all the same, which musl-gcc knows nothing of. No eBPF: that would need libbpf,
# libelf and more. Threads have the stack that glibc gives them.
MUSL := $(BUILD)/static/libraries
MUSL_LIB = /usr/lib/$(subst -gnu,-musl,$(shell gcc -print-multiarch))
STATIC_SRCS := $(filter-out $(EBPF_SRCS) redirect/cgroup.c redirect/sockets.bpf.c,$(wildcard conf/*.c dns/*.c dns/*/*.c redirect/*.c)) $(wildcard conf/static/*.c)
BASE_static = $(filter-out $(LIBS_CFLAGS),$(BASE)) -I$(MUSL)/include -idirafter $(MUSL)/include/kernel
# Lengths of control messages have other types there.
WARNINGS_static := $(filter-out -Wconversion -Wsign-conversion,$(WARNINGS)) $(WARNINGS_GCC)
static: $(BUILD)/static/kuma-dns
static-libraries: $(MUSL)/done
$(MUSL)/done:
	@tests/packages static
	@conf/static/libraries $(MUSL)
$(BUILD)/static/%.o: %.c $(MUSL)/done
	@mkdir -p $(@D)
	musl-gcc $(BASE_static) -O2 $(HARDEN) $(WARNINGS_static) -c -o $@ $<
$(BUILD)/static/kuma-dns: $(STATIC_SRCS:%.c=$(BUILD)/static/%.o)
	gcc -static-pie -nostdlib -Wl,-z,relro,-z,now,-z,stack-size=8388608,--gc-sections -o $@ \
		$(MUSL_LIB)/rcrt1.o $(MUSL_LIB)/crti.o $^ -L$(MUSL)/lib -L$(MUSL_LIB) \
		-lcares -levent_extra -levent_core -lcap-ng -ljansson -lyaml -lc -lgcc -lgcc_eh $(MUSL_LIB)/crtn.o

# Seams are link-time: WRAP_<module> holds the --wrap flags of tests/test_<module>.c.
WRAP_ahead := -Wl,--wrap=table_fetch_slot,--wrap=table_fetch_entry,--wrap=cache_fetch_chain,--wrap=cache_fetch_entry
WRAP_alarms := -Wl,--wrap=calloc
WRAP_document := -Wl,--wrap=json_loadb,--wrap=give_way
WRAP_patch := -Wl,--wrap=plain_record_read,--wrap=patch_apply,--wrap=give_way,--wrap=malloc,--wrap=calloc,--wrap=realloc
WRAP_answer := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
WRAP_udp := -Wl,--wrap=sendmmsg,--wrap=sendto,--wrap=recvmmsg,--wrap=malloc,--wrap=calloc
WRAP_giveway := -Wl,--wrap=clock_gettime,--wrap=sched_yield
WRAP_forward := -Wl,--wrap=clock_gettime,--wrap=event_add,--wrap=event_free,--wrap=timerfd_create,--wrap=timerfd_settime
WRAP_asking := $(WRAP_forward)
WRAP_passing := $(WRAP_forward)
WRAP_upstream := -Wl,--wrap=clock_gettime,--wrap=timerfd_settime,--wrap=malloc,--wrap=calloc
WRAP_worker := -Wl,--wrap=forward_open,--wrap=forward_query,--wrap=forward_set_routes,--wrap=forward_close,--wrap=forward_refresh,--wrap=forward_order,--wrap=forward_report,--wrap=udp_may_forward
WRAP_explain := -Wl,--wrap=forward_order,--wrap=forward_report
WRAP_opening := -Wl,--wrap=malloc,--wrap=calloc,--wrap=event_new,--wrap=event_add,--wrap=event_config_new,--wrap=event_base_new_with_config,--wrap=eventfd,--wrap=timerfd_create,--wrap=log_line
WRAP_attempts := -Wl,--wrap=calloc,--wrap=entropy_u16
WRAP_entropy := -Wl,--wrap=getrandom,--wrap=abort
WRAP_ports := -Wl,--wrap=calloc,--wrap=event_new,--wrap=event_add,--wrap=socket,--wrap=connect,--wrap=send,--wrap=setsockopt,--wrap=entropy_u16,--wrap=log_line
WRAP_transactions := -Wl,--wrap=malloc,--wrap=calloc
WRAP_waiters := -Wl,--wrap=calloc
WRAP_log := -Wl,--wrap=clock_gettime
WRAP_mesh := -Wl,--wrap=log_line
WRAP_needs := -Wl,--wrap=privileges_have,--wrap=mnl_socket_open2,--wrap=mnl_socket_close,--wrap=mnl_socket_sendto,--wrap=mnl_socket_recvfrom
WRAP_privileges := -Wl,--wrap=log_line
WRAP_follower := -Wl,--wrap=inotify_init1
WRAP_file := -Wl,--wrap=inotify_init1,--wrap=give_way
WRAP_saved := -Wl,--wrap=give_way
WRAP_watch := -Wl,--wrap=inotify_init1,--wrap=log_line
WRAP_routes := -Wl,--wrap=log_line,--wrap=calloc
WRAP_interception := -Wl,--wrap=log_line,--wrap=connect,--wrap=setsockopt

install: $(BUILD)/kuma-dns
	install -D -m 755 $(BUILD)/kuma-dns $(DESTDIR)$(PREFIX)/sbin/kuma-dns
	install -D -m 644 conf/kuma-dns.8 $(DESTDIR)$(PREFIX)/share/man/man8/kuma-dns.8
	install -D -m 644 conf/kuma-dns.yaml $(DESTDIR)$(PREFIX)/share/doc/kuma-dns/examples/kuma-dns.yaml
	install -D -m 644 conf/kubernetes.yaml $(DESTDIR)$(PREFIX)/share/doc/kuma-dns/examples/kubernetes.yaml
	install -D -m 644 conf/kuma-dns.service $(DESTDIR)$(PREFIX)/lib/systemd/system/kuma-dns.service
	sed -i 's|/usr/local|$(PREFIX)|' $(DESTDIR)$(PREFIX)/lib/systemd/system/kuma-dns.service

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/kuma-dns $(DESTDIR)$(PREFIX)/share/man/man8/kuma-dns.8
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/kuma-dns.service
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/kuma-dns

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -type f -name '*.d' 2>/dev/null)
