/* A schema for programs that are no cmocka tests: compiled by protoc when they begin. */
#ifndef STOA_TESTS_PROTOC_SCHEMA_H
#define STOA_TESTS_PROTOC_SCHEMA_H

#include "schema/schema.h"

#include <stdio.h>
#include <stdlib.h>

/* command: a constant one, which writes a descriptor set to standard output. Ends the program when
 * that fails. */
static inline struct schema *protoc_schema(const char *command)
{
    FILE *protoc = popen(command, "r");
    struct schema *schema = NULL;
    struct str error = STR("protoc did not run");
    struct arena arena;
    struct buf set;
    char *to;
    size_t n;

    arena_init(&arena, 0);
    buf_init(&set, 16 << 20);
    while (protoc && (to = buf_reserve(&set, 65536)) && (n = fread(to, 1, 65536, protoc)))
        set.n += n;
    if (!protoc || pclose(protoc) || schema_load(buf_str(&set), &arena, &schema, &error)) {
        fprintf(stderr, "%s: %.*s\n", command, STR_FMT(error));
        exit(1);
    }
    buf_free(&set);
    arena_free(&arena);
    return schema;
}

#endif
