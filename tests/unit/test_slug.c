/* Slugs: readable in every script, bounded, safe in a URL path, and their own slug. */
#include "../../services/posts/slug.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistr.h>

#include <cmocka.h>

static struct arena arena;

static int reset(void **state UNUSED)
{
    arena_free(&arena);
    arena_init(&arena, 0);
    return 0;
}

static struct slug slug_of(const char *title)
{
    struct slug slug = {STR_NULL, false};

    assert_int_equal(slug_from_title(str_of(title), &arena, &slug), 0);
    assert_int_equal(strlen(slug.text.p), slug.text.n);
    return slug;
}

static void expect(const char *title, const char *want)
{
    struct slug slug = slug_of(title);

    assert_string_equal(slug.text.p, want);
    assert_false(slug.needs_suffix);
    assert_string_equal(slug_of(want).text.p, want); /* its own slug */
}

static void expect_suffix(const char *title, const char *want)
{
    struct slug slug = slug_of(title);

    assert_string_equal(slug.text.p, want);
    assert_true(slug.needs_suffix);
}

static void latin_titles(void **state UNUSED)
{
    expect("How to train your dragon", "how-to-train-your-dragon");
    expect("C", "c");
    expect("42", "42");
    expect("HTTP/2 & gRPC: a comparison (2024)", "http-2-grpc-a-comparison-2024");
    expect("don't panic", "don-t-panic");
    expect("snake_case is--fine", "snake-case-is-fine");
    expect("Crème Brûlée à la carte", "crème-brûlée-à-la-carte");
    expect("ÆØÅ", "æøå");
    expect("Straße", "straße");
}

static void separators_collapse_and_are_trimmed(void **state UNUSED)
{
    expect("  spaces   everywhere  ", "spaces-everywhere");
    expect("---a---b---", "a-b");
    expect("\t\r\n a \n", "a");
    expect("a \xe2\x80\x94 b \xe2\x80\xa6", "a-b"); /* em dash, ellipsis */
    expect("a\xc2\xa0"
           "b\xe3\x80\x80"
           "c",
           "a-b-c"); /* no-break and ideographic space */
    expect("../../etc/passwd", "etc-passwd");
    expect("a%2Fb?c=d#e", "a-2fb-c-d-e");
    expect("<script>alert(1)</script>", "script-alert-1-script");
    expect("\x01\x02"
           "bell\x07"
           "ring\x7f",
           "bell-ring");
}

static void other_scripts_stay(void **state UNUSED)
{
    expect("Привет, мир!", "привет-мир");
    expect("日本語のタイトル、二番目", "日本語のタイトル-二番目");
    expect("안녕 세상", "안녕-세상");
    expect("مرحبا بالعالم", "مرحبا-بالعالم");
    expect("שלום עולם", "שלום-עולם");
    expect("हिन्दी में लेख", "हिन्दी-में-लेख"); /* vowel signs are marks, and belong to the words */
    expect("ภาษาไทย", "ภาษาไทย");
    expect("٣ أشياء", "٣-أشياء"); /* digits of other scripts */
}

static void case_follows_unicode(void **state UNUSED)
{
    expect("ΟΔΥΣΣΕΥΣ", "οδυσσευς"); /* final sigma */
    expect("ПРИВЕТ", "привет");
    expect("ǅ", "dž");        /* one title-case character, by NFKC two */
    expect("TITLE", "title"); /* whatever the locale says of I */
}

static void compatibility_forms_are_one(void **state UNUSED)
{
    expect("Ｆｕｌｌ　Ｗｉｄｔｈ", "full-width");
    expect("ﬁne", "fine");
    expect("x²", "x2");
    expect("Cafe\xcc\x81", "café"); /* e + combining acute is é */
    expect("\xe2\x85\xa7", "viii"); /* Roman numeral eight */
    expect("ｶﾞ", "ガ");
}

