# `make help` lists what there is.
#
#   BUILD=dir            where everything that is built goes (default build/)
#   SANITIZE=address     services, libraries and tests with AddressSanitizer and UBSan
#   SANITIZE=thread      the same with ThreadSanitizer
BUILD ?= build
SANITIZE ?=
OUT := $(BUILD)/$(if $(SANITIZE),$(SANITIZE),release)
GEN := $(BUILD)/gen

# How many states of a function the static analyzer looks at. Its own default is 225,000, and nearly all the time
# of lint; `make analyze` takes that. With 20,000 it finds faults where there are none.
TIDY_STATES = 40000
TIDY = $(BUILD)/tidy-$(TIDY_STATES)

CC = gcc
WARNINGS = -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
           -Wvla -Wformat=2 -Wundef -Wwrite-strings
HARDEN = -fstack-protector-strong -D_FORTIFY_SOURCE=2
CFLAGS = -std=gnu11 -O2 -g -fno-omit-frame-pointer -fPIC -pthread
LDFLAGS = -pthread -Wl,-z,relro,-z,now
ifeq ($(SANITIZE),address)
CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -O1
LDFLAGS += -fsanitize=address,undefined
HARDEN =
else ifeq ($(SANITIZE),thread)
CFLAGS += -fsanitize=thread -O1
LDFLAGS += -fsanitize=thread
HARDEN =
else ifneq ($(SANITIZE),)
$(error SANITIZE=$(SANITIZE): set address or thread)
endif

# Looked up when a recipe first wants it, so that `make help` and `make deps` work before anything is
# installed, and once: pkg-config takes as long as a small compilation.
PKGS = libprotobuf-c grpc libpq jose jansson libargon2 libcrypto libpcre2-8 zlib hiredis libevent_core
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)) -lunistring)$(PKG_LIBS)
CPPFLAGS = -Ilib -I$(GEN) -D_GNU_SOURCE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

# ---- generated from proto/ ----

PROTOS := $(sort $(shell cd proto && find . -name '*.proto' | sed 's|^\./||'))
WELL_KNOWN := $(addprefix google/protobuf/,any.proto descriptor.proto duration.proto empty.proto \
              field_mask.proto struct.proto timestamp.proto wrappers.proto)
GEN_C := $(patsubst %.proto,$(GEN)/%.pb-c.c,$(PROTOS) $(WELL_KNOWN))

$(GEN)/.protos: $(addprefix proto/,$(PROTOS)) proto/protoc-gen-c.sh
	@mkdir -p $(GEN)
	protoc --plugin=protoc-gen-c=proto/protoc-gen-c.sh --c_out=$(GEN) -Iproto -I/usr/include \
	    $(PROTOS) $(WELL_KNOWN)
	protoc --include_imports --include_source_info -o $(BUILD)/api.binpb -Iproto -I/usr/include $(PROTOS)
	@touch $@
$(GEN_C) $(BUILD)/api.binpb: $(GEN)/.protos ;

# ---- objects and libraries ----

LIB_C := $(sort $(wildcard lib/*/*.c))
LIB_O := $(LIB_C:%.c=$(OUT)/%.o) $(OUT)/lib/service/api_descriptor.o
GEN_O := $(GEN_C:$(GEN)/%.c=$(OUT)/gen/%.o)

$(OUT)/%.o: %.c $(GEN)/.protos
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(HARDEN) $(WARNINGS) -MMD -MP -c $< -o $@
$(OUT)/lib/service/api_descriptor.o: lib/service/api_descriptor.S $(BUILD)/api.binpb
	@mkdir -p $(@D)
	$(CC) -DAPI_DESCRIPTOR_SET='"$(BUILD)/api.binpb"' -c $< -o $@
# Generated code is not ours to keep free of warnings.
$(OUT)/gen/%.o: $(GEN)/.protos
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(HARDEN) -w -c $(GEN)/$*.c -o $@

$(OUT)/libstoa.a: $(LIB_O) $(GEN_O)
	rm -f $@ && ar rcs $@ $^

# ---- services ----

SERVICES := $(sort $(patsubst services/%/main.c,%,$(wildcard services/*/main.c)))

# The numbered SQL files of a service as a C array, so that the binary carries its own migrations.
$(GEN)/services/%/migrations.c: services/%/migrations deploy/embed-migrations
	@mkdir -p $(@D)
	deploy/embed-migrations $< >$@
$(OUT)/gen/services/%/migrations.o: $(GEN)/services/%/migrations.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(HARDEN) $(WARNINGS) -c $< -o $@

