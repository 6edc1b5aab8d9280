/* --json: arrays of objects, the same for every list (README.md has the members). */
#include "task.h"

#include "base/utf8.h"

#include <jansson.h>
#include <stdlib.h>

/* A byte that is no UTF-8 becomes U+FFFD: JSON has no way to say it. */
struct json_t *json_text(struct task *t, struct str text)
{
    struct buf clean = {.max = OUTPUT_MAX};
    json_t *value;

    if (utf8_valid(text))
        return must_have(t, json_stringn(text.p ? text.p : "", text.n));
    while (text.p && text.n) {
        size_t n = utf8_length(text.p, text.n);

        if (n)
            buf_append(&clean, text.p, n);
        else
            buf_append_str(&clean, STR("\xef\xbf\xbd"));
        text = str_skip(text, n ? n : 1);
    }
    value = must_have(t, buf_error(&clean) ? NULL : json_stringn(clean.p, clean.n));
    buf_free(&clean);
    return value;
}

static void set(struct task *t, json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new_nocheck(object, name, must_have(t, value)))
        must_have(t, NULL);
}

static json_t *date_or_null(struct task *t, date_t d)
{
    char text[DATE_CHARS + 1];

    if (d == DATE_NONE)
        return json_null();
    date_print(d, text);
    return json_text(t, str_of(text));
}

static void add_words(struct task *t, json_t *object, struct str body)
{
    json_t *projects = must_have(t, json_array()), *contexts = must_have(t, json_array());
    json_t *tags = must_have(t, json_object());
    struct word w;

    while (line_next_word(&body, &w)) {
        if (w.kind == WORD_TAG) {
            json_t *key = json_text(t, w.key); /* its clean text */

            if (!json_object_get(tags, json_string_value(key)))
                set(t, tags, json_string_value(key), json_text(t, w.value));
            json_decref(key);
        } else if (w.kind != WORD_PLAIN) {
            if (json_array_append_new(w.kind == WORD_PROJECT ? projects : contexts,
                                      json_text(t, str_skip(w.text, 1))))
                must_have(t, NULL);
        }
    }
    set(t, object, "projects", projects);
    set(t, object, "contexts", contexts);
    set(t, object, "tags", tags);
}

struct json_t *json_task(struct task *t, const char *file, size_t number, struct str text)
{
    json_t *object = must_have(t, json_object());
    struct line l;
    char name[2] = "";

    line_read(text, &l);
    name[0] = l.priority;
    set(t, object, "file", json_text(t, str_of(file)));
    set(t, object, "number", json_integer((json_int_t)number));
    set(t, object, "done", json_boolean(l.done));
    set(t, object, "priority", l.priority ? json_string(name) : json_null());
    set(t, object, "completed", date_or_null(t, l.completed));
    set(t, object, "created", date_or_null(t, l.created));
    set(t, object, "due", date_or_null(t, line_tag_date(l.body, STR("due"))));
    set(t, object, "body", json_text(t, l.body));
    add_words(t, object, l.body);
    set(t, object, "line", json_text(t, text));
    return object;
}

int json_say(struct task *t, struct json_t *value)
{
    char *text = must_have(t, json_dumps(value, JSON_INDENT(2)));

    buf_append_str(&t->out, str_of(text));
    buf_append_char(&t->out, '\n');
    free(text);
    json_decref(value);
    return 0;
}
