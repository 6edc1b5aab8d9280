/* The lists of todo.sh: number the lines, filter, sort, hide, count. */
#include "filter.h"
#include "task.h"

#include <ctype.h>
#include <endian.h>
#include <jansson.h>
#include <regex.h>
#include <stdlib.h>
#include <unistd.h>

#define STREAM_BYTES 32768 /* of output that are not held back */
#define RADIX_MIN 256      /* lines: fewer are sorted by comparisons */
#define NUMBER_MAX 24      /* bytes of a number, with what fills it up */
#define AHEAD 16           /* lines that are fetched from memory before their turn */

#define RANK_BYTES 16

/* What is sorted: small, as it is moved about. */
struct key {
    uint64_t rank[RANK_BYTES /
                  8]; /* the first bytes of what is shown, in upper case; the very first in [1] */
    uint32_t at;      /* which line: place_of() */
};

/* Lines of one file, or of two, one behind the other. There are less than 2^31 (FILE_BYTES_MAX).
 * Memory that is never touched costs nothing: most of a list's time would else go into that. */
struct items {
    const struct file *files[2];
    struct bulk *bulk; /* for shown and keys */
    struct str *shown; /* listall: what each line becomes; NULL: as it is */
    struct key *keys;
    size_t n;
    size_t padding; /* columns of a number, at least */
    size_t of;      /* how many there were before the filter */
};

struct view {
    struct task *t;
    struct filter *filter;
    const char *const *terms;
    size_t n_terms;
    char from, to;   /* priorities; 0: any */
    bool nothing;    /* a term that cannot be read matches nothing */
    struct buf line; /* the one that is looked at */
};

/* ---- numbering and filtering ---- */

static size_t digits_of(size_t n)
{
    size_t digits = 1;

    while (n >= 10) {
        n /= 10;
        digits++;
    }
    return digits;
}

/* todo.sh shows no line that has only digits and spaces after its number. */
static bool is_shown(struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != ' ' && (text.p[i] < '0' || text.p[i] > '9'))
            return true;
    }
    return false;
}

/* "  7", "007"; at the end of `to`. */
static struct str print_number(size_t number, size_t padding, char fill, char to[NUMBER_MAX])
{
    char *end = to + NUMBER_MAX, *p = end;

    do {
        *--p = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (p > end - padding)
        *--p = fill;
    return (struct str){p, (size_t)(end - p)};
}

/* "  7 text", NUL-terminated, in place of what v->line had. */
static struct str numbered(struct view *v, size_t number, size_t padding, struct str text)
{
    char digits[NUMBER_MAX];
    struct str label = print_number(number, padding, ' ', digits);
    char *p;

    v->line.n = 0;
    p = must_have(v->t, buf_reserve(&v->line, label.n + text.n + 2));
    p = mempcpy(p, label.p, label.n);
    *p++ = ' ';
    p = mempcpy(p, text.p, text.n);
    *p = '\0';
    v->line.n = label.n + 1 + text.n;
    return buf_str(&v->line);
}

/* What listall makes of a line: runs of blanks become one space. */
static struct str squeezed(struct task *t, struct str text)
{
    char *p = must_have(t, arena_alloc(&t->arena, text.n + 1));
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++) {
        bool blank = text.p[i] == ' ' || text.p[i] == '\t';

        if (!blank)
            p[n++] = text.p[i];
        else if (n && p[n - 1] != ' ')
            p[n++] = ' ';
    }
    while (n && p[n - 1] == ' ')
        n--;
    return (struct str){p, n};
}

static bool has_priority(const struct view *v, struct str text)
{
    struct line l;

    line_read(text, &l);
    return !l.done && l.priority >= v->from && l.priority <= v->to;
}

/* Eight bytes in upper case, as one number in their order. */
static uint64_t folded(const char *p)
{
    const uint64_t each = 0x0101010101010101;
    uint64_t bytes, low, lower;

    memcpy(&bytes, p, sizeof(bytes));
    low = bytes & 0x7f * each;
    /* The highest bit of those from 'a' on, less of those behind 'z', if they are ASCII. */
    lower = ((low + (0x80 - 'a') * each) ^ (low + (0x7f - 'z') * each)) & ~bytes & 0x80 * each;
    return be64toh(bytes - (lower >> 2));
}

