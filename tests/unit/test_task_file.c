/* Task files and the undo journal, by themselves: places, errors, what another program does
 * meanwhile. */
#include "../../cli/task/journal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena arena;
static char folder[64];

static int begin(void **state UNUSED)
{
    arena_init(&arena, 0);
    snprintf(folder, sizeof(folder), "/tmp/stoa-file-XXXXXX");
    return mkdtemp(folder) && setenv("XDG_STATE_HOME", folder, 1) == 0 ? 0 : -1;
}

static int end(void **state UNUSED)
{
    char command[128];

    arena_free(&arena);
    snprintf(command, sizeof(command), "rm -r '%s'", folder);
    return system(command);
}

static const char *path(const char *name)
{
    return arena_printf(&arena, "%s/%s", folder, name).p;
}

static void put(const char *name, struct str bytes)
{
    FILE *to = fopen(path(name), "w");

    assert_non_null(to);
    assert_int_equal(fwrite(bytes.p, 1, bytes.n, to), bytes.n);
    assert_int_equal(fclose(to), 0);
}

static void expect(const char *name, struct str bytes)
{
    const char *names[] = {path(name)};
    struct files f;

    assert_int_equal(files_look(&f, &arena, names, 1), 0);
    assert_true(str_eq((struct str){f.file[0].bytes, f.file[0].size}, bytes));
    files_end(&f);
}

