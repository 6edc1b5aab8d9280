#include "markdown.h"

#include "../cli.h"
#include "base/utf8.h"

#include <errno.h>
#include <md4c.h>
#include <stdlib.h>
#include <unistr.h>

#define LEVELS_MAX 12  /* deeper quotes and lists are not indented further */
#define WIDTH_MIN 20   /* of the text beside what it is indented by */
#define CELLS_MAX 4096 /* of one table: few characters can ask for millions */
#define COLUMNS_MAX 64
#define TEXT_MAX ((size_t)8 << 20)
#define PADDING 64 /* behind the copy that md4c reads */

/* In the text of a paragraph, where cleaned text has no control characters. */
#define MARK_STYLE '\001' /* and a byte: '@' + the styles from here on */
#define MARK_BREAK '\002'

enum {
    STYLE_STRONG = 1 << 0,
    STYLE_EMPHASIS = 1 << 1,
    STYLE_CODE = 1 << 2,
    STYLE_LINK = 1 << 3,
    STYLE_DELETED = 1 << 4,
};

struct level {
    enum { LEVEL_QUOTE, LEVEL_LIST, LEVEL_ITEM } kind;
    bool ordered, tight;
    unsigned number;    /* of the next item */
    char marker[24];    /* LEVEL_ITEM: "1. " */
    bool marker_is_due; /* not yet printed */
};

struct renderer {
    struct buf *to;
    size_t width;
    bool color;
    struct str source; /* what md4c reads: a copy with an end of its own */
    struct level levels[LEVELS_MAX];
    size_t depth;    /* may be more than LEVELS_MAX */
    struct buf text; /* of the paragraph, with marks */
    unsigned styles;
    bool blank_is_due; /* before the next block */
    bool begun;
    bool in_code, in_table;
    struct buf cells; /* of the table, each ended by NUL */
    size_t n_cells, n_columns;
    bool no_memory;
    bool gave_up; /* md4c does not always pass on that a callback failed */
};

/* ---- where a line begins ---- */

static size_t marker_width(const struct level *l)
{
    return l->kind == LEVEL_QUOTE  ? 2
           : l->kind == LEVEL_ITEM ? terminal_width(str_of(l->marker))
                                   : 0;
}

static size_t shown_depth(const struct renderer *r)
{
    return r->depth < LEVELS_MAX ? r->depth : LEVELS_MAX;
}

static size_t room_for_text(const struct renderer *r)
{
    size_t used = 0;

    for (size_t i = 0; i < shown_depth(r); i++)
        used += marker_width(&r->levels[i]);
    return used + WIDTH_MIN < r->width ? r->width - used : WIDTH_MIN;
}

static void begin_line(struct renderer *r)
{
    for (size_t i = 0; i < shown_depth(r); i++) {
        struct level *l = &r->levels[i];

        if (l->kind == LEVEL_QUOTE)
            buf_append_str(r->to, r->color ? STR("\033[2m\xe2\x94\x82\033[0m ") : STR("> "));
        else if (l->kind == LEVEL_ITEM && l->marker_is_due)
            buf_append_str(r->to, str_of(l->marker));
        else if (l->kind == LEVEL_ITEM)
            terminal_pad(r->to, STR(""), marker_width(l));
        l->marker_is_due = false;
    }
}

/* Empty lines are those of quotes only. */
static void blank_line(struct renderer *r)
{
    bool in_quote = false;

    for (size_t i = 0; i < shown_depth(r); i++)
        in_quote |= r->levels[i].kind == LEVEL_QUOTE;
    for (size_t i = 0; in_quote && i < shown_depth(r); i++) {
        if (r->levels[i].kind == LEVEL_QUOTE)
            buf_append_str(r->to, r->color ? STR("\033[2m\xe2\x94\x82\033[0m ") : STR("> "));
        else
            terminal_pad(r->to, STR(""), marker_width(&r->levels[i]));
    }
    buf_append_char(r->to, '\n');
}

static bool is_tight(const struct renderer *r)
{
    for (size_t i = shown_depth(r); i-- > 0;) {
        if (r->levels[i].kind == LEVEL_LIST)
            return r->levels[i].tight;
        if (r->levels[i].kind == LEVEL_QUOTE)
            return false;
    }
    return false;
}

static void begin_block(struct renderer *r)
{
    if (r->begun && r->blank_is_due)
        blank_line(r);
    r->begun = true;
    r->blank_is_due = false;
}

/* ---- styles ---- */

