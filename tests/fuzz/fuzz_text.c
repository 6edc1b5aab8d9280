/* libFuzzer target for what people call things: titles, tags, usernames, addresses, ids, and the
 * texts that a search shows. What is made of a text keeps what the headers promise; a text that
 * passes a rule has no byte that the rule is there to keep out. */
#include "../../services/auth/names.h"
#include "../../services/posts/highlight.h"
#include "../../services/posts/slug.h"
#include "../../services/posts/tags.h"
#include "base/network.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "schema/rules.h"
#include "text/plain_text.h"
#include "text/username_key.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_TAGS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Code points of valid UTF-8. */
static size_t length_of(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* A part of a path that needs no escape but for its letters, and is no dot segment. */
static void check_slug(struct arena *arena, struct str title)
{
    struct slug slug, again;
    int r = slug_from_title(title, arena, &slug);

    check(r == (utf8_valid(title) ? 0 : -EILSEQ));
    if (r < 0)
        return;
    check(slug.text.n && utf8_valid(slug.text) && length_of(slug.text) <= SLUG_MAX_CHARS);
    check(slug.text.p[0] != '-' && slug.text.p[slug.text.n - 1] != '-');
    for (size_t i = 0; i < slug.text.n; i++) {
        char c = slug.text.p[i];

        check((unsigned char)c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              (c == '-' && slug.text.p[i + 1] != '-'));
    }
    check(slug_from_title(slug.text, arena, &again) == 0 && str_eq(again.text, slug.text));
}

/* One tag in each line. */
static void check_tags(struct arena *arena, struct str text)
{
    const char *tags[MAX_TAGS];
    struct tags_fault fault;
    struct str *kept;
    size_t n = 0;
    int r;

    for (; text.n && n < MAX_TAGS; n++) {
        const char *lf = memchr(text.p, '\n', text.n);
        struct str line = {text.p, lf ? (size_t)(lf - text.p) : text.n};
        struct str copy = arena_copy(arena, line);

        check(copy.p);
        tags[n] = copy.p;
        text = str_skip(text, line.n + 1);
    }
    r = tags_normalise(tags, n, arena, &kept, &fault);
    check(r >= 0 ? (size_t)r <= n : r == -EINVAL && fault.index < n && fault.description);
    for (int i = 0; i < r; i++) {
        check(kept[i].n && str_eq(tag_trim(kept[i]), kept[i]) &&
              !memchr(kept[i].p, '\t', kept[i].n));
        check(i == 0 || !str_eq(kept[i], kept[i - 1]));
    }
}

static void check_username(struct arena *arena, struct str name)
{
    struct str key, again;
    int r = username_key(name, arena, &key);

    check(r == (utf8_valid(name) ? 0 : -EILSEQ));
    if (r < 0) {
        check(username_fault(name) || name.n == 0);
        return;
    }
    check(utf8_valid(key) && username_key(key, arena, &again) == 0 && str_eq(again, key));
    if (!username_fault(name))
        check(!memchr(name.p ? name.p : "", '\0', name.n) && !str_eq(name, STR("..")));
}

static void check_plain(struct str text)
{
    bool line = !plain_text_fault(text, PLAIN_TEXT_ONE_LINE);
    bool lines = !plain_text_fault(text, PLAIN_TEXT_LINES);

    check(!line || lines);
    if (!lines)
        return;
    check(utf8_valid(text));
    for (size_t i = 0; i < text.n; i++)
        check((unsigned char)text.p[i] >= ' ' || (!line && memchr("\t\n\r", text.p[i], 3)));
}

/* Nothing but our two marks is markup, and without them and its escapes it is the text. */
static void check_highlight(struct arena *arena, struct str text)
{
    static const struct {
        struct str html;
        char meant;
    } escapes[] = {{{"<mark>", 6}, HIGHLIGHT_START},
                   {{"</mark>", 7}, HIGHLIGHT_STOP},
                   {{"&amp;", 5}, '&'},
                   {{"&lt;", 4}, '<'},
                   {{"&gt;", 4}, '>'},
                   {{"&quot;", 6}, '"'},
                   {{"&#39;", 5}, '\''}};
    struct str html = highlight_html(text, arena);
    size_t at = 0;

    check(html.p);
    while (html.n) {
        size_t i = 0;

        check(at < text.n);
        while (i < ARRAY_SIZE(escapes) && !str_starts(html, escapes[i].html))
            i++;
        if (i < ARRAY_SIZE(escapes)) {
            check(text.p[at++] == escapes[i].meant);
            html = str_skip(html, escapes[i].html.n);
        } else {
            check(text.p[at++] == html.p[0] && !memchr("<>&\"'", html.p[0], 5));
            html = str_skip(html, 1);
        }
    }
    check(at == text.n);
}

static bool is_ascii_without(struct str s, const char *others)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr(others, s.p[i]))
            return false;
    }
    return true;
}

static void check_formats(struct arena *arena, struct str s)
{
    struct str key;

    if (format_email(s)) {
        key = email_key(s, arena);
        check(is_ascii_without(s, "<>\"\\,;:()[]") && memchr(s.p, '@', s.n));
        check(key.n == s.n && format_email(key) && str_eq(email_key(key, arena), key));
    }
    if (format_uri(s))
        check(is_ascii_without(s, "<>\"\\^`{|}") && format_uri_ref(s) && memchr(s.p, ':', s.n));
    if (format_uri_ref(s))
        check(is_ascii_without(s, "<>\"\\^`{|}"));
    if (format_hostname(s))
        check(s.n <= 254 && is_ascii_without(s, "@:/?#[]_%"));
    if (format_ipv4(s))
        check(is_ascii_without(s, ":%/") && format_ip(s));
    if (format_ipv6(s))
        check(memchr(s.p, ':', s.n) && format_ip(s));
}

static void check_uuid(struct str s)
{
    char printed[UUID_CHARS + 1];
    struct uuid id;
    int r = uuid_parse(s, &id);

    check(r == (format_uuid(s) ? 0 : -EINVAL));
    if (r < 0)
        return;
    uuid_print(&id, printed);
    check(str_eq_nocase(str_of(printed), s));
}

/* The list of all addresses has whatever is one, and an address as a list has itself. */
static void check_networks(struct arena *arena, struct str s)
{
    struct network_list list;
    struct str wrong = STR_NULL;
    int r = network_list_parse(STR("::/0"), arena, &list, &wrong);

    check(r == 0 && list.n == 1);
    check(network_list_has(&list, s) ==
          (format_ipv4(s) || (format_ipv6(s) && !memchr(s.p, '%', s.n))));
    r = network_list_parse(s, arena, &list, &wrong);
    check(r == 0 ||
          (r == -EINVAL && (wrong.n == 0 || (wrong.p >= s.p && wrong.p + wrong.n <= s.p + s.n))));
    for (size_t i = 0; r == 0 && i < list.n; i++)
        check(list.networks[i].bits <= 128);
    if (r == 0 && (format_ipv4(s) || format_ipv6(s)))
        check(list.n == 1 && network_list_has(&list, s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena CLEANUP(arena_free) = {0};
    struct str text;

    arena_init(&arena, 0);
    text = arena_copy(&arena, (struct str){(const char *)data, size}); /* ends where one looks */
    check(text.p);
    check_slug(&arena, text);
    check_tags(&arena, text);
    check_username(&arena, text);
    check_plain(text);
    check_highlight(&arena, text);
    check_formats(&arena, text);
    check_uuid(text);
    check_networks(&arena, text);
    return 0;
}