/* Pieces of any size, each aligned and for itself. */
static void bulk_pieces(void **state UNUSED)
{
    static const size_t sizes[] = {0,        1, 1000,    262143,   262144, 100,
                                   3u << 20, 5, 1800000, 1u << 20, 17,     2u << 20};
    char *pieces[ARRAY_SIZE(sizes)];
    struct bulk bulk = {.blocks = NULL};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        pieces[i] = bulk_alloc(&bulk, sizes[i], 1);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        memset(pieces[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(pieces[i][k], i + 1);
    }
    assert_null(bulk_alloc(&bulk, SIZE_MAX / 2, 3));
    assert_null(bulk_alloc(&bulk, SIZE_MAX, 1));
    bulk_free(&bulk);
    assert_null(bulk.blocks);
    assert_non_null(bulk_alloc(&bulk, 10, 10));
    bulk_free(&bulk);
}

/* More lines than there was room for when the file was read. */
static void many_lines_are_appended(void **state UNUSED)
{
    const char *names[] = {path("a.txt")};
    struct buf expected = {.max = 1 << 20};
    struct files f;

    put("a.txt", STR("first"));
    assert_int_equal(files_begin(&f, &arena, names, 1), 0);
    buf_append_str(&expected, STR("first\n"));
    for (int i = 0; i < 1000; i++) {
        file_append(&f, &f.file[0], arena_printf(&arena, "task %d", i));
        buf_printf(&expected, "task %d\n", i);
    }
    assert_int_equal(files_commit(&f), 0);
    files_end(&f);
    expect("a.txt", buf_str(&expected));
    buf_free(&expected);
}

static void lines_and_their_ends(void **state UNUSED)
{
    const char *names[] = {path("a.txt")};
    struct files f;

    put("a.txt", STR("one\r\n\ntwo\r\r\nthree"));
    assert_int_equal(files_begin(&f, &arena, names, 1), 0);
    assert_int_equal(f.file[0].n, 4);
    assert_int_equal(f.file[0].lines[0].end, LINE_END_CRLF);
    assert_true(file_line_is_empty(&f.file[0], 1));
    assert_true(str_eq(f.file[0].lines[2].text, STR("two\r")));
    assert_int_equal(f.file[0].lines[3].end, LINE_END_NONE);
    file_append(&f, &f.file[0], STR("four"));
    file_set(&f.file[0], 0, STR("1"));
    file_remove_empty(&f.file[0]);
    assert_int_equal(files_commit(&f), 0);
    files_end(&f);
    expect("a.txt", STR("1\r\ntwo\r\r\nthree\r\nfour\r\n"));
}

static void one_file_by_two_names_is_one(void **state UNUSED)
{
    const char *names[] = {path("a.txt"), path("b.txt"), path("link"), path("./a.txt")};
    struct files f;

    put("a.txt", STR("a\n"));
    assert_int_equal(symlink("a.txt", path("link")), 0);
    assert_int_equal(files_begin(&f, &arena, names, 4), 0);
    assert_int_equal(f.n, 2);
    assert_int_equal(f.n_locks, 1);
    assert_ptr_equal(files_at(&f, 0), files_at(&f, 2));
    assert_ptr_equal(files_at(&f, 0), files_at(&f, 3));
    assert_true(files_at(&f, 1)->is_new);
    files_end(&f);
}

static void links_in_a_circle(void **state UNUSED)
{
    const char *names[] = {path("x")};
    struct files f;

    assert_int_equal(symlink("y", path("x")), 0);
    assert_int_equal(symlink("x", path("y")), 0);
    assert_int_equal(files_look(&f, &arena, names, 1), -ELOOP);
    assert_non_null(strstr(f.error.p, "Too many levels"));
    files_end(&f);
}

static void a_file_that_changed_meanwhile_is_left_alone(void **state UNUSED)
{
    const char *names[] = {path("a.txt")};
    struct files f;

    put("a.txt", STR("a\n"));
    assert_int_equal(files_begin(&f, &arena, names, 1), 0);
    file_append(&f, &f.file[0], STR("b"));
    put("a.txt", STR("an editor's\n"));
    assert_int_equal(files_commit(&f), -EBUSY);
    assert_non_null(strstr(f.error.p, "try again; nothing was changed"));
    files_end(&f);
    expect("a.txt", STR("an editor's\n"));
    assert_int_equal(access(path(".a.txt.stoa-new"), F_OK), -1);
}

/* ---- the journal ---- */

static void change(const char *text)
{
    const char *names[] = {path("todo.txt")};
    struct journal j;
    struct files f;

    assert_int_equal(files_begin(&f, &arena, names, 1), 0);
    journal_open(&j, &arena, "todo");
    j.command = str_of(text);
    f.journal = journal_add;
    f.journal_data = &j;
    file_append(&f, &f.file[0], str_of(text));
    assert_int_equal(files_commit(&f), 0);
    assert_null(j.problem.p);
    files_end(&f);
}

static int undo(struct str *ret_command)
{
    const char *names[FILES_MAX];
    struct journal j;
    struct files f;
    size_t n;
    int err;

    journal_open(&j, &arena, "todo");
    err = journal_newest(&j, names, &n);
    if (err)
        return err;
    assert_int_equal(files_begin(&f, &arena, names, n), 0);
    err = journal_undo(&j, &f, ret_command);
    if (!err)
        err = files_commit(&f);
    if (!err)
        err = journal_drop(&j);
    files_end(&f);
    return err;
}

static void expect_undone(const char *command)
{
    struct str got = STR_NULL;

    assert_int_equal(undo(&got), 0);
    assert_string_equal(got.p, command);
}

static void back_change_by_change(void **state UNUSED)
{
    struct str command;

    change("one");
    change("two");
    change("three");
    expect_undone("three");
    expect_undone("two");
    expect("todo.txt", STR("one\n"));
    change("four");
    expect_undone("four");
    expect_undone("one");
    expect("todo.txt", STR(""));
    assert_int_equal(undo(&command), -ENOENT);
}

static void not_over_what_others_did(void **state UNUSED)
{
    struct str command;

    change("one");
    put("todo.txt", STR("one\nby hand\n"));
    assert_int_equal(undo(&command), -ESTALE);
    expect("todo.txt", STR("one\nby hand\n"));
}

/* What a program that was killed in the middle of its write leaves. */
static void over_a_torn_entry(void **state UNUSED)
{
    struct journal j;
    FILE *to;

    change("one");
    journal_open(&j, &arena, "todo");
    to = fopen(j.path, "a");
    assert_non_null(to);
    fputs("stoa-undo-1 400 0123456789abcdef\n3 1\nd", to);
    assert_int_equal(fclose(to), 0);
    change("two");
    expect_undone("two");
    expect_undone("one");
}

static void the_oldest_go(void **state UNUSED)
{
    char *big = arena_alloc(&arena, 300001);
    struct journal j;
    struct stat st;
    struct str command;
    int undone = 0;

    assert_non_null(big);
    memset(big, 'a', 300000);
    big[300000] = '\0';
    for (int i = 0; i < 40; i++)
        change(big);
    journal_open(&j, &arena, "todo");
    assert_int_equal(stat(j.path, &st), 0);
    assert_true(st.st_size <= JOURNAL_BYTES_MAX);
    assert_int_equal(st.st_mode & 0777, 0600);
    while (undo(&command) == 0)
        undone++;
    assert_in_range(undone, 2, 14);
}

static void without_a_place_there_is_a_reason(void **state UNUSED)
{
    struct journal j;
    const char *names[FILES_MAX];
    size_t n;

    setenv("XDG_STATE_HOME", "/dev/null", 1);
    journal_open(&j, &arena, "todo");
    assert_null(j.path);
    assert_non_null(strstr(j.problem.p, "no undo: "));
    assert_int_equal(journal_newest(&j, names, &n), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bulk_pieces),
        TEST(lines_and_their_ends),
        TEST(many_lines_are_appended),
        TEST(one_file_by_two_names_is_one),
        TEST(links_in_a_circle),
        TEST(a_file_that_changed_meanwhile_is_left_alone),
        TEST(back_change_by_change),
        TEST(not_over_what_others_did),
        TEST(over_a_torn_entry),
        TEST(the_oldest_go),
        TEST(without_a_place_there_is_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