/* The same of what is shorter: with zeros behind it. */
static uint64_t folded_end(struct str s, size_t at)
{
    char bytes[8] = {0};

    if (at < s.n)
        memcpy(bytes, s.p + at, s.n - at);
    return folded(bytes);
}

static uint64_t folded_at(struct str s, size_t at)
{
    return at + 8 <= s.n ? folded(s.p + at) : folded_end(s, at);
}

static struct key key_of(struct str shown, size_t at)
{
    return (struct key){.rank = {folded_at(shown, 8), folded_at(shown, 0)}, .at = (uint32_t)at};
}

static bool same_rank(const struct key *a, const struct key *b)
{
    return a->rank[0] == b->rank[0] && a->rank[1] == b->rank[1];
}

/* Where the line at that place of both files is. */
static const struct file *place_of(const struct items *items, size_t at, size_t *ret_line)
{
    bool second = at >= items->files[0]->n;

    *ret_line = second ? at - items->files[0]->n : at;
    return items->files[second];
}

static const struct str *text_at_place(const struct items *items, size_t at)
{
    const struct file *file = place_of(items, at, &at);

    return &file->lines[at].text;
}

static const struct str *shown_place(const struct items *items, size_t at)
{
    return items->shown ? &items->shown[at] : text_at_place(items, at);
}

static struct str shown_of(const struct items *items, size_t at)
{
    return *shown_place(items, at);
}

/* listall has no numbers for the second file. */
static size_t label_of(const struct items *items, size_t at)
{
    return items->shown && at >= items->files[0]->n ? 0 : at + 1;
}

/* What has only blanks: listall has none at the end of a line. */
static bool is_number_alone(const struct items *items, size_t at)
{
    return items->shown && !items->shown[at].n;
}

static bool is_wanted(struct view *v, const struct items *items, size_t at, struct str text)
{
    if (v->nothing || (v->from && !has_priority(v, text)))
        return false;
    return !v->n_terms ||
           filter_matches(v->filter, numbered(v, at + 1, items->padding, text), text.n);
}

/* Of one file, or of two. listall: has lines that become others. */
static void items_begin(struct task *t, struct files *files, size_t n, bool squeezes,
                        struct items *ret)
{
    size_t lines = 0;

    *ret = (struct items){.bulk = &files->bulk};
    for (size_t i = 0; i < n; i++) {
        ret->files[i] = files_at(files, i);
        lines += ret->files[i]->n;
    }
    ret->keys = must_have(t, bulk_alloc(ret->bulk, lines, sizeof(*ret->keys)));
    if (squeezes)
        ret->shown = must_have(t, bulk_alloc(ret->bulk, lines, sizeof(*ret->shown)));
    ret->padding = ret->files[0]->n || !squeezes ? digits_of(ret->files[0]->n) : 0;
}

/* What matches of the file at that place. */
static void collect(struct view *v, size_t which, struct items *items)
{
    size_t first = which ? items->files[0]->n : 0;
    const struct file *file = items->files[which];

    for (size_t i = 0; i < file->n; i++) {
        size_t at = first + i;
        struct str text = file->lines[i].text;

        if (!is_shown(text))
            continue;
        items->of++;
        if (!is_wanted(v, items, at, text))
            continue;
        if (items->shown)
            items->shown[at] = text = squeezed(v->t, text);
        items->keys[items->n++] = key_of(text, at);
    }
}

/* ---- sorting ---- */

/* Of what has the same rank: by what comes behind that. Zeros and an end are told apart by the
 * length. */
static int compare_rest(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;

    for (size_t at = RANK_BYTES; at < n; at += 8) {
        uint64_t x = folded_at(a, at), y = folded_at(b, at);

        if (x != y)
            return x < y ? -1 : 1;
    }
    return (a.n > b.n) - (a.n < b.n);
}

/* As `LC_COLLATE=C sort -f -k2`: by what follows the number, in any case, then by all of it. */
static int compare_items(const void *a, const void *b, void *data)
{
    const struct key *x = a, *y = b;
    const struct items *items = data;
    struct str s = shown_of(items, x->at), with = shown_of(items, y->at);
    size_t label = label_of(items, x->at), other = label_of(items, y->at);
    int order;

    for (size_t half = 2; half-- > 0;) {
        if (x->rank[half] != y->rank[half])
            return x->rank[half] < y->rank[half] ? -1 : 1;
    }
    order = compare_rest(s, with);
    if (order)
        return order;
    if (label != other)
        return label < other ? -1 : 1;
    return memcmp(s.p, with.p, s.n); /* as long as the other one */
}

