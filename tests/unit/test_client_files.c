/* stoa-client: the file of logins, documents, settings, by themselves. */
#include "../../cli/client/credentials.h"
#include "../../cli/client/document.h"
#include "../../cli/client/settings.h"

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
    snprintf(folder, sizeof(folder), "/tmp/stoa-client-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state UNUSED)
{
    char command[128];

    arena_free(&arena);
    snprintf(command, sizeof(command), "rm -r '%s'", folder);
    return system(command);
}

/* ---- logins ---- */

static struct login login_of(const char *servers, const char *name)
{
    return (struct login){.servers = str_of(servers),
                          .username = str_of(name),
                          .access_token = STR("access"),
                          .refresh_token = STR("refresh"),
                          .expires_at_s = 1234567890};
}

static void put(struct credentials *c, const char *servers, const char *name)
{
    struct login login = login_of(servers, name);

    assert_int_equal(credentials_lock(c), 0);
    assert_int_equal(credentials_put(c, &login), 0);
    assert_int_equal(credentials_commit(c), 0);
}

static void logins(void **state UNUSED)
{
    struct credentials c;
    struct login login;
    struct stat st;
    char place[80];

    snprintf(place, sizeof(place), "%s/a/b", folder);
    assert_int_equal(credentials_open(&c, &arena, place), 0);
    assert_int_equal(stat(place, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(credentials_look(&c), 0);
    assert_int_equal(credentials_find(&c, STR("one"), &login), -ENOENT);

    put(&c, "one", "ada");
    put(&c, "two", "bob");
    put(&c, "one", "eve"); /* in ada's place */
    assert_int_equal(stat(c.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(credentials_look(&c), 0);
    assert_int_equal(credentials_find(&c, STR("one"), &login), 0);
    assert_true(str_eq(login.username, STR("eve")));
    assert_true(str_eq(login.access_token, STR("access")));
    assert_true(str_eq(login.refresh_token, STR("refresh")));
    assert_int_equal(login.expires_at_s, 1234567890);
    assert_int_equal(credentials_find(&c, STR("two"), &login), 0);
    assert_true(str_eq(login.username, STR("bob")));

    assert_int_equal(credentials_lock(&c), 0);
    assert_true(credentials_drop(&c, STR("one")));
    assert_false(credentials_drop(&c, STR("one")));
    assert_int_equal(credentials_commit(&c), 0);
    assert_int_equal(credentials_look(&c), 0);
    assert_int_equal(credentials_find(&c, STR("one"), &login), -ENOENT);
    assert_int_equal(credentials_find(&c, STR("two"), &login), 0);
    credentials_close(&c);
}

static void write_text(const char *path, const char *text)
{
    FILE *to = fopen(path, "w");

    assert_non_null(to);
    assert_true(fputs(text, to) >= 0);
    assert_int_equal(fclose(to), 0);
}

static void damaged_logins(void **state UNUSED)
{
    static const char *const texts[] = {"{}", "[", "\"x\"", "[1] x", "\xff"};
    struct credentials c;
    struct login login;

    assert_int_equal(credentials_open(&c, &arena, folder), 0);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        write_text(c.path, texts[i]);
        assert_int_equal(chmod(c.path, 0600), 0);
        assert_int_equal(credentials_look(&c), -EINVAL);
        assert_non_null(memmem(c.error.p, c.error.n, "sign in again", 13));
        assert_int_equal(credentials_lock(&c), -EINVAL);
    }
    /* Of other shapes inside: no login. */
    write_text(c.path, "[1, {\"servers\": 2}, {\"servers\": \"one\", \"username\": 3}]");
    assert_int_equal(credentials_look(&c), 0);
    assert_int_equal(credentials_find(&c, STR("one"), &login), 0);
    assert_int_equal(login.username.n, 0);
    assert_int_equal(login.refresh_token.n, 0);

    assert_int_equal(chmod(c.path, 0640), 0);
    assert_int_equal(credentials_look(&c), -EPERM);
    assert_int_equal(unlink(c.path), 0);
    credentials_close(&c);
}

static void tokens(void **state UNUSED)
{
    /* {"exp":1700000000} */
    assert_int_equal(token_expires_at_s(STR("h.eyJleHAiOjE3MDAwMDAwMDB9.s")), 1700000000);
    assert_int_equal(token_expires_at_s(STR("")), 0);
    assert_int_equal(token_expires_at_s(STR("a.b")), 0);
    assert_int_equal(token_expires_at_s(STR("a.!!.c")), 0);
    assert_int_equal(token_expires_at_s(STR("h.eyJleHAiOi0xfQ.s")), 0);  /* {"exp":-1} */
    assert_int_equal(token_expires_at_s(STR("h.eyJleHAiOiJ4In0.s")), 0); /* {"exp":"x"} */
}

/* ---- documents ---- */

static void documents(void **state UNUSED)
{
    struct document d;
    struct str error;
    struct buf text = {.max = 4096};

    assert_int_equal(document_read(STR("Title:  A: b \r\nDESCRIPTION: c\ntags: x, y z,,\n\n"
                                       "body\n\nmore: x\n\n"),
                                   &d, &arena, &error),
                     0);
    assert_true(str_eq(d.title, STR("A: b")));
    assert_true(str_eq(d.description, STR("c")));
    assert_int_equal(d.n_tags, 2);
    assert_true(str_eq(d.tags[1], STR("y z")));
    assert_true(str_eq(d.body, STR("body\n\nmore: x")));
    assert_null(d.key.p);

    document_print(&d, &text);
    assert_true(str_eq(buf_str(&text), STR("title: A: b\ndescription: c\ntags: x, y z\n\n"
                                           "body\n\nmore: x\n")));
    buf_free(&text);

    assert_int_equal(document_read(STR("title: x\nkey: k\netag: \"e\"\n"), &d, &arena, &error), 0);
    assert_true(str_eq(d.key, STR("k")));
    assert_true(str_eq(d.etag, STR("\"e\"")));
    assert_true(str_eq(d.body, STR("")));

    assert_int_equal(document_read(STR("title: x\nwhat is this\n"), &d, &arena, &error), -EINVAL);
    assert_true(str_starts(error, STR("line 2: ")));
    assert_int_equal(document_read(STR("title: x\n\na\0b"), &d, &arena, &error), -EINVAL);
    assert_int_equal(document_read(STR("etag: a\rb\n"), &d, &arena, &error), -EINVAL);
    assert_int_equal(document_read(STR(""), &d, &arena, &error), 0);
    assert_int_equal(d.title.n, 0);
}

static void line_ends_in_titles(void **state UNUSED)
{
    struct document d = {.title = STR("a\nbody: b"), .body = STR("x")}, again;
    struct buf text = {.max = 4096};
    struct str error;

    document_print(&d, &text);
    assert_int_equal(document_read(buf_str(&text), &again, &arena, &error), 0);
    assert_true(str_eq(again.title, STR("a body: b")));
    assert_true(str_eq(again.body, STR("x")));
    buf_free(&text);
}

/* ---- settings ---- */

static void settings(void **state UNUSED)
{
    struct settings s;
    struct str error;

    unsetenv("STOA_AUTH_ADDRESS");
    setenv("STOA_CHAT_ADDRESS", "localhost:3", 1);
    assert_int_equal(settings_read_file(STR("# a comment\n\n auth-address = 10.0.0.1:1 \n"
                                            "chat-address=other:4\ntimeout = 3\n"),
                                        "config", &arena, &error),
                     0);
    assert_int_equal(settings_load(&s, NULL, &arena, &error), 0);
    assert_true(str_eq(s.address[SERVICE_AUTH], STR("10.0.0.1:1")));
    assert_true(str_eq(s.address[SERVICE_POSTS], STR("127.0.0.1:9002")));
    assert_true(str_eq(s.address[SERVICE_CHAT], STR("localhost:3"))); /* the environment wins */
    assert_int_equal(s.timeout_s, 3);
    /* Encrypted where it leaves this machine. */
    assert_true(settings_use_tls(&s, SERVICE_AUTH));
    assert_false(settings_use_tls(&s, SERVICE_POSTS));
    assert_false(settings_use_tls(&s, SERVICE_CHAT));
    s.address[SERVICE_CHAT] = STR("localhost.example:3");
    assert_true(settings_use_tls(&s, SERVICE_CHAT));
    s.address[SERVICE_CHAT] = STR("unix:/x");
    assert_false(settings_use_tls(&s, SERVICE_CHAT));
    s.address[SERVICE_CHAT] = STR("[::1]:3");
    assert_false(settings_use_tls(&s, SERVICE_CHAT));
    s.tls = STR("on");
    assert_true(settings_use_tls(&s, SERVICE_CHAT));

    assert_int_equal(settings_read_file(STR("timeout = 3\nadress = x\n"), "c", &arena, &error),
                     -EINVAL);
    assert_true(str_starts(error, STR("c, line 2: ")));
    setenv("STOA_OUTPUT", "xml", 1);
    assert_int_equal(settings_load(&s, NULL, &arena, &error), -EINVAL);
    setenv("STOA_OUTPUT", "json", 1);
    setenv("STOA_TLS", "maybe", 1);
    assert_int_equal(settings_load(&s, NULL, &arena, &error), -EINVAL);
    setenv("STOA_TLS", "off", 1);
    setenv("STOA_KEY_FILE", "/x", 1);
    assert_int_equal(settings_load(&s, NULL, &arena, &error), -EINVAL);
    unsetenv("STOA_KEY_FILE");
    assert_int_equal(settings_load(&s, NULL, &arena, &error), 0);
    assert_int_equal(s.output, OUTPUT_JSON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logins),   cmocka_unit_test(damaged_logins),
        cmocka_unit_test(tokens),   cmocka_unit_test(documents),
        cmocka_unit_test(settings), cmocka_unit_test(line_ends_in_titles),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
