/* What is said of one binding: names, access, request, answers, errors. */
#include "openapi/internal.h"

#include <errno.h>
#include <stdio.h>

/* ---- names ---- */

static struct str last_part(struct str name, char separator)
{
    const char *at = memrchr(name.p, separator, name.n);

    return at ? str_skip(name, (size_t)(at - name.p) + 1) : name;
}

static struct str method_name(const struct schema_method *method)
{
    return last_part(method->path, '/');
}

static bool is_websocket(const struct schema_binding *b)
{
    return b->method->client_streaming;
}

/* A stream of requests needs a WebSocket, and that begins with GET. */
bool is_served(const struct schema_binding *b)
{
    return !b->method->client_streaming || str_eq(b->http_method, STR("GET"));
}

static struct str service_name(const struct schema_method *method)
{
    return last_part(method->service, '.');
}

/* Takes up a name; full: what no two have the same of. */
static void see_name(struct document *d, struct shared_names *names, struct str name,
                     struct str full, struct str (*full_of)(const struct schema_method *method),
                     size_t binding)
{
    uint32_t first;

    if (!schema_names_find(&names->first, name, &first))
        (void)add_name(d, &names->first, name, binding);
    else if (!str_eq(full_of(schema_binding_at(d->schema, first)->method), full))
        (void)add_name(d, &names->shared, name, 0);
}

static struct str path_of(const struct schema_method *method)
{
    return method->path;
}

static struct str service_of(const struct schema_method *method)
{
    return method->service;
}

void find_shared_names(struct document *d)
{
    for (size_t i = 0; i < schema_binding_count(d->schema); i++) {
        const struct schema_binding *b = schema_binding_at(d->schema, i);

        if (!is_served(b))
            continue;
        see_name(d, &d->methods, method_name(b->method), b->method->path, path_of, i);
        see_name(d, &d->services, service_name(b->method), b->method->service, service_of, i);
    }
}

static bool is_shared(const struct shared_names *names, struct str name)
{
    uint32_t unused;

    return schema_names_find(&names->shared, name, &unused);
}

struct str tag_of(struct document *d, const struct schema_method *method)
{
    struct str name = service_name(method);

    return is_shared(&d->services, name) ? method->service : name;
}

/* "GetArticle"; "ArticleService_GetArticle" where another service has such a method. Further
 * bindings of a method are numbered. */
static struct str operation_id(struct document *d, const struct schema_method *method, unsigned nth)
{
    struct str id = method_name(method);

    if (is_shared(&d->methods, id))
        id = text(d, "%.*s_%.*s", STR_FMT(tag_of(d, method)), STR_FMT(id));
    if (nth)
        id = text(d, "%.*s_%u", STR_FMT(id), nth + 1);
    for (size_t i = 0; i < id.n; i++) {
        if (id.p[i] == '.') {
            id = text(d, "%.*s", STR_FMT(id));
            if (id.n)
                ((char *)id.p)[i] = '_';
        }
    }
    while (id.n && !d->failed && !add_name(d, &d->operation_ids, id, 0))
        id = text(d, "%.*s_", STR_FMT(id));
    return id;
}

/* "GetArticle" -> "Get article", for a method without a comment. */
static struct str spelled_out(struct document *d, struct str name)
{
    struct buf b CLEANUP(buf_free) = {.max = 1 << 12};

    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool upper = c >= 'A' && c <= 'Z';

        if (upper && i) {
            buf_append_char(&b, ' ');
            c = (char)(c - 'A' + 'a');
        }
        buf_append_char(&b, c);
    }
    return keep(d, &b);
}

/* The full name of a method as the notes have it. */
static struct str symbol_of(struct document *d, const struct schema_method *method)
{
    return text(d, "%.*s.%.*s", STR_FMT(method->service), STR_FMT(method_name(method)));
}

static void add_words(struct document *d, json_t *op, const struct schema_binding *b)
{
    const struct note *note = note_of(d, symbol_of(d, b->method));
    struct str words =
        comment_in(d, comment_in(d, note->comment, b->method->input), b->method->output);

    put_str(d, op, "summary",
            words.n ? first_sentence(d, words) : spelled_out(d, method_name(b->method)));
    if (is_websocket(b))
        words = text(d,
                     "%.*s%sA WebSocket: `Connection: Upgrade` opens it. Each text message is "
                     "JSON: see `x-websocket`. A browser, which can set no header here, gives "
                     "its token as a subprotocol.",
                     STR_FMT(words), words.n ? "\n\n" : "");
    if (words.n)
        put_str(d, op, "description", words);
    if (note->deprecated)
        put_true(d, op, "deprecated");
}

