/* The schema of every error: the problem that the gateway makes of an RPC status and its details
 * (gateway/problem.c, gateway/README.md). */
#include "openapi/internal.h"

static const char schema[] =
    "{\"type\":\"object\",\"description\":\"What went wrong (RFC 9457).\","
    "\"required\":[\"type\",\"title\",\"status\",\"errors\"],\"properties\":{"
    "\"type\":{\"type\":\"string\",\"format\":\"uri-reference\",\"description\":"
    "\"The kind of problem; `about:blank`: its status says it all.\"},"
    "\"title\":{\"type\":\"string\",\"description\":\"The status in words.\"},"
    "\"status\":{\"type\":\"integer\",\"minimum\":400,\"maximum\":599,\"description\":"
    "\"The HTTP status.\"},"
    "\"detail\":{\"type\":\"string\",\"description\":\"What went wrong, for people.\"},"
    "\"instance\":{\"type\":\"string\",\"format\":\"uri-reference\",\"description\":"
    "\"This occurrence, to be named when asking about it.\"},"
    "\"errors\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"array\",\"items\":"
    "{\"type\":\"string\"}},\"description\":"
    "\"What is wrong, by the field, parameter or part of the request that it is about.\"},"
    "\"reason\":{\"type\":\"string\",\"description\":"
    "\"The cause, as a constant that programs can rely on.\"},"
    "\"domain\":{\"type\":\"string\",\"description\":\"Whose constant the reason is.\"},"
    "\"metadata\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},"
    "\"description\":\"More about the reason.\"},"
    "\"quota\":{\"type\":\"array\",\"description\":\"Quotas that are used up.\",\"items\":"
    "{\"type\":\"object\",\"properties\":{\"subject\":{\"type\":\"string\"},"
    "\"description\":{\"type\":\"string\"}}}},"
    "\"preconditions\":{\"type\":\"array\",\"description\":\"What would have to hold.\",\"items\":"
    "{\"type\":\"object\",\"properties\":{\"type\":{\"type\":\"string\"},"
    "\"subject\":{\"type\":\"string\"},\"description\":{\"type\":\"string\"}}}},"
    "\"resource\":{\"type\":\"object\",\"description\":\"What it is about.\",\"properties\":"
    "{\"type\":{\"type\":\"string\"},\"name\":{\"type\":\"string\"}}},"
    "\"help\":{\"type\":\"array\",\"description\":\"Where to read on.\",\"items\":"
    "{\"type\":\"object\",\"properties\":{\"url\":{\"type\":\"string\",\"format\":\"uri\"},"
    "\"description\":{\"type\":\"string\"}}}}}}";

json_t *problem_schema(void)
{
    return json_loads(schema, JSON_REJECT_DUPLICATES, NULL);
}
