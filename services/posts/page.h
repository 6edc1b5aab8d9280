/* Pages of a list: by limit and offset, as RealWorld has them, or by a token that says which row
 * the page comes after (AIP-158). A page by token costs the same however deep it is, and what is
 * inserted or deleted meanwhile moves no row from one page to another. */
#ifndef STOA_POSTS_PAGE_H
#define STOA_POSTS_PAGE_H

#include "page_token.h"
#include "service/service.h"

struct page_request {
    bool has_limit;
    int32_t limit, offset, page_size;
    const char *page_token;
    int32_t default_size;
};

struct page {
    struct str list;  /* what is listed, filters and all: a token is bound to it */
    struct str query; /* the filters as a URL has them, each with a & behind it */
    int32_t size;
    int32_t rows; /* to ask the database for: with one that tells whether there is a next page */
    int32_t offset;
    struct cursor after;
    bool by_token; /* asked for in this way; then tokens are in the answer as well */
};

/* Fills in *page, whose list and query are set. On a fault it ends the call and returns false. */
bool page_read(struct rpc_call *call, const struct page_request *request,
               struct page *page) MUST_CHECK;

/* Says where the next page is: the `Link` of the answer (RFC 8288), and *ret_token. last: the last
 * row of this page. Without memory it ends the call and returns false. */
bool page_has_next(struct rpc_call *call, const struct page *page, struct cursor last,
                   struct str *ret_token) MUST_CHECK;

/* The same for several calls: page_next() makes both, in an arena (-ENOMEM), and page_add_link()
 * says it to each, or ends the call and returns false. */
struct page_next {
    struct str token, link;
};
int page_next(struct arena *arena, const struct page *page, struct cursor last,
              struct page_next *ret) MUST_CHECK;
bool page_add_link(struct rpc_call *call, struct str link) MUST_CHECK;

/* NAME=VALUE& with the value percent-encoded, behind what query has. {NULL, 0} without memory. */
struct str page_query_add(struct arena *arena, struct str query, const char *name,
                          struct str value) MUST_CHECK;

#endif