/* ---- access ---- */

static bool takes_token(const struct document *d, const struct schema_method *method)
{
    return d->has_auth && method->auth != SCHEMA_AUTH_NONE;
}

static void add_security(struct document *d, json_t *op, const struct schema_method *method)
{
    json_t *list = json_array();

    if (d->has_auth && method->auth == SCHEMA_AUTH_OPTIONAL)
        append(d, list, json_object());
    if (takes_token(d, method)) {
        append(d, list, json_pack("{s:[]}", "bearer"));
        d->uses_bearer = true;
    }
    put(d, op, "security", list);
}

/* ---- headers of a request ---- */

static bool is_get(const struct schema_binding *b)
{
    return str_eq(b->http_method, STR("GET"));
}

static void add_header(struct document *d, json_t *parameters, const char *name, const char *words)
{
    append(d, parameters,
           json_pack("{s:s, s:s, s:s, s:{s:s}}", "name", name, "in", "header", "description", words,
                     "schema", "type", "string"));
}

static bool has_entity_tag(const struct schema_binding *b)
{
    return b->method->entity_tag.n || b->method->headers & SCHEMA_ETAG;
}

/* A write that answers with a version can be bound to one. */
static bool takes_if_match(const struct schema_binding *b)
{
    return b->method->headers & SCHEMA_IF_MATCH ||
           (b->method->entity_tag.n && !is_get(b) && !str_eq(b->http_method, STR("POST")));
}

static void header_parameters(struct document *d, const struct schema_binding *b,
                              json_t *parameters)
{
    if (has_entity_tag(b) && is_get(b))
        add_header(d, parameters, "If-None-Match",
                   "The `ETag` of an answer that the client has: 304 when it still holds.");
    if (takes_if_match(b))
        add_header(d, parameters, "If-Match",
                   "The `ETag` of the version that is to be changed: 412 when there is another.");
    if (b->method->headers & SCHEMA_IDEMPOTENCY_KEY)
        add_header(d, parameters, "Idempotency-Key",
                   "Names this request, in 1 to 255 visible ASCII characters: sent again with the "
                   "same, it gets the first answer and does nothing; 422 for another request.");
}

/* ---- the body of a request ---- */

static json_t *raw_content(struct document *d)
{
    json_t *content = json_object();

    put(d, content, "*/*", json_object());
    return content;
}

static json_t *json_content(struct document *d, json_t *schema, json_t *example)
{
    json_t *content = json_object(), *media = json_object();

    put(d, media, "schema", schema);
    if (example)
        put(d, media, "example", example);
    put(d, content, "application/json", media);
    return content;
}

/* The whole message, but for what is in the path: such a body gets a name of its own. */
static json_t *whole_body(struct document *d, const struct schema_binding *b,
                          const struct except *except, struct str id)
{
    const struct schema_message *m = b->method->input;
    struct str name;

    if (m->well_known != SCHEMA_PLAIN) {
        const struct schema_field as_field = {.type = SCHEMA_MESSAGE, .message = m};

        return field_schema(d, NULL, &as_field, INPUT);
    }
    if (!except->n)
        return message_ref(d, m, INPUT);
    name = component_name(d, text(d, "%.*sBody", STR_FMT(id)));
    if (name.n)
        put(d, d->schemas, name.p, message_schema(d, m, INPUT, except));
    return json_ref(d, "schemas", name);
}

static bool has_required(struct document *d, const struct schema_message *m,
                         const struct except *except)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        if (!is_excepted(except, &m->fields[i]) && is_needed(d, &m->fields[i]))
            return true;
    }
    return false;
}

