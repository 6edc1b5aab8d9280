/* stoa-client: Markdown for terminals. */
#include "../../cli/client/markdown.h"

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void expect(const char *markdown, size_t width, bool color, const char *wanted)
{
    struct buf out = {.max = 1 << 20};

    assert_int_equal(markdown_render(&out, str_of(markdown), width, color), 0);
    buf_append_char(&out, '\0');
    assert_int_equal(buf_error(&out), 0);
    assert_string_equal(out.p, wanted);
    buf_free(&out);
}

static void blocks(void **state UNUSED)
{
    expect("", 80, false, "");
    expect("one\ntwo\n\nthree", 80, false, "one two\n\nthree\n");
    expect("# A\n\n## B\ntext", 80, false, "# A\n\n## B\n\ntext\n");
    expect("a\n\n---\n\nb", 80, false,
           "a\n\n"
           "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500"
           "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\n\nb\n");
    expect("a\n\n    code  x\n\n    y\n\nb", 80, false, "a\n\n    code  x\n    \n    y\n\nb\n");
    expect("```c\nint x;\n```", 80, false, "    int x;\n");
    expect("line  \nbreak", 80, false, "line\nbreak\n");
}

static void lists(void **state UNUSED)
{
    expect("a\n\n- one\n- two\n\nb", 80, false, "a\n\n\u2022 one\n\u2022 two\n\nb\n");
    expect("- one\n\n- two", 80, false, "\u2022 one\n\n\u2022 two\n");
    expect("3. x\n4. y", 80, false, "3. x\n4. y\n");
    expect("- a\n  - b\n    1. c\n- d", 80, false, "\u2022 a\n  \u2022 b\n    1. c\n\u2022 d\n");
    expect("- [ ] open\n- [x] done", 80, false, "[ ] open\n[x] done\n");
    expect("- \n- x", 80, false, "\u2022 \n\u2022 x\n");
    expect("- a\n\n  second\n- b", 80, false, "\u2022 a\n\n  second\n\n\u2022 b\n");
}

static void quotes(void **state UNUSED)
{
    expect("> a\n> b\n>\n> c", 80, false, "> a b\n> \n> c\n");
    expect("> - a\n>   > b", 80, false, "> \u2022 a\n>   > b\n");
}

static void spans(void **state UNUSED)
{
    expect("*a* **b** `c` ~~d~~", 80, false, "*a* **b** `c` ~~d~~\n");
    expect("*a* **b** `c` ~~d~~", 80, true,
           "\033[0;3ma\033[0m \033[0;1mb\033[0m \033[0;36mc\033[0m \033[0;9md\033[0m\n");
    expect("[text](http://x.example)", 80, false, "text <http://x.example>\n");
    expect("[http://x.example](http://x.example)", 80, false, "http://x.example\n");
    expect("![alt](a.png)", 80, false, "[image: alt] <a.png>\n");
    expect("&amp; &lt; &#65; &#x42; &unknown;", 80, false, "& < A B &unknown;\n");
    expect("<b>no html</b>", 80, false, "<b>no html</b>\n");
}

static void wrapping(void **state UNUSED)
{
    expect("aaaa bbbb cccc dddd eeee", 20, false, "aaaa bbbb cccc dddd\neeee\n");
    expect("- aaaa bbbb cccc dddd eeee", 22, false, "\u2022 aaaa bbbb cccc dddd\n  eeee\n");
    /* A word that is longer than a line is parted. */
    expect("aaaaaaaaaaaaaaaaaaaaaaaaa", 20, false, "aaaaaaaaaaaaaaaaaaaa\naaaaa\n");
    /* Wide characters take two columns, and may be parted anywhere. */
    expect("\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e", 20, false,
           "\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\n\u672c\u8a9e\n");
    /* A style does not run into what a line begins with. */
    expect("> **aaaa bbbb cccc dddd eeee**", 22, true,
           "\033[2m\u2502\033[0m \033[0;1maaaa bbbb cccc dddd\033[0m\n"
           "\033[2m\u2502\033[0m \033[0;1meeee\033[0m\n");
}

static void tables(void **state UNUSED)
{
    expect("|a|b|\n|---|---|\n|1|\u65e5\u672c|\n|long|x|", 80, false,
           "a    \u2502 b\n1    \u2502 \u65e5\u672c\nlong \u2502 x\n");
}

