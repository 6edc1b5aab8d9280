/* listcon and listproj: the words of tasks that begin with @ or +. */
#include "filter.h"
#include "task.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>

/* Each once, in the order in which they come. */
struct words {
    struct str *v;
    size_t n, room;
    uint32_t *table; /* by their hash: place in v and 1, or 0; twice as much room */
};

static int compare_words(const void *a, const void *b)
{
    const struct str *x = a, *y = b;

    return strcoll(x->p, y->p);
}

/* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint32_t hash_of(struct str word)
{
    uint32_t hash = 2166136261U;

    for (size_t i = 0; i < word.n; i++)
        hash = (hash ^ (unsigned char)word.p[i]) * 16777619U;
    return hash;
}

/* Where the word is in the table, or would be. */
static uint32_t *find_word(const struct words *words, struct str word)
{
    size_t at = hash_of(word) % (words->room * 2);

    while (words->table[at] && !str_eq(words->v[words->table[at] - 1], word))
        at = (at + 1) % (words->room * 2);
    return &words->table[at];
}

static void make_room_for_words(struct task *t, struct words *words)
{
    if (words->n < words->room)
        return;
    words->room = words->room ? words->room * 2 : 64;
    words->v = must_have(t, reallocarray(words->v, words->room, sizeof(*words->v)));
    free(words->table);
    words->table = must_have(t, calloc(words->room * 2, sizeof(*words->table)));
    for (size_t i = 0; i < words->n; i++)
        *find_word(words, words->v[i]) = (uint32_t)(i + 1);
}

static void add_word(struct task *t, struct str word, struct words *words)
{
    uint32_t *place;

    make_room_for_words(t, words);
    place = find_word(words, word);
    if (*place)
        return;
    words->v[words->n++] = must_copy(t, word);
    *place = (uint32_t)words->n;
}

/* Words are parted by spaces alone. */
static void collect_words(struct task *t, struct str text, char sigil, struct words *words)
{
    while (text.n) {
        const char *space = memchr(text.p, ' ', text.n);
        struct str word = {text.p, space ? (size_t)(space - text.p) : text.n};

        if (word.n > 1 && word.p[0] == sigil)
            add_word(t, word, words);
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
    free(words->table);
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

/* Whether a line is one of those that the terms want; `copy` is for its NUL. */
static bool is_wanted(struct task *t, const struct filter *filter, struct str text,
                      struct buf *copy)
{
    if (!t->argc)
        return true;
    copy->n = 0;
    must_have(t, buf_reserve(copy, text.n + 1));
    memcpy(copy->p, text.p ? text.p : "", text.n);
    copy->p[text.n] = '\0';
    return filter_matches(filter, (struct str){copy->p, text.n}, text.n);
}

static int collect_files(struct task *t, const struct filter *filter, char sigil,
                         struct words *words)
{
    const char *names[FILES_MAX];
    size_t n = word_sources(t, names);
    struct buf copy CLEANUP(buf_free) = {.max = OUTPUT_MAX};
    struct files files = {.n = 0};
    int status = files_look(&files, &t->arena, names, n) ? trouble(t, files.error) : 0;

    for (size_t i = 0; i < n && !status; i++) {
        const struct file *file = files_at(&files, i);

        for (size_t k = 0; k < file->n; k++) {
            if (is_wanted(t, filter, file->lines[k].text, &copy))
                collect_words(t, file->lines[k].text, sigil, words);
        }
    }
    files_end(&files);
    return status;
}

/* A pattern that cannot be read matches nothing by todo.sh's name, as there. */
static int list_words(struct task *t, char sigil)
{
    struct words words = {.n = 0};
    struct filter *filter = NULL;
    struct str error = STR_NULL;
    int status;

    if (filter_make((const char *const *)t->argv, (size_t)t->argc, !t->is_todo_sh, t->today,
                    &t->arena, &filter, &error)) {
        (void)trouble(t, error);
        status = !t->is_todo_sh;
    } else {
        status = collect_files(t, filter, sigil, &words);
    }
    filter_free(filter);
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
