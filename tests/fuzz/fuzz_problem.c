/* libFuzzer target for what the gateway reads of a service's answer by itself: messages from DATA,
 * grpc-message, metadata in base64, and the google.rpc details of a failure. Whatever a service
 * sends, the problem that is made of it is JSON, and says nothing of a failure of the service's
 * own; messages are the same however their bytes come.
 *
 * The first byte is the gRPC code, the second one says where the rest is cut in two. */
#include "../../gateway/rpc_status.h"
#include "../../gateway/rpc_stream.h"
#include "contract.h"

#include <errno.h>

#define MAX_MESSAGE 1024

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct schema *schema;
static const struct schema_message *json_object;

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerInitialize(int *argc UNUSED, char ***argv UNUSED)
{
    schema = load_contract("google/protobuf/struct.proto");
    json_object = schema_message(schema, STR("google.protobuf.Struct"));
    check(json_object);
    return 0;
}

/* ---- failures ---- */

static void check_json(const struct problem *p, struct arena *arena)
{
    const struct schema_json_options options = {.refuse_unknown = true};
    struct buf json = {.max = SIZE_MAX}, wire = {.max = SIZE_MAX};
    struct schema_fault fault;

    problem_print(p, &json);
    check(!json.failed);
    check(schema_json_read(schema, json_object, buf_str(&json), &options, &wire, arena, &fault) ==
          0);
    buf_free(&json);
    buf_free(&wire);
}

static void check_problem(struct arena *arena, int code, struct str message, struct str details)
{
    struct problem p;

    check(rpc_problem(&p, code, message, details, arena) == 0);
    check(p.status >= 400 && p.status < 600);
    if (p.status >= 500)
        check(!p.reason.p && !p.domain.p && !p.resource_type.p && p.n_metadata == 0 &&
              p.n_quota == 0 && p.n_preconditions == 0 && p.n_links == 0);
    check_json(&p, arena);
}

static void check_text(struct arena *arena, struct str text)
{
    struct str bytes, again;
    int code;

    check(rpc_percent_decode(arena, text).n <= text.n);
    if (rpc_base64_decode(arena, text, &bytes) == 0) {
        check(rpc_base64_decode(arena, rpc_base64_encode(arena, bytes), &again) == 0);
        check(str_eq(again, bytes));
    }
    if (rpc_code_read(text, &code) == 0)
        check(code >= RPC_OK && code <= RPC_UNAUTHENTICATED);
}

/* ---- results ---- */

/* Lines "name:value", with a name that may begin with a colon, as headers and trailers. */
static void check_result(struct str text)
{
    struct rpc_result result;
    size_t size = 0;
    int err = 0;

    rpc_result_init(&result);
    while (!err && text.n) {
        const char *lf = memchr(text.p, '\n', text.n), *colon;
        struct str line = {text.p, lf ? (size_t)(lf - text.p) : text.n}, name;

        colon = line.n > 1 ? memchr(line.p + 1, ':', line.n - 1) : NULL;
        name = (struct str){line.p, colon ? (size_t)(colon - line.p) : line.n};
        err = rpc_result_add(&result, name, str_skip(line, name.n + 1));
        check(err == 0 || err == -E2BIG || err == -EBADMSG);
        size += line.n;
        text = str_skip(text, line.n + 1);
    }
    check(err || size <= RPC_RESULT_MAX);
    check(err || (result.code >= -1 && result.code <= RPC_UNAUTHENTICATED));
    check(result.http_status == 0 || (result.http_status >= 200 && result.http_status <= 999));
    check(rpc_result_code(&result) <= RPC_UNAUTHENTICATED);
    check(result.message.n + result.details.n <= RPC_RESULT_MAX);
    rpc_result_free(&result);
}

/* ---- messages ---- */

struct messages {
    size_t n, bytes;
    int end; /* what the reader says at last */
};

static void read_all(struct rpc_reader *reader, struct messages *messages)
{
    struct str message;

    while (messages->end == 0 && (messages->end = rpc_reader_next(reader, &message)) == 1) {
        messages->end = 0;
        messages->n++;
        messages->bytes += message.n;
    }
}

static struct messages read_pieces(struct str one, struct str two)
{
    struct rpc_reader reader;
    struct messages messages = {0};

    rpc_reader_init(&reader, MAX_MESSAGE, one.n + two.n, 0);
    check(rpc_reader_add(&reader, one.p, one.n) == 0);
    read_all(&reader, &messages);
    if (messages.end == 0)
        check(rpc_reader_add(&reader, two.p, two.n) == 0);
    read_all(&reader, &messages);
    rpc_reader_free(&reader);
    return messages;
}

static void check_messages(struct str whole, size_t cut)
{
    struct messages at_once = read_pieces(whole, STR("")),
                    cut_in_two = read_pieces((struct str){whole.p, cut}, str_skip(whole, cut));

    check(at_once.n == cut_in_two.n && at_once.bytes == cut_in_two.bytes &&
          at_once.end == cut_in_two.end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = {(const char *)data + 2, size - 2};
    struct arena arena;
    size_t cut;

    if (size < 2)
        return 0;
    cut = data[1] < rest.n ? data[1] : rest.n;
    arena_init(&arena, 0);
    check_problem(&arena, 1 + data[0] % RPC_UNAUTHENTICATED, (struct str){rest.p, cut},
                  str_skip(rest, cut));
    check_text(&arena, rest);
    check_result(rest);
    check_messages(rest, cut);
    arena_free(&arena);
    return 0;
}
