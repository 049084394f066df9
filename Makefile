# Belay. `make help` lists the targets; `make run` and `make test` do all the set-up on a fresh Debian machine.
#
# Nothing is listed by hand: sources, statements, tasks and tests are found by wildcard, so a new file is a new part.
# VARIANT=name builds another flavour (sanitizers) into build/name/; what the generators make is shared.

CC ?= gcc
VERSION := 0.1.0
BUILD := build
VARIANT ?=
OUT := $(BUILD)$(VARIANT:%=/%)

# Debian 12 and 13. `make deps` asks dpkg for these and installs what is missing.
DEPS_BUILD := gcc make pkg-config libc6-dev libmicrohttpd-dev libjansson-dev libpq-dev libuv1-dev \
              libcurl4-openssl-dev libsodium-dev libcyaml-dev libyaml-dev
DEPS := $(DEPS_BUILD) postgresql curl jq
DEPS_TEST := $(DEPS) libcriterion-dev git procps g++ python3 spin pgbouncer libfaketime
DEPS_CHECK := $(DEPS_TEST) clang libclang-rt-dev clang-format clang-tidy cppcheck pmccabe

PACKAGES := libmicrohttpd jansson libpq libuv libcurl libsodium libcyaml yaml-0.1
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual \
        -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wswitch-enum -Wimplicit-fallthrough \
        -Wnull-dereference -Wconversion -Wno-sign-conversion -fno-common
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection \
          -fPIC -fno-semantic-interposition -fno-delete-null-pointer-checks -fno-strict-aliasing
OPT ?= -O2 -g $(HARDEN)
LINK_OPT ?= -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
WERROR ?= $(if $(CI),-Werror)
CPPFLAGS += -I. -D_GNU_SOURCE -DBELAY_VERSION='"$(VERSION)"' $(PKG_CFLAGS)
CFLAGS += -std=c11 $(OPT) $(WARN) $(WERROR) -pthread
LDLIBS += $(PKG_LIBS) -pthread

# Outputs of the generators: names first, they are included by headers.
GEN_DEFS := $(BUILD)/gen/sql_names.def $(BUILD)/gen/tasks.def $(BUILD)/gen/operations.h
GEN_C := $(BUILD)/gen/sql_texts.c $(BUILD)/gen/migrations.c $(BUILD)/gen/routes.c \
         $(BUILD)/gen/openapi.c

