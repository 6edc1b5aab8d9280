#include "problem.h"

#include "base/utf8.h"

void problem_init(struct problem *p, int status)
{
    /* The lists are left as they are: their counts say what is in them. */
    p->status = status;
    p->detail = p->instance = p->language = p->type = STR_NULL;
    p->reason = p->domain = p->resource_type = p->resource_name = STR_NULL;
    p->retry_after = 0;
    p->n_errors = p->n_metadata = p->n_quota = p->n_preconditions = p->n_links = 0;
}

void problem_add(struct problem *p, struct str key, struct str message)
{
    if (p->n_errors < PROBLEM_MAX_ERRORS)
        p->errors[p->n_errors++] = (struct problem_error){key, message};
}

/* ---- what a status alone says ---- */

struct status_text {
    int status;
    struct str title;
    struct problem_error error;
};

#define STATUS_TEXT(number, title, key, message) \
    {                                            \
        number, STR(title),                      \
        {                                        \
            STR(key), STR(message)               \
        }                                        \
    }

static const struct status_text texts[] = {
    STATUS_TEXT(400, "Bad Request", "request", "is malformed"),
    STATUS_TEXT(401, "Unauthorized", "token", "is missing or invalid"),
    STATUS_TEXT(403, "Forbidden", "request", "is forbidden"),
    STATUS_TEXT(404, "Not Found", "path", "not found"),
    STATUS_TEXT(405, "Method Not Allowed", "method", "is not allowed here"),
    STATUS_TEXT(406, "Not Acceptable", "accept", "allows no type that there is"),
    STATUS_TEXT(408, "Request Timeout", "request", "took too long to arrive"),
    STATUS_TEXT(409, "Conflict", "request", "conflicts with the current state"),
    STATUS_TEXT(411, "Length Required", "contentLength", "is missing"),
    STATUS_TEXT(412, "Precondition Failed", "request", "has a condition that does not hold"),
    STATUS_TEXT(413, "Content Too Large", "body", "is too large"),
    STATUS_TEXT(414, "URI Too Long", "path", "is too long"),
    STATUS_TEXT(415, "Unsupported Media Type", "contentType", "must be application/json"),
    STATUS_TEXT(416, "Range Not Satisfiable", "range", "cannot be satisfied"),
    STATUS_TEXT(417, "Expectation Failed", "expect", "cannot be met"),
    STATUS_TEXT(421, "Misdirected Request", "host", "is not served here"),
    STATUS_TEXT(422, "Unprocessable Content", "request", "is invalid"),
    STATUS_TEXT(426, "Upgrade Required", "upgrade", "must be websocket, over HTTP/1.1"),
    STATUS_TEXT(429, "Too Many Requests", "request", "comes too often"),
    STATUS_TEXT(431, "Request Header Fields Too Large", "headers", "are too large"),
    STATUS_TEXT(499, "Client Closed Request", "request", "was cancelled"),
    STATUS_TEXT(500, "Internal Server Error", "service", "failed"),
    STATUS_TEXT(501, "Not Implemented", "method", "is not implemented"),
    STATUS_TEXT(502, "Bad Gateway", "service", "gave no usable answer"),
    STATUS_TEXT(503, "Service Unavailable", "service", "is unavailable"),
    STATUS_TEXT(504, "Gateway Timeout", "service", "took too long"),
    STATUS_TEXT(505, "HTTP Version Not Supported", "protocol", "is not supported"),
};

static const struct status_text *text_of(int status)
{
    static const struct status_text unknown =
        STATUS_TEXT(0, "Error", "request", "could not be served");

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (texts[i].status == status)
            return &texts[i];
    }
    return &unknown;
}

struct str problem_title(int status)
{
    return text_of(status)->title;
}

/* ---- keys ---- */

/* Where the last segment starts; dots inside brackets ('labels["a.b"]') do not part segments. */
static struct str last_segment(struct str path)
{
    size_t start = 0, end = path.n;
    bool quoted = false, bracketed = false;

    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];

        if (quoted && c == '\\') {
            i++;
        } else if (c == '"' && bracketed) {
            quoted = !quoted;
        } else if (quoted) {
            continue;
        } else if (c == '[' && !bracketed) {
            bracketed = true;
            end = i;
        } else if (c == ']') {
            bracketed = false;
        } else if (c == '.' && !bracketed) {
            start = i + 1;
            end = path.n;
        }
    }
    return (struct str){path.p + start, end - start};
}

struct str problem_key(struct arena *arena, struct str field_path)
{
    struct str segment = field_path.n ? last_segment(field_path) : STR_NULL;
    char *key = arena_alloc(arena, segment.n + 1);
    size_t n = 0;
    bool upper = false;

