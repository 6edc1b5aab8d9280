/* The lists of todo.sh: number the lines, filter, sort, hide, count. */
#include "filter.h"
#include "task.h"

#include <ctype.h>
#include <endian.h>
#include <jansson.h>
#include <limits.h>
#include <regex.h>
#include <stdlib.h>
#include <unistd.h>

#define STREAM_BYTES 65536 /* of output that are not held back */
#define RADIX_MIN 256      /* lines: fewer are sorted by comparisons */
#define ZEROS_MAX 5        /* spaces in front of a number that become zeros */

struct item {
    struct str shown; /* without its number */
    struct str text;  /* the line of the file */
    const char *file;
    size_t number; /* of the line */
    size_t label;  /* the number that is shown */
};

/* What is sorted: small, as it is moved about. */
struct key {
    unsigned __int128 rank; /* the first bytes of what is shown, in upper case */
    size_t at;              /* in items */
};

struct items {
    struct item *v;
    struct key *keys;
    size_t n, room;
    size_t padding; /* columns of a number, at least */
    size_t of;      /* how many there were before the filter */
};

struct view {
    struct task *t;
    struct filter *filter;
    const char *const *terms;
    size_t n_terms;
    char from, to;   /* priorities; 0: any */
    size_t rewrite;  /* listall: lines beyond this many have the number 0; SIZE_MAX: plain list */
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

/* "  7 text", "007 text", NUL-terminated, in place of what `to` had. */
static struct str numbered(struct view *v, size_t number, size_t padding, char fill,
                           struct str text)
{
    size_t digits = digits_of(number), width = digits > padding ? digits : padding;
    size_t fills = width - digits < ZEROS_MAX ? width - digits : ZEROS_MAX;
    char *p;