/* One pass of a radix sort: by one byte of the rank, 0 the last one; stable. */
static void sort_by_byte(const struct key *from, struct key *to, size_t n, size_t byte)
{
    size_t half = byte / 8, shift = byte % 8 * 8;
    uint32_t starts[256] = {0}, sum = 0;

    for (size_t i = 0; i < n; i++)
        starts[(unsigned char)(from[i].rank[half] >> shift)]++;
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        uint32_t count = starts[i];

        starts[i] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        to[starts[(unsigned char)(from[i].rank[half] >> shift)]++] = from[i];
}

/* By those bytes of the rank that are not the same everywhere: three times as fast as by
 * comparisons for thousands of lines. */
static void sort_by_rank(struct key *keys, struct key *other, size_t n)
{
    struct key *from = keys, *to = other;
    uint64_t differ[2] = {0, 0};

    for (size_t i = 1; i < n; i++) {
        differ[0] |= keys[i].rank[0] ^ keys[0].rank[0];
        differ[1] |= keys[i].rank[1] ^ keys[0].rank[1];
    }
    for (size_t byte = 0; byte < RANK_BYTES; byte++) {
        if (differ[byte / 8] >> byte % 8 * 8 & 0xff) {
            struct key *sorted = to;

            sort_by_byte(from, to, n, byte);
            to = from;
            from = sorted;
        }
    }
    if (from != keys)
        memcpy(keys, from, n * sizeof(*keys));
}

/* Has the line at that place of the order fetched, so that nobody waits for it when its turn comes:
 * in the file it may be anywhere. */
static void fetch(const struct items *items, size_t i)
{
    size_t soon = i + AHEAD / 2, later = i + AHEAD;

    if (later < items->n)
        __builtin_prefetch(shown_place(items, items->keys[later].at));
    if (soon < items->n)
        __builtin_prefetch(shown_of(items, items->keys[soon].at).p);
}

/* Those that the ranks leave open, all of them when there are no ranks yet. */
static void sort_the_rest(struct items *items, bool ranked)
{
    for (size_t i = 0, n; i < items->n; i += n) {
        const struct key *first = &items->keys[i];

        fetch(items, i);
        n = ranked ? 1 : items->n;
        while (i + n < items->n && same_rank(first + n, first))
            n++;
        if (n > 1)
            qsort_r(&items->keys[i], n, sizeof(*items->keys), compare_items, items);
    }
}

/* First parted by the first byte: among those with a priority, and among those with a date, most
 * bytes are the same then. */
static void sort_items(struct view *v, struct items *items)
{
    struct key *parted;

    if (items->n < RADIX_MIN) {
        sort_the_rest(items, false);
        return;
    }
    parted = must_have(v->t, bulk_alloc(items->bulk, items->n, sizeof(*parted)));
    sort_by_byte(items->keys, parted, items->n, RANK_BYTES - 1);
    for (size_t i = 0, n; i < items->n; i += n) {
        n = 1;
        while (i + n < items->n && parted[i + n].rank[1] >> 56 == parted[i].rank[1] >> 56)
            n++;
        sort_by_rank(parted + i, items->keys + i, n);
    }
    items->keys = parted;
    sort_the_rest(items, true);
}

/* ---- hiding ---- */

/* Removes from the line at `from` of `to` all that the setting's regular expression matches. */
static void hide(struct buf *to, size_t from, const regex_t *what)
{
    bool first = true; /* ^ matches once */

    /* regexec() is given a length, yet a checker of memory looks for the NUL. */
    if (!buf_reserve(to, 1))
        return;
    to->p[to->n] = '\0';

    for (size_t at = from; at <= to->n; first = false) {
        regmatch_t m = {0, (regoff_t)(to->n - at)};
        size_t n;

        if (regexec(what, to->p + at, 1, &m, REG_STARTEND | (first ? 0 : REG_NOTBOL)))
            return;
        n = (size_t)(m.rm_eo - m.rm_so);
        at += (size_t)m.rm_so;
        memmove(to->p + at, to->p + at + n, to->n - at - n);
        to->n -= n;
        at += n == 0;
    }
}

