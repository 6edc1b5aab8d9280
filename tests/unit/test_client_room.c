/* stoa-client: what the full-screen chat shows, and the line that is typed. */
#include "../../cli/client/input_line.h"
#include "../../cli/client/room_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistr.h>

#include <cmocka.h>

/* ---- the line ---- */

static void type(struct input_line *l, const char *ascii)
{
    for (; *ascii; ascii++)
        assert_true(input_character(l, (uint32_t)*ascii));
}

static void expect_input(const struct input_line *l, const char *text, size_t cursor)
{
    assert_true(str_eq((struct str){l->text, l->n}, str_of(text)));
    assert_int_equal(l->cursor, cursor);
}

static void editing(void **state UNUSED)
{
    static struct input_line l;

    type(&l, "hello world");
    input_key(&l, INPUT_KILL_WORD);
    expect_input(&l, "hello ", 6);
    input_key(&l, INPUT_HOME);
    type(&l, "oh ");
    expect_input(&l, "oh hello ", 3);
    input_key(&l, INPUT_RIGHT);
    input_key(&l, INPUT_DELETE);
    expect_input(&l, "oh hllo ", 4);
    input_key(&l, INPUT_BACKSPACE);
    expect_input(&l, "oh llo ", 3);
    input_key(&l, INPUT_KILL_LINE);
    expect_input(&l, "llo ", 0);
    input_key(&l, INPUT_BACKSPACE); /* nothing before it */
    input_key(&l, INPUT_LEFT);
    expect_input(&l, "llo ", 0);
    input_key(&l, INPUT_END);
    input_key(&l, INPUT_DELETE);
    input_key(&l, INPUT_RIGHT);
    expect_input(&l, "llo ", 4);
    assert_false(input_character(&l, '\033'));
    assert_false(input_character(&l, 0x9b));
    assert_false(input_character(&l, 0x110000));
    input_free(&l);
}

static void characters(void **state UNUSED)
{
    static struct input_line l;

    assert_true(input_character(&l, 0x6f22)); /* a CJK character */
    assert_true(input_character(&l, 'e'));
    assert_true(input_character(&l, 0x301)); /* and what combines with it */
    assert_true(input_character(&l, 0x1f389));
    expect_input(&l, "\u6f22e\u0301\U0001f389", 10);
    input_key(&l, INPUT_LEFT);
    input_key(&l, INPUT_LEFT);
    expect_input(&l, "\u6f22e\u0301\U0001f389", 3);
    input_key(&l, INPUT_DELETE);
    expect_input(&l, "\u6f22\U0001f389", 3);
    input_key(&l, INPUT_BACKSPACE);
    expect_input(&l, "\U0001f389", 0);
    input_free(&l);
}

static void expect_shown(const struct input_line *l, size_t width, const char *text, size_t column)
{
    struct buf line = {.max = 8192};
    size_t at;

    assert_true(str_eq(input_shown(l, width, &line, &at), str_of(text)));
    assert_int_equal(at, column);
    buf_free(&line);
}

static void full_line(void **state UNUSED)
{
    static struct input_line l;

    for (int i = 0; i < INPUT_BYTES_MAX; i++)
        assert_true(input_character(&l, 'a' + (uint32_t)i % 26));
    assert_false(input_character(&l, 'x'));
    expect_shown(&l, 10, "fghijklmn", 9); /* 4095 % 26: n */
    input_key(&l, INPUT_HOME);
    expect_shown(&l, 10, "abcdefghij", 0);
    input_free(&l);
}

static void type_utf8(struct input_line *l, const char *text)
{
    uint32_t points[64];
    size_t n = ARRAY_SIZE(points);

    assert_non_null(u8_to_u32((const uint8_t *)text, strlen(text), points, &n));
    for (size_t i = 0; i < n; i++)
        assert_true(input_character(l, points[i]));
}

#define FAMILY "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
#define THUMB "\U0001f44d\U0001f3fd"
#define FLAG "\U0001f1e9\U0001f1ea"