# belay.h and what it includes.
PUBLIC_HEADERS := $(filter server/%.h workers/%.h,$(shell $(CC) -I. -MM server/belay.h))
MAIN := server/main.c
SOURCES := $(filter-out $(MAIN),$(wildcard server/*.c server/core/*.c server/http/*.c server/cli/*.c db/*.c \
           workers/*.c workers/async/*.c workers/tasks/*.c handlers/*.c))
OBJECTS := $(SOURCES:%.c=$(OUT)/obj/%.o) $(GEN_C:$(BUILD)/%.c=$(OUT)/obj/%.o)
MAIN_OBJECT := $(MAIN:%.c=$(OUT)/obj/%.o)

# A tree that belongs to somebody else (a mounted volume, a clone that root tests) is this tree all the same.
export GIT_CONFIG_COUNT := 1
export GIT_CONFIG_KEY_0 := safe.directory
export GIT_CONFIG_VALUE_0 := *

.DELETE_ON_ERROR:
.PHONY: all help print-deps-test deps deps-build deps-test deps-check run test check format format-check lint asan tsan coverage valgrind fuzz \
        bench docs install uninstall lib clean ci docker-test test-trixie \
        test-fresh binaries chaos model tests-quick

all: $(OUT)/belay

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 16

# What plugins call in the binary, and nothing else.
$(OUT)/belay: $(MAIN_OBJECT) $(OBJECTS) $(BUILD)/gen/task.symbols
	$(call say,link)
	$(Q)$(CC) $(LINK_OPT) -Wl,--dynamic-list=$(BUILD)/gen/task.symbols $(LDFLAGS) -o $@ \
	  $(filter %.o,$^) $(LDLIBS)

# libbelay: the same objects without main. One number counts for the library and for task.h.
ABI := $(shell sed -nE 's/^.define BELAY_ABI ([0-9]+)$$/\1/p' workers/task.h)
SONAME := libbelay.so.$(ABI)
LIB_SHARED := $(SONAME).$(VERSION)

lib: $(OUT)/$(LIB_SHARED) $(OUT)/libbelay.a

$(OUT)/$(LIB_SHARED): $(OBJECTS) $(BUILD)/gen/belay.symbols
	$(call say,link)
	$(Q){ echo 'BELAY_$(ABI) { global:'; sed '1d;$$d' $(BUILD)/gen/belay.symbols; echo 'local: *; };'; } >$(OUT)/belay.map
	$(Q)$(CC) $(filter-out -pie,$(LINK_OPT)) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=$(OUT)/belay.map \
	  -Wl,--no-undefined $(LDFLAGS) -o $@ $(filter %.o,$^) $(LDLIBS)

# One object in which all names but the public ones are local, so that they do not meet those of a program.
$(OUT)/libbelay.a: $(OBJECTS) $(BUILD)/gen/belay.symbols
	$(call say,link)
	$(Q)$(LD) -r -o $(OUT)/libbelay.o $(filter %.o,$^)
	$(Q)tr -d '{};' <$(BUILD)/gen/belay.symbols >$(OUT)/belay.names
	$(Q)objcopy --keep-global-symbols=$(OUT)/belay.names $(OUT)/libbelay.o
	$(Q)rm -f $@ && $(AR) rcsD $@ $(OUT)/libbelay.o && rm $(OUT)/libbelay.o

# V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1) $@")

# Other flags, other objects. (-Werror changes none.)
$(OUT)/obj/flags: FORCE
	$(call write_if_changed,echo '$(CC) $(CPPFLAGS) $(filter-out -Werror,$(CFLAGS))')

$(OUT)/obj/%.o: %.c $(OUT)/obj/flags | $(GEN_DEFS)
	@mkdir -p $(@D)
	$(call say,cc)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/obj/gen/%.o: $(BUILD)/gen/%.c $(OUT)/obj/flags | $(GEN_DEFS)
	@mkdir -p $(@D)
	$(call say,cc)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# -- what a newcomer types -----------------------------------------------------------------------------

deps: ## install what the build needs (apt-get; sudo when not root)
	@tests/house/deps $(DEPS)

deps-build:
	@tests/house/deps $(DEPS_BUILD)

deps-test:
	@tests/house/deps $(DEPS_TEST)

deps-check:
	@tests/house/deps $(DEPS_CHECK)

DEMO := $(firstword $(wildcard belay.yaml docs/demo/belay.yaml))

print-deps-test: # for the scripts that make a system of their own
	@echo $(DEPS_TEST)

# The packages bring the pkg-config answers that the variables above ask for: so the build is a second make.
run: deps ## build and serve on http://127.0.0.1:8080 with the demo commands
	@$(MAKE) --no-print-directory all
	@$(if $(DEMO),: "$${BELAY_CONFIG:=$(DEMO)}"; export BELAY_CONFIG;) exec $(BUILD)/belay serve

test: deps-test ## build and run the whole test suite
	@$(MAKE) --no-print-directory -j2 binaries
	@BELAY_BINARY=$(CURDIR)/$(OUT)/belay tests/run $(TEST_BINARIES) $(TEST_SCRIPTS)

# -- install -------------------------------------------------------------------------------------------
# The names of the GNU coding standards, and PREFIX. DESTDIR is where packages put it for the time being.

PREFIX ?= /usr/local
prefix ?= $(PREFIX)
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
datarootdir ?= $(prefix)/share
mandir ?= $(datarootdir)/man
docdir ?= $(datarootdir)/doc/belay
pkgconfigdir ?= $(libdir)/pkgconfig
completiondir ?= $(datarootdir)/bash-completion/completions
INSTALL ?= install
INSTALL_PROGRAM ?= $(INSTALL) -m 755
INSTALL_DATA ?= $(INSTALL) -m 644

EXAMPLES := $(wildcard examples/*/Makefile examples/*/*.c docs/demo/*)
TO = $(DESTDIR)$(1)

install: all lib ## install below $(DESTDIR)$(PREFIX)
	$(INSTALL) -d $(call TO,$(bindir)) $(call TO,$(libdir)) $(call TO,$(includedir))/belay $(call TO,$(pkgconfigdir)) \
	  $(call TO,$(mandir))/man1 $(call TO,$(completiondir)) $(call TO,$(docdir))/examples
	$(INSTALL_PROGRAM) $(OUT)/belay $(call TO,$(bindir))/belay
	$(INSTALL_PROGRAM) $(OUT)/$(LIB_SHARED) $(call TO,$(libdir))/$(LIB_SHARED)
	ln -sf $(LIB_SHARED) $(call TO,$(libdir))/$(SONAME)
	ln -sf $(SONAME) $(call TO,$(libdir))/libbelay.so
	$(INSTALL_DATA) $(OUT)/libbelay.a $(call TO,$(libdir))/libbelay.a
	for h in $(PUBLIC_HEADERS); do \
	  sed -E 's#^(.include) "[a-z]+/(.*)"#\1 <belay/\2>#' $$h >$(OUT)/header && \
	  $(INSTALL_DATA) $(OUT)/header $(call TO,$(includedir))/belay/$$(basename $$h) || exit 1; done
	sed -e 's#@prefix@#$(prefix)#; s#@libdir@#$(libdir)#; s#@includedir@#$(includedir)#; s#@version@#$(VERSION)#' \
	  -e 's#@private@#$(strip $(PKG_LIBS))#' server/belay.pc.in >$(OUT)/belay.pc
	$(INSTALL_DATA) $(OUT)/belay.pc $(call TO,$(pkgconfigdir))/belay.pc
	$(INSTALL_DATA) docs/belay.1 $(call TO,$(mandir))/man1/belay.1
	$(OUT)/belay completion bash >$(OUT)/completion
	$(INSTALL_DATA) $(OUT)/completion $(call TO,$(completiondir))/belay
	for f in $(EXAMPLES); do \
	  to=$(call TO,$(docdir))/examples/$$(echo $$f | sed -E 's#^(examples|docs)/##') && \
	  $(INSTALL) -d $$(dirname $$to) && $(INSTALL) -m $$(test -x $$f && echo 755 || echo 644) $$f $$to || exit 1; done

uninstall: ## remove what install has put there
	rm -f $(call TO,$(bindir))/belay $(call TO,$(libdir))/$(LIB_SHARED) $(call TO,$(libdir))/$(SONAME) \
	  $(call TO,$(libdir))/libbelay.so $(call TO,$(libdir))/libbelay.a $(call TO,$(pkgconfigdir))/belay.pc \
	  $(call TO,$(mandir))/man1/belay.1 $(call TO,$(completiondir))/belay
	rm -rf $(call TO,$(includedir))/belay $(call TO,$(docdir))

clean: ## remove everything that was built
	rm -rf $(BUILD)

# -- tests ---------------------------------------------------------------------------------------------
# tests/<folder>/*.c with tests/support/*.c and everything but main.o is one Criterion binary, build/test_<folder>.
# tests/<folder>/run is a suite in shell. Both kinds count into the last line of `make test`.

TEST_SUPPORT := $(patsubst %.c,$(OUT)/obj/%.o,$(wildcard tests/support/*.c))
TEST_FOLDERS := $(filter-out support fuzz chaos poison house,$(sort $(foreach f,$(wildcard tests/*/*.c),$(word 2,$(subst /, ,$(f))))))
TEST_BINARIES := $(TEST_FOLDERS:%=$(OUT)/test_%)
TEST_SCRIPTS := $(wildcard tests/*/run)

# The drivers of tests/chaos/run: programs of their own, not Criterion.
CHAOS_NAMES := $(patsubst tests/chaos/%.c,%,$(shell grep -l '^int main' tests/chaos/*.c))
CHAOS := $(CHAOS_NAMES:%=$(OUT)/chaos/%)
CHAOS_TASKS := $(OUT)/chaos/tasks.so
CHAOS_SHIM := $(OUT)/chaos/memory_shim.so
CHAOS_SHARED := $(patsubst %.c,$(OUT)/obj/%.o,$(filter-out $(CHAOS_NAMES:%=tests/chaos/%.c) tests/chaos/tasks.c tests/chaos/memory_shim.c,$(wildcard tests/chaos/*.c)))
$(CHAOS): $(OUT)/chaos/%: $(OUT)/obj/tests/chaos/%.o $(CHAOS_SHARED) $(OBJECTS)
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(LINK_OPT) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Plugins: tasks that go wrong, for tests/isolate (no sanitizer is to find it out first), and those of the chaos suite.
POISON := $(OUT)/poison.so
$(POISON): tests/poison/tasks.c
$(CHAOS_TASKS): tests/chaos/tasks.c
$(CHAOS_SHIM): tests/chaos/memory_shim.c
$(POISON) $(CHAOS_TASKS) $(CHAOS_SHIM): $(wildcard workers/*.h) | $(GEN_DEFS)
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -O1 -g $(WARN) $(WERROR) -fPIC -shared -o $@ $(filter %.c,$^)

chaos: export SEED := $(SEED)
chaos: export MINUTES := $(MINUTES)
chaos: deps-test ## kill, freeze and cut off everything, thousands of times, with full accounting
	@$(MAKE) --no-print-directory -j2 binaries
	@BELAY_BINARY=$(CURDIR)/$(OUT)/belay CHAOS_COUNTS=$${CHAOS_COUNTS:-full} tests/chaos/run

.PHONY: scorecard scorecard-gate scorecard-rest scorecard-release
scorecard: ## write docs/scorecard.md from the parts that have been run
	@BELAY_BINARY=$(CURDIR)/$(OUT)/belay tests/house/scorecard page >docs/scorecard.md

scorecard-gate scorecard-rest scorecard-release: scorecard-%: deps-test ## run the parts of the scorecard; rest: those that no test is
	@$(MAKE) --no-print-directory -j2 binaries
	@BELAY_BINARY=$(CURDIR)/$(OUT)/belay tests/house/scorecard $*

model: deps-test ## look at every state that a model of a job can get into
	@MODEL_FULL=1 tests/model/run

.PHONY: switched-off mutants
mutants: deps-test ## drop each guard of the SQL in turn: a test has to fail
	@$(MAKE) --no-print-directory -j2 binaries
	@tests/mutants/mutants $(MUTANTS)

switched-off: deps-test ## take out one safeguard after the other: a named test has to fail
	@tests/house/switched-off

binaries: $(OUT)/belay $(TEST_BINARIES) $(CHAOS) $(POISON) $(CHAOS_TASKS) $(CHAOS_SHIM) $(if $(VARIANT),,lib)

# Tests of what happens when the database fails replace libpq's calls: tests/<folder>/wrap lists the names.
wrapped = $(addprefix -Wl$(comma)--wrap=,$(shell cat tests/$(1)/wrap 2>/dev/null))
comma := ,

define test_binary
$(OUT)/test_$(1): $(patsubst %.c,$(OUT)/obj/%.o,$(wildcard tests/$(1)/*.c)) $(TEST_SUPPORT) $(OBJECTS)
	$$(call say,link)
	$$(Q)$$(CC) $$(LINK_OPT) $$(LDFLAGS) $(call wrapped,$(1)) -o $$@ $$(filter %.o,$$^) $$(LDLIBS) -lcriterion
endef
$(foreach folder,$(TEST_FOLDERS),$(eval $(call test_binary,$(folder))))

# -- quality -------------------------------------------------------------------------------------------

HAND_WRITTEN := $(wildcard server/*.[ch] server/*/*.[ch] db/*.[ch] workers/*.[ch] workers/async/*.[ch] workers/tasks/*.[ch] \
                examples/*/*.[ch] handlers/*.[ch] openapi/*.[ch] bench/*.[ch] tests/*/*.[ch])
