# Belay. `make help` lists the targets; `make run` and `make test` do all the set-up on a fresh Debian machine.

CC ?= gcc
BUILD := build
VERSION := 0.1.0

PACKAGES := libmicrohttpd jansson libpq libuv libcurl libsodium libcyaml
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual \
        -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wswitch-enum -Wimplicit-fallthrough \
        -Wnull-dereference -Wconversion -Wno-sign-conversion -fno-common
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection \
          -fPIE -fno-delete-null-pointer-checks -fno-strict-aliasing
OPT ?= -O2 -g $(HARDEN)
LINK_OPT ?= -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
WERROR ?= $(if $(CI),-Werror)
CPPFLAGS += -I. -I$(BUILD) -D_GNU_SOURCE -DBELAY_VERSION='"$(VERSION)"' \
            $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
CFLAGS += -std=c11 $(OPT) $(WARN) $(WERROR) -pthread
LDLIBS += $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -pthread

# Outputs of the generators: names first, they are included by headers.
GEN_DEFS := $(BUILD)/gen/sql_names.def $(BUILD)/gen/tasks.def
GEN_C := $(BUILD)/gen/sql_texts.c $(BUILD)/gen/migrations.c $(BUILD)/gen/routes.c \
         $(BUILD)/gen/openapi.c $(BUILD)/gen/task_table.c

MAIN := server/main.c
SOURCES := $(filter-out $(MAIN),$(wildcard server/core/*.c server/http/*.c server/cli/*.c db/*.c \
           workers/*.c workers/tasks/*.c handlers/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/obj/%.o) $(GEN_C:$(BUILD)/%.c=$(BUILD)/obj/%.o)
MAIN_OBJECT := $(MAIN:%.c=$(BUILD)/obj/%.o)

.PHONY: all help clean
all: $(BUILD)/belay

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(BUILD)/belay: $(MAIN_OBJECT) $(OBJECTS)
	$(CC) $(LINK_OPT) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/obj/%.o: %.c | $(GEN_DEFS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c | $(GEN_DEFS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# -- generators ---------------------------------------------------------------------------------------

SQL_FILES := $(sort $(wildcard db/sql/*.sql))
MIGRATIONS := $(sort $(wildcard db/migrations/*.sql))
TASK_FILES := $(sort $(wildcard workers/tasks/*.c))

# Rewritten only when the content changes, so that a new statement does not rebuild the world for nothing.
define write_if_changed
	@mkdir -p $(@D)
	@$(1) > $@.new && { cmp -s $@.new $@ && rm $@.new || mv $@.new $@; }
endef

$(BUILD)/gen/sql_names.def: $(SQL_FILES) db/sql Makefile
	$(call write_if_changed,for f in $(SQL_FILES); do echo "SQL($$(basename $$f .sql))"; done)
	@touch $@

$(BUILD)/gen/sql_texts.c: $(SQL_FILES) db/gen_sql.awk
	$(call write_if_changed,awk -f db/gen_sql.awk $(SQL_FILES))
	@touch $@

$(BUILD)/gen/migrations.c: $(MIGRATIONS) db/gen_migrations.awk
	$(call write_if_changed,awk -f db/gen_migrations.awk $(MIGRATIONS))
	@touch $@

$(BUILD)/gen/tasks.def: $(TASK_FILES) workers/tasks Makefile
	$(call write_if_changed,for f in $(TASK_FILES); do echo "TASK($$(basename $$f .c))"; done)
	@touch $@

$(BUILD)/gen/task_table.c: $(BUILD)/gen/tasks.def Makefile
	$(call write_if_changed,printf '%s\n' '/* made from the file names in workers/tasks/ */' \
	  '\#include "workers/task.h"' '\#include <stddef.h>' \
	  'extern const struct task *const builtin_tasks[];' \
	  '\#define TASK(name) extern const struct task task_\#\#name;' '\#include "build/gen/tasks.def"' '\#undef TASK' \
	  'const struct task *const builtin_tasks[] = {' '\#define TASK(name) &task_\#\#name,' \
	  '\#include "build/gen/tasks.def"' '\#undef TASK' 'NULL};')
	@touch $@

$(BUILD)/gen_routes: openapi/gen_routes.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LINK_OPT) -o $@ $< $(shell pkg-config --libs jansson)

$(BUILD)/gen/routes.c: openapi/openapi.json $(BUILD)/gen_routes
	$(call write_if_changed,$(BUILD)/gen_routes routes openapi/openapi.json)
	@touch $@

$(BUILD)/gen/openapi.c: openapi/openapi.json $(BUILD)/gen_routes
	$(call write_if_changed,$(BUILD)/gen_routes document openapi/openapi.json)
	@touch $@

clean: ## remove everything that was built
	rm -rf $(BUILD)

-include $(OBJECTS:.o=.d) $(MAIN_OBJECT:.o=.d)