/* One for the reader, one key to go over it; on the screen in parts. */
static void joined_emoji(void **state UNUSED)
{
    static struct input_line l;

    type_utf8(&l, "a" FAMILY THUMB FLAG FLAG "\u2764\ufe0f");
    expect_shown(&l, 40, "a\U0001f468\U0001f469\U0001f467\U0001f466\U0001f44d" FLAG FLAG "\u2764",
                 1 + 8 + 2 + 4 + 1);
    expect_shown(&l, 5, FLAG "\u2764", 3);
    input_key(&l, INPUT_LEFT);
    input_key(&l, INPUT_LEFT);
    expect_shown(&l, 40, "a\U0001f468\U0001f469\U0001f467\U0001f466\U0001f44d" FLAG FLAG "\u2764",
                 13);
    input_key(&l, INPUT_BACKSPACE);
    input_key(&l, INPUT_DELETE);
    input_key(&l, INPUT_BACKSPACE);
    expect_input(&l, "a" FAMILY "\u2764\ufe0f", 1 + strlen(FAMILY));
    input_key(&l, INPUT_BACKSPACE);
    expect_input(&l, "a\u2764\ufe0f", 1);
    input_key(&l, INPUT_RIGHT);
    input_key(&l, INPUT_BACKSPACE);
    expect_input(&l, "a", 1);
    input_free(&l);
}

static void several_lines(void **state UNUSED)
{
    static struct input_line l;

    type(&l, "one\ntwo\tthree\n\nx");
    expect_shown(&l, 40, "one\u21b5two three\u21b5\u21b5x", 16);
    input_key(&l, INPUT_KILL_WORD);
    input_key(&l, INPUT_KILL_WORD);
    expect_input(&l, "one\ntwo\t", 8);
    input_done(&l);
    input_key(&l, INPUT_UP);
    expect_input(&l, "one\ntwo\t", 8);
    input_free(&l);
}

static void history(void **state UNUSED)
{
    static struct input_line l;

    for (int i = 0; i < INPUT_HISTORY + 5; i++) {
        assert_true(input_character(&l, (uint32_t)('a' + i % 26)));
        input_done(&l);
    }
    assert_int_equal(l.n_history, INPUT_HISTORY);
    input_done(&l); /* an empty one is not remembered */
    assert_int_equal(l.n_history, INPUT_HISTORY);
    type(&l, "new");
    input_key(&l, INPUT_UP);
    expect_input(&l, "a", 1); /* 104 % 26 */
    input_key(&l, INPUT_UP);
    expect_input(&l, "z", 1);
    input_key(&l, INPUT_DOWN);
    input_key(&l, INPUT_DOWN);
    expect_input(&l, "new", 3);
    input_key(&l, INPUT_DOWN);
    expect_input(&l, "new", 3);
    input_free(&l);
}

/* ---- the view ---- */

static void expect_view(const struct room_view *v, const char *wanted)
{
    struct buf text = {.max = 4096};

    for (size_t i = 0; i < v->n; i++)
        buf_printf(&text, "%lld:%s ", (long long)v->entries[i].seq, v->entries[i].text);
    buf_append_char(&text, '\0');
    assert_string_equal(text.p, wanted);
    buf_free(&text);
}

static void order(void **state UNUSED)
{
    struct room_view v = {.n = 0};
    size_t at = 0;

    assert_non_null(room_view_put(&v, 5, "ada", "five", 0));
    assert_non_null(room_view_put(&v, 3, "ada", "three", 0));
    assert_true(room_view_pend(&v, "x", "bob", "mine", 0));
    assert_true(room_view_pend(&v, "y", "bob", "mine too", 0));
    assert_non_null(room_view_put(&v, 7, "ada", "seven", 0));
    assert_non_null(room_view_put(&v, 5, "ada", "five again", 0));
    expect_view(&v, "3:three 5:five again 7:seven 0:mine 0:mine too ");
    assert_string_equal(room_view_pending(&v, &at)->id, "x");
    assert_string_equal(room_view_pending(&v, &at)->id, "y");
    assert_null(room_view_pending(&v, &at));

    room_view_acknowledge(&v, "y", 6);
    expect_view(&v, "3:three 5:five again 6:mine too 7:seven 0:mine ");
    assert_non_null(room_view_put(&v, 8, "bob", "mine", 0)); /* its event before its ack */
    room_view_acknowledge(&v, "x", 8);
    room_view_acknowledge(&v, "x", 9); /* nobody waits for it */
    expect_view(&v, "3:three 5:five again 6:mine too 7:seven 8:mine ");

    assert_true(room_view_pend(&v, "z", "bob", "bad", 0));
    room_view_refuse(&v, "z", "too\033 long");
    assert_string_equal(v.entries[5].problem, "too\u241b long");
    at = 0;
    assert_null(room_view_pending(&v, &at));

    assert_true(room_view_pend(&v, "u", "bob", "later", 0));
    room_view_forget(&v);
    expect_view(&v, "0:bad 0:later ");
    assert_non_null(room_view_put(&v, 20, "ada", "anew", 0));
    expect_view(&v, "20:anew 0:bad 0:later ");
    at = 0;
    assert_string_equal(room_view_pending(&v, &at)->id, "u");
    room_view_free(&v);
}