static void print_style(const struct renderer *r, struct buf *to, unsigned styles)
{
    static const struct {
        unsigned bit;
        const char *code;
    } codes[] = {{STYLE_STRONG, ";1"},
                 {STYLE_EMPHASIS, ";3"},
                 {STYLE_CODE, ";36"},
                 {STYLE_LINK, ";4"},
                 {STYLE_DELETED, ";9"}};

    if (!r->color)
        return;
    buf_append_str(to, STR("\033[0"));
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        if (styles & codes[i].bit)
            buf_append_str(to, str_of(codes[i].code));
    }
    buf_append_char(to, 'm');
}

static void set_styles(struct renderer *r, unsigned styles)
{
    r->styles = styles;
    if (!r->color || r->in_table)
        return;
    buf_append_char(&r->text, MARK_STYLE);
    buf_append_char(&r->text, (char)('@' + styles));
}

/* ---- a paragraph, wrapped ---- */

struct line {
    size_t width; /* so far */
    size_t room;
    unsigned styles;
};

static void next_line(struct renderer *r, struct line *line)
{
    if (line->styles)
        print_style(r, r->to, 0);
    buf_append_char(r->to, '\n');
    begin_line(r);
    if (line->styles)
        print_style(r, r->to, line->styles);
    line->width = 0;
}

/* CJK and most emoji; not what is wide only with what combines with it. */
static bool is_wide(struct str s, size_t at)
{
    size_t width = 0, n = utf8_length(s.p + at, s.n - at);

    if (n > 1)
        terminal_character(s.p + at, n, &width);
    return width > 1;
}

/* The bytes up to which nothing may be parted, and their columns. A wide character stands alone:
 * texts that have no spaces are parted between any two. */
static size_t word_length(struct str s, size_t *ret_width)
{
    size_t i = 0;

    *ret_width = 0;
    while (i < s.n && s.p[i] != ' ' && s.p[i] != MARK_BREAK) {
        size_t width, n;

        if (s.p[i] == MARK_STYLE) {
            i += 2;
            continue;
        }
        n = terminal_character(s.p + i, s.n - i, &width);
        if (is_wide(s, i) && *ret_width)
            break;
        i += n;
        *ret_width += width;
        if (is_wide(s, i - n))
            break;
    }
    return i < s.n ? i : s.n;
}

static void put_word(struct renderer *r, struct line *line, struct str word)
{
    for (size_t i = 0; i < word.n;) {
        size_t width, n;

        if (word.p[i] == MARK_STYLE && i + 1 < word.n) {
            line->styles = (unsigned)(word.p[i + 1] - '@');
            print_style(r, r->to, line->styles);
            i += 2;
            continue;
        }
        n = terminal_character(word.p + i, word.n - i, &width);
        if (line->width + width > line->room)
            next_line(r, line);
        buf_append(r->to, word.p + i, n);
        line->width += width;
        i += n;
    }
}

static void print_paragraph(struct renderer *r)
{
    struct str s = buf_str(&r->text);
    struct line line = {.room = room_for_text(r)};
    bool space = false;

    begin_line(r);
    while (s.n) {
        size_t width, n;

        if (*s.p == ' ' || *s.p == MARK_BREAK) {
            if (*s.p == MARK_BREAK)
                next_line(r, &line);
            space = *s.p == ' ' && line.width;
            s = str_skip(s, 1);
            continue;
        }
        n = word_length(s, &width);
        if (line.width && line.width + space + width > line.room) {
            next_line(r, &line);
            space = false;
        }
        if (space) {
            buf_append_char(r->to, ' ');
            line.width++;
        }
        space = false;
        put_word(r, &line, (struct str){s.p, n});
        s = str_skip(s, n);
    }
    if (line.styles)
        print_style(r, r->to, 0);
    buf_append_char(r->to, '\n');
    r->text.n = 0;
}

/* What an item holds of text without a paragraph around it. */
static void flush_text(struct renderer *r)
{
    if (!r->text.n || r->in_table)
        return;
    begin_block(r);
    print_paragraph(r);
}

static void print_code(struct renderer *r)
{
    struct str s = buf_str(&r->text);

    while (s.n) {
        const char *lf = memchr(s.p, '\n', s.n);
        size_t n = lf ? (size_t)(lf - s.p) : s.n;

        begin_line(r);
        buf_append_str(r->to, STR("    "));
        print_style(r, r->to, STYLE_CODE);
        buf_append(r->to, s.p, n);
        print_style(r, r->to, 0);
        buf_append_char(r->to, '\n');
        s = str_skip(s, n + 1);
    }
    r->text.n = 0;
}

