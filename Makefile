# Vivace.  `make` prints what there is; everything is built under $(B), one folder a variant.
B       ?= build
VARIANT ?= release
O       := $(B)/$(VARIANT)
GEN     := $(B)/gen
ROOMS   := distributor ingester querier generator
WERROR  ?= 1
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)
CCACHE  := $(shell command -v ccache 2>/dev/null)
T       ?=
S       ?= 60

WARN_BOTH := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wcast-qual -Wcast-align \
  -Wpointer-arith -Wformat=2 -Wwrite-strings -Wstrict-prototypes -Wold-style-definition -Wmissing-prototypes \
  -Wredundant-decls -Wundef -Wvla -Wswitch-enum -Wnull-dereference -Wdouble-promotion -fno-common
WARN_GCC  := -Wformat-signedness -Walloca -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wjump-misses-init \
  -Wimplicit-fallthrough=5 -Warith-conversion
WARN_CLANG := -Wno-gnu-zero-variadic-macro-arguments
PKGS      := expat libnghttp2 libevent_pthreads libevent libcjson liblz4 libcurl yaml-0.1 libzstd zlib libdeflate openssl libprotobuf-c
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS      := -lnng $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lhiredis -lresolv -lhttp_parser -lsnappy -lre2 -lstdc++ -lm -lpthread

ifeq ($(VARIANT),fuzz)
CC := clang
CXX := clang++
else
CC := gcc
CXX := g++
endif
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
CFLAGS_debug   := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DVIVACE_SLOW_CHECKS=1
CFLAGS_tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
CFLAGS_fuzz    := -O1 -g -w -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_release := -pie -Wl,-z,relro,-z,now,-z,noexecstack
LDFLAGS_debug  := -fsanitize=address,undefined
LDFLAGS_tsan   := -fsanitize=thread
LDFLAGS_fuzz   := -fsanitize=address,undefined
EXTRA_CFLAGS   ?=

COMMON_FLAGS := $(CFLAGS_$(VARIANT)) -D_GNU_SOURCE -I. -I$(GEN) $(PKG_CFLAGS) -MMD -MP $(EXTRA_CFLAGS)
CFLAGS   := -std=gnu17 $(WARN_BOTH) $(if $(filter gcc,$(CC)),$(WARN_GCC),$(WARN_CLANG)) $(if $(filter 1,$(WERROR)),-Werror) \
  -include common/base/banned.h $(COMMON_FLAGS)
CXXFLAGS := -std=c++17 -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror) $(COMMON_FLAGS)

