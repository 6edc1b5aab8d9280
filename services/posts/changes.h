/* What a request changes of an article or a draft, by its mask or by what it gives. Any thread. */
#ifndef STOA_POSTS_CHANGES_H
#define STOA_POSTS_CHANGES_H

#include "input.h"

#include "google/protobuf/field_mask.pb-c.h"

/* What the request has. */
struct given {
    const char *of;                         /* the field with all of them: "article" */
    const char *title, *description, *body; /* NULL: not given */
    char **tag_list;
    size_t n_tag_list;
    const Google__Protobuf__FieldMask *mask; /* NULL: what is given changes (AIP-134) */
    bool may_be_empty; /* a text that the mask names and that is not given: else a fault */
};

/* GIVEN(changes, ...): from a message of the contract. */
#define GIVEN_TEXT(from, field) ((from)->_##field##_case ? (from)->field : NULL)
#define GIVEN(from, ...)                                                                \
    (struct given)                                                                      \
    {                                                                                   \
        .title = GIVEN_TEXT(from, title), .description = GIVEN_TEXT(from, description), \
        .body = GIVEN_TEXT(from, body), .tag_list = (from)->tag_list,                   \
        .n_tag_list = (from)->n_tag_list, __VA_ARGS__                                   \
    }

/* {NULL, 0}: stays. */
struct changes {
    struct str title, description, body;
    bool has_tags;
    struct tag_list tags;
};

/* On a fault it ends the call and returns false. */
bool read_changes(struct rpc_call *call, const struct given *given, struct changes *ret) MUST_CHECK;

/* The last four parameters of a statement: title, description, body, tags; NULL: stays. */
void bind_changes(struct db_query *query, const struct changes *changes);

#endif
