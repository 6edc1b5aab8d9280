/* For groups of tests about the JSON mapping: the schema of json_schema.h. */
#ifndef STOA_TESTS_JSON_FIXTURE_H
#define STOA_TESTS_JSON_FIXTURE_H

#include "json_schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct schema *schema;

static int load(void **state UNUSED)
{
    schema = json_test_schema();
    return 0;
}

static int unload(void **state UNUSED)
{
    schema_free(schema);
    return 0;
}

#endif