CLANG_FORMAT := $(firstword $(shell command -v clang-format-14 clang-format 2>/dev/null) clang-format)

check: deps-check all ## measure the house style: layers, sizes, names, format, documents
	@BELAY_BINARY=$(CURDIR)/$(OUT)/belay CLANG_FORMAT=$(CLANG_FORMAT) tests/house/check

format: ## rewrite the sources with clang-format 14
	@$(CLANG_FORMAT) -i $(HAND_WRITTEN)
	@sed -i -E 's#^(/\* -- .{81})-* \*/$$#\1 */#' $(HAND_WRITTEN) # rules between sections: 90 columns

format-check:
	@CLANG_FORMAT=$(CLANG_FORMAT) tests/house/format $(HAND_WRITTEN)

lint: export CPPFLAGS := $(CPPFLAGS)
lint: deps-check lint-openapi $(GEN_DEFS) $(GEN_C) ## clang-tidy, cppcheck, gcc -fanalyzer; the contract
	@tests/house/lint $(MAIN) $(SOURCES) openapi/gen_routes.c

.PHONY: lint-openapi
lint-openapi: ## the contract against the code, Redocly and Spectral
	@tests/house/openapi

SANITIZE := -fno-omit-frame-pointer -fno-sanitize-recover=all

# The suites in shell that are about something else than the code of the service gain nothing from a sanitizer.
SANITIZED_SCRIPTS := tests/chaos/run tests/cli/run tests/e2e/run