static size_t compile_hidden(regex_t *ret)
{
    static const char *const settings[] = {
        "HIDE_PROJECTS_SUBSTITUTION", "HIDE_CONTEXTS_SUBSTITUTION", "HIDE_CUSTOM_SUBSTITUTION"};
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        const char *pattern = getenv(settings[i]);

        if (pattern && *pattern && regcomp(&ret[n], pattern, 0) == 0)
            n++;
    }
    return n;
}

/* ---- output ---- */

static size_t count_lines(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; s.p && i < s.n; i++)
        n += s.p[i] == '\n';
    return n; /* the last one ends as well */
}

/* Without what is empty at the end, as a shell has it. from: where the lines begin. */
static void trim_line_ends(struct buf *b, size_t from)
{
    while (b->n > from && b->p[b->n - 1] == '\n')
        b->n--;
}

/* The lines of the items, in the order of TODOTXT_SORT_COMMAND, which may also leave some out. */
static int sort_by_command(struct view *v, const struct items *items, struct buf *ret)
{
    struct buf lines CLEANUP(buf_free) = {.max = OUTPUT_MAX};
    char number[NUMBER_MAX];

    for (size_t i = 0; i < items->n; i++) {
        size_t at = items->keys[i].at;

        buf_append_str(&lines, print_number(label_of(items, at), items->padding, '0', number));
        if (!is_number_alone(items, at)) {
            buf_append_char(&lines, ' ');
            buf_append_str(&lines, shown_of(items, at));
        }
        if (i + 1 < items->n)
            buf_append_char(&lines, '\n');
    }
    return buf_error(&lines) ? buf_error(&lines)
                             : run_shell(v->t, v->t->set.sort_command, buf_str(&lines), ret);
}

/* How the lines look. */
struct look {
    struct colors colors;
    regex_t hidden[3];
    size_t n_hidden;
};

static void end_line(const struct look *look, size_t start, struct buf *to)
{
    for (size_t i = 0; i < look->n_hidden && !to->failed; i++)
        hide(to, start, &look->hidden[i]);
    buf_append_char(to, '\n');
}

/* Of other programs: a line with its number. */
static void append_line(struct task *t, const struct look *look, struct str shown, struct buf *to)
{
    const char *space = memchr(shown.p, ' ', shown.n);
    size_t start = to->n, n = space ? (size_t)(space - shown.p) : shown.n;

    if (space)
        colors_append(t, &look->colors, (struct str){shown.p, n}, str_skip(shown, n + 1), to);
    else
        buf_append_str(to, shown); /* what a sort command made up */
    end_line(look, start, to);
}

static void append_item(struct view *v, const struct look *look, const struct items *items,
                        size_t at, struct buf *to)
{
    char text[NUMBER_MAX];
    struct str number = print_number(label_of(items, at), items->padding, '0', text);
    size_t start = to->n;

    if (is_number_alone(items, at))
        buf_append_str(to, number);
    else
        colors_append(v->t, &look->colors, number, shown_of(items, at), to);
    end_line(look, start, to);
}

static int render_by_command(struct view *v, const struct look *look, const struct items *items,
                             struct buf *ret)
{
    struct buf sorted CLEANUP(buf_free) = {.max = OUTPUT_MAX};
    int err = sort_by_command(v, items, &sorted);

    trim_line_ends(&sorted, 0);
    for (struct str rest = buf_str(&sorted); rest.n;) {
        const char *lf = memchr(rest.p, '\n', rest.n);
        size_t n = lf ? (size_t)(lf - rest.p) : rest.n;

        append_line(v->t, look, (struct str){rest.p, n}, ret);
        rest = str_skip(rest, n + 1);
    }
    return err;
}

/* Coloured and hidden: as they are shown, but for the final filter. */
static int render(struct view *v, struct items *items, struct buf *ret)
{
    struct look look;
    int err = 0;

    look.n_hidden = compile_hidden(look.hidden);
    colors_choose(v->t, &look.colors);
    if (v->t->set.sort_command)
        err = render_by_command(v, &look, items, ret);
    for (size_t i = 0; i < items->n && !v->t->set.sort_command; i++) {
        fetch(items, i);
        append_item(v, &look, items, items->keys[i].at, ret);
        if (ret == &v->t->out && ret->n >= STREAM_BYTES && !v->t->pages)
            flush(v->t);
    }
    for (size_t i = 0; i < look.n_hidden; i++)
        regfree(&look.hidden[i]);
    return err ? err : buf_error(ret);
}

