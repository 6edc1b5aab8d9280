/* Lists that todo.sh has not: what is due, what to do next, figures, a calendar, the lists there
 * are. */
#include "filter.h"
#include "task.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#define CELL 5            /* columns of a day in the calendar */
#define NAME_MAX_WIDTH 32 /* columns of a project in stats */

struct entry {
    const char *file;
    size_t number;
    struct str text;
    struct line line;
    date_t due; /* DATE_NONE: none */
};

struct entries {
    struct files files;
    struct entry *v;
    size_t n;
};

/* ---- what is chosen from ---- */

/* Not before its t:. */
static bool is_hidden(const struct task *t, const struct line *l)
{
    date_t start = line_tag_date(l->body, STR("t"));

    return start != DATE_NONE && start > t->today;
}

/* Open tasks that match the terms from argument `from` on. */
static int open_entries(struct task *t, int from, struct entries *ret)
{
    struct filter *filter = NULL;
    struct str error = STR_NULL;
    const struct file *file;

    *ret = (struct entries){.n = 0};
    if (filter_make((const char *const *)t->argv + from,
                    t->argc > from ? (size_t)(t->argc - from) : 0, true, t->today, &t->arena,
                    &filter, &error)) {
        filter_free(filter);
        return trouble(t, error);
    }
    if (files_look(&ret->files, &t->arena, (const char *const[]){t->set.todo_file}, 1)) {
        filter_free(filter);
        return trouble(t, ret->files.error);
    }
    file = files_at(&ret->files, 0);
    ret->v = must_have(t, arena_calloc(&t->arena, file->n + 1, sizeof(*ret->v)));
    for (size_t i = 0; i < file->n; i++) {
        struct entry e = {.file = file->name, .number = i + 1, .text = file->lines[i].text};

        line_read(e.text, &e.line);
        e.due = line_tag_date(e.line.body, STR("due"));
        if (e.text.n && !e.line.done && filter_matches(filter, must_copy(t, e.text), e.text.n))
            ret->v[ret->n++] = e;
    }
    filter_free(filter);
    return 0;
}

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int priority_rank(const struct entry *e)
{
    return e->line.priority ? e->line.priority : 'Z' + 1;
}

static int compare_due(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = compare_numbers(x->due, y->due);

    if (!order)
        order = compare_numbers(priority_rank(x), priority_rank(y));
    return order ? order : compare_numbers((int64_t)x->number, (int64_t)y->number);
}

static void sort_by_due(struct entries *all)
{
    if (all->n)
        qsort(all->v, all->n, sizeof(*all->v), compare_due);
}

/* ---- showing ---- */

static struct str color_of_due(struct task *t, date_t due)
{
    return due < t->today ? color_of(t, "RED") : due == t->today ? color_of(t, "YELLOW") : STR("");
}

static size_t widest_number(const struct entries *all)
{
    size_t most = 0, digits = 1;

    for (size_t i = 0; i < all->n; i++)
        most = all->v[i].number > most ? all->v[i].number : most;
    for (; most >= 10; most /= 10)
        digits++;
    return digits;
}

static void say_entry(struct task *t, const struct entry *e, size_t digits)
{
    struct str color = STR("");
    char due[DATE_CHARS + 1];

    if (e->due != DATE_NONE && e->due <= t->today)
        color = color_of_due(t, e->due);
    else if (e->line.priority)
        color = color_of_priority(t, e->line.priority);
    buf_append_str(&t->out, color);
    buf_printf(&t->out, "%*zu ", (int)digits, e->number);
    if (e->due != DATE_NONE) {
        date_print(e->due, due);
        buf_printf(&t->out, "%s ", due);
    } else {
        buf_append_str(&t->out, STR("           "));
    }
    buf_append_str(&t->out, e->text);
    if (color.n)
        buf_append_str(&t->out, color_of(t, "DEFAULT"));
    buf_append_char(&t->out, '\n');
}

static void append_json(struct task *t, json_t *array, json_t *value)
{
    if (json_array_append_new(array, must_have(t, value)))
        must_have(t, NULL);
}