PROTOS   := $(wildcard proto/*.proto)
GEN_C    := $(PROTOS:%.proto=$(GEN)/%.pb-c.c)
SRC_COMMON := $(filter-out common/tool/main.c common/cli/main.c,$(sort $(wildcard common/*/*.c))) $(sort $(wildcard common/*/*.cc))
OBJ_COMMON := $(patsubst %,$(O)/%.o,$(SRC_COMMON)) $(PROTOS:%.proto=$(O)/gen/%.pb-c.o)
BINS     := $(ROOMS:%=$(O)/bin/%) $(O)/bin/vivace-store $(O)/bin/vivace-cli
UNIT_SRC := $(sort $(wildcard tests/unit/*/*_test.c tests/unit/*/*/*_test.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(O)/%)
FAULT_SRC := $(sort $(wildcard tests/fault/*_test.c))
FAULT_BIN := $(FAULT_SRC:%.c=$(O)/%)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/*_fuzz.c))
FUZZ_REPLAY := $(FUZZ_SRC:%.c=$(O)/%_replay)
BENCH_SRC := $(sort $(wildcard tests/bench/*_bench.c))
BENCH_BIN := $(BENCH_SRC:%.c=$(O)/%)
TEST_LIB  := $(patsubst %,$(O)/%.o,$(filter-out tests/lib/fuzz_replay_main.c,$(sort $(wildcard tests/lib/*.c))))
ROOM_LIBS := $(foreach r,$(ROOMS),$(O)/lib$(r).a)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: help all debug tsan deps proto clean

help: ## this list
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 22

all: $(BINS) ## the four binaries, vivace-store and vivace-cli (VARIANT=release|debug|tsan|fuzz, B=build folder)

debug: ## the same with ASan and UBSan
	$(Q)$(MAKE) --no-print-directory VARIANT=debug all

tsan: ## the same with the thread sanitizer
	$(Q)$(MAKE) --no-print-directory VARIANT=tsan all

deps: ## install the Debian packages that building and testing need (deploy/packages)
	$(Q)deploy/install-packages build test

proto: $(GEN_C) ## generate the C of proto/*.proto

clean: ## remove everything built
	rm -rf $(B)

# --- rules ---------------------------------------------------------------------------------------
$(GEN)/%.pb-c.c: %.proto
	@mkdir -p $(dir $@)
	$(Q)protoc-c --c_out=$(GEN) $<

$(O)/gen/%.pb-c.o: $(GEN)/%.pb-c.c
	@mkdir -p $(dir $@)
	$(Q)$(CCACHE) $(CC) -w -std=gnu17 $(COMMON_FLAGS) -c $< -o $@

# Loops over columns: the compiler may make them wide.
HOT := common/store/page common/store/page_scan common/store/block_match common/store/block_values common/store/block_fixed common/query/eval common/query/eval_atom common/query/eval_match \
  common/query/engine_select common/query/engine_structure common/query/engine_pipeline
$(HOT:%=$(O)/%.c.o): CFLAGS += $(if $(filter release,$(VARIANT)),-O3)

$(O)/%.c.o: %.c | $(GEN_C)
	@mkdir -p $(dir $@)
	$(Q)$(CCACHE) $(CC) $(CFLAGS) -c $< -o $@

$(O)/%.cc.o: %.cc | $(GEN_C)
	@mkdir -p $(dir $@)
	$(Q)$(CCACHE) $(CXX) $(CXXFLAGS) -c $< -o $@

$(O)/libcommon.a: $(OBJ_COMMON)
	@rm -f $@
	$(Q)ar rcs $@ $^

define room_rules
SRC_$(1) := $$(sort $$(wildcard $(1)/*.c))
$$(O)/lib$(1).a: $$(patsubst %,$$(O)/%.o,$$(filter-out $(1)/main.c,$$(SRC_$(1))))
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^
$$(O)/bin/$(1): $$(O)/$(1)/main.c.o $$(O)/lib$(1).a $$(O)/libcommon.a
	@mkdir -p $$(dir $$@)
	$$(Q)$$(CC) $$(LDFLAGS_$$(VARIANT)) -o $$@ $$^ $$(LIBS)
endef
$(foreach r,$(ROOMS),$(eval $(call room_rules,$(r))))

define tool_rule
$$(O)/bin/vivace-$(1): $$(O)/common/$(2)/main.c.o $$(O)/libcommon.a
	@mkdir -p $$(dir $$@)
	$$(Q)$$(CC) $$(LDFLAGS_$$(VARIANT)) -o $$@ $$^ $$(LIBS)
endef
$(eval $(call tool_rule,store,tool))
$(eval $(call tool_rule,cli,cli))

# Wrong on purpose: this ingester acknowledges before it syncs.  The durability tests must catch it.
$(O)/wrong/ingester: ingester/commit.c $(O)/ingester/main.c.o $(O)/libingester.a $(O)/libcommon.a
	@mkdir -p $(dir $@)
	$(Q)$(CC) $(CFLAGS) -DVIVACE_WRONG_ACK_BEFORE_SYNC -c $< -o $@.commit.o
	$(Q)$(CC) $(LDFLAGS_$(VARIANT)) -o $@ $(O)/ingester/main.c.o $@.commit.o $(O)/libingester.a $(O)/libcommon.a $(LIBS)

# And one that dies of spans with a mark in them, as if a bug were there.
$(O)/wrong/mortal/ingester: ingester/tally.c $(O)/ingester/main.c.o $(O)/libingester.a $(O)/libcommon.a
	@mkdir -p $(dir $@)
	$(Q)$(CC) $(CFLAGS) -DVIVACE_WRONG_DEATH_BY_MARK -c $< -o $@.tally.o
	$(Q)$(CC) $(LDFLAGS_$(VARIANT)) -o $@ $(O)/ingester/main.c.o $@.tally.o $(O)/libingester.a $(O)/libcommon.a $(LIBS)

# --- tests: one binary a file; a test may include anything, so every room's library is there -------
WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

$(O)/tests/unit/%: $(O)/tests/unit/%.c.o $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a
	$(Q)$(CC) $(LDFLAGS_$(VARIANT)) -o $@ $< $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a -lcmocka $(LIBS)

$(O)/tests/fault/%: $(O)/tests/fault/%.c.o $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a
	$(Q)$(CC) $(LDFLAGS_$(VARIANT)) $(WRAP) -o $@ $< $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a -lcmocka $(LIBS)

$(O)/tests/bench/%: $(O)/tests/bench/%.c.o $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a
	$(Q)$(CC) $(LDFLAGS_$(VARIANT)) -o $@ $< $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a -lcmocka $(LIBS)

$(O)/tests/fuzz/%_replay: $(O)/tests/fuzz/%.c.o $(O)/tests/lib/fuzz_replay_main.c.o $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a
	$(Q)$(CC) $(LDFLAGS_$(VARIANT)) -o $@ $< $(O)/tests/lib/fuzz_replay_main.c.o $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a -lcmocka $(LIBS)

$(O)/tests/fuzz/%_live: $(O)/tests/fuzz/%.c.o $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a
	$(Q)$(CC) -fsanitize=address,undefined,fuzzer -o $@ $< $(TEST_LIB) $(ROOM_LIBS) $(O)/libcommon.a -lcmocka $(LIBS)

# A file layer that forgets what was not synced (LD_PRELOAD); its open and pwrite are the C library's own names.
$(O)/forgetful.so: tests/lib/preload/forgetful.c
	@mkdir -p $(dir $@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -fPIC -shared -o $@ $< -ldl -lpthread

.PHONY: test test-unit test-fault fuzz-replay fuzz test-integration bench bench-store lint format format-check check tidy unit-bins

unit-bins: $(UNIT_BIN)

test: test-unit test-fault fuzz-replay ## unit tests, fault sweeps, fuzz corpora

test-unit: $(if $(T),$(O)/tests/unit/$(T)_test,$(UNIT_BIN)) ## unit tests (T=common/base/buf runs one)
	$(Q)tests/lib/run_binaries unit $^

test-fault: $(FAULT_BIN) ## nth malloc, nth write, nth fsync fails
	$(Q)tests/lib/run_binaries fault $^

fuzz-replay: $(FUZZ_REPLAY) ## every fuzz target over its committed corpus
	$(Q)tests/lib/run_fuzz_corpora $^

fuzz: ## fuzz one target: make fuzz T=otlp_pb S=60
	$(Q)$(MAKE) --no-print-directory VARIANT=fuzz $(B)/fuzz/tests/fuzz/$(T)_fuzz_live
	@mkdir -p $(B)/found/$(T)
	$(B)/fuzz/tests/fuzz/$(T)_fuzz_live -max_total_time=$(S) -artifact_prefix=$(B)/found/ $(B)/found/$(T) tests/fuzz/corpus/$(T)

test-integration: all ## pytest over the four real binaries
	$(Q)tests/run --only integration

bench: all $(BENCH_BIN) ## ingest and query benchmark, one table
	$(Q)B=$(B) VARIANT=$(VARIANT) tests/bench/run

bench-store: $(O)/tests/bench/store_bench $(if $(TEMPO),all $(O)/tests/bench/load_bench) ## the store and its queries beside their targets (SPANS=1000000), and with TEMPO=path beside that binary
	$(Q)$< $(SPANS)
	$(Q)$(if $(TEMPO),B=$(B) VARIANT=$(VARIANT) tests/bench/beside $(TEMPO),echo "no peer: TEMPO=path of a Tempo 2.x binary shows it beside")

lint: ## include law, file and function sizes, names, formatting
	$(Q)tests/lint/run

format: ## clang-format everything
	$(Q)git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i

format-check:
	$(Q)git ls-files '*.c' '*.h' '*.cc' | xargs clang-format --dry-run -Werror

check: ## everything that CI runs
	$(Q)tests/run

tidy: $(GEN_C) ## clang-tidy over the tree (slow)
	$(Q)git ls-files '*.c' | grep -v ^tests/ | xargs -P2 -I{} clang-tidy --quiet {} -- -std=gnu17 -D_GNU_SOURCE -I. -I$(GEN)

-include $(shell find $(O) -name '*.d' 2>/dev/null)