static void invisible_characters_vanish(void **state UNUSED)
{
    expect("soft\xc2\xadhyphen", "softhyphen");
    expect("zero\xe2\x80\x8bwidth", "zerowidth");
    expect("\xef\xbb\xbf"
           "bom",
           "bom");
    expect("\xe2\x80\xaetitle\xe2\x80\xac", "title");     /* right-to-left override */
    expect("\xe2\x81\xa6iso\xe2\x81\xa9late", "isolate"); /* bidi isolates */
    expect("می\xe2\x80\x8cخواهم", "میخواهم");             /* zero width non-joiner */
    expect("1\xef\xb8\x8f\xe2\x83\xa3 first", "1-first"); /* keycap: 1, selector, enclosure */
    expect("a\xf3\xa0\x81\xa1"
           "b",
           "ab"); /* a tag character */
}

static void marks_need_a_letter(void **state UNUSED)
{
    expect("\xcc\x81"
           "abc",
           "abc");                                /* at the start */
    expect("a -\xcc\x81 b", "a-b");               /* on punctuation */
    expect_suffix("\xcc\x81\xcc\x82", "article"); /* alone */
    expect("q\xcc\x81", "q\xcc\x81");             /* no composed form: stays as it is */
}

static void titles_that_say_nothing(void **state UNUSED)
{
    expect_suffix("", "article");
    expect_suffix("!!!", "article");
    expect_suffix("   ", "article");
    expect_suffix("\xf0\x9f\x90\x89\xf0\x9f\x94\xa5", "article"); /* dragon, fire */
    expect_suffix("\xe2\x80\x8b", "article");
    expect("\xf0\x9f\x90\x89 dragon", "dragon");
    expect("Article", "article"); /* the word itself is a fine title */
}

static void names_of_routes_are_not_given_bare(void **state UNUSED)
{
    expect_suffix("feed", "feed");
    expect_suffix("Feed!", "feed");
    expect_suffix("ＦＥＥＤ", "feed");
    expect("feeds", "feeds");
    expect("my feed", "my-feed");
}

/* n copies of the text. */
static const char *times(const char *text, size_t n)
{
    size_t length = strlen(text);
    char *s = arena_alloc(&arena, n * length + 1);

    assert_non_null(s);
    for (size_t i = 0; i < n; i++)
        memcpy(s + i * length, text, length);
    s[n * length] = '\0';
    return s;
}

static size_t code_points(struct str s)
{
    return u8_mbsnlen((const uint8_t *)s.p, s.n);
}

static void length_is_bounded_in_characters(void **state UNUSED)
{
    static const char *const letters[] = {"a", "é", "日", "\xf0\x90\x90\xa8"};

    for (size_t i = 0; i < ARRAY_SIZE(letters); i++) {
        expect(times(letters[i], SLUG_MAX_CHARS - 1), times(letters[i], SLUG_MAX_CHARS - 1));
        expect(times(letters[i], SLUG_MAX_CHARS), times(letters[i], SLUG_MAX_CHARS));
        expect(times(letters[i], SLUG_MAX_CHARS + 1), times(letters[i], SLUG_MAX_CHARS));
        expect(times(letters[i], 10000), times(letters[i], SLUG_MAX_CHARS));
    }
    /* One character that NFKC makes eighteen of (with spaces between them). */
    assert_true(code_points(slug_of(times("\xef\xb7\xba", 256)).text) <= SLUG_MAX_CHARS);
}

static void long_titles_end_with_a_word(void **state UNUSED)
{
    struct slug slug = slug_of(times("nineteen-characters ", 20));

    assert_string_equal(slug.text.p, "nineteen-characters-nineteen-characters-"
                                     "nineteen-characters-nineteen-characters-nineteen");
    /* Exactly full before a separator: the last word is whole, and stays. */
    slug = slug_of(arena_printf(&arena, "%s b", times("a", SLUG_MAX_CHARS)).p);
    assert_string_equal(slug.text.p, times("a", SLUG_MAX_CHARS));
    /* A short first word before an endless one: little would be left, so the word is cut. */
    slug = slug_of(arena_printf(&arena, "on %s", times("x", 500)).p);
    assert_int_equal(slug.text.n, SLUG_MAX_CHARS);
    /* No room for a separator and a letter. */
    slug = slug_of(arena_printf(&arena, "%s b", times("a", SLUG_MAX_CHARS - 1)).p);
    assert_string_equal(slug.text.p, times("a", SLUG_MAX_CHARS - 1));
}