asan: deps-test ## the suite under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory -j2 binaries VARIANT=asan WERROR= LINK_OPT='-fsanitize=address,undefined' \
	  OPT='-O1 -g -fsanitize=address,undefined $(SANITIZE)'
	@BELAY_BINARY=$(CURDIR)/$(BUILD)/asan/belay SANITIZER_LOGS=$(CURDIR)/$(BUILD)/asan/report \
	  CHAOS_PARTS='restart files mixed' tests/run $(TEST_FOLDERS:%=$(BUILD)/asan/test_%) $(SANITIZED_SCRIPTS)

tsan: deps-test ## the server under ThreadSanitizer, with load over HTTP
	@$(MAKE) --no-print-directory -j2 all VARIANT=tsan WERROR= LINK_OPT='-fsanitize=thread' \
	  OPT='-O1 -g -fsanitize=thread $(SANITIZE)'
	@BELAY_BINARY=$(CURDIR)/$(BUILD)/tsan/belay tests/house/tsan

coverage: deps-test ## lines and branches that the whole suite reaches: build/coverage/index.html
	@tests/house/deps gcovr
	@mkdir -p $(BUILD)/coverage && $(CC) -O1 -c -o $(BUILD)/coverage/exit.o tests/house/coverage_exit.c
	@$(MAKE) --no-print-directory -j2 binaries VARIANT=coverage WERROR= \
	  LINK_OPT='--coverage -Wl,--wrap=_exit $(BUILD)/coverage/exit.o' OPT='-O0 -g --coverage -fprofile-update=atomic'
	@find $(BUILD)/coverage -name '*.gcda' -delete
	@-BELAY_BINARY=$(CURDIR)/$(BUILD)/coverage/belay tests/run $(TEST_FOLDERS:%=$(BUILD)/coverage/test_%) $(TEST_SCRIPTS)
	@tests/house/coverage $(BUILD)/coverage