static int render_filtered(struct view *v, struct items *items, struct buf *ret)
{
    struct buf lines CLEANUP(buf_free) = {.max = OUTPUT_MAX};
    int err = render(v, items, &lines);

    return err ? err : run_shell(v->t, v->t->set.final_filter, buf_str(&lines), ret);
}

static int show_json(struct view *v, const struct items *items)
{
    struct task *t = v->t;
    json_t *array = must_have(t, json_array());

    for (size_t i = 0; i < items->n; i++) {
        size_t at = items->keys[i].at, line;
        const struct file *file = place_of(items, at, &line);

        if (json_array_append_new(array,
                                  json_task(t, file->name, line + 1, file->lines[line].text)))
            must_have(t, NULL);
    }
    return json_say(t, array);
}

/* Prints the items; how many lines that were in *ret_shown. */
static int show(struct view *v, struct items *items, size_t *ret_shown)
{
    struct task *t = v->t;
    bool whole = t->set.final_filter || t->set.sort_command;
    size_t from = t->out.n;
    int err;

    if (items->n && (t->json || !t->set.sort_command))
        sort_items(v, items);
    if (t->json)
        return show_json(v, items);
    err = t->set.final_filter ? render_filtered(v, items, &t->out) : render(v, items, &t->out);
    if (err)
        return trouble(t, must_print(t, "cannot show the list: %s", strerror(-err)));
    *ret_shown = items->n;
    if (whole) { /* of other programs: any number of lines */
        trim_line_ends(&t->out, from);
        if (t->out.n > from)
            buf_append_char(&t->out, '\n');
        *ret_shown = count_lines(str_skip(buf_str(&t->out), from));
    }
    return 0;
}

/* What matches the terms. A pattern that cannot be read is told; by todo.sh's name it matches
 * nothing, as there, by ours the list ends here. */
static int view_make(struct view *v, struct task *t, int from)
{
    struct str error = STR_NULL;

    *v = (struct view){.t = t, .line = {.max = OUTPUT_MAX}};
    v->terms = from < t->argc ? (const char *const *)t->argv + from : NULL;
    v->n_terms = from < t->argc ? (size_t)(t->argc - from) : 0;
    if (filter_make(v->terms, v->n_terms, !t->is_todo_sh, t->today, &t->arena, &v->filter, &error))
        v->nothing = trouble(t, error);
    return v->nothing && !t->is_todo_sh;
}

static void view_end(struct view *v)
{
    filter_free(v->filter);
    buf_free(&v->line);
}

static int look(struct task *t, struct files *files, const char *const *names, size_t n)
{
    return files_look(files, &t->arena, names, n) ? trouble(t, files->error) : 0;
}

static void debug_line(struct view *v, const char *after)
{
    struct buf *out = &v->t->out;

    if (v->t->set.verbose < 2)
        return;
    buf_append_str(out, STR("TODO DEBUG: Filter Command was: "));
    filter_describe(v->terms, v->n_terms, out);
    if (after && v->n_terms)
        buf_append_str(out, STR(" | "));
    buf_append_str(out, str_of(after ? after : v->n_terms ? "" : "cat"));
    buf_append_char(out, '\n');
}

static int list_file(struct view *v, const char *name, const char *after)
{
    struct task *t = v->t;
    struct files files = {.n = 0};
    struct items items = {.n = 0};
    size_t shown = 0;
    int status = look(t, &files, &name, 1);

    if (!status) {
        items_begin(t, &files, 1, false, &items);
        collect(v, 0, &items);
        status = show(v, &items, &shown);
    }
    if (!status && !t->json) {
        debug_line(v, after);
        if (t->set.verbose > 0)
            buf_printf(&t->out, "--\n%.*s: %zu of %zu tasks shown\n", STR_FMT(prefix_of(t, name)),
                       shown, items.of);
    }
    files_end(&files);
    return status;
}

int action_list(struct task *t)
{
    struct view v;
    int status = view_make(&v, t, 0);

    if (!status)
        status = list_file(&v, t->set.todo_file, NULL);
    view_end(&v);
    return status;
}