static void limits(void **state UNUSED)
{
    struct room_view v = {.n = 0};

    for (int i = 1; i <= VIEW_ENTRIES_MAX + 10; i++)
        assert_non_null(room_view_put(&v, i, "a", "t", 0));
    assert_int_equal(v.n, VIEW_ENTRIES_MAX);
    assert_int_equal(v.entries[0].seq, 11);
    room_view_free(&v);
}

static void expect_entry(const struct view_entry *e, size_t width, const char *wanted)
{
    static struct view_line lines[VIEW_LINES_MAX];
    struct buf to = {.max = 1 << 20}, text = {.max = 1 << 20};
    size_t n = room_view_lines(e, "14:05", width, &to, lines);

    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "%.*s|", STR_FMT(lines[i].text));
    buf_append_char(&text, '\0');
    assert_string_equal(text.p, wanted);
    buf_free(&to);
    buf_free(&text);
}

static void lines_of_entries(void **state UNUSED)
{
    struct room_view v = {.n = 0};
    struct view_entry *e = room_view_put(&v, 1, "ada", "hello there you two", 0);

    expect_entry(e, 80, "14:05 ada  hello there you two|");
    expect_entry(e, 20, "14:05 ada  hello|there you two|");
    e->edited = true;
    room_view_react(&v, 1, "\U0001f389", 2);
    room_view_react(&v, 1, "x", 1);
    room_view_react(&v, 1, "x", 0);
    expect_entry(e, 80, "14:05 ada  hello there you two (changed)|\U0001f389 2|");
    e->deleted = true;
    expect_entry(e, 80, "14:05 ada  (deleted)|\U0001f389 2|");
    room_view_react(&v, 1, "\U0001f389", 0);
    expect_entry(room_view_put(&v, 2, NULL, "ada\033 has joined", 0), 80,
                 "14:05 * ada\u241b has joined|");
    assert_true(room_view_pend(&v, "id", "bob", "two\nlines", 0));
    expect_entry(&v.entries[2], 80, "14:05 bob  two|lines (on its way)|");
    room_view_refuse(&v, "id", "too long");
    expect_entry(&v.entries[2], 80, "14:05 bob  two|lines (not sent: too long)|");
    /* As narrow as it may be: nothing is lost, and it ends. */
    expect_entry(room_view_put(&v, 9, "a", "\u6f22", 0), 2, "14|:0|5|a |\u6f22|");
    room_view_free(&v);
}

/* What goes out is what was typed, not what is shown. */
static void as_typed(void **state UNUSED)
{
    struct room_view v = {.n = 0};
    size_t at = 0;

    assert_true(room_view_pend(&v, "x", "ada", "a\tb " FAMILY "\nc", 0));
    expect_view(&v, "0:a    b \U0001f468\U0001f469\U0001f467\U0001f466\nc ");
    assert_string_equal(room_view_pending(&v, &at)->sent, "a\tb " FAMILY "\nc");
    room_view_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(editing),       cmocka_unit_test(characters),
        cmocka_unit_test(full_line),     cmocka_unit_test(joined_emoji),
        cmocka_unit_test(several_lines), cmocka_unit_test(as_typed),
        cmocka_unit_test(history),       cmocka_unit_test(order),
        cmocka_unit_test(limits),        cmocka_unit_test(lines_of_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