VALGRIND_SUITES ?= async isolate

valgrind: deps-test ## coroutines and child processes under valgrind; VALGRIND_FILTER='loop/*' for a part
	@tests/house/deps valgrind
	@$(MAKE) --no-print-directory -j2 binaries
	@BELAY_BINARY=$(CURDIR)/$(OUT)/belay tests/house/valgrind $(VALGRIND_SUITES:%=$(OUT)/test_%)

FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))

fuzz: deps-check ## run each fuzzer of tests/fuzz for FUZZ_SECONDS, side by side
	@$(MAKE) --no-print-directory -j2 fuzzers VARIANT=fuzz CC=clang WERROR= LINK_OPT= \
	  OPT='-O1 -g -fsanitize=fuzzer-no-link,address,undefined $(SANITIZE)'
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/house/fuzz $(FUZZERS:%=$(BUILD)/fuzz/fuzz_%)

.PHONY: fuzzers
fuzzers: $(FUZZERS:%=$(OUT)/fuzz_%)

$(OUT)/fuzz_%: $(OUT)/obj/tests/fuzz/%.o $(OBJECTS)
	$(call say,link)
	$(Q)$(CC) -fsanitize=fuzzer,address,undefined $(LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(shell cat tests/fuzz/$*.wrap 2>/dev/null)) \
	  -o $@ $^ $(LDLIBS)

.PHONY: schemathesis
schemathesis: deps-test ## requests made of the contract, to each operation; the answers have to keep to it
	@$(MAKE) --no-print-directory -j2 all
	@BELAY_BINARY=$(CURDIR)/$(OUT)/belay tests/house/schemathesis

# -- bench, docs, containers, ci -----------------------------------------------------------------------

