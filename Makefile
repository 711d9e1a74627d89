# libqueue. `make help` lists the targets, .ci/setup installs what they need.
#
# Nothing is configured. These may be given on the command line:
#   CC CPPFLAGS CFLAGS LDFLAGS      as everywhere; CC=clang for one
#   WERROR=1                        warnings are errors
#   V=1                             whole commands are shown
#   T="unit_record cli_"            of tests and fuzz targets, those with one of these in the name
#   JOBS=2                          tests run at a time; how long one may take: TIMEOUT=300
#   FUZZ_SECONDS=60                 for each fuzz target
#   DISK_SECONDS=80                 for all of `make test-disks`
#   SWEEP_SECONDS=60                for `make sweep`
#   HOURS=0.5                       for `make torture`
#   ARGS=...                        arguments for `make bench`
#   DESTDIR PREFIX BINDIR LIBDIR INCLUDEDIR MANDIR   where `make install` puts things

# ---- what there is ---------------------------------------------------------

LIB_SRC     := $(wildcard libqueue/*.c)
CLI_SRC     := $(wildcard cli/*.c)
COVER_SRC   := tests/support/cover.c
SUPPORT_SRC := $(filter-out $(COVER_SRC),$(wildcard tests/support/*.c))
TEST_SRC    := $(wildcard $(patsubst %,tests/%_*.c,unit api recover sweep stress))
FAULTY_TESTS := tests/sweep_fault.c tests/sweep_repair.c $(patsubst %,tests/unit_%.c,commit get put roll repair_memory scan_failing)
CLI_TESTS   := $(wildcard tests/unit_cli*.c)
EXAMPLE_SRC := $(wildcard tests/examples/*.c)
SCRIPTS     := $(wildcard tests/*.t)
DISK_TESTS  := $(patsubst %,tests/disks/%.c,full_disk read_only power_cut crash_images)
DISK_SRC    := $(wildcard tests/disks/*.c)
BENCH_SRC   := $(wildcard tests/bench/*.c)
FUZZ_SRC    := $(wildcard fuzz/fuzz_*.c)
MANUALS     := $(wildcard cli/*.[1-8] libqueue/*.[1-8])

# The version stands in the header and nowhere else.
VERSION := $(shell sed -n 's/^.define LQ_VERSION "\(.*\)"/\1/p' include/libqueue.h)
SONAME  := libqueue.so.$(firstword $(subst ., ,$(VERSION)))

# ---- how it is built -------------------------------------------------------

# A variant is a whole build with other flags, in a directory of its own; the
# goal chooses it (`make asan`), or VARIANT does (`make VARIANT=asan all`).
comma    := ,
VARIANTS := asan tsan cover fuzz
VARIANT  := $(or $(firstword $(filter $(VARIANTS),$(MAKECMDGOALS))),plain)
ifneq ($(and $(filter $(VARIANTS),$(MAKECMDGOALS)),$(word 2,$(MAKECMDGOALS))),)
$(error $(VARIANT) is a build of its own: ask for it alone)
endif

ifeq ($(VARIANT),fuzz)
CC := clang
else ifeq ($(VARIANT),cover)
CC := clang-19
endif

CFLAGS_plain := -O2 -g
CFLAGS_asan  := -O1 -g -fno-omit-frame-pointer
CFLAGS_tsan  := -O1 -g -fno-omit-frame-pointer
CFLAGS_fuzz  := -O1 -g -fno-omit-frame-pointer
CFLAGS_cover := -O1 -g
CFLAGS       ?= $(CFLAGS_$(VARIANT))

INSTRUMENT_asan  := -fsanitize=address,undefined -fno-sanitize-recover=all
INSTRUMENT_tsan  := -fsanitize=thread
INSTRUMENT_fuzz  := $(INSTRUMENT_asan) -fsanitize=fuzzer-no-link
INSTRUMENT_cover := -fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc -fprofile-update=atomic \
                    -mllvm -do-counter-promotion=false -Wno-unused-command-line-argument -DNDEBUG
INSTRUMENT       := $(INSTRUMENT_$(VARIANT))

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wvla -Wformat=2 -Wno-format-nonliteral \
            -Wwrite-strings -Wcast-qual -Wcast-align -Wpointer-arith -Wstrict-prototypes \
            -Wold-style-definition -Wmissing-prototypes $(if $(WERROR),-Werror)

# Everything is position independent, so that one set of objects makes both
# libraries, and hidden unless it is lq_*: lqi_* is for the static library only.
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -Iinclude $(INSIDE) $(CPPFLAGS) \
             -fPIC -fvisibility=hidden -pthread $(WARNINGS) $(CFLAGS) $(INSTRUMENT)
LINK       = $(CC) -pthread $(CFLAGS) $(INSTRUMENT) $(LDFLAGS)
LIBS      := -lxxhash -lz -lpthread

BUILD   := build/$(VARIANT)-$(notdir $(firstword $(CC)))
OBJECTS  = $(patsubst %.c,$(BUILD)/%.o,$(1))
PROGRAMS = $(patsubst %.c,$(BUILD)/%,$(1))

STATIC := $(BUILD)/libqueue.a
SHARED := $(BUILD)/libqueue.so.$(VERSION)
LQ     := $(BUILD)/lq
BENCH  := $(BUILD)/bench

.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.PHONY: all demo check test-disks asan tsan cover sweep fuzz torture lint bench install deps help clean FORCE

# What is seen of a command: what it makes.
SHOW = @$(if $(V),set -x,printf '  %-5s %s\n' '$(1)' '$@');

all: $(STATIC) $(LQ) $(if $(INSTRUMENT),,$(SHARED)) ## both libraries and ./lq (the default)
	$(if $(INSTRUMENT),,@ln -sfn $(LQ) lq)

$(STATIC): $(call OBJECTS,$(LIB_SRC))
	$(call SHOW,AR) rm -f $@ && $(AR) rcs $@ $^

# nodelete: it stays where it was loaded, as its thread may still be ending when the program has let go of it.
$(SHARED): $(call OBJECTS,$(LIB_SRC)) libqueue/libqueue.map Makefile
	$(call SHOW,LINK) $(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=libqueue/libqueue.map -Wl,-z,defs,-z,nodelete \
	  -o $@ $(filter %.o,$^) $(LIBS)

$(LQ): $(call OBJECTS,$(CLI_SRC)) $(STATIC)
	$(call SHOW,LINK) $(LINK) -o $@ $^ $(LIBS)

$(call PROGRAMS,$(filter-out $(FAULTY_TESTS) $(CLI_TESTS),$(TEST_SRC))): $(BUILD)/%: $(BUILD)/%.o $(call OBJECTS,$(SUPPORT_SRC)) $(STATIC)
	$(call SHOW,LINK) $(LINK) -o $@ $^ -lcmocka $(LIBS)

$(call PROGRAMS,$(DISK_TESTS)): $(BUILD)/%: $(BUILD)/%.o $(call OBJECTS,$(filter-out $(DISK_TESTS),$(DISK_SRC)) $(SUPPORT_SRC)) $(STATIC)
	$(call SHOW,LINK) $(LINK) -o $@ $^ -lcmocka $(LIBS)

# Time is part of what a seed decides.
$(BUILD)/tests/sweep_crash $(BUILD)/tests/sweep_fault: private LDFLAGS += -Wl,--wrap=lqi_now_us

# The library with these calls renamed, so that tests/support/call_fault.c can fail them and no others.
FAULTY := malloc calloc realloc deflateInit2_ inflateInit_ pthread_create eventfd syscall nanosleep
$(BUILD)/libqueue_fault.a: $(STATIC) Makefile
	$(call SHOW,COPY) objcopy $(foreach f,$(FAULTY),--redefine-sym $(f)=fault_$(f)) $< $@

$(call PROGRAMS,$(FAULTY_TESTS)): $(BUILD)/%: $(BUILD)/%.o $(call OBJECTS,$(SUPPORT_SRC)) $(BUILD)/libqueue_fault.a
	$(call SHOW,LINK) $(LINK) -o $@ $^ -lcmocka $(LIBS)

$(call PROGRAMS,$(EXAMPLE_SRC)): $(BUILD)/%: $(BUILD)/%.o $(STATIC)
	$(call SHOW,LINK) $(LINK) -o $@ $^ $(LIBS)

$(BENCH): $(call OBJECTS,$(BENCH_SRC)) $(STATIC)
	$(call SHOW,LINK) $(LINK) -o $@ $^ $(BENCH_LIBS) $(LIBS)

# A fuzz target is linked with libFuzzer in the variant `fuzz`, and in all the
# others with replay.c, which feeds it the kept inputs.
FUZZ_MAIN := $(if $(filter fuzz,$(VARIANT)),,$(BUILD)/fuzz/replay.o)
$(call PROGRAMS,$(FUZZ_SRC)): $(BUILD)/%: $(BUILD)/%.o $(FUZZ_MAIN) $(STATIC)
	$(call SHOW,LINK) $(LINK) $(WRAP) $(if $(FUZZ_MAIN),,-fsanitize=fuzzer) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

# Parts of lq; and all of it, where main.c is included and what it calls may be made to fail.
$(call PROGRAMS,$(CLI_TESTS)): $(BUILD)/%: $(BUILD)/%.o $(filter-out %/main.o,$(call OBJECTS,$(CLI_SRC))) \
  $(patsubst %,$(BUILD)/tests/support/%.o,api scratch) $(STATIC)
	$(call SHOW,LINK) $(LINK) $(WRAP) -o $@ $^ -lcmocka $(LIBS)
CLI_CALLS := $(addprefix lq_,open close put_batch sync get_stats get_consumer_stats each_consumer each_segment consumer_open \
             consumer_close get_batch ack_batch release reader_open reader_seek_id reader_seek_time reader_next reader_damage \
             reader_wait verify repair error_text version) read write pipe2 scandir opendir isatty fdatasync fsync \
             clock_gettime steady_time_us stop_sleep_us
$(call PROGRAMS,$(filter-out tests/unit_cli.c,$(CLI_TESTS))): private WRAP = $(addprefix -Wl$(comma)--wrap=,$(CLI_CALLS))

$(BUILD)/fuzz/fuzz_ops: $(call OBJECTS,$(wildcard fuzz/ops_*.c))

# The parts of lq that read what people type.
$(BUILD)/fuzz/fuzz_cli: $(patsubst %,$(BUILD)/cli/%.o,base64 human json_read out parse report utf8)
# All of lq; main.c is included by the target, which comes between it and the machine.
WRAPPED := exit args_init write opendir stat mmap regcomp lq_open lq_verify lq_repair
$(BUILD)/fuzz/fuzz_args: $(filter-out %/main.o,$(call OBJECTS,$(CLI_SRC)))
$(BUILD)/fuzz/fuzz_args: private WRAP = $(addprefix -Wl$(comma)--wrap=,$(WRAPPED))

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SHOW,CC) $(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Counted is what we ship, and not the tests. cover.o must be last in each program: see there.
ifeq ($(VARIANT),cover)
COVER := $(call OBJECTS,$(COVER_SRC))
$(BUILD)/tests/%.o $(BUILD)/fuzz/%.o: private INSTRUMENT :=
$(LQ) $(call PROGRAMS,$(TEST_SRC) $(EXAMPLE_SRC) $(FUZZ_SRC)): | $(COVER)
$(LQ) $(call PROGRAMS,$(TEST_SRC) $(EXAMPLE_SRC) $(FUZZ_SRC)): private LIBS += $(COVER)
endif

# Who may include the library's own headers. -iquote and not -I, as they have
# names like <error.h> and <wait.h>; .ci/lint has the finer rules.
$(foreach d,tests/unit_ tests/recover_ tests/sweep_ tests/stress_ tests/support/ fuzz/, \
  $(BUILD)/$(d)%.o): private INSIDE = -iquote libqueue
# libFuzzer declares LLVMFuzzerTestOneInput nowhere.
$(BUILD)/fuzz/%.o: private WARNINGS += -Wno-missing-prototypes

# Other flags than last time: everything is compiled again.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(LINK) $(ALL_CFLAGS)' > $@.new; cmp -s $@.new $@ || mv $@.new $@

-include $(patsubst %.o,%.d,$(call OBJECTS,$(LIB_SRC) $(CLI_SRC) $(SUPPORT_SRC) $(TEST_SRC) \
           $(EXAMPLE_SRC) $(DISK_SRC) $(BENCH_SRC) $(FUZZ_SRC) $(wildcard fuzz/ops_*.c) fuzz/replay.c))

# ---- how it is tested ------------------------------------------------------

# Most of the time the tests wait, for the disk and for each other.
ifeq ($(origin JOBS),undefined)
check: JOBS = $(shell echo $$((2 * $$(nproc))))
endif
JOBS         ?= $(shell nproc)
TIMEOUT      ?= $(if $(INSTRUMENT),900,300)
FUZZ_SECONDS ?= 60
SWEEP_SECONDS ?= 60
HOURS        ?= 1

# TSan sees one process and its threads only, so that the rest is no use to it;
# what is about packaging (house_) concerns the plain build alone.
TESTS_plain := $(call PROGRAMS,$(TEST_SRC) $(EXAMPLE_SRC) $(FUZZ_SRC)) $(SCRIPTS)
TESTS_asan  := $(filter-out tests/house_%,$(TESTS_plain))
TESTS_cover := $(TESTS_asan)
TESTS_tsan  := $(filter $(patsubst %,$(BUILD)/tests/%,unit_% api_% stress_threads%),$(TESTS_plain))
PICK         = $(strip $(if $(T),$(foreach t,$(1),$(if $(strip \
                 $(foreach word,$(T),$(findstring $(word),$(notdir $(t))))),$(t))),$(1)))
TESTS       := $(call PICK,$(TESTS_$(VARIANT)))

# Reports must end a program with a code that nothing else uses, or a test that
# expects `lq` to fail would take a report for that failure.
export ASAN_OPTIONS  ?= exitcode=99:detect_stack_use_after_return=1:strict_string_checks=1
export LSAN_OPTIONS  ?= exitcode=99
export UBSAN_OPTIONS ?= exitcode=99:print_stacktrace=1
export TSAN_OPTIONS  ?= exitcode=99:second_deadlock_stack=1

# Where what is counted is kept, until it is counted anew.
export LQ_COVER := $(if $(filter cover,$(VARIANT)),$(CURDIR)/$(BUILD)/counted)

TEST_ENV = LQ='$(CURDIR)/$(LQ)' LQ_BUILD='$(CURDIR)/$(BUILD)' LQ_VARIANT=$(VARIANT) CC='$(CC)' \
           TIMEOUT=$(TIMEOUT) FUZZ_SECONDS=$(FUZZ_SECONDS)

# The fuzz targets as `make fuzz` builds them, where there is a clang.
FUZZED = $(if $(shell command -v clang),$(patsubst %.c,build/fuzz-clang/%,$(call PICK,$(FUZZ_SRC))))

# stress_* matches no rule of these, so prove runs it at the end, one at a time:
# it loads the machine, and looks at how long things take.
PROVE = $(TEST_ENV) prove -j$(JOBS) --rules='par=**/{unit,api,recover,sweep,fuzz}_*' \
        --rules='par=**/examples/*' --rules='par=**.t'

check: all $(filter $(BUILD)/%,$(TESTS)) ## build everything and run all tests (or T="some of them")
	@$(if $(LQ_COVER),rm -rf '$(LQ_COVER)' && mkdir -p '$(LQ_COVER)')
	@$(if $(TESTS),$(PROVE) --exec tests/support/run_test $(TESTS),echo 'no test is called like T="$(T)"' >&2; exit 1)

asan: check ## the same with AddressSanitizer and UndefinedBehaviorSanitizer

tsan: check ## the tests with threads, with ThreadSanitizer

cover: check ## lines, branches and MC/DC that the tests reach, and what they do not, with clang 19
	@tests/support/run_cover '$(CC)' $(BUILD) $(if $(T),,tests/uncovered.txt)

sweep: $(BUILD)/tests/sweep_crash $(BUILD)/tests/sweep_fault $(BUILD)/tests/sweep_damage ## crashes after every call, for SWEEP_SECONDS=60; then every failing call; then every bit flipped
	LQ_SWEEP_SECONDS=$(SWEEP_SECONDS) $(BUILD)/tests/sweep_crash
	LQ_SWEEP_SECONDS=$$((5 * $(SWEEP_SECONDS))) $(BUILD)/tests/sweep_fault # a list that comes to an end; a slow machine gets the time
	LQ_SWEEP_WHOLE=1 $(BUILD)/tests/sweep_damage

fuzz: $(call PICK,$(call PROGRAMS,$(FUZZ_SRC))) ## fuzz each target for FUZZ_SECONDS=60, with clang and sanitizers
	@$(if $^,$(PROVE) --exec tests/support/run_fuzz $^,echo 'no fuzz target is called like T="$(T)"' >&2; exit 1)

torture: all $(call PICK,$(call PROGRAMS,$(filter tests/sweep_% tests/stress_%,$(TEST_SRC)))) ## sweeps, storms and fuzzing with fresh seeds for HOURS=1: a line a minute, a summary
	@$(if $(FUZZED),$(MAKE) --no-print-directory VARIANT=fuzz $(FUZZED))
	@$(TEST_ENV) tests/support/run_torture $(HOURS) $(JOBS) $(filter $(BUILD)/tests/%,$^) $(FUZZED)

.PHONY: model prove
prove: ## CBMC on the proofs of tests/proof: decoders on all inputs, planted errors
	@prove -v -j$(JOBS) --exec tests/proof/run $(call PICK,$(wildcard tests/proof/proof_*.c))

model: ## spin on the models of tests/model: death in front of every store, planted errors
	@prove -v -j$(JOBS) --exec tests/model/run $(call PICK,$(wildcard tests/model/*.pml))

lint: ## layers, forbidden calls, static analysis, scripts, man pages
	@CFLAGS='-std=c11 -D_GNU_SOURCE -Iinclude $(CPPFLAGS)' prove --exec bash .ci/lint

# MUTATE="libqueue/recover.c": bugs made by machine in these files, SAMPLE=50 of each or all of them.
mutants: ## break the library on purpose, each time in one place, and see that the tests find it
	@T='$(T)' JOBS=$(JOBS) CC='$(CC)' SAMPLE='$(SAMPLE)' SEED='$(SEED)' ALL='$(ALL)' BY='$(BY)' \
	  prove --verbose --exec tests/support/run_mutants $(or $(MUTATE),tests/mutants/planted)

bench: $(BENCH) ## build the benchmarks and run them with ARGS
	$(BENCH) $(ARGS)

demo: all ## build, and see in five seconds what a queue does
	./lq demo

test-disks: all $(call PICK,$(call PROGRAMS,$(DISK_TESTS))) ## as root: on real file systems, made small; DISK_SECONDS=80 in all
	@DISK_SECONDS='$(DISK_SECONDS)' $(TEST_ENV) prove --verbose --exec tests/support/run_test $(call PICK,$(call PROGRAMS,$(DISK_TESTS)))

# ---- how it is installed ---------------------------------------------------

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man

install: all ## libraries, header, pkg-config file, lq, man pages: to PREFIX=/usr/local
	install -d $(patsubst %,'$(DESTDIR)%',$(BINDIR) $(LIBDIR)/pkgconfig $(INCLUDEDIR))
	install -m 755 $(LQ) '$(DESTDIR)$(BINDIR)'
	install -m 644 include/libqueue.h '$(DESTDIR)$(INCLUDEDIR)'
	install -m 644 $(STATIC) '$(DESTDIR)$(LIBDIR)'
	install -m 755 $(SHARED) '$(DESTDIR)$(LIBDIR)'
	ln -sf $(notdir $(SHARED)) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libqueue.so'
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' \
	  'Name: libqueue' 'Description: durable local message queues' 'Version: $(VERSION)' \
	  'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lqueue' 'Libs.private: $(LIBS)' \
	  > '$(DESTDIR)$(LIBDIR)/pkgconfig/libqueue.pc'
	$(foreach m,$(MANUALS),install -D -m 644 $(m) '$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m))' &&) :
	$(if $(DESTDIR),,-ldconfig)

# ---- and the rest ----------------------------------------------------------

deps: ## apt-get what all of these targets need
	sh .ci/setup all

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

clean: ## remove all that was built
	rm -rf build lq