/* What strangers write does nothing to the terminal, by whatever way it comes. */
static void hostile(void **state UNUSED)
{
    static const char *const texts[] = {
        "a\033[2Jb",   "`a\033]0;x\007b`", "    a\033[2Jb", "[x](http://y\033[2J)",
        "a&#27;[2Jb",  "a&#x9b;2Jb",       "a\xc2\x9b[2Jb", "|a\033[2J|b|\n|---|---|\n|1|2|",
        "# a\033[2Jb", "a\x7f\b\rb",       "![\033](\033)", "a\xe2\x80\xae)",
        "\001A\002",   "a\xff\xfe",        "<b \033[2J>",   "```\033[2J\n\033[2J\n```",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct buf out = {.max = 1 << 20};

        assert_int_equal(markdown_render(&out, str_of(texts[i]), 80, false), 0);
        for (size_t k = 0; k < out.n; k++) {
            unsigned char c = (unsigned char)out.p[k];

            assert_true(c == '\n' || (c >= ' ' && c != 0x7f));
            assert_false(c == 0xc2 && (unsigned char)out.p[k + 1] < 0xa0);
        }
        assert_null(memmem(out.p, out.n, "\xe2\x80\xae", 3));
        buf_free(&out);
    }
}

/* Few bytes that ask for much: shown as they were written. */
static void too_much(void **state UNUSED)
{
    struct buf text = {.max = 1 << 20}, out = {.max = 16 << 20};

    for (int i = 0; i < 2000; i++)
        buf_append_str(&text, STR("|a"));
    buf_append_char(&text, '\n');
    for (int i = 0; i < 2000; i++)
        buf_append_str(&text, STR("|---"));
    buf_append_char(&text, '\n');
    for (int i = 0; i < 2000; i++)
        buf_append_str(&text, STR("|b\n"));
    assert_int_equal(markdown_render(&out, buf_str(&text), 80, false), 0);
    assert_int_equal(out.n, text.n + 1);
    buf_free(&text);
    buf_free(&out);

    /* Deep ones are indented up to a limit. */
    text.max = out.max = 16 << 20;
    for (int i = 0; i < 500; i++)
        buf_append_str(&text, STR("> "));
    buf_append_char(&text, 'x');
    assert_int_equal(markdown_render(&out, buf_str(&text), 80, false), 0);
    assert_true(out.n < 200);
    buf_free(&text);
    buf_free(&out);
}

/* ---- over the end ---- */

static bool guards; /* the next calloc() ends where a page begins that nobody may read */
static char *guarded;
static size_t guarded_bytes; /* of the pages in front of that one */

void *__real_calloc(size_t n, size_t size);
void __real_free(void *p);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *p);

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

void *__wrap_calloc(size_t n, size_t size)
{
    size_t page = page_bytes();
    char *pages;

    if (!guards)
        return __real_calloc(n, size);
    guards = false;
    guarded_bytes = (n * size + page - 1) / page * page;
    pages = mmap(NULL, guarded_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                 -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + guarded_bytes, page, PROT_NONE))
        return NULL;
    guarded = pages + guarded_bytes - n * size;
    return guarded;
}

void __wrap_free(void *p)
{
    size_t page = page_bytes();

    if (!p || p != guarded) {
        __real_free(p);
        return;
    }
    munmap((void *)((uintptr_t)p / page * page), guarded_bytes + page);
    guarded = NULL;
}

/* md4c 0.4.8 reads, and tells, what is behind its input: for each of these, given as it is, it ends
 * the program. */
static void over_the_end(void **state UNUSED)
{
    static const struct {
        struct str text;
        const char *wanted;
    } cases[] = {
        {STR("0"), "0\n"},
        {STR("[a](b"), "[a](b\n"},
        {STR("![a](b"), "![a](b\n"},
        {STR("[a]("), "[a](\n"},
        {STR("`[a](b"), "`[a](b\n"},
        {STR("[`](:"), "[`](:\n"},
        {STR("\xf9[2J ptI` oiin](:"), "\ufffd[2J ptI` oiin](:\n"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf out = {.max = 1 << 20};

        guards = true;
        assert_int_equal(markdown_render(&out, cases[i].text, 80, false), 0);
        assert_false(guards);
        assert_null(guarded);
        buf_append_char(&out, '\0');
        assert_string_equal(out.p, cases[i].wanted);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks),  cmocka_unit_test(lists),    cmocka_unit_test(quotes),
        cmocka_unit_test(spans),   cmocka_unit_test(wrapping), cmocka_unit_test(tables),
        cmocka_unit_test(hostile), cmocka_unit_test(too_much), cmocka_unit_test(over_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
