/* Compiled buf.validate rules: rules.c makes them, validate.c applies them; private to lib/schema,
 * and read by lib/openapi. A rule is a list of checks, each with the words for the caller made at
 * load. */
#ifndef STOA_SCHEMA_RULES_H
#define STOA_SCHEMA_RULES_H

#include "schema/tables.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* A value of a rule or of a checked field. Integers of all widths, bools, enums, and durations and
 * time stamps in nanoseconds are `i`; floats are `d`; strings and bytes are `s`. */
struct rule_value {
    __int128 i;
    double d;
    struct str s;
};

enum check_op {
    CHECK_CONST,
    CHECK_IN,
    CHECK_NOT_IN,
    /* Numbers. */
    CHECK_LT,
    CHECK_LTE,
    CHECK_GT,
    CHECK_GTE,
    CHECK_OUTSIDE, /* below values[0] or above values[1]; the bounds too when inclusive[] */
    CHECK_FINITE,
    CHECK_DEFINED, /* enum */
    CHECK_PAST,
    CHECK_FUTURE,
    CHECK_WITHIN, /* of now */
    /* Strings and bytes; LENGTH in code points, SIZE in bytes. */
    CHECK_LENGTH,
    CHECK_MIN_LENGTH,
    CHECK_MAX_LENGTH,
    CHECK_SIZE,
    CHECK_MIN_SIZE,
    CHECK_MAX_SIZE,
    CHECK_NOT_BLANK, /* pattern "\S", by far the most common one */
    CHECK_PATTERN,
    CHECK_PREFIX,
    CHECK_SUFFIX,
    CHECK_CONTAINS,
    CHECK_NOT_CONTAINS,
    CHECK_FORMAT,
    /* Repeated fields and maps. */
    CHECK_MIN_ITEMS,
    CHECK_MAX_ITEMS,
    CHECK_UNIQUE,
};

typedef bool rule_format(struct str s);

struct rule_check {
    enum check_op op;
    const struct rule_value *values;
    size_t n_values;
    bool inclusive[2]; /* CHECK_OUTSIDE */
    rule_format *format;
    const pcre2_code *pattern;
    const struct schema_enum *enumeration;
    struct str message;
};

enum rule_class { RULE_NONE, RULE_INTEGER, RULE_FLOAT, RULE_TIME, RULE_TEXT, RULE_LIST };

enum rule_ignore { IGNORE_UNSET = 0, IGNORE_ZERO = 1, IGNORE_ALWAYS = 3 };

struct schema_rules {
    bool required;
    enum rule_ignore ignore;
    enum rule_class class; /* of the checks' values; RULE_NONE: there are no checks */
    const struct rule_check *checks;
    size_t n_checks;
    const struct schema_rules *items; /* of a repeated field, or values of a map */
    const struct schema_rules *keys;
};

/* What the values of a rule are of, for printing them. */
struct rule_domain {
    enum rule_class class;
    enum schema_type type;
    const struct schema_enum *enumeration;
    bool timestamp;
};

/* rule_values.c */

/* A scalar in memory; of a Duration or Timestamp (at points to the pointer) its nanoseconds. */
struct rule_value rule_read(ProtobufCType type, const void *at);
/* The size of an element of a repeated field in memory. */
size_t rule_element_size(ProtobufCType type);
/* Whether a decoded field is set: with presence, has it; without, is not zero; repeated, not empty.
 */
bool rule_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *f);
bool rule_is_zero(ProtobufCType type, const void *at);
void rule_print(struct buf *b, const struct rule_domain *domain, const struct rule_value *v);

/* validate.c: whether the zero value of a field without presence passes, so that a message may
 * leave the field out. Returns 1, 0 or -ENOMEM. */
int rules_accept_zero(const struct schema_rules *rules) MUST_CHECK;

/* formats.c: named formats of strings. */
bool format_email(struct str s);    /* HTML, "valid e-mail address" */
bool format_hostname(struct str s); /* RFC 1034 section 3.5, RFC 1123 section 2.1 */
bool format_ip(struct str s);
bool format_ipv4(struct str s);
bool format_ipv6(struct str s);    /* RFC 4291 section 2.2, RFC 4007 section 11 (zones) */
bool format_uri(struct str s);     /* RFC 3986: a URI, with scheme */
bool format_uri_ref(struct str s); /* RFC 3986: a URI or a relative reference */
bool format_uuid(struct str s);    /* RFC 9562 section 4 */

#endif