static int say_entries(struct task *t, const struct entries *all, const char *what)
{
    json_t *array = t->json ? must_have(t, json_array()) : NULL;
    size_t digits = widest_number(all);

    for (size_t i = 0; i < all->n; i++) {
        const struct entry *e = &all->v[i];

        if (array)
            append_json(t, array, json_task(t, e->file, e->number, e->text));
        else
            say_entry(t, e, digits);
    }
    if (array)
        return json_say(t, array);
    if (t->set.verbose > 0)
        buf_printf(&t->out, "--\n%.*s: %zu %s\n", STR_FMT(prefix_of(t, t->set.todo_file)), all->n,
                   what);
    return 0;
}

/* A number as the first argument; -1: there is none. */
static int64_t count_argument(const struct task *t)
{
    int64_t n;

    if (!t->argc || str_to_int64(str_of(t->argv[0]), &n) || n < 0 || n > DATE_MAX_STEP)
        return -1;
    return n;
}

int action_due(struct task *t)
{
    int64_t days = count_argument(t);
    struct entries all;
    size_t kept = 0;
    int status = open_entries(t, days >= 0, &all);

    for (size_t i = 0; i < all.n; i++) {
        struct entry *e = &all.v[i];

        if (e->due != DATE_NONE && !is_hidden(t, &e->line) &&
            (days < 0 || e->due <= t->today + days))
            all.v[kept++] = *e;
    }
    all.n = kept;
    if (!status) {
        sort_by_due(&all);
        status = say_entries(t, &all, "due");
    }
    files_end(&all.files);
    return status;
}

/* The day from which on a task presses: its due date when that has come; then by priority, due date
 * and age. */
static int compare_next(const void *a, const void *b, void *data)
{
    const struct entry *x = a, *y = b;
    date_t today = *(const date_t *)data;
    date_t far = INT32_MAX;
    date_t x_due = x->due == DATE_NONE ? far : x->due, y_due = y->due == DATE_NONE ? far : y->due;
    bool x_late = x_due <= today, y_late = y_due <= today;
    int order = x_late != y_late ? y_late - x_late : 0;

    if (!order && x_late)
        order = compare_numbers(x_due, y_due);
    if (!order)
        order = compare_numbers(priority_rank(x), priority_rank(y));
    if (!order)
        order = compare_numbers(x_due, y_due);
    if (!order)
        order = compare_numbers(x->line.created == DATE_NONE ? far : x->line.created,
                                y->line.created == DATE_NONE ? far : y->line.created);
    return order ? order : compare_numbers((int64_t)x->number, (int64_t)y->number);
}

int action_next(struct task *t)
{
    int64_t count = count_argument(t);
    struct entries all;
    size_t kept = 0;
    int status = open_entries(t, count >= 0, &all);

    for (size_t i = 0; i < all.n; i++) {
        if (!is_hidden(t, &all.v[i].line))
            all.v[kept++] = all.v[i];
    }
    all.n = kept;
    if (!status) {
        if (all.n)
            qsort_r(all.v, all.n, sizeof(*all.v), compare_next, &t->today);
        kept = count < 0 ? 1 : (size_t)count;
        all.n = all.n < kept ? all.n : kept;
        status = say_entries(t, &all, "to do next");
    }
    files_end(&all.files);
    return status;
}

/* ---- stats ---- */

struct project {
    struct str name;
    size_t open, done;
};

struct stats {
    size_t open, done, overdue, due_week, priority[27], done_week, done_month, waiting;
    int64_t age_sum;
    size_t aged;
    struct project *projects;
    size_t n_projects, room;
};

static struct project *project_of(struct task *t, struct stats *s, struct str name)
{
    for (size_t i = 0; i < s->n_projects; i++) {
        if (str_eq(s->projects[i].name, name))
            return &s->projects[i];
    }
    if (s->n_projects == s->room) {
        s->room = s->room ? s->room * 2 : 16;
        s->projects = must_have(t, reallocarray(s->projects, s->room, sizeof(*s->projects)));
    }
    s->projects[s->n_projects] = (struct project){.name = name};
    return &s->projects[s->n_projects++];
}

