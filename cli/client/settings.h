/* Where the services are and how the program talks: options, then the environment, then
 * $XDG_CONFIG_HOME/stoa/config, then what stands here. */
#ifndef STOA_CLI_CLIENT_SETTINGS_H
#define STOA_CLI_CLIENT_SETTINGS_H

#include "base/config.h"

enum service { SERVICE_AUTH, SERVICE_POSTS, SERVICE_CHAT, N_SERVICES };
extern const char *const service_names[N_SERVICES]; /* "auth" */

enum output { OUTPUT_TABLE, OUTPUT_PLAIN, OUTPUT_JSON };

struct settings {
    struct str address[N_SERVICES];
    struct str tls; /* "on", "off", or "auto": on for what is not this machine */
    struct str ca_file, certificate_file, key_file; /* empty: none */
    struct str output_name;                         /* empty: by standard output */
    int64_t timeout_s;
    enum output output;
    struct str servers; /* the three addresses in one text: whose tokens these are */
};

extern const struct config_setting settings_table[];
extern const size_t n_settings;

/* Takes the configuration file into the environment, where that says nothing, and reads the
 * settings from there: so options are set with setenv() before. path: NULL: there is none.
 * -EINVAL and one line in *ret_error. */
int settings_load(struct settings *s, const char *path, struct arena *arena,
                  struct str *ret_error) MUST_CHECK;

/* Lines `name = value`, empty ones and comments (#). -EINVAL and one line in *ret_error. */
int settings_read_file(struct str text, const char *path, struct arena *arena,
                       struct str *ret_error) MUST_CHECK;

/* Whether calls to that service are encrypted. */
bool settings_use_tls(const struct settings *s, enum service service);

#endif