    v->line.n = 0;
    p = must_have(v->t, buf_reserve(&v->line, width + text.n + 2));
    memset(p, ' ', width + 1);
    memset(p, fill, fills);
    for (size_t i = width; i > width - digits; number /= 10)
        p[--i] = (char)('0' + number % 10);
    memcpy(p + width + 1, text.p, text.n);
    p[width + 1 + text.n] = '\0';
    v->line.n = width + 1 + text.n;
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

static unsigned char fold(char c)
{
    unsigned char byte = (unsigned char)c;

    return (unsigned char)(byte - ((unsigned)(byte - 'a') < 26) * 32);
}

static unsigned __int128 rank_of(struct str key)
{
    unsigned char bytes[16] = {0};
    uint64_t high, low;

    for (size_t i = 0; i < (key.n < sizeof(bytes) ? key.n : sizeof(bytes)); i++)
        bytes[i] = fold(key.p[i]);
    memcpy(&high, bytes, 8);
    memcpy(&low, bytes + 8, 8);
    return (unsigned __int128)be64toh(high) << 64 | be64toh(low);
}

static void make_room(struct view *v, struct items *items, size_t more)
{
    items->room += more;
    items->v = must_have(v->t, reallocarray(items->v, items->room + 1, sizeof(*items->v)));
    items->keys = must_have(v->t, reallocarray(items->keys, items->room + 1, sizeof(*items->keys)));
}

static void keep(struct items *items, struct item item)
{
    items->keys[items->n] = (struct key){rank_of(item.shown), items->n};
    items->v[items->n++] = item;
}

/* first: the number that is shown for the first line. */
static void collect(struct view *v, const struct file *file, size_t first, struct items *items)
{
    make_room(v, items, file->n);
    for (size_t i = 0; i < file->n; i++) {
        struct str text = file->lines[i].text;
        struct item item = {text, text, file->name, i + 1, first + i};

        if (!is_shown(text))
            continue;
        items->of++;
        if (v->nothing || (v->from && !has_priority(v, text)))
            continue;
        if (v->n_terms &&
            !filter_matches(v->filter, numbered(v, item.label, items->padding, ' ', text), text.n))
            continue;
        if (v->rewrite != SIZE_MAX) {
            item.shown = squeezed(v->t, text);
            item.label = item.label > v->rewrite ? 0 : item.label;
        }
        keep(items, item);
    }
}

static void items_free(struct items *items)
{
    free(items->v);
    free(items->keys);
}

/* ---- sorting ---- */

static int compare_folded(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;

    for (size_t i = 0; i < n; i++) {
        unsigned char x = fold(a.p[i]), y = fold(b.p[i]);

        if (x != y)
            return x < y ? -1 : 1;
    }
    return (a.n > b.n) - (a.n < b.n);
}

/* As `LC_COLLATE=C sort -f -k2`: by what follows the number, in any case, then by all of it. */
static int compare_items(const void *a, const void *b, void *data)
{
    const struct key *x = a, *y = b;
    const struct item *v = data, *i = &v[x->at], *k = &v[y->at];
    size_t n;
    int order;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    order = compare_folded(i->shown, k->shown);
    if (order)
        return order;
    if (i->label != k->label)
        return i->label < k->label ? -1 : 1;
    n = i->shown.n < k->shown.n ? i->shown.n : k->shown.n;
    return memcmp(i->shown.p, k->shown.p, n);
}

/* One pass of a radix sort: by one byte of the rank, stable. False: all have the same there. */
static bool sort_by_byte(const struct key *from, struct key *to, size_t n, int shift)
{
    size_t starts[256] = {0}, sum = 0;

    for (size_t i = 0; i < n; i++)
        starts[(unsigned char)(from[i].rank >> shift)]++;
    if (starts[(unsigned char)(from[0].rank >> shift)] == n)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        size_t count = starts[i];

        starts[i] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        to[starts[(unsigned char)(from[i].rank >> shift)]++] = from[i];
    return true;
}

/* By rank, which decides nearly all: three times as fast as by comparisons for thousands of lines.
 */
static void sort_by_rank(struct view *v, struct items *items)
{
    struct key *other = must_have(v->t, reallocarray(NULL, items->n, sizeof(*other)));

    for (int shift = 0; shift < 128; shift += 8) {
        if (sort_by_byte(items->keys, other, items->n, shift)) {
            struct key *sorted = other;

            other = items->keys;
            items->keys = sorted;
        }
    }
    free(other);
}

static void sort_items(struct view *v, struct items *items)
{
    if (items->n >= RADIX_MIN)
        sort_by_rank(v, items);
    for (size_t i = 0, n; i < items->n; i += n) {
        const struct key *first = &items->keys[i];

        n = items->n < RADIX_MIN ? items->n : 1;
        while (i + n < items->n && first[n].rank == first->rank)
            n++;
        if (n > 1)
            qsort_r(&items->keys[i], n, sizeof(*items->keys), compare_items, items->v);
    }
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

static struct str shown_at(struct view *v, const struct items *items, size_t i)
{
    const struct item *item = &items->v[items->keys[i].at];

    return numbered(v, item->label, items->padding, '0', item->shown);
}

/* The lines of the items, in the order of TODOTXT_SORT_COMMAND, which may also leave some out. */
static int sort_by_command(struct view *v, const struct items *items, struct buf *ret)
{
    struct buf lines CLEANUP(buf_free) = {.max = OUTPUT_MAX};

    for (size_t i = 0; i < items->n; i++) {
        buf_append_str(&lines, shown_at(v, items, i));
        if (i + 1 < items->n)
            buf_append_char(&lines, '\n');
    }
    return buf_error(&lines) ? buf_error(&lines)
                             : run_shell(v->t, v->t->set.sort_command, buf_str(&lines), ret);
}

static void append_line(struct view *v, const struct colors *c, struct str shown,
                        const regex_t *hidden, size_t n_hidden, struct buf *to)
{
    size_t start = to->n;

    if (memchr(shown.p, ' ', shown.n))
        colors_append(v->t, c, shown, to);
    else
        buf_append_str(to, shown); /* what a sort command made up */
    for (size_t i = 0; i < n_hidden && !to->failed; i++)
        hide(to, start, &hidden[i]);
    buf_append_char(to, '\n');
}

/* Coloured and hidden: as they are shown, but for the final filter. */
static int render(struct view *v, struct items *items, struct buf *ret)
{
    struct buf sorted CLEANUP(buf_free) = {.max = OUTPUT_MAX};
    struct colors colors;
    regex_t hidden[3];
    size_t n_hidden = compile_hidden(hidden);
    int err = 0;

    colors_choose(v->t, &colors);
    if (v->t->set.sort_command) {
        err = sort_by_command(v, items, &sorted);
        trim_line_ends(&sorted, 0);
        for (struct str rest = buf_str(&sorted); rest.n;) {
            const char *lf = memchr(rest.p, '\n', rest.n);
            size_t n = lf ? (size_t)(lf - rest.p) : rest.n;

            append_line(v, &colors, (struct str){rest.p, n}, hidden, n_hidden, ret);
            rest = str_skip(rest, n + 1);
        }
    } else {
        for (size_t i = 0; i < items->n; i++) {
            append_line(v, &colors, shown_at(v, items, i), hidden, n_hidden, ret);
            if (ret == &v->t->out && ret->n >= STREAM_BYTES && !v->t->pages)
                flush(v->t);
        }
    }
    for (size_t i = 0; i < n_hidden; i++)
        regfree(&hidden[i]);
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
        const struct item *item = &items->v[items->keys[i].at];

        if (json_array_append_new(array, json_task(t, item->file, item->number, item->text)))
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

    *v = (struct view){.t = t, .rewrite = SIZE_MAX, .line = {.max = OUTPUT_MAX}};
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
        items.padding = digits_of(files_at(&files, 0)->n);
        collect(v, files_at(&files, 0), 1, &items);
        status = show(v, &items, &shown);
    }
    if (!status && !t->json) {
        debug_line(v, after);
        if (t->set.verbose > 0)
            buf_printf(&t->out, "--\n%.*s: %zu of %zu tasks shown\n", STR_FMT(prefix_of(t, name)),
                       shown, items.of);
    }
    items_free(&items);
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
        struct file *todo = files_at(&files, 0), *done = files_at(&files, 1);

        v.rewrite = todo->n;
        items.padding = todo->n ? digits_of(todo->n) : 0;
        collect(&v, todo, 1, &items);
        shown[0] = items.n;
        collect(&v, done, todo->n + 1, &items);
        shown[1] = items.n - shown[0];
        status = show(&v, &items, &all);
        if (!status && !t->json && t->set.verbose > 0)
            count_all(t, &files, shown);
    }
    items_free(&items);
    view_end(&v);
    files_end(&files);
    return status;
}

/* ---- words ---- */

struct words {
    struct str *v;
    size_t n, room;
};

static int compare_words(const void *a, const void *b)
{
    const struct str *x = a, *y = b;

    return strcoll(x->p, y->p);
}

/* Words are parted by spaces alone. */
static void collect_words(struct task *t, struct str text, char sigil, struct words *words)
{
    while (text.n) {
        const char *space = memchr(text.p, ' ', text.n);
        struct str word = {text.p, space ? (size_t)(space - text.p) : text.n};

        if (word.n > 1 && word.p[0] == sigil) {
            if (words->n == words->room) {
                words->room = words->room ? words->room * 2 : 64;
                words->v = must_have(t, reallocarray(words->v, words->room, sizeof(*words->v)));
            }
            words->v[words->n++] = must_copy(t, word);
        }
        text = str_skip(text, word.n + 1);
    }
}

static int say_words(struct task *t, struct words *words)
{
    json_t *array = t->json ? must_have(t, json_array()) : NULL;

    if (words->n)
        qsort(words->v, words->n, sizeof(*words->v), compare_words);
    for (size_t i = 0; i < words->n; i++) {
        if (i && compare_words(&words->v[i], &words->v[i - 1]) == 0)
            continue;
        if (!array)
            buf_printf(&t->out, "%s\n", words->v[i].p);
        else if (json_array_append_new(array, json_text(t, words->v[i])))
            must_have(t, NULL);
    }
    free(words->v);
    return array ? json_say(t, array) : 0;
}

/* TODO_FILE, or what TODOTXT_SOURCEVAR says, like '("$TODO_FILE" "$DONE_FILE")'. */
static size_t word_sources(struct task *t, const char **ret_names)
{
    const char *source = getenv("TODOTXT_SOURCEVAR");
    struct buf names = {.max = PATH_MAX * FILES_MAX};
    size_t n = 0;

    ret_names[0] = t->set.todo_file;
    if (!source || !*source)
        return 1;
    settings_export(&t->set);
    if (settings_expand(str_of(source), &names))
        names.n = 0;
    for (size_t at = 0; at < names.n && n < FILES_MAX; at += strlen(names.p + at) + 1)
        ret_names[n++] = must_copy(t, str_of(names.p + at)).p;
    buf_free(&names);
    return n;
}

static int list_words(struct task *t, char sigil)
{
    const char *names[FILES_MAX];
    size_t n = word_sources(t, names);
    struct files files = {.n = 0};
    struct words words = {.n = 0};
    struct view v;
    int status = view_make(&v, t, 0);

    if (!status)
        status = look(t, &files, names, n);
    for (size_t i = 0; i < n && !status; i++) {
        const struct file *file = files_at(&files, i);

        for (size_t k = 0; k < file->n; k++) {
            struct str text = file->lines[k].text;

            if (!v.nothing && filter_matches(v.filter, must_copy(t, text), text.n))
                collect_words(t, text, sigil, &words);
        }
    }
    view_end(&v);
    files_end(&files);
    return status ? status : say_words(t, &words);
}

int action_listcon(struct task *t)
{
    return list_words(t, '@');
}

int action_listproj(struct task *t)
{
    return list_words(t, '+');
}
