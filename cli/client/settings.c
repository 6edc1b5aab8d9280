#include "settings.h"

#include "../file.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIG_BYTES_MAX (64 << 10)
#define TIMEOUT_S_MAX 3600

const char *const service_names[N_SERVICES] = {"auth", "posts", "chat"};

const struct config_setting settings_table[] = {
    {"STOA_AUTH_ADDRESS", CONFIG_STRING, offsetof(struct settings, address[SERVICE_AUTH]),
     "127.0.0.1:9001", 1, 256, false, "where the service auth is: HOST:PORT or unix:/PATH"},
    {"STOA_POSTS_ADDRESS", CONFIG_STRING, offsetof(struct settings, address[SERVICE_POSTS]),
     "127.0.0.1:9002", 1, 256, false, "where the service posts is"},
    {"STOA_CHAT_ADDRESS", CONFIG_STRING, offsetof(struct settings, address[SERVICE_CHAT]),
     "127.0.0.1:9003", 1, 256, false, "where the service chat is"},
    {"STOA_TLS", CONFIG_STRING, offsetof(struct settings, tls), "auto", 1, 8, false,
     "on, off or auto: encryption, for other machines only"},
    {"STOA_CA_FILE", CONFIG_STRING, offsetof(struct settings, ca_file), "", 0, 0, false,
     "who may sign the services' certificates (PEM); empty: those of the system"},
    {"STOA_CERTIFICATE_FILE", CONFIG_STRING, offsetof(struct settings, certificate_file), "", 0, 0,
     false, "a certificate of one's own (PEM), for services that ask for one"},
    {"STOA_KEY_FILE", CONFIG_STRING, offsetof(struct settings, key_file), "", 0, 0, false,
     "its key (PEM)"},
    {"STOA_TIMEOUT", CONFIG_INT, offsetof(struct settings, timeout_s), "10", 1, TIMEOUT_S_MAX,
     false, "seconds to wait for an answer"},
    {"STOA_OUTPUT", CONFIG_STRING, offsetof(struct settings, output_name), "", 0, 16, false,
     "table, plain or json; empty: table on terminals, else plain"},
};
const size_t n_settings = ARRAY_SIZE(settings_table);

/* "auth-address" of STOA_AUTH_ADDRESS. */
static bool is_name_of(struct str name, const char *variable)
{
    const char *p = variable + strlen("STOA_");

    for (size_t i = 0; i < name.n; i++) {
        char expected = p[i] == '_' ? '-' : (char)tolower((unsigned char)p[i]);

        if (!p[i] || name.p[i] != expected)
            return false;
    }
    return !p[name.n];
}

static int take_line(struct str line, const char *path, unsigned number, struct arena *arena,
                     struct str *ret_error)
{
    const char *equals = memchr(line.p, '=', line.n);
    struct str name = str_trim((struct str){line.p, equals ? (size_t)(equals - line.p) : 0});

    for (size_t i = 0; equals && i < n_settings; i++) {
        struct str value;

        if (!is_name_of(name, settings_table[i].name))
            continue;
        value = arena_copy(arena, str_trim(str_skip(line, (size_t)(equals - line.p) + 1)));
        if (!value.p || setenv(settings_table[i].name, value.p, 0)) {
            *ret_error = STR("out of memory");
            return -EINVAL;
        }
        return 0;
    }
    *ret_error = arena_printf(arena,
                              "%s, line %u: no setting; write NAME = VALUE, as in "
                              "auth-address = 127.0.0.1:9001",
                              path, number);
    return -EINVAL;
}

int settings_read_file(struct str text, const char *path, struct arena *arena,
                       struct str *ret_error)
{
    for (unsigned number = 1; text.n; number++) {
        const char *lf = memchr(text.p, '\n', text.n);
        size_t n = lf ? (size_t)(lf - text.p) : text.n;
        struct str line = str_trim((struct str){text.p, n});

        if (line.n && line.p[0] != '#' && take_line(line, path, number, arena, ret_error))
            return -EINVAL;
        text = str_skip(text, n + 1);
    }
    return 0;
}

static int read_file(const char *path, struct arena *arena, struct str *ret_error)
{
    struct buf text CLEANUP(buf_free) = {.max = CONFIG_BYTES_MAX};
    int err = read_path(path, &text);

    if (err == -ENOENT || err == -ENOTDIR)
        return 0;
    if (!err)
        return settings_read_file(buf_str(&text), path, arena, ret_error);
    *ret_error = arena_printf(arena, "cannot read %s: %s", path, strerror(-err));
    return -EINVAL;
}

static int choose_output(struct settings *s, struct arena *arena, struct str *ret_error)
{
    static const char *const names[] = {
        [OUTPUT_TABLE] = "table", [OUTPUT_PLAIN] = "plain", [OUTPUT_JSON] = "json"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (str_eq(s->output_name, str_of(names[i]))) {
            s->output = (enum output)i;
            return 0;
        }
    }
    if (!s->output_name.n)
        return 0;
    *ret_error = arena_printf(arena, "there is no output '%.*s': table, plain or json",
                              STR_FMT(s->output_name));
    return -EINVAL;
}

static int check(struct settings *s, struct arena *arena, struct str *ret_error)
{
    if (!str_eq(s->tls, STR("on")) && !str_eq(s->tls, STR("off")) && !str_eq(s->tls, STR("auto"))) {
        *ret_error = arena_printf(arena, "STOA_TLS is '%.*s': on, off or auto", STR_FMT(s->tls));
        return -EINVAL;
    }
    if (!s->certificate_file.n != !s->key_file.n) {
        *ret_error = STR("a certificate and its key go together: set both or neither");
        return -EINVAL;
    }
    s->servers = arena_printf(arena, "%.*s %.*s %.*s tls=%.*s", STR_FMT(s->address[0]),
                              STR_FMT(s->address[1]), STR_FMT(s->address[2]), STR_FMT(s->tls));
    if (s->servers.p)
        return choose_output(s, arena, ret_error);
    *ret_error = STR("out of memory");
    return -EINVAL;
}

int settings_load(struct settings *s, const char *path, struct arena *arena, struct str *ret_error)
{
    int err = path ? read_file(path, arena, ret_error) : 0;

    if (!err)
        err = config_read(settings_table, n_settings, s, arena, ret_error);
    return err ? err : check(s, arena, ret_error);
}

/* Whether bytes to that address stay on this machine. */
static bool is_here(struct str address)
{
    char host[64];
    struct in_addr v4;
    const char *colon = memrchr(address.p, ':', address.n);
    size_t n = colon ? (size_t)(colon - address.p) : address.n;

    if (str_starts(address, STR("unix:")))
        return true;
    if (n >= sizeof(host))
        return false;
    memcpy(host, address.p, n);
    host[n] = '\0';
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

bool settings_use_tls(const struct settings *s, enum service service)
{
    return str_eq(s->tls, STR("on")) ||
           (str_eq(s->tls, STR("auto")) && !is_here(s->address[service]));
}
