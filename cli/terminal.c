#include "cli.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unictype.h>
#include <unigbrk.h>
#include <unistd.h>
#include <unistr.h>
#include <uniwidth.h>

#define WIDTH_MAX 4 /* of one character; no writing needs more, and a line is to have an end */
#define ZWJ 0x200d  /* joins emoji to one */
#define VS15 0xfe0e /* what is before it is text */
#define VS16 0xfe0f /* what is before it is an emoji */

bool terminal_no_color(void)
{
    const char *no = getenv("NO_COLOR");

    return no && *no;
}

bool terminal_has_color(void)
{
    const char *term = getenv("TERM");

    return !terminal_no_color() && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

/* Of the terminal at standard output; false: it is none, or does not say. */
static bool terminal_size(struct winsize *ret)
{
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, ret) == 0;
}

static size_t terminal_rows(void)
{
    struct winsize size;

    return terminal_size(&size) ? size.ws_row : 0;
}

size_t terminal_columns(void)
{
    struct winsize size;

    return terminal_size(&size) ? size.ws_col : 0;
}

/* "\033[" ... letter; 0: none. */
static size_t escape_length(const char *p, size_t left)
{
    size_t n = 2;

    if (left < 3 || p[0] != '\033' || p[1] != '[')
        return 0;
    while (n < left && ((p[n] >= '0' && p[n] <= '9') || p[n] == ';'))
        n++;
    return n < left ? n + 1 : 0;
}

/* A code point of the text at p; 0: none, or bytes that are no UTF-8. */
static size_t code_point(const char *p, size_t left, ucs4_t *ret)
{
    size_t n = left ? utf8_length(p, left) : 0;

    *ret = 0;
    if (n)
        u8_mbtouc(ret, (const uint8_t *)p, n);
    return n;
}

static size_t width_of(ucs4_t c)
{
    int width = uc_width(c, "UTF-8");

    return width < 0 ? 1 : (size_t)width;
}

static bool is_regional(ucs4_t c)
{
    return uc_graphemeclusterbreak_property(c) == GBP_RI;
}

/* What a terminal puts in one place, so far (https://www.unicode.org/reports/tr29/, extended
 * grapheme clusters). The library's own walk knows neither joined emoji nor flags. */
struct cluster {
    ucs4_t last;
    ucs4_t base;     /* the emoji that the next one may be joined to, or 0 */
    size_t regional; /* how many letters of a flag there are at its end */
    size_t width;
};

static bool joins(const struct cluster *k, ucs4_t c)
{
    if (c < 0x20 || c == 0x7f || k->last < 0x20 || k->last == 0x7f)
        return false;
    if (k->last == ZWJ && k->base && uc_is_property_extended_pictographic(c))
        return true;
    if (is_regional(c) && k->regional)
        return k->regional == 1;
    return k->width + width_of(c) <= WIDTH_MAX && !uc_is_grapheme_break(k->last, c);
}

/* The width of an emoji stays two whatever is joined to it; else each has a width of its own. */
static void join(struct cluster *k, ucs4_t c)
{
    bool joined = k->last == ZWJ && k->base;

    if ((c == VS16 && uc_is_property_emoji(k->last)) || (is_regional(c) && k->regional) || joined ||
        (k->base && uc_is_property_emoji_modifier(c)))
        k->width = 2;
    else
        k->width += width_of(c);
    k->regional = is_regional(c) ? k->regional + 1 : 0;
    k->last = c;
}

size_t terminal_character(const char *p, size_t left, size_t *ret_width)
{
    size_t n = escape_length(p, left), more;
    struct cluster k;
    ucs4_t c;

    *ret_width = 0;
    if (n)
        return n;
    *ret_width = 1;
    if (p[0] >= ' ' && p[0] <= '~' && (left == 1 || (unsigned char)p[1] < 0x80))
        return 1; /* nothing joins this one */
    n = code_point(p, left, &c);
    if (!n)
        return 1;
    k = (struct cluster){.last = c,
                         .base = uc_is_property_extended_pictographic(c) ? c : 0,
                         .regional = is_regional(c),
                         .width = width_of(c)};
    while ((more = code_point(p + n, left - n, &c)) && joins(&k, c)) {
        join(&k, c);
        n += more;
    }
    *ret_width = k.width;
    return n;
}

/* Whether the code point at p, in a character that began with `first`, is why terminals show it as
 * one, or as another one. */
static bool is_joint(ucs4_t first, ucs4_t c)
{
    return c == VS15 || c == VS16 ||
           (uc_is_property_extended_pictographic(first) &&
            (c == ZWJ || uc_is_property_emoji_modifier(c)));
}