/* ---- tables ---- */

static struct str next_cell(struct str *cells)
{
    struct str cell = str_of(cells->p);

    *cells = str_skip(*cells, cell.n + 1);
    return cell;
}

static void print_table(struct renderer *r)
{
    size_t widths[COLUMNS_MAX] = {0}, columns = r->n_columns;
    struct str cells = buf_str(&r->cells);

    if (!columns)
        return;
    for (size_t i = 0; i < r->n_cells; i++) {
        size_t width = terminal_width(next_cell(&cells));

        if (width > widths[i % columns])
            widths[i % columns] = width;
    }
    cells = buf_str(&r->cells);
    for (size_t i = 0; i < r->n_cells; i++) {
        size_t column = i % columns;
        struct str cell = next_cell(&cells);

        if (!column)
            begin_line(r);
        print_style(r, r->to, i < columns ? STYLE_STRONG : 0);
        if (column + 1 < columns)
            terminal_pad(r->to, cell, widths[column]);
        else
            buf_append_str(r->to, cell);
        print_style(r, r->to, 0);
        buf_append_str(r->to, column + 1 < columns ? STR(" \xe2\x94\x82 ") : STR("\n"));
    }
}

/* ---- what md4c tells ---- */

/* A piece that md4c tells, cut to what it was given: version 0.4.8 goes over the end for a link
 * that is not closed. */
static struct str piece_of(const struct renderer *r, const char *text, size_t size)
{
    const char *end = r->source.p + r->source.n;

    if (!text || text < r->source.p || text >= end + PADDING)
        return (struct str){text, text ? size : 0}; /* one of its own */
    if (text >= end)
        return STR("");
    return (struct str){text, size < (size_t)(end - text) ? size : (size_t)(end - text)};
}

static void push(struct renderer *r, struct level level)
{
    if (r->depth < LEVELS_MAX)
        r->levels[r->depth] = level;
    r->depth++;
}

static void pop(struct renderer *r)
{
    r->depth--;
}

/* One in an item of a tight list follows its text at once. */
static void begin_list(struct renderer *r)
{
    if (is_tight(r))
        r->blank_is_due = false;
    begin_block(r);
}

static void begin_item(struct renderer *r, const MD_BLOCK_LI_DETAIL *item)
{
    struct level level = {.kind = LEVEL_ITEM, .marker_is_due = true};
    struct level *list = r->depth <= LEVELS_MAX ? &r->levels[r->depth - 1] : NULL;

    if (list && list->ordered)
        snprintf(level.marker, sizeof(level.marker), "%u. ", list->number++);
    else if (item->is_task)
        snprintf(level.marker, sizeof(level.marker), "[%c] ", item->task_mark == ' ' ? ' ' : 'x');
    else
        snprintf(level.marker, sizeof(level.marker), "\xe2\x80\xa2 ");
    push(r, level);
}

static void begin_heading(struct renderer *r, unsigned level)
{
    begin_block(r);
    set_styles(r, STYLE_STRONG | (level == 1 ? STYLE_LINK : 0));
    for (unsigned i = 0; !r->color && i < level; i++)
        buf_append_char(&r->text, '#');
    if (!r->color)
        buf_append_char(&r->text, ' ');
}

static int enter_block(MD_BLOCKTYPE type, void *detail, void *data)
{
    struct renderer *r = data;

    if (type != MD_BLOCK_TD && type != MD_BLOCK_TH)
        flush_text(r);
    switch (type) {
    case MD_BLOCK_QUOTE:
        begin_block(r);
        push(r, (struct level){.kind = LEVEL_QUOTE});
        break;
    case MD_BLOCK_UL:
        begin_list(r);
        push(r,
             (struct level){.kind = LEVEL_LIST, .tight = ((MD_BLOCK_UL_DETAIL *)detail)->is_tight});
        break;
    case MD_BLOCK_OL:
        begin_list(r);
        push(r, (struct level){.kind = LEVEL_LIST,
                               .ordered = true,
                               .tight = ((MD_BLOCK_OL_DETAIL *)detail)->is_tight,
                               .number = ((MD_BLOCK_OL_DETAIL *)detail)->start});
        break;
    case MD_BLOCK_LI:
        begin_item(r, detail);
        break;
    case MD_BLOCK_HR:
        begin_block(r);
        begin_line(r);
        for (size_t i = 0; i < WIDTH_MIN; i++)
            buf_append_str(r->to, STR("\xe2\x94\x80"));
        buf_append_char(r->to, '\n');
        break;
    case MD_BLOCK_H:
        begin_heading(r, ((MD_BLOCK_H_DETAIL *)detail)->level);
        break;
    case MD_BLOCK_CODE:
        begin_block(r);
        r->in_code = true;
        break;
    case MD_BLOCK_P:
    case MD_BLOCK_HTML:
        begin_block(r);
        break;
    case MD_BLOCK_TABLE:
        begin_block(r);
        r->n_columns = ((MD_BLOCK_TABLE_DETAIL *)detail)->col_count;
        r->in_table = true;
        r->cells.n = r->n_cells = 0;
        r->gave_up |= r->n_columns > COLUMNS_MAX;
        break;
    case MD_BLOCK_TD:
    case MD_BLOCK_TH:
        r->gave_up |= ++r->n_cells > CELLS_MAX;
        break;
    default:
        break;
    }
    return r->gave_up;
}

