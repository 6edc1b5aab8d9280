/* status: whether the services answer, what they are, and how long it takes. */
#include "client.h"

#include "grpc/health/v1/health.pb-c.h"

#include <jansson.h>
#include <stdlib.h>

struct condition {
    enum rpc_code code;
    const char *state; /* "serving", "not serving", "unreachable" */
    struct str version, problem;
    int64_t latency_ns; /* of the second call: the first one connects */
    int status;
};

void ask_health(struct client *c, enum service service, struct rpc_answer *ret)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    const struct rpc_request call = {
        .service = &grpc__health__v1__health__descriptor,
        .method = "Check",
        .message = &request.base,
        .timeout_ms = c->set.timeout_s * 1000,
    };

    if (rpc_client_call(channel(c, service), &call, &c->arena, ret))
        must_have(NULL);
}

static int64_t check_once(struct client *c, enum service service, struct rpc_answer *ret)
{
    int64_t start = clock_monotonic_ns();

    ask_health(c, service, ret);
    return clock_monotonic_ns() - start;
}

static struct condition look(struct client *c, enum service service)
{
    struct condition now = {.state = "unreachable"};
    const Grpc__Health__V1__HealthCheckResponse *response;
    struct rpc_answer answer;

    (void)check_once(c, service, &answer);
    if (answer.code == RPC_OK)
        now.latency_ns = check_once(c, service, &answer);
    now.code = answer.code;
    if (answer.code != RPC_OK) {
        now.status = describe(c, service, &answer, &now.problem);
        return now;
    }
    response = (const Grpc__Health__V1__HealthCheckResponse *)answer.response;
    now.version = rpc_answer_header(&answer, "stoa-version");
    if (response->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING) {
        now.state = "serving";
    } else {
        now.state = "not serving";
        now.problem = STR("it answers and is not ready: its log says why");
        now.status = UNREACHABLE;
    }
    return now;
}

static int say_table(struct client *c, const struct condition *now)
{
    static const struct column columns[] = {
        {"SERVICE", false, false}, {"STATE", false, false},   {"VERSION", false, false},
        {"LATENCY", true, false},  {"ADDRESS", false, false},
    };
    struct table table;

    table_begin(&table, c, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < N_SERVICES; i++) {
        table_add(&table, str_of(service_names[i]));
        table_add(&table, str_of(now[i].state));
        table_add(&table, now[i].version);
        if (now[i].code == RPC_OK)
            table_addf(&table, "%.2f ms", (double)now[i].latency_ns / 1e6);
        else
            table_add(&table, STR(""));
        table_add(&table, c->set.address[i]);
    }
    table_end(&table);
    return DONE;
}

static int say_objects(struct client *c, const struct condition *now)
{
    json_t *services = must_have(json_array());
    char *text;

    for (size_t i = 0; i < N_SERVICES; i++) {
        json_t *one = json_pack(
            "{s:s, s:s, s:s%, s:s%, s:o}", "service", service_names[i], "state", now[i].state,
            "address", c->set.address[i].p, c->set.address[i].n, "version",
            now[i].version.p ? now[i].version.p : "", now[i].version.n, "latencyMs",
            now[i].code == RPC_OK ? json_real((double)now[i].latency_ns / 1e6) : json_null());

        if (json_array_append_new(services, must_have(one)))
            must_have(NULL);
    }
    text = must_have(json_dumps(services, JSON_REAL_PRECISION(6) | JSON_COMPACT));
    terminal_clean_json(&c->out, str_of(text));
    buf_append_char(&c->out, '\n');
    free(text);
    json_decref(services);
    return DONE;
}

int service_status(struct client *c)
{
    struct condition now[N_SERVICES];
    int status;

    for (size_t i = 0; i < N_SERVICES; i++)
        now[i] = look(c, (enum service)i);
    status = c->set.output == OUTPUT_JSON ? say_objects(c, now) : say_table(c, now);
    for (size_t i = 0; i < N_SERVICES && !status; i++) {
        if (now[i].status) { /* the first one; the table has the others */
            status = flush(c);
            if (!status)
                status = fail(c, (enum exit_status)now[i].status, "%.*s", STR_FMT(now[i].problem));
        }
    }
    return status;
}