static void count_projects(struct task *t, struct stats *s, const struct line *l)
{
    struct str rest = l->body;
    struct word w;

    while (line_next_word(&rest, &w)) {
        if (w.kind == WORD_PROJECT) {
            struct project *p = project_of(t, s, w.text);

            p->open += !l->done;
            p->done += l->done;
        }
    }
}

static void count_open(struct task *t, struct stats *s, const struct line *l)
{
    date_t due = line_tag_date(l->body, STR("due"));

    s->open++;
    s->waiting += is_hidden(t, l);
    s->overdue += due != DATE_NONE && due < t->today;
    s->due_week += due != DATE_NONE && due >= t->today && due < t->today + 7;
    s->priority[l->priority ? l->priority - 'A' : 26]++;
    if (l->created != DATE_NONE && l->created <= t->today) {
        s->age_sum += t->today - l->created;
        s->aged++;
    }
}

static void count_file(struct task *t, struct stats *s, const struct file *file)
{
    for (size_t i = 0; i < file->n; i++) {
        struct line l;

        if (file_line_is_empty(file, i))
            continue;
        line_read(file->lines[i].text, &l);
        count_projects(t, s, &l);
        if (!l.done) {
            count_open(t, s, &l);
            continue;
        }
        s->done++;
        if (l.completed != DATE_NONE) {
            s->done_week += l.completed > t->today - 7 && l.completed <= t->today;
            s->done_month += l.completed > t->today - 30 && l.completed <= t->today;
        }
    }
}

static int compare_projects(const void *a, const void *b)
{
    const struct project *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int order = memcmp(x->name.p, y->name.p, n);

    return order ? order : compare_numbers((int64_t)x->name.n, (int64_t)y->name.n);
}

static void set_number(struct task *t, json_t *object, const char *name, size_t n)
{
    if (json_object_set_new(object, name, must_have(t, json_integer((json_int_t)n))))
        must_have(t, NULL);
}

static int stats_json(struct task *t, const struct stats *s)
{
    json_t *all = must_have(t, json_object()), *priorities = must_have(t, json_object());
    json_t *projects = must_have(t, json_array());

    set_number(t, all, "open", s->open);
    set_number(t, all, "waiting", s->waiting);
    set_number(t, all, "overdue", s->overdue);
    set_number(t, all, "due_in_7_days", s->due_week);
    set_number(t, all, "done", s->done);
    set_number(t, all, "done_in_7_days", s->done_week);
    set_number(t, all, "done_in_30_days", s->done_month);
    for (int i = 0; i < 26; i++) {
        char name[2] = {(char)('A' + i), '\0'};

        if (s->priority[i])
            set_number(t, priorities, name, s->priority[i]);
    }
    for (size_t i = 0; i < s->n_projects; i++) {
        json_t *p = must_have(t, json_object());

        if (json_object_set_new(p, "project", json_text(t, str_skip(s->projects[i].name, 1))))
            must_have(t, NULL);
        set_number(t, p, "open", s->projects[i].open);
        set_number(t, p, "done", s->projects[i].done);
        append_json(t, projects, p);
    }
    if (json_object_set_new(all, "priorities", priorities) ||
        json_object_set_new(all, "projects", projects))
        must_have(t, NULL);
    return json_say(t, all);
}

static void say_projects(struct task *t, const struct stats *s)
{
    size_t width = 7;

    for (size_t i = 0; i < s->n_projects; i++) {
        size_t w = terminal_width(s->projects[i].name);

        width = w > width ? w : width;
    }
    width = width > NAME_MAX_WIDTH ? NAME_MAX_WIDTH : width;
    buf_append_char(&t->out, '\n');
    terminal_pad(&t->out, STR("Project"), width);
    buf_append_str(&t->out, STR("   open   done\n"));
    for (size_t i = 0; i < s->n_projects; i++) {
        terminal_pad(&t->out, s->projects[i].name, width);
        buf_printf(&t->out, " %6zu %6zu\n", s->projects[i].open, s->projects[i].done);
    }
}