static void add_body(struct document *d, json_t *op, const struct schema_binding *b, struct str id)
{
    const struct except except = {.variables = b->template.variables, .n = b->template.n_variables};
    const struct schema_message *m = b->method->input;
    const struct schema_field *f = b->body_field;
    json_t *body = json_object(), *content;
    struct except below;

    if (b->body == ROUTE_BODY_ALL) {
        content = is_http_body(m) ? raw_content(d)
                                  : json_content(d, whole_body(d, b, &except, id),
                                                 message_example(d, m, INPUT, &except));
        if (is_http_body(m) || has_required(d, m, &except))
            put_true(d, body, "required");
    } else {
        if (f->message && is_http_body(f->message))
            content = raw_content(d);
        else if (f->message && except_below(&except, f, &below))
            content = json_content(d, message_schema(d, f->message, INPUT, &below),
                                   message_example(d, f->message, INPUT, &below));
        else
            content = json_content(d, field_schema(d, m, f, INPUT), field_example(d, f, INPUT));
        if (is_needed(d, f))
            put_true(d, body, "required");
    }
    put(d, body, "content", content);
    put(d, op, "requestBody", body);
}

/* ---- errors, the same for all ---- */

static const struct common {
    const char *status, *name, *words;
    bool retry_after;
} common[] = {
    {"400", "BadRequest", "The body cannot be read as the JSON that is wanted.", false},
    {"401", "Unauthorized", "There is no access token, or it is not valid.", false},
    {"404", "NotFound", "There is nothing of that name.", false},
    {"412", "PreconditionFailed", "The version is not the one that `If-Match` names.", false},
    {"422", "UnprocessableContent", "A parameter or a field of the body breaks its rules.", false},
    {"426", "UpgradeRequired", "Only a WebSocket can be opened here.", false},
    {"429", "TooManyRequests", "Too much is asked for at once.", true},
    {"default", "Error", "Any other failure.", false},
};

static json_t *common_response(struct document *d, const struct common *c)
{
    json_t *response = json_object();

    put(d, response, "description", json_string(c->words));
    if (c->retry_after)
        put(d, response, "headers",
            json_pack("{s:{s:s, s:{s:s, s:i}}}", "Retry-After", "description",
                      "Seconds to wait before the next try.", "schema", "type", "integer",
                      "minimum", 1));
    put(d, response, "content",
        json_pack("{s:{s:o}}", "application/problem+json", "schema",
                  json_ref(d, "schemas", STR("Problem"))));
    return response;
}

/* Refers to the response that all operations share, and makes it when it is the first to. */
static void add_common(struct document *d, json_t *responses, const char *status)
{
    for (size_t i = 0; i < ARRAY_SIZE(common); i++) {
        if (strcmp(common[i].status, status) != 0)
            continue;
        put(d, responses, status, json_ref(d, "responses", str_of(common[i].name)));
        if (!json_object_get(d->responses, common[i].name))
            put(d, d->responses, common[i].name, common_response(d, &common[i]));
    }
}

/* ---- answers ---- */

static const char *status_words(int status)
{
    switch (status) {
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "Done; there is no body";
    default:
        return "Success";
    }
}

static json_t *answer_schema(struct document *d, const struct schema_binding *b)
{
    const struct schema_field as_field = {.type = SCHEMA_MESSAGE, .message = b->method->output};

    return b->response_field ? field_schema(d, b->method->output, b->response_field, OUTPUT)
                             : field_schema(d, NULL, &as_field, OUTPUT);
}

static bool is_raw(const struct schema_binding *b)
{
    const struct schema_message *m =
        b->response_field ? b->response_field->message : b->method->output;

    return m && is_http_body(m);
}

static json_t *stream_content(struct document *d, const struct schema_binding *b)
{
    json_t *content = json_object();

    if (is_raw(b)) {
        put(d, content, "text/event-stream", json_object());
        return content;
    }
    put(d, content, "text/event-stream", json_pack("{s:o}", "schema", answer_schema(d, b)));
    put(d, content, "application/x-ndjson", json_pack("{s:o}", "schema", answer_schema(d, b)));
    return content;
}

static json_t *answer_content(struct document *d, const struct schema_binding *b)
{
    if (b->method->server_streaming)
        return stream_content(d, b);
    if (is_raw(b))
        return raw_content(d);
    return json_content(d, answer_schema(d, b),
                        b->response_field ? field_example(d, b->response_field, OUTPUT)
                                          : message_example(d, b->method->output, OUTPUT, NULL));
}

static void add_answer_header(struct document *d, json_t *headers, const char *name,
                              const char *words)
{
    put(d, headers, name,
        json_pack("{s:s, s:{s:s}}", "description", words, "schema", "type", "string"));
}