BENCHES := $(patsubst bench/%.c,$(OUT)/bench/%,$(wildcard bench/*.c))

bench: deps-test ## measure: prints a table, keeps JSON in build/bench
	@$(MAKE) --no-print-directory -j2 all benches
	@BELAY_BINARY=$(CURDIR)/$(OUT)/belay bench/run

.PHONY: benches
benches: $(BENCHES)

.PHONY: bench-programs
bench-programs: deps-test ## run those of bench/ that need no server, for their exit codes
	@$(MAKE) --no-print-directory -j2 benches
	$(OUT)/bench/abort_look && $(OUT)/bench/coroutines 1000 && $(OUT)/bench/children

$(OUT)/bench/%: $(OUT)/obj/bench/%.o $(OBJECTS)
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(LINK_OPT) $(LDFLAGS) -o $@ $^ $(LDLIBS)

docs: all ## rewrite the pages that are made from the code
	$(OUT)/belay config --markdown > docs/configuration.md

docker-test: ## build the image, start the stack, use it, break it, stop it
	@docker/test

test-trixie: ## build and test in a Debian 13 of its own
	@tests/house/trixie

test-fresh: ## the README and the tests in a Debian 12 that has nothing yet
	@tests/house/fresh

ci: ## what .ci/run runs
	@.ci/run

# -- generators ---------------------------------------------------------------------------------------

SQL_FILES := $(sort $(wildcard db/sql/*.sql))
MIGRATIONS := $(sort $(wildcard db/migrations/*.sql))
TASK_FILES := $(sort $(wildcard workers/tasks/*.c))

# Rewritten only when the content changes, so that a new statement does not rebuild the world for nothing.
define write_if_changed
	@mkdir -p $(@D)
	@$(1) > $@.new && { cmp -s $@.new $@ && rm $@.new || mv $@.new $@; }
endef

.PHONY: FORCE
$(BUILD)/gen/sql_names.def: FORCE
	$(call write_if_changed,for f in $(SQL_FILES); do echo "SQL($$(basename $$f .sql))"; done)

$(BUILD)/gen/sql_texts.c: $(SQL_FILES) db/gen_sql.awk $(BUILD)/gen/sql_names.def
	$(call write_if_changed,awk -f db/gen_sql.awk $(SQL_FILES))
	@touch $@

$(BUILD)/gen/migrations.c: $(MIGRATIONS) db/gen_migrations.awk
	$(call write_if_changed,awk -f db/gen_migrations.awk $(MIGRATIONS))
	@touch $@

$(BUILD)/gen/tasks.def: FORCE
	$(call write_if_changed,for f in $(TASK_FILES); do echo "TASK($$(basename $$f .c))"; done)

# The functions that a public header and those that it includes declare, as the linker wants them: `{ a; b; };`.

# A line with a macro of the system would be cut into pieces: bool is none for the time being.
BOOL_STAYS := -D_STDBOOL_H -D__STDBOOL_H
$(BUILD)/gen/task.symbols: HEADER := workers/task.h
$(BUILD)/gen/belay.symbols: HEADER := server/belay.h
$(BUILD)/gen/%.symbols: server/gen_symbols.awk $(PUBLIC_HEADERS)
	@mkdir -p $(@D)
	$(call write_if_changed,$(CC) $(CPPFLAGS) $(BOOL_STAYS) -E $(HEADER) | awk -f server/gen_symbols.awk)
	@touch $@

$(BUILD)/gen_routes: openapi/gen_routes.c
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -O1 -g $(WARN) $(WERROR) -o $@ $< $(shell pkg-config --libs jansson)

$(BUILD)/gen/routes.c: openapi/openapi.json $(BUILD)/gen_routes
	$(call write_if_changed,$(BUILD)/gen_routes routes openapi/openapi.json)
	@touch $@

$(BUILD)/gen/operations.h: openapi/openapi.json $(BUILD)/gen_routes
	$(call write_if_changed,$(BUILD)/gen_routes operations openapi/openapi.json)
	@touch $@

$(BUILD)/gen/openapi.c: openapi/openapi.json $(BUILD)/gen_routes
	$(call write_if_changed,$(BUILD)/gen_routes document openapi/openapi.json)
	@touch $@

-include $(OBJECTS:.o=.d) $(MAIN_OBJECT:.o=.d)
-include $(wildcard $(OUT)/obj/tests/*/*.d $(OUT)/obj/bench/*.d)
