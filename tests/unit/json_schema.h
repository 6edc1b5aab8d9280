/* The schema of tests/unit/protos/ (and of the blog's articles), compiled by protoc when the test
 * starts. Run from the root of the tree. */
#ifndef STOA_TESTS_JSON_SCHEMA_H
#define STOA_TESTS_JSON_SCHEMA_H

#include "protoc_schema.h"

#include <stdio.h>
#include <stdlib.h>

#define JSON_TEST_SCHEMA                                                                 \
    "protoc --include_imports -o /dev/stdout -Itests/unit/protos -Iproto -I/usr/include" \
    " json_types.proto json_types2.proto stoa/posts/v1/posts.proto"

static inline struct schema *json_test_schema(void)
{
    return protoc_schema(JSON_TEST_SCHEMA);
}

static inline const struct schema_message *json_test_type(const struct schema *schema,
                                                          const char *name)
{
    char full[64];
    const struct schema_message *type;

    snprintf(full, sizeof(full), "stoa.test.%s", name);
    type = schema_message(schema, str_of(full));
    if (!type) {
        fprintf(stderr, "no message type %s\n", full);
        abort();
    }
    return type;
}

static inline struct str json_test_bytes(struct arena *arena, const char *hex)
{
    size_t n = strlen(hex) / 2;
    char *bytes = arena_alloc(arena, n), digits[3] = {0};

    for (size_t i = 0; i < n; i++) {
        memcpy(digits, hex + 2 * i, 2);
        bytes[i] = (char)strtoul(digits, NULL, 16);
    }
    return (struct str){bytes, n};
}

static inline void json_test_equal_hex(const char *what, struct str got, const char *hex)
{
    struct arena arena;

    arena_init(&arena, 0);
    if (!str_eq(got, json_test_bytes(&arena, hex))) {
        fprintf(stderr, "%s\nexpected %s\ngot      ", what, hex);
        for (size_t i = 0; i < got.n; i++)
            fprintf(stderr, "%02x", (uint8_t)got.p[i]);
        fprintf(stderr, "\n");
        abort();
    }
    arena_free(&arena);
}

#endif
