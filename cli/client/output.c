/* What is printed: tables, plain lines, JSON. */
#include "client.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "google/protobuf/timestamp.pb-c.h"

#define COLUMN_MIN 12 /* a column that grows is not cut further */
#define COLUMNS_MAX 12
#define GAP 2

const char *style(const struct client *c, const char *code)
{
    return c->color ? code : "";
}

void say_line_of(struct client *c, struct str text)
{
    terminal_clean(&c->out, text, false);
}

void say_text_of(struct client *c, struct str text)
{
    terminal_clean(&c->out, text, true);
}

/* To be freed. */
static char *format(const char *fmt, va_list ap)
{
    char *text = NULL;

    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    return must_have(text);
}

void say(struct client *c, const char *fmt, ...)
{
    char *text;
    va_list ap;

    va_start(ap, fmt);
    text = format(fmt, ap);
    va_end(ap);
    terminal_clean(&c->out, str_of(text), false);
    buf_append_char(&c->out, '\n');
    free(text);
}

/* ---- tables ---- */

void table_begin(struct table *t, struct client *c, const struct column *columns, size_t n)
{
    assert(n <= COLUMNS_MAX);
    *t = (struct table){.c = c, .columns = columns, .n = n};
}

void table_add(struct table *t, struct str text)
{
    struct buf clean = {.max = OUTPUT_MAX};

    terminal_clean(&clean, text, false);
    if (buf_error(&clean))
        must_have(NULL);
    if (t->n_cells == t->room) {
        t->room = t->room ? t->room * 2 : 64;
        t->cells = must_have(reallocarray(t->cells, t->room, sizeof(*t->cells)));
    }
    t->cells[t->n_cells++] =
        must_str(arena_copy(&t->c->arena, clean.p ? buf_str(&clean) : STR("")));
    buf_free(&clean);
}

void table_addf(struct table *t, const char *fmt, ...)
{
    char *text;
    va_list ap;

    va_start(ap, fmt);
    text = format(fmt, ap);
    va_end(ap);
    table_add(t, str_of(text));
    free(text);
}

/* Columns as wide as their cells; those that may be cut share what is missing. */
static void measure(const struct table *t, size_t widths[COLUMNS_MAX])
{
    size_t sum = GAP * (t->n - 1);

    for (size_t i = 0; i < t->n; i++)
        widths[i] = strlen(t->columns[i].title);
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t width = terminal_width(t->cells[i]);

        if (width > widths[i % t->n])
            widths[i % t->n] = width;
    }
    for (size_t i = 0; i < t->n; i++)
        sum += widths[i];
    while (t->c->on_terminal && sum > t->c->width) {
        size_t widest = SIZE_MAX;

        for (size_t i = 0; i < t->n; i++) {
            if (t->columns[i].grows && widths[i] > COLUMN_MIN &&
                (widest == SIZE_MAX || widths[i] > widths[widest]))
                widest = i;
        }
        if (widest == SIZE_MAX)
            return;
        widths[widest]--;
        sum--;
    }
}

static void print_cell(struct buf *out, struct str cell, size_t width, bool right, bool is_last)
{
    size_t own = terminal_width(cell);

    if (own > width) { /* cut, with a sign of it */
        terminal_pad(out, cell, width - 1);
        buf_append_str(out, STR("\xe2\x80\xa6"));
    } else if (right) {
        for (; own < width; own++)
            buf_append_char(out, ' ');
        buf_append_str(out, cell);
    } else if (is_last) {
        buf_append_str(out, cell);
    } else {
        terminal_pad(out, cell, width);
    }
}

/* Without what fills up cells that are empty. */
static void end_row(struct buf *out)
{
    while (out->n && out->p[out->n - 1] == ' ')
        out->n--;
    buf_append_char(out, '\n');
}

static void print_table(struct table *t)
{
    struct buf *out = &t->c->out;
    size_t widths[COLUMNS_MAX] = {0};

    measure(t, widths);
    buf_append_str(out, str_of(style(t->c, BOLD)));
    for (size_t i = 0; i < t->n; i++) {
        print_cell(out, str_of(t->columns[i].title), widths[i], t->columns[i].right, i + 1 == t->n);
        buf_append_str(out, i + 1 < t->n ? STR("  ") : str_of(style(t->c, PLAIN)));
    }
    buf_append_char(out, '\n');
    for (size_t i = 0; i < t->n_cells; i++) {
        bool is_last = i % t->n == t->n - 1;

        print_cell(out, t->cells[i], widths[i % t->n], t->columns[i % t->n].right, is_last);
        if (!is_last)
            buf_append_str(out, STR("  "));
        else
            end_row(out);
    }
}

static void print_plain(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++) {
        buf_append_str(&t->c->out, t->cells[i]);
        buf_append_char(&t->c->out, i % t->n == t->n - 1 ? '\n' : '\t');
    }
}

void table_end(struct table *t)
{
    assert(t->n_cells % t->n == 0);
    if (t->c->set.output == OUTPUT_PLAIN)
        print_plain(t);
    else
        print_table(t);
    free(t->cells);
}

/* ---- JSON ---- */

/* Over several lines for people, in one for programs. */
static int print_json(struct client *c, json_t *value)
{
    char *text = json_dumps(must_have(value), c->on_terminal ? JSON_INDENT(2) : JSON_COMPACT);

    terminal_clean_json(&c->out, str_of(must_have(text)));
    buf_append_char(&c->out, '\n');
    free(text);
    json_decref(value);
    return DONE;
}

int say_json(struct client *c, const ProtobufCMessage *message)
{
    static const struct schema_json_options options = {.print_unset = true, .long_fractions = true};
    const struct schema_message *type =
        schema_message(contract(c), str_of(message->descriptor->name));
    struct buf json CLEANUP(buf_free) = {.max = OUTPUT_MAX};
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *wire = must_have(arena_alloc(&c->arena, n));
    struct schema_fault fault;
    int err;

    protobuf_c_message_pack(message, wire);
    err = schema_json_write(contract(c), type, (struct str){(char *)wire, n}, &options, &json,
                            &c->arena, &fault);
    if (err)
        return fail(c, FAILED, "cannot print the answer: %s",
                    err == -EBADMSG ? fault.message.p : strerror(-err));
    return print_json(c, json_loadb(json.p, json.n, 0, NULL));
}

int say_json_object(struct client *c, const struct rpc_pair *members, size_t n)
{
    json_t *object = must_have(json_object());

    for (size_t i = 0; i < n; i++) {
        json_t *value =
            json_stringn(members[i].value.p ? members[i].value.p : "", members[i].value.n);

        if (json_object_setn_new(object, members[i].key.p, members[i].key.n, must_have(value)))
            must_have(NULL);
    }
    return print_json(c, object);
}

/* ---- times ---- */

struct str time_text(struct client *c, const struct Google__Protobuf__Timestamp *t)
{
    char text[64] = "";
    time_t seconds;
    struct tm tm;

    if (!t)
        return STR("");
    seconds = (time_t)t->seconds;
    if (c->set.output == OUTPUT_PLAIN ? !gmtime_r(&seconds, &tm) : !localtime_r(&seconds, &tm))
        return STR("?");
    strftime(text, sizeof(text),
             c->set.output == OUTPUT_PLAIN ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%d %H:%M", &tm);
    return must_str(arena_copy(&c->arena, str_of(text)));
}
