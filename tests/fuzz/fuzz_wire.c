/* libFuzzer target for the wire reader. The first byte says what the rest is:
 *
 *   0    a FileDescriptorSet: loading it ends well or with one line of error
 *   else bytes of message type number (byte - 1): what passes the check protobuf-c can unpack, and
 *        it is the same message as before it was made so
 */
#include "contract.h"

#include <buf/validate/validate.pb-c.h>
#include <google/protobuf/descriptor.pb-c.h>
#include <stdlib.h>
#include <stoa/auth/v1/auth.pb-c.h>
#include <stoa/chat/v1/chat.pb-c.h>
#include <stoa/chat/v1/live.pb-c.h>
#include <stoa/posts/v1/posts.pb-c.h>
#include <tests/rules.pb-c.h>

#define API                                                                                 \
    "stoa/auth/v1/auth.proto stoa/posts/v1/posts.proto stoa/chat/v1/chat.proto "            \
    "stoa/chat/v1/live.proto buf/validate/validate.proto google/protobuf/descriptor.proto " \
    "rules.proto"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &stoa__posts__v1__get_article_response__descriptor,
    &stoa__posts__v1__create_article_request__descriptor,
    &stoa__posts__v1__list_articles_request__descriptor,
    &stoa__auth__v1__create_user_request__descriptor,
    &google__protobuf__file_descriptor_proto__descriptor,
    &buf__validate__field_rules__descriptor,
    &stoa__chat__v1__send_message_request__descriptor,
    &stoa__chat__v1__connect_request__descriptor,
    &stoa__rules__numbers__descriptor,
    &stoa__rules__strings__descriptor,
    &stoa__rules__bytes__descriptor,
    &stoa__rules__implicit__descriptor,
    &stoa__rules__required__descriptor,
    &stoa__rules__choice__descriptor,
    &stoa__rules__lists__descriptor,
    &stoa__rules__times__descriptor,
    &stoa__rules__wrappers__descriptor,
    &stoa__rules__node__descriptor,
};

static struct schema *schema;

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerInitialize(int *argc UNUSED, char ***argv UNUSED)
{
    schema = load_contract(API);
    return 0;
}

static void load(struct str bytes)
{
    struct schema *loaded;
    struct arena arena;
    struct str error;

    arena_init(&arena, 0);
    if (schema_load(bytes, &arena, &loaded, &error) == 0)
        schema_free(loaded);
    else
        check(error.n && !memchr(error.p, '\n', error.n));
    arena_free(&arena);
}

static struct str print(const struct schema_message *m, struct str bytes, struct arena *arena)
{
    const struct schema_json_options options = {0};
    struct schema_fault fault;
    struct str text = STR_NULL;
    struct buf json;

    buf_init(&json, 16 << 20);
    if (schema_json_write(schema, m, bytes, &options, &json, arena, &fault) == 0)
        text = arena_copy(arena, buf_str(&json));
    buf_free(&json);
    return text;
}

static void validate(const struct schema_message *m, const ProtobufCMessage *message,
                     struct arena *arena)
{
    struct schema_fault *violations;
    int n = schema_validate(m, message, arena, &violations);

    check(n >= 0 && n <= 64);
    for (int i = 0; i < n; i++)
        check(violations[i].path.n && violations[i].message.n);
}

static void unpack(const ProtobufCMessageDescriptor *type, struct str bytes)
{
    const struct schema_message *m = schema_message(schema, str_of(type->name));
    struct schema_fault fault = {STR_NULL, STR_NULL};
    ProtobufCMessage *message;
    struct arena arena;
    struct str clean;

    arena_init(&arena, 64 << 20);
    if (schema_clean_wire(m, bytes, &arena, &clean, &fault)) {
        check(fault.message.n && fault.path.p);
    } else {
        message = protobuf_c_message_unpack(type, NULL, clean.n, (const uint8_t *)clean.p);
        check(message != NULL);
        validate(m, message, &arena);
        protobuf_c_message_free_unpacked(message, NULL);
        if (clean.p != bytes.p)
            check(str_eq(print(m, bytes, &arena), print(m, clean, &arena)));
    }
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest;

    if (size == 0)
        return 0;
    rest = (struct str){(const char *)data + 1, size - 1};
    if (data[0] == 0)
        load(rest);
    else
        unpack(types[(data[0] - 1u) % ARRAY_SIZE(types)], rest);
    return 0;
}
