/* Schemas for tests, compiled by protoc from text in the test itself. Run from the root of the
 * tree. */
#ifndef STOA_TESTS_SCHEMA_FIXTURE_H
#define STOA_TESTS_SCHEMA_FIXTURE_H

#include "schema/schema.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Of the group of tests, whose set_up() makes them. */
static UNUSED struct schema *schema;
static UNUSED struct arena arena;

static UNUSED int tear_down(void **state UNUSED)
{
    schema_free(schema);
    arena_free(&arena);
    return 0;
}

/* "/package.Service/Method" */
static UNUSED const struct schema_method *method(const char *path)
{
    const struct schema_method *m = schema_method(schema, str_of(path));

    assert_non_null(m);
    return m;
}

static inline void fixture_run(const char *command, struct buf *output)
{
    FILE *pipe = popen(command, "r");
    char *to;
    size_t n;

    assert_non_null(pipe);
    buf_init(output, 16 << 20);
    while ((to = buf_reserve(output, 65536)) && (n = fread(to, 1, 65536, pipe)))
        output->n += n;
    assert_int_equal(pclose(pipe), 0);
}

/* The descriptor set of one file with this text, called "test.proto". */
static inline void fixture_compile(const char *proto, struct buf *set)
{
    char dir[] = "/tmp/stoa-schema-XXXXXX", path[64], command[256];
    FILE *file;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/test.proto", dir);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(proto, file) >= 0);
    assert_int_equal(fclose(file), 0);
    snprintf(command, sizeof(command),
             "protoc --include_imports -o /dev/stdout -I%s -Iproto -I/usr/include test.proto", dir);
    fixture_run(command, set);
    unlink(path);
    rmdir(dir);
}

/* Frees the set. */
static inline struct schema *fixture_take(struct buf *set)
{
    struct schema *loaded = NULL;
    struct arena scratch;
    struct str error;

    arena_init(&scratch, 0);
    if (schema_load(buf_str(set), &scratch, &loaded, &error))
        fail_msg("%.*s", STR_FMT(error));
    buf_free(set);
    arena_free(&scratch);
    return loaded;
}

/* The schema of files under tests/unit/protos/. */
static inline struct schema *fixture_load_files(const char *files)
{
    struct buf set;
    char command[256];

    snprintf(
        command, sizeof(command),
        "protoc --include_imports -o /dev/stdout -Itests/unit/protos -Iproto -I/usr/include %s",
        files);
    fixture_run(command, &set);
    return fixture_take(&set);
}

static inline struct schema *fixture_load(const char *proto)
{
    struct buf set;

    fixture_compile(proto, &set);
    return fixture_take(&set);
}

/* The error of loading this text, which must fail and say something like `expected` in one line. */
static inline void fixture_refused(const char *proto, const char *expected)
{
    struct schema *loaded = NULL;
    struct arena scratch;
    struct str error;
    struct buf set;

    arena_init(&scratch, 0);
    fixture_compile(proto, &set);
    if (schema_load(buf_str(&set), &scratch, &loaded, &error) == 0)
        fail_msg("loaded, but should not: %s", expected);
    assert_null(memchr(error.p, '\n', error.n));
    if (!strstr(error.p, expected))
        fail_msg("error is \"%s\", not \"%s\"", error.p, expected);
    buf_free(&set);
    arena_free(&scratch);
}

#endif