static int stats_text(struct task *t, const struct stats *s)
{
    struct buf *out = &t->out;

    buf_printf(out, "Open     %zu", s->open);
    if (s->waiting)
        buf_printf(out, ", %zu of them waiting for their day", s->waiting);
    buf_printf(out, "\nOverdue  %zu\nDue      %zu in the next 7 days\n", s->overdue, s->due_week);
    buf_printf(out, "Done     %zu, %zu in the last 7 days, %zu in the last 30\n", s->done,
               s->done_week, s->done_month);
    if (s->aged)
        buf_printf(out, "Age      %.1f days on average\n", (double)s->age_sum / (double)s->aged);
    buf_append_str(out, STR("Priority"));
    for (int i = 0; i < 26; i++) {
        if (s->priority[i])
            buf_printf(out, " %c:%zu", 'A' + i, s->priority[i]);
    }
    buf_printf(out, " none:%zu\n", s->priority[26]);
    if (s->n_projects)
        say_projects(t, s);
    return 0;
}

int action_stats(struct task *t)
{
    const char *names[] = {t->set.todo_file, t->set.done_file};
    struct stats s = {.open = 0};
    struct files files;
    int status = 0;

    if (files_look(&files, &t->arena, names, 2))
        status = trouble(t, files.error);
    for (size_t i = 0; i < files.n && !status; i++)
        count_file(t, &s, &files.file[i]);
    if (!status && s.n_projects)
        qsort(s.projects, s.n_projects, sizeof(*s.projects), compare_projects);
    if (!status)
        status = t->json ? stats_json(t, &s) : stats_text(t, &s);
    free(s.projects);
    files_end(&files);
    return status;
}

/* ---- calendar ---- */

/* "2026-12", "12" (of this year), nothing (this month). */
static bool read_month(const struct task *t, struct civil *ret)
{
    int64_t year, month;
    struct str s;

    *ret = date_civil(t->today);
    if (!t->argc)
        return true;
    s = str_of(t->argv[0]);
    if (s.n == 7 && s.p[4] == '-') {
        if (str_to_int64((struct str){s.p, 4}, &year) || year < 1)
            return false;
        ret->year = (int)year;
        s = str_skip(s, 5);
    }
    if (str_to_int64(s, &month) || month < 1 || month > 12)
        return false;
    ret->month = (int)month;
    return true;
}

static size_t due_on(const struct entries *all, date_t day)
{
    size_t n = 0;

    for (size_t i = 0; i < all->n; i++)
        n += all->v[i].due == day;
    return n;
}

static void say_day(struct task *t, date_t day, size_t n)
{
    struct str color = n && day < t->today ? color_of(t, "RED")
                       : day == t->today   ? color_of(t, "YELLOW")
                                           : STR("");
    struct str mark = !n       ? day == t->today ? STR("*") : STR("")
                            : n < 10 ? must_print(t, "%zu", n)
                               : STR("+");
    struct str cell = must_print(t, "%2d%s%.*s%s", date_civil(day).day, n ? "(" : "", STR_FMT(mark),
                                 n ? ")" : "");

    buf_append_str(&t->out, color);
    terminal_pad(&t->out, cell, CELL);
    if (color.n)
        buf_append_str(&t->out, color_of(t, "DEFAULT"));
}

static void say_month(struct task *t, const struct entries *all, struct civil c)
{
    date_t first = date_of((struct civil){c.year, c.month, 1});
    date_t last = first + date_month_length(c.year, c.month) - 1;

    buf_printf(&t->out, "%04d-%02d\n", c.year, c.month);
    buf_append_str(&t->out, STR("Mo   Tu   We   Th   Fr   Sa   Su\n"));
    for (int i = 0; i < date_weekday(first); i++)
        terminal_pad(&t->out, STR(""), CELL);
    for (date_t day = first; day <= last; day++) {
        say_day(t, day, due_on(all, day));
        if (date_weekday(day) == 6 || day == last) {
            while (t->out.n && t->out.p[t->out.n - 1] == ' ')
                t->out.n--;
            buf_append_char(&t->out, '\n');
        }
    }
}