/* Conditional requests (RFC 9110 section 13), and the next page (RFC 8288). */
static void add_answer_headers(struct document *d, json_t *responses, json_t *answer,
                               const struct schema_binding *b)
{
    json_t *headers;

    if (!has_entity_tag(b) && !(b->method->headers & SCHEMA_LINK))
        return;
    headers = json_object();
    if (has_entity_tag(b))
        add_answer_header(d, headers, "ETag",
                          "The version of what was answered, for `If-None-Match` and `If-Match`.");
    if (b->method->headers & SCHEMA_LINK)
        add_answer_header(d, headers, "Link",
                          "Where the next page is, `<...>; rel=\"next\"`; none on the last one.");
    put(d, answer, "headers", headers);
    if (has_entity_tag(b) && is_get(b))
        put(d, responses, "304",
            json_pack("{s:s}", "description",
                      "The version that `If-None-Match` names is the current one."));
}

static void add_success(struct document *d, json_t *responses, const struct schema_binding *b)
{
    int status = b->method->http_status;
    struct str words = message_comment(d, b->method->output);
    json_t *answer = json_object();
    char code[16];

    if (!words.n)
        words = text(d, "%s.", status_words(status));
    if (b->method->server_streaming)
        words = text(d,
                     "%.*s\n\nA stream: each event, or line, has one such message. A failure after "
                     "the start is an event named `error`, or a last line, with a problem.",
                     STR_FMT(words));
    put_str(d, answer, "description", words);
    add_answer_headers(d, responses, answer, b);
    if (status != 204)
        put(d, answer, "content", answer_content(d, b));
    snprintf(code, sizeof(code), "%d", status);
    put(d, responses, code, answer);
}

static void add_upgrade(struct document *d, json_t *responses)
{
    put(d, responses, "101",
        json_pack("{s:s}", "description", "The WebSocket is open (RFC 6455)."));
    add_common(d, responses, "426");
}

static void add_responses(struct document *d, json_t *op, const struct schema_binding *b,
                          size_t n_parameters)
{
    json_t *responses = json_object();
    bool checked = n_parameters || b->method->input->has_rules;

    if (is_websocket(b))
        add_upgrade(d, responses);
    else
        add_success(d, responses, b);
    if (b->body != ROUTE_BODY_NONE)
        add_common(d, responses, "400");
    if (takes_token(d, b->method))
        add_common(d, responses, "401");
    if (b->template.n_variables)
        add_common(d, responses, "404");
    if (takes_if_match(b))
        add_common(d, responses, "412");
    if (checked)
        add_common(d, responses, "422");
    add_common(d, responses, "429");
    add_common(d, responses, "default");
    put(d, op, "responses", responses);
}

/* ---- streams ---- */

static void add_stream(struct document *d, json_t *op, const struct schema_binding *b)
{
    const struct schema_field sent = {.type = SCHEMA_MESSAGE, .message = b->method->input};
    const struct schema_field received = {.type = SCHEMA_MESSAGE, .message = b->method->output};
    json_t *messages;

    if (!is_websocket(b))
        return;
    messages = json_object();
    put(d, messages, "send", field_schema(d, NULL, &sent, INPUT));
    put(d, messages, "receive", field_schema(d, NULL, &received, OUTPUT));
    put(d, op, "x-websocket", messages);
}

/* ---- the whole ---- */

json_t *operation(struct document *d, const struct schema_binding *b, unsigned nth,
                  json_t *parameters)
{
    json_t *op = json_object(), *tags = json_array();
    struct str id = operation_id(d, b->method, nth);

    append(d, tags, json_text(tag_of(d, b->method)));
    put(d, op, "tags", tags);
    put_str(d, op, "operationId", id);
    add_words(d, op, b);
    add_security(d, op, b->method);
    header_parameters(d, b, parameters);
    if (json_array_size(parameters))
        put(d, op, "parameters", json_incref(parameters));
    if (b->body != ROUTE_BODY_NONE && !is_websocket(b))
        add_body(d, op, b, id);
    add_responses(d, op, b, json_array_size(parameters));
    add_stream(d, op, b);
    put_str(d, op, "x-grpc-method", b->method->path);
    return op;
}