static bool is_well_formed(struct str s)
{
    if (s.n == 0 || s.p[0] == '-' || s.p[s.n - 1] == '-' || u8_check((const uint8_t *)s.p, s.n))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool fine = c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    (c == '-' && s.p[i - 1] != '-');
        if (!fine)
            return false;
    }
    return true;
}

/* Titles of characters drawn from all of Unicode, with a fixed seed. */
static void any_title_gives_a_well_formed_slug(void **state UNUSED)
{
    uint64_t x = 88172645463325252u;

    for (int round = 0; round < 20000; round++) {
        char title[256 * 4];
        size_t n = 0;
        struct slug slug, again;

        for (int i = 0; i < round % 256; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            ucs4_t c = (ucs4_t)(x % 3 == 0 ? x >> 40 & 0x7f : x >> 40) % 0x110000;
            if (c == 0 || (c >= 0xd800 && c < 0xe000))
                c = ' ';
            n += (size_t)u8_uctomb((uint8_t *)title + n, c, (ptrdiff_t)(sizeof(title) - n));
        }
        assert_int_equal(slug_from_title((struct str){title, n}, &arena, &slug), 0);
        assert_true(is_well_formed(slug.text));
        assert_true(code_points(slug.text) <= SLUG_MAX_CHARS);
        assert_int_equal(slug_from_title(slug.text, &arena, &again), 0);
        assert_true(str_eq(slug.text, again.text));
        arena_reset(&arena);
    }
}

static void broken_utf8_is_refused(void **state UNUSED)
{
    struct slug slug;

    assert_int_equal(slug_from_title(STR("a\xff"), &arena, &slug), -EILSEQ);
    assert_int_equal(slug_from_title(STR("\xed\xa0\x80"), &arena, &slug), -EILSEQ);
}

static void suffixes_keep_the_base(void **state UNUSED)
{
    static const uint8_t zeros[SLUG_RANDOM_BYTES] = {0}, ones[] = {255, 255, 255, 255, 255},
                         some[] = {0x12, 0x34, 0x56, 0x78, 0x9a};
    struct str slug = slug_with_suffix(STR("hello"), zeros, &arena);

    assert_string_equal(slug.p, "hello-00000000");
    assert_string_equal(slug_with_suffix(STR("hello"), ones, &arena).p, "hello-zzzzzzzz");
    slug = slug_with_suffix(STR("日本"), some, &arena);
    assert_int_equal(slug.n, strlen("日本") + SLUG_SUFFIX_CHARS);
    assert_string_equal(slug_of(slug.p).text.p, slug.p);
}

static void lack_of_memory_is_reported(void **state UNUSED)
{
    static const uint8_t zeros[SLUG_RANDOM_BYTES];
    struct arena small;
    struct slug slug;

    arena_init(&small, 1);
    assert_int_equal(slug_from_title(STR("title"), &small, &slug), -ENOMEM);
    assert_null(slug_with_suffix(STR("title"), zeros, &small).p);
    arena_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latin_titles),
        cmocka_unit_test(separators_collapse_and_are_trimmed),
        cmocka_unit_test(other_scripts_stay),
        cmocka_unit_test(case_follows_unicode),
        cmocka_unit_test(compatibility_forms_are_one),
        cmocka_unit_test(invisible_characters_vanish),
        cmocka_unit_test(marks_need_a_letter),
        cmocka_unit_test(titles_that_say_nothing),
        cmocka_unit_test(names_of_routes_are_not_given_bare),
        cmocka_unit_test(length_is_bounded_in_characters),
        cmocka_unit_test(long_titles_end_with_a_word),
        cmocka_unit_test(any_title_gives_a_well_formed_slug),
        cmocka_unit_test(broken_utf8_is_refused),
        cmocka_unit_test(suffixes_keep_the_base),
        cmocka_unit_test(lack_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, reset, reset);
}