int action_calendar(struct task *t)
{
    struct entries all;
    struct civil c;
    size_t kept = 0;
    int status;

    if (!read_month(t, &c))
        return die(t, "usage: %s calendar [YYYY-MM] [TERM...]", t->program);
    status = open_entries(t, t->argc > 0, &all);
    for (size_t i = 0; i < all.n; i++) {
        struct civil due = date_civil(all.v[i].due == DATE_NONE ? 0 : all.v[i].due);

        if (all.v[i].due != DATE_NONE && due.year == c.year && due.month == c.month)
            all.v[kept++] = all.v[i];
    }
    all.n = kept;
    if (!status) {
        sort_by_due(&all);
        if (!t->json)
            say_month(t, &all, c);
        if (!t->json && all.n)
            buf_append_char(&t->out, '\n');
        status = say_entries(t, &all, "due in this month");
    }
    files_end(&all.files);
    return status;
}

/* ---- lists ---- */

struct list {
    struct str name;
    size_t open, done, overdue;
};

/* NAME.txt holds a list; todo.sh's other files, and those of a list, do not. */
static bool is_list(struct task *t, struct str file)
{
    static const struct str others[] = {{"done.txt", 8}, {"report.txt", 10}};
    const char *const files[] = {t->set.done_file, t->set.report_file};

    if (!str_ends(file, STR(".txt")) || file.p[0] == '.' || file.n == 4)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        const char *slash = strrchr(files[i], '/');

        if (str_eq(file, others[i]) || str_eq(file, str_of(slash ? slash + 1 : files[i])) ||
            (file.n > others[i].n + 1 && str_ends(file, others[i]) &&
             file.p[file.n - others[i].n - 1] == '.'))
            return false;
    }
    return true;
}

static int compare_lists(const void *a, const void *b)
{
    return strcoll(((const struct list *)a)->name.p, ((const struct list *)b)->name.p);
}

static int count_list(struct task *t, const char *file_name, struct list *list)
{
    const char *path = must_print(t, "%s/%s", t->set.todo_dir, file_name).p;
    struct stats s = {.open = 0};
    struct files files;
    int status = 0;

    if (files_look(&files, &t->arena, &path, 1))
        status = trouble(t, files.error);
    else
        count_file(t, &s, files_at(&files, 0));
    files_end(&files);
    free(s.projects);
    list->open = s.open;
    list->done = s.done;
    list->overdue = s.overdue;
    return status;
}

static int say_lists(struct task *t, const struct list *lists, size_t n)
{
    json_t *array = t->json ? must_have(t, json_array()) : NULL;
    size_t width = 4;

    for (size_t i = 0; i < n; i++) {
        size_t w = terminal_width(lists[i].name);

        width = w > width ? w : width;
    }
    if (!array) {
        terminal_pad(&t->out, STR("List"), width);
        buf_append_str(&t->out, STR("   open   done overdue\n"));
    }
    for (size_t i = 0; i < n; i++) {
        if (array) {
            json_t *object = must_have(t, json_object());

            if (json_object_set_new(object, "list", json_text(t, lists[i].name)))
                must_have(t, NULL);
            set_number(t, object, "open", lists[i].open);
            set_number(t, object, "done", lists[i].done);
            set_number(t, object, "overdue", lists[i].overdue);
            append_json(t, array, object);
            continue;
        }
        terminal_pad(&t->out, lists[i].name, width);
        buf_printf(&t->out, " %6zu %6zu %7zu\n", lists[i].open, lists[i].done, lists[i].overdue);
    }
    return array ? json_say(t, array) : 0;
}

int action_lists(struct task *t)
{
    DIR *folder = opendir(t->set.todo_dir);
    struct list *lists = NULL;
    size_t n = 0, room = 0;
    struct dirent *e;
    int status = 0;

    if (!folder)
        return trouble(
            t, must_print(t, "cannot read the folder %s: %s", t->set.todo_dir, strerror(errno)));
    while (!status && (e = readdir(folder))) {
        struct str name = str_of(e->d_name);

        if (!is_list(t, name))
            continue;
        if (n == room) {
            room = room ? room * 2 : 16;
            lists = must_have(t, reallocarray(lists, room, sizeof(*lists)));
        }
        lists[n] = (struct list){.name = must_copy(t, (struct str){name.p, name.n - 4})};
        status = count_list(t, e->d_name, &lists[n++]);
    }
    closedir(folder);
    if (!status && n)
        qsort(lists, n, sizeof(*lists), compare_lists);
    if (!status)
        status = say_lists(t, lists, n);
    free(lists);
    return status;
}
