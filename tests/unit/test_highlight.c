/* Highlights as HTML. */
#include "../../services/posts/highlight.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void expect(const char *marked, const char *html)
{
    struct arena arena CLEANUP(arena_free) = {0};
    struct str made;

    arena_init(&arena, 0);
    made = highlight_html(str_of(marked), &arena);
    assert_non_null(made.p);
    assert_int_equal(made.n, strlen(html));
    assert_string_equal(made.p, html);
}

static void hits_are_marked(void **state UNUSED)
{
    expect("", "");
    expect("a word", "a word");
    expect("a \x01word\x02 and \x01"
           "another\x02",
           "a <mark>word</mark> and <mark>another</mark>");
    expect("\x01\xc3\xa9t\xc3\xa9\x02", "<mark>\xc3\xa9t\xc3\xa9</mark>");
}

static void the_rest_is_text(void **state UNUSED)
{
    expect("<mark>&amp;</mark>", "&lt;mark&gt;&amp;amp;&lt;/mark&gt;");
    expect("\x01<img src=x onerror='a(\"b\")'>\x02",
           "<mark>&lt;img src=x onerror=&#39;a(&quot;b&quot;)&#39;&gt;</mark>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_are_marked),
        cmocka_unit_test(the_rest_is_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