void terminal_part(struct buf *b, size_t from)
{
    ucs4_t first, c;
    size_t to = from, end, width;

    for (size_t i = from; i < b->n;) {
        end = i + terminal_character(b->p + i, b->n - i, &width);
        (void)code_point(b->p + i, b->n - i, &first);
        for (size_t at = i, n; at < end; at += n) {
            n = code_point(b->p + at, end - at, &c);
            n = n ? n : 1;
            if (at > i && is_joint(first, c))
                continue;
            memmove(b->p + to, b->p + at, n);
            to += n;
        }
        i = end;
    }
    b->n = to;
}

size_t terminal_width(struct str s)
{
    size_t sum = 0, width;

    for (size_t i = 0; i < s.n; sum += width)
        i += terminal_character(s.p + i, s.n - i, &width);
    return sum;
}

void terminal_pad(struct buf *to, struct str s, size_t width)
{
    size_t sum = 0, i = 0;

    while (i < s.n) {
        size_t w, n = terminal_character(s.p + i, s.n - i, &w);

        if (sum + w > width)
            break;
        sum += w;
        i += n;
    }
    buf_append(to, s.p ? s.p : "", i);
    for (; sum < width; sum++)
        buf_append_char(to, ' ');
}

/* Marks, embeddings, overrides and isolates of direction; line and paragraph separators. */
static bool is_hidden_control(ucs4_t c)
{
    return c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

static void clean_character(struct buf *to, const char *p, size_t n)
{
    ucs4_t c;

    u8_mbtouc(&c, (const uint8_t *)p, n);
    if (c < 0x20)
        buf_printf(to, "\xe2\x90%c", (int)(0x80 + c)); /* U+2400 + c: its picture */
    else if (c == 0x7f)
        buf_append_str(to, STR("\xe2\x90\xa1")); /* U+2421 */
    else if ((c >= 0x80 && c < 0xa0) || is_hidden_control(c))
        buf_append_str(to, STR("\xef\xbf\xbd")); /* U+FFFD */
    else
        buf_append(to, p, n);
}

void terminal_clean(struct buf *to, struct str s, bool lines)
{
    while (s.n) {
        size_t n = utf8_length(s.p, s.n);

        if (lines && s.p[0] == '\r' && s.n > 1 && s.p[1] == '\n')
            ; /* the line end comes next */
        else if (s.p[0] == '\n')
            buf_append_char(to, lines ? '\n' : ' ');
        else if (s.p[0] == '\t')
            buf_append_str(to, lines ? STR("    ") : STR(" "));
        else if (n)
            clean_character(to, s.p, n);
        else
            buf_append_str(to, STR("\xef\xbf\xbd"));
        s = str_skip(s, n ? n : 1);
    }
}

void terminal_clean_json(struct buf *to, struct str json)
{
    while (json.n) {
        size_t n = utf8_length(json.p, json.n);
        ucs4_t c = 0;

        if (n)
            u8_mbtouc(&c, (const uint8_t *)json.p, n);
        if ((c >= 0x7f && c < 0xa0) || is_hidden_control(c))
            buf_printf(to, "\\u%04x", (unsigned)c);
        else
            buf_append(to, json.p, n ? n : 1);
        json = str_skip(json, n ? n : 1);
    }
}

struct str terminal_wrap(struct str *rest, size_t width)
{
    struct str line = {rest->p, 0};
    size_t sum = 0, space = 0; /* where the last space is; none at the beginning */

    while (line.n < rest->n && rest->p[line.n] != '\n') {
        size_t w, n = terminal_character(rest->p + line.n, rest->n - line.n, &w);

        if (sum + w > width && line.n) {
            if (rest->p[line.n] == ' ')
                space = line.n;
            line.n = space ? space : line.n;
            break;
        }
        if (rest->p[line.n] == ' ')
            space = line.n;
        line.n += n;
        sum += w;
    }
    *rest = str_skip(*rest, line.n);
    if (rest->n && (*rest->p == '\n' || *rest->p == ' '))
        *rest = str_skip(*rest, 1);
    return line;
}

int terminal_write(struct str text)
{
    while (text.n) {
        ssize_t n = write(STDOUT_FILENO, text.p, text.n);

        if (n < 0 && errno == EPIPE)
            exit(141); /* 128 + SIGPIPE, as a shell counts */
        if (n < 0 && errno != EINTR)
            return -errno;
        text = str_skip(text, n > 0 ? (size_t)n : 0);
    }
    return 0;
}

static size_t count_lines(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '\n';
    return n;
}

int terminal_page(struct str text)
{
    const char *pager = getenv("PAGER");
    size_t rows = terminal_rows();
    FILE *to;

    if (!rows || count_lines(text) < rows)
        return terminal_write(text);
    setenv("LESS", "FRX", 0); /* colours as they are, and no pager for what fits */
    to = popen(pager && *pager ? pager : "less", "w");
    if (!to)
        return terminal_write(text);
    (void)!fwrite(text.p, 1, text.n, to); /* a part: the reader had seen enough */
    /* 127: there is no such program, and nothing has been shown. */
    return pclose(to) == 127 << 8 ? terminal_write(text) : 0;
}