    if (!key)
        return STR_NULL;
    for (size_t i = 0; i < segment.n; i++) {
        char c = segment.p[i];

        if (c == '_') {
            upper = n > 0;
            continue;
        }
        if (upper && c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if (n == 0 && c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        upper = false;
        key[n++] = c;
    }
    if (n == 0)
        return STR("request");
    key[n] = '\0';
    return (struct str){key, n};
}

/* ---- printing ---- */

static void print_string(struct buf *json, struct str s)
{
    buf_append_char(json, '"');
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t length = utf8_length(s.p + i, s.n - i);

        if (length == 0) {
            buf_append_str(json, STR("\\ufffd"));
            length = 1;
        } else if (c == '"' || c == '\\') {
            buf_append_char(json, '\\');
            buf_append_char(json, (char)c);
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(json, "\\u%04x", c);
        } else {
            buf_append(json, s.p + i, length);
        }
        i += length;
    }
    buf_append_char(json, '"');
}

static void print_member(struct buf *json, struct str name, struct str value)
{
    if (!value.p)
        return;
    buf_append_str(json, name);
    print_string(json, value);
}

/* Messages of one key stand together, where the key came first. */
static void print_errors(struct buf *json, const struct problem_error *errors, unsigned n)
{
    bool printed[PROBLEM_MAX_ERRORS] = {false};

    buf_append_str(json, STR(",\"errors\":{"));
    for (unsigned i = 0; i < n; i++) {
        if (printed[i])
            continue;
        if (i > 0)
            buf_append_char(json, ',');
        print_string(json, errors[i].key);
        buf_append_str(json, STR(":["));
        for (unsigned k = i; k < n; k++) {
            if (!str_eq(errors[k].key, errors[i].key))
                continue;
            if (k > i)
                buf_append_char(json, ',');
            print_string(json, errors[k].message);
            printed[k] = true;
        }
        buf_append_char(json, ']');
    }
    buf_append_char(json, '}');
}

/* UPPER_SNAKE_CASE, as google.rpc.ErrorInfo wants it. */
static bool is_reason(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!((s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '_'))
            return false;
    }
    return s.n > 0 && s.n <= 63;
}

static bool is_domain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!((s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] >= 'a' && s.p[i] <= 'z') ||
              (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-' || s.p[i] == '.'))
            return false;
    }
    return s.n > 0 && s.n <= 253;
}

static void print_type(const struct problem *p, struct buf *json)
{
    if (!p->type.n || !is_reason(p->reason) || !is_domain(p->domain)) {
        buf_append_str(json, STR("{\"type\":\"about:blank\""));
        return;
    }
    buf_append_str(json, STR("{\"type\":"));
    print_string(json, p->type);
    json->n -= !json->failed; /* the quote: the type goes on */
    buf_printf(json, "%.*s:%.*s\"", STR_FMT(p->domain), STR_FMT(p->reason));
}

static void print_metadata(const struct problem *p, struct buf *json)
{
    for (unsigned i = 0; i < p->n_metadata; i++) {
        buf_append_str(json, i == 0 ? STR(",\"metadata\":{") : STR(","));
        print_string(json, p->metadata[i].name);
        buf_append_char(json, ':');
        print_string(json, p->metadata[i].value);
    }
    if (p->n_metadata)
        buf_append_char(json, '}');
}

static void print_violations(struct str name, const struct problem_violation *violations,
                             unsigned n, struct buf *json)
{
    for (unsigned i = 0; i < n; i++) {
        buf_append_str(json, i == 0 ? name : STR(","));
        buf_append_char(json, '{');
        if (violations[i].type.p) {
            buf_append_str(json, STR("\"type\":"));
            print_string(json, violations[i].type);
            buf_append_char(json, ',');
        }
        buf_append_str(json, STR("\"subject\":"));
        print_string(json, violations[i].subject);
        print_member(json, STR(",\"description\":"), violations[i].description);
        buf_append_char(json, '}');
    }
    if (n)
        buf_append_char(json, ']');
}

static void print_resource(const struct problem *p, struct buf *json)
{
    if (!p->resource_type.p)
        return;
    buf_append_str(json, STR(",\"resource\":{\"type\":"));
    print_string(json, p->resource_type);
    print_member(json, STR(",\"name\":"), p->resource_name);
    buf_append_char(json, '}');
}

static void print_links(const struct problem *p, struct buf *json)
{
    for (unsigned i = 0; i < p->n_links; i++) {
        buf_append_str(json, i == 0 ? STR(",\"help\":[") : STR(","));
        buf_append_str(json, STR("{\"url\":"));
        print_string(json, p->links[i].url);
        print_member(json, STR(",\"description\":"), p->links[i].description);
        buf_append_char(json, '}');
    }
    if (p->n_links)
        buf_append_char(json, ']');
}

void problem_print(const struct problem *p, struct buf *json)
{
    const struct status_text *text = text_of(p->status);

    print_type(p, json);
    buf_append_str(json, STR(",\"title\":"));
    print_string(json, text->title);
    buf_printf(json, ",\"status\":%d", p->status);
    print_member(json, STR(",\"detail\":"), p->detail);
    print_member(json, STR(",\"instance\":"), p->instance);
    print_member(json, STR(",\"reason\":"), p->reason);
    print_member(json, STR(",\"domain\":"), p->domain);
    print_metadata(p, json);
    print_violations(STR(",\"quota\":["), p->quota, p->n_quota, json);
    print_violations(STR(",\"preconditions\":["), p->preconditions, p->n_preconditions, json);
    print_resource(p, json);
    print_links(p, json);
    if (p->n_errors)
        print_errors(json, p->errors, p->n_errors);
    else
        print_errors(json, &text->error, 1);
    buf_append_char(json, '}');
}