define SERVICE_RULES
$(GEN)/services/$(1)/migrations.c: $(wildcard services/$(1)/migrations/*.sql)
$(OUT)/bin/$(1): $(patsubst %.c,$(OUT)/%.o,$(wildcard services/$(1)/*.c)) \
                 $(OUT)/gen/services/$(1)/migrations.o $(OUT)/libstoa.a
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(PKG_LIBS)
endef
$(foreach s,$(SERVICES),$(eval $(call SERVICE_RULES,$(s))))

# The passwords that most people use.
$(GEN)/services/auth/common_passwords.c: deploy/embed-common-passwords
	@mkdir -p $(@D)
	$< >$@
$(OUT)/gen/services/auth/common_passwords.o: $(GEN)/services/auth/common_passwords.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Iservices/auth $(CFLAGS) $(HARDEN) $(WARNINGS) -c $< -o $@
$(OUT)/bin/auth: $(OUT)/gen/services/auth/common_passwords.o

# ---- tools ----

TOOLS := $(sort $(patsubst tools/%.c,%,$(wildcard tools/*.c)))

$(addprefix $(OUT)/bin/,$(TOOLS)): $(OUT)/bin/%: $(OUT)/tools/%.o $(OUT)/libstoa.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs libprotobuf-c libpcre2-8 jansson)

# ---- the command line (cli/README.md) ----

# stoa itself has the tasks and loads little; what calls the services is a program of its own, which it
# starts (cli/README.md).
CLI_C := $(sort $(wildcard cli/*.c cli/task/*.c))
CLI_CLIENT_C := $(sort $(wildcard cli/client/*.c)) $(addprefix cli/,bulk.c editor.c file.c paths.c roff.c terminal.c usage.c)
CLI_CLIENT := $(OUT)/libexec/stoa/stoa-client
CLI_MAN := $(addprefix $(OUT)/share/man/man1/,stoa-task.1 stoa.1 stoa-post.1 stoa-chat.1)
CLI := $(OUT)/bin/stoa $(OUT)/bin/stoa-todo $(CLI_CLIENT) $(CLI_MAN)

# The dynamic linker takes several times as long for gRPC's sixty libraries as for these few. OpenSSL stays
# shared, so that it is mended with the system; for sanitizers all do.
CLI_CLIENT_PKGS = libprotobuf-c grpc libpcre2-8 jansson ncursesw
ifeq ($(SANITIZE),)
CLI_CLIENT_LIBS = -Wl,-Bstatic $(filter-out -lssl -lcrypto,$(shell pkg-config --libs --static $(CLI_CLIENT_PKGS))) \
                  -lunistring -lstdc++ -Wl,-Bdynamic -lmd4c -lssl -lcrypto -lm
else
CLI_CLIENT_LIBS = $(shell pkg-config --libs $(CLI_CLIENT_PKGS) md4c openssl) -lunistring
endif

$(OUT)/bin/stoa: $(CLI_C:%.c=$(OUT)/%.o) $(OUT)/libstoa.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -Wl,-Bstatic -ljansson -lunistring -Wl,-Bdynamic
$(OUT)/bin/stoa-todo: $(OUT)/bin/stoa
	ln -sf stoa $@
$(CLI_CLIENT): $(CLI_CLIENT_C:%.c=$(OUT)/%.o) $(OUT)/libstoa.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(CLI_CLIENT_LIBS)
$(OUT)/share/man/man1/stoa-task.1: $(OUT)/bin/stoa
	@mkdir -p $(@D)
	$< task --man >$@
$(filter-out %/stoa-task.1,$(CLI_MAN)): $(OUT)/share/man/man1/%.1: $(CLI_CLIENT)
	@mkdir -p $(@D)
	$< --man $* >$@

PREFIX ?= /usr/local
.PHONY: install-cli
install-cli: ## stoa and stoa-todo, manual pages and completion, under PREFIX (/usr/local)
	@deploy/install-packages build
	@$(BIG_MAKE) $(CLI)
	install -D -t $(DESTDIR)$(PREFIX)/bin $(OUT)/bin/stoa
	install -D -t $(DESTDIR)$(PREFIX)/libexec/stoa $(CLI_CLIENT)
	ln -sf stoa $(DESTDIR)$(PREFIX)/bin/stoa-todo
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(CLI_MAN)
	ln -sf stoa-task.1 $(DESTDIR)$(PREFIX)/share/man/man1/stoa-todo.1
	install -D -m 644 cli/completion/stoa.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/stoa
	ln -sf stoa $(DESTDIR)$(PREFIX)/share/bash-completion/completions/stoa-todo
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions cli/completion/_stoa

# ---- the gateway's nginx module ----

NGINX_SOURCE = /usr/share/nginx/src
NGINX_BUILD := $(BUILD)/nginx
NGINX_MODULE := $(OUT)/gateway/ngx_http_grpc_json_module.so
NGINX_CPPFLAGS := $(addprefix -isystem $(NGINX_SOURCE)/src/,core event event/modules os/unix http \
                  http/modules http/v2) -isystem $(NGINX_BUILD)
GATEWAY_C := $(sort $(wildcard gateway/*.c))
# The module carries its own copies of what it needs, out of sight of nginx (module.map).
GATEWAY_LIB_O := $(filter $(addprefix $(OUT)/lib/,base/% http/% openapi/% schema/% trace/% edge/attach_wire.o grpc/carry_wire.o \
                 metrics/process.o metrics/text.o),$(LIB_O)) $(GEN_O)

# nginx's configure, with the flags of Debian's nginx, finds out the types that the module must share.
$(NGINX_BUILD)/.configured: gateway/config $(NGINX_SOURCE)/conf_flags
	@mkdir -p $(NGINX_BUILD)
	cd $(NGINX_SOURCE) && bash -c '. ./conf_flags && ./configure "$${NGX_CONF_FLAGS[@]}" \
	    --builddir=$(abspath $(NGINX_BUILD)) --add-dynamic-module=$(abspath gateway)' \
	    >$(abspath $(NGINX_BUILD))/configure.log
	@touch $@
$(OUT)/gateway/%.o: gateway/%.c $(NGINX_BUILD)/.configured $(GEN)/.protos
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Igateway $(NGINX_CPPFLAGS) $(CFLAGS) $(HARDEN) $(WARNINGS) -MMD -MP -c $< -o $@
$(OUT)/gateway/place.o: $(NGINX_BUILD)/.configured
	@mkdir -p $(@D)
	$(CC) $(NGINX_CPPFLAGS) $(CFLAGS) -c $(NGINX_BUILD)/ngx_http_grpc_json_module_modules.c -o $@
$(OUT)/gateway/lib.a: $(GATEWAY_LIB_O)
	@mkdir -p $(@D)
	rm -f $@ && ar rcs $@ $^
NGINX_MODULE_O := $(GATEWAY_C:%.c=$(OUT)/%.o) $(OUT)/gateway/place.o $(OUT)/gateway/lib.a
NGINX_MODULE_LIBS = $(shell pkg-config --libs libprotobuf-c libpcre2-8 libcrypto jansson libnghttp2 zlib)
$(NGINX_MODULE): $(NGINX_MODULE_O) gateway/module.map
	$(CC) $(LDFLAGS) -shared -Wl,--version-script=gateway/module.map -o $@ $(filter %.o,$^) \
	    $(OUT)/gateway/lib.a $(NGINX_MODULE_LIBS)

# ---- failing allocations, for tests (tests/faults) ----

FAULTS := $(BUILD)/release/tests/faults.so
FAULT_MODULE := $(OUT)/tests/$(notdir $(NGINX_MODULE))
FAULT_PARTS := $(FAULTS) $(BUILD)/release/tests/$(notdir $(NGINX_MODULE))
FAULT_WRAP_O := $(OUT)/gateway/tests/faults/wrap.o
# For the linker: what wrap.o stands in front of.
FAULT_WRAP = $$(nm $(FAULT_WRAP_O) | sed -n 's/.* T __wrap_/-Wl,--wrap=/p')

$(OUT)/tests/faults.so: $(OUT)/tests/faults/faults.o
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -shared -o $@ $<
$(FAULT_MODULE): $(FAULT_WRAP_O) $(NGINX_MODULE_O) gateway/module.map
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -shared -Wl,--version-script=gateway/module.map $(FAULT_WRAP) -o $@ $(filter %.o,$^) \
	    $(OUT)/gateway/lib.a $(NGINX_MODULE_LIBS)

# Steps of a program's way to the disk that fail, or are its last (tests/cli).
IO_FAULTS := $(OUT)/tests/io_faults.so
$(IO_FAULTS): $(OUT)/tests/cli/io_faults.o
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -shared -o $@ $<

# A user of gateway/h2.h for the contract tests, with its own copy of what is behind it.
H2_MODULE := $(BUILD)/release/tests/ngx_http_h2_test_module.so
H2_MODULE_O := $(OUT)/gateway/tests/h2module/module.o \
               $(addprefix $(OUT)/gateway/,$(addsuffix .o,h2_carrier h2_connection h2_peer h2_session h2_stream \
               rpc_stream rpc_status problem))
$(OUT)/gateway/tests/%.o: tests/%.c $(NGINX_BUILD)/.configured
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Igateway $(NGINX_CPPFLAGS) $(CFLAGS) $(HARDEN) $(WARNINGS) -MMD -MP -c $< -o $@
$(OUT)/tests/ngx_http_h2_test_module.so: $(FAULT_WRAP_O) $(H2_MODULE_O) $(OUT)/gateway/lib.a gateway/module.map
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -shared -Wl,--version-script=gateway/module.map $(FAULT_WRAP) -o $@ $(filter %.o,$^) \
	    $(OUT)/gateway/lib.a $(shell pkg-config --libs libnghttp2 libprotobuf-c)

# ---- unit tests ----

UNIT_TESTS := $(patsubst tests/unit/%.c,$(OUT)/tests/%,$(wildcard tests/unit/test_*.c))

$(OUT)/tests/%: $(OUT)/tests/unit/%.o $(OUT)/libstoa.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(PKG_LIBS) $(TEST_LIBS) -lcmocka
# What a test needs of a service.
$(OUT)/tests/test_gateway_problem: $(OUT)/gateway/problem.o $(OUT)/gateway/rpc_status.o \
                                   $(OUT)/gateway/rpc_details.o
$(OUT)/tests/test_gateway_frame_queue: $(OUT)/gateway/frame_queue.o
$(OUT)/tests/test_gateway_stream_count: $(OUT)/gateway/stream_count.o
$(OUT)/tests/test_gateway_channels: $(OUT)/gateway/channels.o
$(OUT)/tests/test_gateway_adaptive_throttle: $(OUT)/gateway/adaptive_throttle.o
$(OUT)/tests/test_gateway_standing_delay: $(OUT)/gateway/standing_delay.o
# malloc and its kin in front of everything, a sanitizer's own beginning included.
$(OUT)/tests/faults/faults.o: CFLAGS += -fno-sanitize=all
$(OUT)/tests/test_no_memory: $(OUT)/tests/faults/faults.o
$(OUT)/tests/test_gateway_rpc_stream: $(OUT)/gateway/rpc_stream.o $(OUT)/gateway/rpc_status.o \
                                    $(OUT)/gateway/problem.o
# How often the engine looks for what has come.
$(OUT)/tests/test_pg_group: TEST_LIBS = -Wl,--wrap=epoll_wait
$(OUT)/tests/test_slug: $(OUT)/services/posts/slug.o
$(OUT)/tests/test_auth_sql: $(OUT)/services/auth/statements.o
$(OUT)/tests/test_names: $(OUT)/services/auth/names.o
$(OUT)/tests/test_common_password: $(OUT)/services/auth/common_password.o \
                                   $(OUT)/gen/services/auth/common_passwords.o
$(OUT)/tests/test_password: $(addprefix $(OUT)/services/auth/,password.o background.o)
$(OUT)/tests/test_refresh_token: $(OUT)/services/auth/refresh_token.o
$(OUT)/tests/test_throttle: $(OUT)/services/auth/throttle.o
$(OUT)/tests/test_highlight: $(OUT)/services/posts/highlight.o
$(OUT)/tests/test_tags: $(OUT)/services/posts/tags.o
$(OUT)/tests/test_page_token: $(OUT)/services/chat/page_token.o
$(OUT)/tests/test_live: $(addprefix $(OUT)/services/chat/,window.o account_set.o live_parts.o)
$(OUT)/tests/test_crowd: $(addprefix $(OUT)/services/chat/,crowd.o typists.o)
$(OUT)/tests/test_task_line: $(addprefix $(OUT)/cli/task/,line.o date.o)
$(OUT)/tests/test_task_file: $(addprefix $(OUT)/cli/,bulk.o file.o paths.o task/journal.o)
$(OUT)/tests/test_task_settings: $(addprefix $(OUT)/cli/,paths.o task/settings.o)
$(OUT)/tests/test_terminal: $(OUT)/cli/terminal.o
$(OUT)/tests/test_client_markdown: $(addprefix $(OUT)/cli/,terminal.o client/markdown.o)
# The copy that md4c reads is put in front of a page that nobody may read.
$(OUT)/tests/test_client_markdown: TEST_LIBS = -lmd4c -Wl,--wrap=calloc,--wrap=free
$(OUT)/tests/test_client_room: $(addprefix $(OUT)/cli/,terminal.o client/input_line.o client/room_view.o)
$(OUT)/tests/test_client_files: $(addprefix $(OUT)/cli/,bulk.o file.o paths.o $(addprefix client/,credentials.o \
                                document.o settings.o))
$(addprefix $(OUT)/tests/test_posts_,sql lists_sql search_sql plans_sql locks): $(OUT)/services/posts/statements.o
$(addprefix $(OUT)/tests/test_chat_,sql members_sql retention_sql): $(OUT)/services/chat/statements.o
# Messages that a test decodes.
$(GEN)/tests/.protos: tests/unit/protos/rules.proto $(GEN)/.protos
	@mkdir -p $(@D)
	protoc --plugin=protoc-gen-c=proto/protoc-gen-c.sh --c_out=$(GEN)/tests -Itests/unit/protos \
	    -Iproto -I/usr/include rules.proto
	@touch $@
$(GEN)/tests/rules.pb-c.c: $(GEN)/tests/.protos ;
$(OUT)/gen/tests/rules.pb-c.o $(OUT)/tests/unit/test_schema_validate.o \
$(TIDY)/tests/unit/test_schema_validate.ok: $(GEN)/tests/.protos
$(OUT)/tests/test_schema_validate: $(OUT)/gen/tests/rules.pb-c.o

# ---- the test server (tests/testserver/README.md) ----

TEST_GEN := $(GEN)/testserver
TEST_PROTOS := $(sort $(shell cd tests/testserver/protos 2>/dev/null && find . -name '*.proto' | sed 's|^\./||'))
TEST_PB_O := $(TEST_PROTOS:%.proto=$(OUT)/gen/testserver/%.pb-c.o)
TEST_SERVER_O := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/testserver/*.c))
# What reflection and health need, and the types of error details.
TEST_PROTOS_ALSO := stoa/edge/v1/edge.proto stoa/edge/v1/call.proto grpc/health/v1/health.proto grpc/reflection/v1/reflection.proto \
                    grpc/reflection/v1alpha/reflection.proto google/rpc/error_details.proto

$(TEST_GEN)/.protos: $(addprefix tests/testserver/protos/,$(TEST_PROTOS)) $(GEN)/.protos
	@mkdir -p $(@D)
	protoc --plugin=protoc-gen-c=proto/protoc-gen-c.sh --c_out=$(@D) -Itests/testserver/protos \
	    -Iproto -I/usr/include $(TEST_PROTOS)
	protoc --include_imports --include_source_info -o $(BUILD)/testserver.binpb \
	    -Itests/testserver/protos -Iproto -I/usr/include $(TEST_PROTOS) $(TEST_PROTOS_ALSO)
	@touch $@
$(TEST_PROTOS:%.proto=$(TEST_GEN)/%.pb-c.c) $(BUILD)/testserver.binpb: $(TEST_GEN)/.protos ;
$(TEST_PB_O) $(TEST_SERVER_O): CPPFLAGS += -I$(TEST_GEN)
$(TEST_PB_O) $(TEST_SERVER_O): $(TEST_GEN)/.protos
$(OUT)/tests/testserver/descriptor.o: lib/service/api_descriptor.S $(BUILD)/testserver.binpb
	@mkdir -p $(@D)
	$(CC) -DAPI_DESCRIPTOR_SET='"$(BUILD)/testserver.binpb"' -c $< -o $@
$(OUT)/bin/testserver: $(TEST_SERVER_O) $(TEST_PB_O) $(OUT)/tests/testserver/descriptor.o $(OUT)/libstoa.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

# ---- protobuf's conformance suite, and the codec as its testee (tests/conformance/README.md) ----

CONFORMANCE := $(BUILD)/conformance
CONFORMANCE_TESTEE := $(OUT)/tests/conformance/testee
CONFORMANCE_CC := $(addprefix conformance/,conformance_test.cc conformance_test_main.cc \
                  conformance_test_runner.cc binary_json_conformance_suite.cc \
                  text_format_conformance_suite.cc third_party/jsoncpp/jsoncpp.cpp)
CONFORMANCE_PROTOS := $(addprefix google/protobuf/,test_messages_proto2.proto test_messages_proto3.proto)
CONFORMANCE_O := $(patsubst %,$(CONFORMANCE)/obj/%.o,$(CONFORMANCE_CC) \
                 $(CONFORMANCE_PROTOS:%.proto=%.pb.cc) conformance.pb.cc)

$(CONFORMANCE)/.source: tests/conformance/fetch-source
	@mkdir -p $(@D)
	tests/conformance/fetch-source $(@D)
	cd $(@D)/source && protoc -Isrc -Iconformance --cpp_out=. conformance.proto $(CONFORMANCE_PROTOS)
	protoc --include_imports -o $(@D)/test_messages.binpb -I$(@D)/source/src $(CONFORMANCE_PROTOS)
	@touch $@
# Not ours to keep free of warnings.
$(CONFORMANCE_O): $(CONFORMANCE)/obj/%.o: $(CONFORMANCE)/.source
	@mkdir -p $(@D)
	cd $(CONFORMANCE)/source && g++ -std=c++17 -O1 -w -I. -Isrc -Iconformance -c $* -o $(abspath $@)
$(CONFORMANCE)/runner: $(CONFORMANCE_O)
	g++ -o $@ $^ -lprotobuf -pthread
$(CONFORMANCE_TESTEE): $(OUT)/tests/conformance/testee.o $(OUT)/libstoa.a
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

.PHONY: conformance
conformance: ## protobuf's own conformance suite on our JSON and binary codec
	@deploy/install-packages build conformance
	@$(BIG_MAKE) $(CONFORMANCE)/runner $(CONFORMANCE_TESTEE)
	@tests/conformance/run $(CONFORMANCE)/runner $(CONFORMANCE_TESTEE) \
	    $(CONFORMANCE)/test_messages.binpb $(CONFORMANCE)/log

# ---- fuzz targets: one for each parser of outside bytes, with its corpus ----

FUZZ_SECONDS ?= 600
FUZZ := $(BUILD)/fuzz
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_C := $(wildcard lib/base/*.c lib/http/*.c lib/schema/*.c lib/jwt/*.c lib/text/*.c) lib/edge/attach_wire.c lib/grpc/carry_wire.c \
          $(addprefix gateway/,problem.c rpc_details.c rpc_status.c rpc_stream.c) \
          $(addprefix cli/,terminal.c client/document.c client/markdown.c) \
          $(addprefix cli/task/,date.c filter.c line.c)
FUZZ_O := $(FUZZ_C:%.c=$(FUZZ)/%.o) $(GEN_C:$(GEN)/%.c=$(FUZZ)/gen/%.o)
FUZZ_CFLAGS = -std=gnu11 -O1 -g -fno-omit-frame-pointer -pthread -MMD -MP \
              -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined

$(FUZZ)/gen/%.o: $(GEN)/.protos
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(PKG_CFLAGS) -w -O1 -g -c $(GEN)/$*.c -o $@
$(FUZZ)/%.o: %.c $(GEN)/.protos
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(PKG_CFLAGS) $(FUZZ_CFLAGS) -c $< -o $@
$(addprefix $(FUZZ)/fuzz_,$(FUZZ_NAMES)): $(FUZZ)/fuzz_%: $(FUZZ)/tests/fuzz/fuzz_%.o $(FUZZ_O)
	clang -pthread -fsanitize=fuzzer,address,undefined -o $@ $^ $(PKG_LIBS) -lmd4c -lm

# What a target reads of a service or of the command line, and messages of tests.
$(FUZZ)/fuzz_page_token: $(FUZZ)/services/posts/page_token.o
$(FUZZ)/fuzz_chat_token: $(FUZZ)/services/chat/page_token.o
$(FUZZ)/fuzz_text: $(addprefix $(FUZZ)/services/,auth/names.o $(addprefix posts/,highlight.o slug.o tags.o))
$(FUZZ)/fuzz_settings: $(addprefix $(FUZZ)/cli/,paths.o task/settings.o)
$(FUZZ)/fuzz_wire: $(FUZZ)/gen/tests/rules.pb-c.o
$(FUZZ)/gen/tests/rules.pb-c.o $(FUZZ)/tests/fuzz/fuzz_wire.o: $(GEN)/tests/.protos

.PHONY: fuzz $(addprefix fuzz-,$(FUZZ_NAMES))
fuzz: ## run each fuzz target for FUZZ_SECONDS (600); findings stay in $(BUILD)/fuzz/findings
	@deploy/install-packages build fuzz
	@$(BIG_MAKE) $(addprefix $(FUZZ)/fuzz_,$(FUZZ_NAMES))
	@$(BIG_MAKE) --keep-going $(addprefix fuzz-,$(FUZZ_NAMES))

# What is found interesting goes into the build tree; tests/fuzz/corpus is what people chose.
$(addprefix fuzz-,$(FUZZ_NAMES)): fuzz-%: $(FUZZ)/fuzz_%
	@mkdir -p $(FUZZ)/corpus/$* $(FUZZ)/findings
	@$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix=$(FUZZ)/findings/$*- $(FUZZ)/corpus/$* tests/fuzz/corpus/$* \
	    >$(FUZZ)/$*.log 2>&1 || { tail -n 60 $(FUZZ)/$*.log; exit 1; }
	@echo "fuzz $*: no finding in $(FUZZ_SECONDS) s," \
	    "$$(sed -n 's/^stat::number_of_executed_units: *//p' $(FUZZ)/$*.log) inputs"

# ---- npm ----

# Programs of npm that Debian does not have, each set in a folder of its own.
LINT_TOOLS := $(BUILD)/lint-tools
CLIENTS := $(BUILD)/clients
define NPM_RULES
$(1)/.installed: $(2)/package.json $(2)/package-lock.json
	@mkdir -p $$(@D)
	cp $$^ $$(@D)
	npm ci --prefix $$(@D) --ignore-scripts --no-audit --no-fund --loglevel=error >$$(@D)/npm.log 2>&1 || \
	    { cat $$(@D)/npm.log; exit 1; }
	@touch $$@
endef
$(eval $(call NPM_RULES,$(LINT_TOOLS),deploy/lint))
$(eval $(call NPM_RULES,$(CLIENTS),deploy/clients))

# ---- what people call ----

JOBS ?= $(shell nproc)
PARTS := $(addprefix $(OUT)/bin/,$(SERVICES) $(TOOLS)) $(CLI) $(BUILD)/api.binpb
BIG_MAKE = $(MAKE) --silent --no-print-directory -j$(JOBS)
SUITE = STOA_OUT=$(abspath $(OUT)) deploy/suite

# These start makes of their own: beside them a make for another goal would write the same files at the same time.
ifneq ($(and $(word 2,$(MAKECMDGOALS)),$(filter build lint test,$(MAKECMDGOALS))),)
.NOTPARALLEL:
endif

.PHONY: deps build run up reload roll down status test
deps: ## install the Debian packages that building, running and testing need
	@deploy/install-packages build run test

build: ## compile the services and the gateway
	@deploy/install-packages build
	@echo "Building $(OUT) ..."
	@$(BIG_MAKE) $(PARTS)
	@$(BIG_MAKE) SANITIZE= $(BUILD)/release/gateway/$(notdir $(NGINX_MODULE))

run: ## start a suite on http://localhost:8080 until Ctrl-C (deploy/suite --help: settings)
	@deploy/install-packages build run
	@$(MAKE) --no-print-directory build
	@exec env $(SUITE) run

up: ## start a suite in the background; returns when it answers
	@deploy/install-packages build run
	@$(MAKE) --no-print-directory build
	@exec env $(SUITE) up

reload: ## build, and let a running suite's gateway take over the routes and new settings
	@$(MAKE) --no-print-directory build
	@exec env $(SUITE) reload

roll: ## build, and replace a running suite by the new build, one instance after the other, without a failed request
	@$(MAKE) --no-print-directory build
	@exec env $(SUITE) roll

down: ## stop the suite
	@exec env $(SUITE) down

status: ## what of the suite runs
	@exec env $(SUITE) status

.PHONY: seed
seed: ## fill the suite with 100,000 articles and what belongs to them (bench/seed: settings); starts it first
	@$(MAKE) --no-print-directory up
	@exec env STOA_OUT=$(abspath $(OUT)) bench/seed

# Sanitizers look at the services, the libraries and the unit tests. gRPC's own library is not
# instrumented: what happens between its threads is not ThreadSanitizer's to judge, and its shadow
# memory needs the addresses where they were before they were randomised further.
ifeq ($(SANITIZE),address)
TEST_ENV = ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1:$(ASAN_OPTIONS) \
           UBSAN_OPTIONS=print_stacktrace=1:$(UBSAN_OPTIONS)
else ifeq ($(SANITIZE),thread)
TEST_ENV = TSAN_OPTIONS=ignore_noninstrumented_modules=1:second_deadlock_stack=1:$(TSAN_OPTIONS) \
           setarch --addr-no-randomize
endif

test: ## unit tests and contract tests
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory build
	@$(BIG_MAKE) $(UNIT_TESTS) $(CONFORMANCE_TESTEE) $(OUT)/bin/testserver $(IO_FAULTS)
	@$(BIG_MAKE) SANITIZE= $(H2_MODULE) $(FAULT_PARTS) $(CLIENTS)/.installed
	@env $(TEST_ENV) tests/run $(abspath $(OUT)) $(abspath $(UNIT_TESTS))

ADDRESS := $(BUILD)/address
.PHONY: test-gateway
test-gateway: ## the gateway's contract tests, with nginx's module under AddressSanitizer and UBSan
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory SANITIZE= build
	@$(BIG_MAKE) SANITIZE= $(BUILD)/release/bin/testserver $(FAULT_PARTS) $(CLIENTS)/.installed
	@$(BIG_MAKE) SANITIZE=address $(addprefix $(ADDRESS)/,gateway/$(notdir $(NGINX_MODULE)) tests/$(notdir $(H2_MODULE)))
	@tests/run-sanitized $(abspath $(BUILD)/release) $(abspath $(ADDRESS))

.PHONY: test-valgrind
test-valgrind: ## the gateway's contract tests, with nginx under valgrind's memcheck (some minutes)
	@deploy/install-packages build run test valgrind
	@$(MAKE) --no-print-directory SANITIZE= build
	@$(BIG_MAKE) SANITIZE= $(BUILD)/release/bin/testserver $(H2_MODULE) $(CLIENTS)/.installed
	@tests/run-valgrind $(abspath $(BUILD)/release)

.PHONY: test-faults
test-faults: ## each allocation of the gateway fails once (make test takes some of them)
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory SANITIZE= build
	@$(BIG_MAKE) SANITIZE= $(BUILD)/release/bin/testserver $(H2_MODULE) $(FAULT_PARTS)
	@STOA_OUT=$(abspath $(BUILD))/release STOA_FAULT_STRIDE=1 tests/pytest \
	    tests/contract/test_gateway_faults.py tests/contract/test_gateway_h2_faults.py \
	    tests/contract/test_gateway_carry_faults.py tests/contract/test_gateway_websocket_faults.py

.PHONY: soak
soak: ## 1,000 clients of the gateway that go at any moment, in rounds: what is held after each
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory build
	@$(BIG_MAKE) $(OUT)/bin/testserver $(FAULTS)
	@STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B tests/contract/soak_gateway.py

.PHONY: fault
fault: ## chat while instances, Redis, Postgres and the network fail, and what came of every message (tests/live/README.md)
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory build
	@STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B tests/live/fault.py

.PHONY: roll-test
roll-test: ## a suite under load while all of it is replaced (tests/live/README.md: settings)
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory build
	@STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B tests/live/roll.py

# The version before is built where it was checked out, once for each commit.
.PHONY: upgrade-test
upgrade-test: ## the version before (FROM=commit) under load: migrated, rolled to this one, back and again (tests/live/README.md)
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory build
	@tree=$$(tests/live/check-out-version $(abspath $(BUILD))/versions $(FROM)) && \
	    $(MAKE) --no-print-directory -C $$tree BUILD=build SANITIZE= build && \
	    STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B tests/live/upgrade.py $$tree

.PHONY: drill
drill: ## the availability drill: ten minutes under load while instances are killed (tests/live/README.md: settings)
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory build
	@STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B tests/live/drill.py

.PHONY: testserver
testserver: ## a test server behind a gateway of its own, on STOA_HTTP_PORT and STOA_TEST_PORT, until Ctrl-C
	@deploy/install-packages build run
	@$(MAKE) --no-print-directory build
	@$(BIG_MAKE) $(OUT)/bin/testserver
	@exec env STOA_OUT=$(abspath $(OUT)) tests/testserver/serve

# libprotobuf's side of bench/codec.c, with the C++ classes of the article.
BENCH := $(BUILD)/bench
BENCH_PROTOS := stoa/posts/v1/posts stoa/api/v1/annotations buf/validate/validate google/api/annotations \
                google/api/http
BENCH_SETS := $(BUILD)/api.binpb $(foreach n,10 100 1000,$(BENCH)/routes-$n.binpb)

$(BENCH)/.protos: $(GEN)/.protos
	@mkdir -p $(@D)
	protoc --cpp_out=$(@D) -Iproto -I/usr/include $(BENCH_PROTOS:=.proto)
	@touch $@
$(BENCH)/%.pb.o: $(BENCH)/.protos
	g++ -std=c++17 -O2 -w -I$(BENCH) -c $(BENCH)/$*.pb.cc -o $@
$(BENCH)/libprotobuf.o: bench/libprotobuf.cc bench/libprotobuf.h $(BENCH)/.protos
	g++ -std=c++17 -O2 -g -Wall -Wextra -Werror -isystem $(BENCH) -c $< -o $@
$(BENCH)/routes-%.binpb: bench/many-routes $(GEN)/.protos
	@mkdir -p $(@D)
	bench/many-routes $* >$(BENCH)/routes-$*.proto
	protoc --include_imports -o $@ -I$(BENCH) -Iproto -I/usr/include routes-$*.proto
$(BENCH)/codec: $(OUT)/bench/codec.o $(BENCH)/libprotobuf.o $(BENCH_PROTOS:%=$(BENCH)/%.pb.o) $(OUT)/libstoa.a
	g++ -o $@ $^ $(shell pkg-config --libs libprotobuf-c libpcre2-8 jansson protobuf)
$(BENCH)/steady: $(OUT)/bench/steady.o
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lm

$(BENCH)/chat: $(patsubst %.c,$(OUT)/%.o,$(wildcard bench/chat*.c)) $(OUT)/libstoa.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^

.PHONY: compose-test
compose-test: ## deploy/compose.yaml seen running: images, health, the contract tests, more instances, rolling restart
	@deploy/install-packages build test compose
	@$(BIG_MAKE) $(BUILD)/api.binpb
	@STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B -m pytest -p no:cacheprovider -q -x -rP tests/compose/compose_suite.py

.PHONY: test-docs test-page
test-docs: ## the page /docs/ in Chromium
test-page: ## the page at / in Chromium, in the windows of two people
test-docs test-page: test-%:
	@deploy/install-packages build run test browser
	@$(MAKE) --no-print-directory build
	@STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B -m pytest -p no:cacheprovider -q tests/contract/browser_$*.py

.PHONY: compare-task
COMPARE_SECONDS ?= 60
compare-task: ## random actions by todo.sh and by stoa-todo, for COMPARE_SECONDS (60); SEED=... plays one again
	@deploy/install-packages build test
	@$(BIG_MAKE) $(CLI)
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B tests/cli/random_todo_sh.py $(COMPARE_SECONDS) $(SEED)

.PHONY: bench bench-chat bench-codec bench-flood bench-pages bench-surge bench-task
bench: ## tables of requests a second, latency, CPU a request and memory (bench/README.md)
	@deploy/install-packages build run bench
	@$(MAKE) --no-print-directory build
	@$(BIG_MAKE) $(BENCH)/codec $(BENCH_SETS) $(OUT)/bin/testserver
	@$(BENCH)/codec $(BENCH_SETS)
	@echo
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B bench/gateway.py
	@echo
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B bench/bench.py
	@echo
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B bench/task.py

bench-task: ## only the last part of make bench: the task manager beside todo.sh
	@deploy/install-packages build bench
	@$(BIG_MAKE) $(CLI)
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B bench/task.py

bench-chat: ## chat, beside Socket.IO when there are peers: deliveries, latency, memory, storms (bench/README.md)
	@deploy/install-packages build run bench
	@$(MAKE) --no-print-directory build
	@$(BIG_MAKE) $(BENCH)/chat
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B bench/chat.py

bench-pages: ## the cost of a page by its depth and by the table's size: 10,000, 100,000, 1,000,000 articles
	@deploy/install-packages build run bench
	@$(MAKE) --no-print-directory build
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B bench/pages.py

bench-codec: ## only the first part of make bench: JSON against libprotobuf, and route lookups
	@deploy/install-packages build bench
	@$(BIG_MAKE) $(BENCH)/codec $(BENCH_SETS)
	@$(BENCH)/codec $(BENCH_SETS)

bench-flood: ## what 1,000 sign-ins a second do to readers, and how quickly the excess is refused
	@deploy/install-packages build run bench
	@$(MAKE) --no-print-directory build
	@$(BIG_MAKE) $(BENCH)/steady
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B bench/flood.py

bench-surge: ## what becomes of requests when up to 100 times too many come, and afterwards
	@deploy/install-packages build run bench
	@$(MAKE) --no-print-directory build
	@$(BIG_MAKE) $(BENCH)/steady
	@env STOA_OUT=$(abspath $(OUT)) /usr/bin/python3 -B bench/surge.py

# ---- lint ----

C_FILES := $(sort $(wildcard lib/*/*.[ch] services/*/*.[ch] gateway/*.[ch] tests/*/*.[ch] cli/*.[ch] cli/*/*.[ch] tools/*.[ch] bench/*.[ch]))
TIDY_OK := $(patsubst %.c,$(TIDY)/%.ok,$(filter lib/%.c services/%.c gateway/%.c tests/unit/%.c tests/testserver/%.c cli/%.c tools/%.c bench/%.c,$(C_FILES)))
# The one that fits this machine; for the shell to find.
BUF = $(LINT_TOOLS)/node_modules/@bufbuild/buf-linux-*/bin/buf

.PHONY: lint analyze format clean
lint: ## clang-format, clang-tidy, buf, mandoc, readers of OpenAPI, schemas of Kubernetes, Compose and Grafana: all without a finding
	@deploy/install-packages build lint
	@clang-format --dry-run -Werror $(C_FILES) && echo "clang-format: $(words $(C_FILES)) files, no finding"
	@$(BIG_MAKE) $(CLI_MAN)
	@mandoc -T lint $(CLI_MAN) && echo "mandoc: $(words $(CLI_MAN)) pages, no finding"
	@$(BIG_MAKE) $(LINT_TOOLS)/.installed
	@$(BUF) lint && $(BUF) format --diff --exit-code && echo "buf: no finding"
	@$(BIG_MAKE) $(OUT)/bin/stoa-openapi $(BUILD)/testserver.binpb
	@deploy/lint/openapi $(OUT)/bin/stoa-openapi $(abspath $(LINT_TOOLS)) $(abspath $(BUILD))/openapi \
	    $(BUILD)/api.binpb $(BUILD)/testserver.binpb
	@deploy/lint/kubernetes $(abspath $(LINT_TOOLS))
	@deploy/lint/compose $(abspath $(LINT_TOOLS)) deploy/compose.yaml
	@deploy/lint/dashboard $(abspath $(LINT_TOOLS)) deploy/observability/grafana/dashboards/stoa.json
	@$(BIG_MAKE) --keep-going $(TIDY_OK) && echo "clang-tidy: $(words $(TIDY_OK)) files, no finding"

analyze: ## lint, with the static analyzer at its full depth (some minutes more)
	@$(MAKE) --no-print-directory TIDY_STATES=225000 lint

.PHONY: database-doc
database-doc: ## write the diagram and the tables of docs/database.md, from a Postgres with all migrations
	@deploy/install-packages run test
	@tools/describe-database

.PHONY: settings-doc
settings-doc: ## write the table of settings of docs/operations.md, from the programs that read them
	@$(MAKE) --no-print-directory build
	@env STOA_OUT=$(abspath $(OUT)) tools/describe-settings

.PHONY: metrics-doc
metrics-doc: ## write the tables of docs/observability.md, from a suite that runs
	@deploy/install-packages build run test
	@$(MAKE) --no-print-directory build
	@STOA_OUT=$(abspath $(OUT)) tools/describe-metrics

format: ## lay out C and protobuf files as lint wants them
	@deploy/install-packages build lint
	@$(BIG_MAKE) $(LINT_TOOLS)/.installed
	@clang-format -i $(C_FILES)
	@$(BUF) format --write

clean: ## remove everything that was built (suites and their data stay)
	rm -rf $(BUILD)

# One file a call: given several, clang-tidy 14 sees uninitialised va_lists where there are none.
TIDY_HEADERS := .clang-tidy $(filter %.h,$(C_FILES)) $(GEN)/.protos
define RUN_TIDY
	@mkdir -p $(@D)
	@clang-tidy --quiet $(addprefix --extra-arg=,-Xclang -analyzer-config -Xclang max-nodes=$(TIDY_STATES)) $< -- $(1) 2>$@.log || { cat $@.log >&2; exit 1; }
	@touch $@
endef
$(TIDY)/gateway/%.ok: gateway/%.c $(TIDY_HEADERS) $(NGINX_BUILD)/.configured
	$(call RUN_TIDY,-std=gnu11 $(CPPFLAGS) -Igateway $(NGINX_CPPFLAGS))
$(TIDY)/tests/testserver/%.ok: CPPFLAGS += -I$(TEST_GEN)
$(TIDY)/tests/testserver/%.ok: $(TEST_GEN)/.protos
$(TIDY)/%.ok: %.c $(TIDY_HEADERS)
	$(call RUN_TIDY,-std=gnu11 $(CPPFLAGS) $(PKG_CFLAGS))

-include $(LIB_O:.o=.d) $(patsubst %.c,$(OUT)/%.d,$(wildcard services/*/*.c tests/unit/*.c tests/testserver/*.c tools/*.c bench/*.c cli/*.c cli/*/*.c) $(GATEWAY_C))
-include $(FUZZ_C:%.c=$(FUZZ)/%.d)

.PHONY: help
help: ## what this makefile can do
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 20
