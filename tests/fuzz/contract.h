/* The contract for fuzz targets, compiled by protoc when a target begins. They run in the tree's
 * root. */
#ifndef STOA_FUZZ_CONTRACT_H
#define STOA_FUZZ_CONTRACT_H

#include "schema/tables.h"

#include <stdio.h>
#include <stdlib.h>

/* protos: a literal, names of files below proto/. */
#define load_contract(protos) \
    load_descriptors(         \
        "cd proto && protoc --include_imports -o /dev/stdout -I. -I/usr/include " protos)

static struct schema *load_descriptors(const char *protoc_command)
{
    FILE *protoc = popen(protoc_command, "r"); /* a constant command */
    struct schema *schema;
    struct str error;
    struct arena arena;
    struct buf set;
    char *to;
    size_t n;

    arena_init(&arena, 0);
    buf_init(&set, 16 << 20);
    while (protoc && (to = buf_reserve(&set, 65536)) && (n = fread(to, 1, 65536, protoc)))
        set.n += n;
    if (!protoc || pclose(protoc) != 0 || schema_load(buf_str(&set), &arena, &schema, &error) != 0)
        abort();
    buf_free(&set);
    arena_free(&arena);
    return schema;
}

#endif