static int leave_block(MD_BLOCKTYPE type, void *detail UNUSED, void *data)
{
    struct renderer *r = data;

    if (r->gave_up) /* a table whose columns were not even counted */
        return -1;
    switch (type) {
    case MD_BLOCK_QUOTE:
    case MD_BLOCK_UL:
    case MD_BLOCK_OL:
    case MD_BLOCK_LI:
        flush_text(r);
        if (type == MD_BLOCK_LI && r->depth <= LEVELS_MAX &&
            r->levels[r->depth - 1].marker_is_due) { /* an empty one */
            begin_line(r);
            buf_append_char(r->to, '\n');
        }
        pop(r);
        if (type == MD_BLOCK_LI && is_tight(r)) {
            r->blank_is_due = false;
            return 0;
        }
        break;
    case MD_BLOCK_H:
        set_styles(r, 0);
        print_paragraph(r);
        break;
    case MD_BLOCK_CODE:
        print_code(r);
        r->in_code = false;
        break;
    case MD_BLOCK_P:
    case MD_BLOCK_HTML:
        print_paragraph(r);
        break;
    case MD_BLOCK_TD:
    case MD_BLOCK_TH:
        buf_append_str(&r->cells, buf_str(&r->text));
        buf_append_char(&r->cells, '\0');
        r->text.n = 0;
        return 0;
    case MD_BLOCK_TABLE:
        print_table(r);
        r->in_table = false;
        break;
    case MD_BLOCK_HR:
        break;
    default:
        return 0;
    }
    r->blank_is_due = true;
    return 0;
}

static unsigned style_of(MD_SPANTYPE type)
{
    switch (type) {
    case MD_SPAN_EM:
        return STYLE_EMPHASIS;
    case MD_SPAN_STRONG:
        return STYLE_STRONG;
    case MD_SPAN_CODE:
        return STYLE_CODE;
    case MD_SPAN_A:
    case MD_SPAN_IMG:
        return STYLE_LINK;
    case MD_SPAN_DEL:
        return STYLE_DELETED;
    default:
        return 0;
    }
}

/* What says the same without colours. */
static const char *sign_of(const struct renderer *r, MD_SPANTYPE type)
{
    if (r->color)
        return "";
    return type == MD_SPAN_EM       ? "*"
           : type == MD_SPAN_STRONG ? "**"
           : type == MD_SPAN_CODE   ? "`"
           : type == MD_SPAN_DEL    ? "~~"
                                    : "";
}

static int enter_span(MD_SPANTYPE type, void *detail UNUSED, void *data)
{
    struct renderer *r = data;

    set_styles(r, r->styles | style_of(type));
    buf_append_str(&r->text, str_of(sign_of(r, type)));
    if (type == MD_SPAN_IMG)
        buf_append_str(&r->text, STR("[image: "));
    return 0;
}

/* Where a link leads, when its text is something else. */
static void print_target(struct renderer *r, const MD_ATTRIBUTE *target)
{
    struct str url = piece_of(r, target->text, target->size);

    if (!url.n || str_ends(buf_str(&r->text), url))
        return;
    buf_append_str(&r->text, STR(" <"));
    terminal_clean(&r->text, url, false);
    buf_append_char(&r->text, '>');
}

static int leave_span(MD_SPANTYPE type, void *detail, void *data)
{
    struct renderer *r = data;

    buf_append_str(&r->text, str_of(sign_of(r, type)));
    if (type == MD_SPAN_IMG)
        buf_append_char(&r->text, ']');
    set_styles(r, r->styles & ~style_of(type));
    if (type == MD_SPAN_A)
        print_target(r, &((MD_SPAN_A_DETAIL *)detail)->href);
    if (type == MD_SPAN_IMG)
        print_target(r, &((MD_SPAN_IMG_DETAIL *)detail)->src);
    return 0;
}