static int list_names(struct task *t)
{
    struct buf names CLEANUP(buf_free) = {.max = OUTPUT_MAX};
    json_t *array = NULL;
    int err;

    if (setenv("TODO_DIR", t->set.todo_dir, 1))
        must_have(t, NULL);
    err = run_shell(t, "cd \"$TODO_DIR\" && ls -1 *.txt", STR_NULL, &names);
    if (err)
        return trouble(t, must_print(t, "cannot list %s: %s", t->set.todo_dir, strerror(-err)));
    if (!t->json) {
        if (t->set.verbose > 0)
            buf_append_str(&t->out, STR("Files in the todo.txt directory:\n"));
        buf_append_str(&t->out, buf_str(&names));
        return 0;
    }
    array = must_have(t, json_array());
    for (struct str rest = buf_str(&names); rest.n;) {
        size_t n = (size_t)((const char *)memchr(rest.p, '\n', rest.n) - rest.p);

        if (json_array_append_new(array, json_text(t, (struct str){rest.p, n})))
            must_have(t, NULL);
        rest = str_skip(rest, n + 1);
    }
    return json_say(t, array);
}

int action_listfile(struct task *t)
{
    const char *name = t->argc ? t->argv[0] : NULL, *found = NULL;
    const char *places[3];
    struct view v;
    int status;

    if (!name)
        return list_names(t);
    places[0] = must_print(t, "%s/%s", t->set.todo_dir, name).p;
    places[1] = name;
    places[2] = must_print(t, "%s/%s.txt", t->set.todo_dir, name).p;
    for (size_t i = 0; i < ARRAY_SIZE(places) && !found; i++)
        found = is_file(places[i]) ? places[i] : NULL;
    if (name[0] == '/')
        found = name;
    if (!found)
        return die(t, "TODO: File %s does not exist.", name);
    status = view_make(&v, t, 1);
    if (!status)
        status = list_file(&v, found, NULL);
    view_end(&v);
    return status;
}

/* "a" or "a-c". */
static bool read_priorities(const char *s, char *ret_from, char *ret_to)
{
    size_t n = strlen(s);

    if ((n != 1 && n != 3) || !isalpha((unsigned char)s[0]) || !isalpha((unsigned char)s[n - 1]) ||
        (n == 3 && s[1] != '-'))
        return false;
    *ret_from = (char)toupper((unsigned char)s[0]);
    *ret_to = (char)toupper((unsigned char)s[n - 1]);
    return true;
}

int action_listpri(struct task *t)
{
    char from = 'A', to = 'Z';
    bool given = t->argc && read_priorities(t->argv[0], &from, &to);
    struct view v;
    int status = view_make(&v, t, given);
    struct str range = !given || from != to || strlen(t->argv[0]) == 3
                           ? must_print(t, "%c-%c", from, to)
                           : must_print(t, "%c", from);

    v.from = from;
    v.to = to;
    if (!status)
        status = list_file(&v, t->set.todo_file,
                           must_print(t, "grep '^ *[0-9]\\+ ([%.*s]) '", STR_FMT(range)).p);
    view_end(&v);
    return status;
}

static void count_all(struct task *t, struct files *files, const size_t *shown)
{
    size_t total = 0, total_shown = 0;

    buf_append_str(&t->out, STR("--\n"));
    for (size_t i = 0; i < 2; i++) {
        const struct file *file = files_at(files, i);

        buf_printf(&t->out, "%.*s: %zu of %zu tasks shown\n",
                   STR_FMT(prefix_of(t, i ? t->set.done_file : t->set.todo_file)), shown[i],
                   file->n);
        total += file->n;
        total_shown += shown[i];
    }
    buf_printf(&t->out, "total %zu of %zu tasks shown\n", total_shown, total);
}

int action_listall(struct task *t)
{
    const char *names[] = {t->set.todo_file, t->set.done_file};
    struct files files = {.n = 0};
    struct items items = {.n = 0};
    size_t shown[2], all = 0;
    struct view v;
    int status = view_make(&v, t, 0);

    if (!status)
        status = look(t, &files, names, 2);
    if (!status) {
        items_begin(t, &files, 2, true, &items);
        collect(&v, 0, &items);
        shown[0] = items.n;
        collect(&v, 1, &items);
        shown[1] = items.n - shown[0];
        status = show(&v, &items, &all);
        if (!status && !t->json && t->set.verbose > 0)
            count_all(t, &files, shown);
    }
    view_end(&v);
    files_end(&files);
    return status;
}