/* The character that an entity means; those of HTML that people write by hand. */
static void print_entity(struct buf *to, struct str entity)
{
    static const struct {
        struct str name, text;
    } names[] = {
        {{"&amp;", 5}, {"&", 1}},
        {{"&lt;", 4}, {"<", 1}},
        {{"&gt;", 4}, {">", 1}},
        {{"&quot;", 6}, {"\"", 1}},
        {{"&apos;", 6}, {"'", 1}},
        {{"&nbsp;", 6}, {"\xc2\xa0", 2}},
        {{"&copy;", 6}, {"\xc2\xa9", 2}},
        {{"&ndash;", 7}, {"\xe2\x80\x93", 3}},
        {{"&mdash;", 7}, {"\xe2\x80\x94", 3}},
        {{"&hellip;", 8}, {"\xe2\x80\xa6", 3}},
    };
    char digits[16];
    uint8_t utf8[8];
    int n;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (str_eq(entity, names[i].name)) {
            buf_append_str(to, names[i].text);
            return;
        }
    }
    if (entity.n > 3 && entity.n < sizeof(digits) && entity.p[1] == '#') {
        bool hex = entity.p[2] == 'x' || entity.p[2] == 'X';

        memcpy(digits, entity.p + 2 + hex, entity.n - 3 - hex);
        digits[entity.n - 3 - hex] = '\0';
        n = u8_uctomb(utf8, (ucs4_t)strtoul(digits, NULL, hex ? 16 : 10), sizeof(utf8));
        if (n > 0)
            terminal_clean(to, (struct str){(char *)utf8, (size_t)n}, false);
        else
            buf_append_str(to, STR("\xef\xbf\xbd"));
        return;
    }
    terminal_clean(to, entity, false);
}

static int on_text(MD_TEXTTYPE type, const MD_CHAR *text, MD_SIZE size, void *data)
{
    struct renderer *r = data;
    struct str s = piece_of(r, text, size);

    switch (type) {
    case MD_TEXT_BR:
        buf_append_char(&r->text, r->in_table ? ' ' : MARK_BREAK);
        break;
    case MD_TEXT_SOFTBR:
        buf_append_char(&r->text, ' ');
        break;
    case MD_TEXT_NULLCHAR:
        buf_append_str(&r->text, STR("\xef\xbf\xbd"));
        break;
    case MD_TEXT_ENTITY:
        print_entity(&r->text, s);
        break;
    default:
        terminal_clean(&r->text, s, r->in_code);
        break;
    }
    if (buf_error(&r->text) == -ENOMEM || buf_error(&r->cells) == -ENOMEM)
        r->no_memory = true;
    r->gave_up |= buf_error(&r->text) || buf_error(&r->cells) || buf_error(r->to);
    return r->gave_up;
}

int markdown_render(struct buf *to, struct str text, size_t width, bool color)
{
    static const MD_PARSER parser = {
        .flags = MD_FLAG_TABLES | MD_FLAG_TASKLISTS | MD_FLAG_STRIKETHROUGH |
                 MD_FLAG_PERMISSIVEURLAUTOLINKS | MD_FLAG_NOHTML,
        .enter_block = enter_block,
        .leave_block = leave_block,
        .enter_span = enter_span,
        .leave_span = leave_span,
        .text = on_text,
    };
    struct renderer r = {.to = to, .width = width, .color = color};
    char *copy = calloc(1, text.n + 1 + PADDING);
    size_t start = to->n;
    int err;

    if (!copy)
        return -ENOMEM;
    if (text.n)
        memcpy(copy, text.p, text.n);
    copy[text.n] = '\n';
    r.source = (struct str){copy, text.n + 1};
    buf_init(&r.text, TEXT_MAX);
    buf_init(&r.cells, TEXT_MAX);
    err = md_parse(copy, (MD_SIZE)r.source.n, &parser, &r);
    if ((err || r.gave_up) && !r.no_memory &&
        !buf_error(to)) { /* more than is laid out: as it was written */
        to->n = start;
        terminal_clean(to, text, true);
        buf_append_char(to, '\n');
    }
    free(copy);
    buf_free(&r.text);
    buf_free(&r.cells);
    return r.no_memory ? -ENOMEM : 0;
}
