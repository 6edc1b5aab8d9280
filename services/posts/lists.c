/* ListArticles, ListFeed, ListTags: each binds one statement on a poller thread and answers from
 * its outcome on a poller thread again; a search on a thread of the database's pool. Equal lists,
 * of the same caller or of nobody, that come while one is on its way are read and packed once. */
#include "etag.h"
#include "page.h"
#include "posts.h"
#include "rows.h"
#include "service/turns.h"
#include "tags.h"
#include "text/username_key.h"

#include <errno.h>
#include <inttypes.h>

#define DEFAULT_PAGE 20
#define LIST_PATIENCE_NS (20 * NSEC_PER_MSEC)

/* Lists of authors that go together: one statement at a time, unless it is slow. */
#define MAX_AUTHOR_STATEMENTS 4
#define MAX_AUTHORS 16                /* lists in one statement */
#define MAX_AUTHORS_BYTES (64 * 1024) /* of names */

/* ---- pages ---- */

/* A list of articles, as both answers have it. */
struct list {
    Stoa__Posts__V1__Article **articles;
    size_t n;
    int64_t total;
    int rows;              /* that there were: one more than asked for, when pages are by token */
    struct cursor last;    /* of the page, when there are any */
    struct page_next next; /* {NULL, 0}: there is none. The token is told when pages are by token */
};

/* A list on its way, in its call's arena. */
struct listing {
    struct rpc_call *call;
    struct page page;
    struct db_query *query;    /* NULL: by_author */
    struct str by_author;      /* its username key: skips none, and goes together with others */
    struct db_share_item item; /* shared with equal ones */
    /* Ends its call and those of others with the list that it has. */
    void (*reply)(struct listing *listing);
    struct list list;
    bool search; /* ordered by score, with highlights; then also: */
    struct turn turn;
};

/* The parameters that all lists begin with. */
static void bind_page(struct db_query *query, const struct listing *listing)
{
    const struct page *page = &listing->page;

    db_bind_int8(query, service_caller_id(listing->call));
    db_bind_int4(query, page->rows);
    db_bind_int4(query, page->offset);
    if (listing->search)
        db_bind_int8(query, page->after.order);
    else
        db_bind_timestamp(query, page->after.order);
    db_bind_int8(query, page->after.id);
}

static bool has_next(const struct page *page, const struct list *list)
{
    if (page->by_token)
        return list->rows > page->size;
    return list->rows > 0 && (int64_t)page->offset + list->rows < list->total;
}

static struct cursor cursor_at(const struct listing *listing, const struct db_result *result,
                               int row)
{
    return (struct cursor){listing->search ? db_get_int8(result, row, FOUND_SCORE)
                                           : db_get_timestamp(result, row, ARTICLE_CREATED_AT),
                           db_get_int8(result, row, ARTICLE_ID)};
}

/* Whether the article of row a is listed after that of row b: newest first. */
static bool is_after(const struct db_result *result, int a, int b)
{
    int64_t at = db_get_timestamp(result, a, ARTICLE_CREATED_AT),
            other = db_get_timestamp(result, b, ARTICLE_CREATED_AT);

    return at < other ||
           (at == other && db_get_int8(result, a, ARTICLE_ID) < db_get_int8(result, b, ARTICLE_ID));
}

/* By insertion: as a rule they are in order. */
static void order_rows(const struct db_result *result, int *rows, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int row = rows[i];
        size_t at = i;

        for (; at > 0 && is_after(result, rows[at - 1], row); at--)
            rows[at] = rows[at - 1];
        rows[at] = row;
    }
}

/* Fills in the list from n_rows rows of the result; which: NULL: all. keep: it outlives the result.
 * -ENOMEM. */
static int read_list(struct listing *listing, const struct db_result *result, const int *which,
                     int n_rows, bool keep)
{
    struct arena *arena = rpc_call_arena(listing->call);
    int first = which ? which[0] : 0;
    /* An empty page is one row with nothing but the total. */
    int rows = db_is_null(result, first, ARTICLE_SLUG) ? 0 : n_rows;
    int n = rows < listing->page.size ? rows : listing->page.size;
    struct article *articles = arena_alloc(arena, (size_t)n * sizeof(*articles));
    struct list *list = &listing->list;
    int r = 0;

    *list = (struct list){
        .articles = arena_alloc(arena, (size_t)n * sizeof(struct article *)),
        .total = db_get_int8(result, first, LIST_TOTAL),
        .rows = rows,
    };
    if (!articles || !list->articles)
        return -ENOMEM;
    for (int i = 0; r == 0 && i < n; i++) {
        const struct row row = {result, which ? which[i] : i, arena, keep};
        struct article *article = &articles[list->n];

        if (db_is_null(result, row.number, ARTICLE_AUTHOR_USERNAME))
            continue; /* the account has gone, and takes this with it */
        r = listing->search ? article_from_row_found(&row, article)
                            : article_from_row(&row, article);
        list->articles[list->n++] = &article->message;
    }
    if (n > 0)
        list->last = cursor_at(listing, result, which ? which[n - 1] : n - 1);
    return r;
}

/* Of a page that has been read. -ENOMEM. */
static int make_next(struct listing *listing)
{
    const struct page *page = &listing->page;
    struct list *list = &listing->list;

    return has_next(page, list)
               ? page_next(rpc_call_arena(listing->call), page, list->last, &list->next)
               : 0;
}

/* Calls fn for all calls that are served together, the one of listing last: everything is in its
 * arena. */
static void for_each_call(struct listing *listing,
                          void (*fn)(struct rpc_call *call, const void *with), const void *with)
{
    struct db_share_item *other;

    while ((other = STAILQ_FIRST(&listing->item.others)) != NULL) {
        STAILQ_REMOVE_HEAD(&listing->item.others, next);
        fn(CONTAINER_OF(other, struct listing, item)->call, with);
    }
    fn(listing->call, with);
}

static void fail_memory(struct rpc_call *call, const void *with UNUSED)
{
    service_fail_memory(call);
}

static void fail_query(struct rpc_call *call, const void *result)
{
    (void)service_query_failed(call, result);
}

/* What all of them are answered. */
struct list_answer {
    struct tagged tagged;
    struct str link; /* {NULL, 0}: there is no next page */
};

static void give_answer(struct rpc_call *call, const void *with)
{
    const struct list_answer *answer = with;

    if (!answer->link.p || page_add_link(call, answer->link))
        reply_made(call, &answer->tagged);
}

static void reply_list(struct listing *listing, const ProtobufCMessage *response)
{
    struct list_answer answer = {.link = listing->list.next.link};

    if (tagged_make(rpc_call_arena(listing->call), response, &answer.tagged) < 0)
        for_each_call(listing, fail_memory, NULL);
    else
        for_each_call(listing, give_answer, &answer);
}

/* Of those that a statement has read. -ENOMEM. */
static int read_shared(struct listing *listing, const struct db_result *result)
{
    const struct db_group_item *grouped = &listing->item.grouped;

    if (listing->query)
        return read_list(listing, result, NULL, db_rows(result), false);
    order_rows(result, grouped->rows, grouped->n_rows);
    return read_list(listing, result, grouped->rows, (int)grouped->n_rows, false);
}

/* Of listings that share a statement. */
static void on_list(struct db_share_item *item, const struct db_result *result)
{
    struct listing *listing = CONTAINER_OF(item, struct listing, item);

    if (result->error != DB_OK)
        for_each_call(listing, fail_query, result);
    else if (read_shared(listing, result) < 0 || make_next(listing) < 0)
        for_each_call(listing, fail_memory, NULL);
    else
        listing->reply(listing);
}

int listings_new(struct db_share **ret)
{
    return db_share_new(on_list, LIST_PATIENCE_NS, ret);
}

/* ---- lists of authors, together ---- */

static const struct listing *listing_of(const struct db_group_item *item)
{
    return CONTAINER_OF(item, struct listing, item.grouped);
}

static void bind_author(struct db_query *query, const struct db_group_item *item)
{
    bind_page(query, listing_of(item));
    db_bind_text(query, listing_of(item)->by_author);
}

static void bind_authors(struct db_query *query, struct db_group_item *const *items, size_t n)
{
    int64_t callers[MAX_AUTHORS], rows[MAX_AUTHORS], before[MAX_AUTHORS], before_ids[MAX_AUTHORS];
    struct str authors[MAX_AUTHORS];

    for (size_t i = 0; i < n; i++) {
        const struct listing *listing = listing_of(items[i]);

        callers[i] = service_caller_id(listing->call);
        rows[i] = listing->page.rows;
        before[i] = listing->page.after.order;
        before_ids[i] = listing->page.after.id;
        authors[i] = listing->by_author;
    }
    db_bind_int8_array(query, callers, n);
    db_bind_int8_array(query, rows, n);
    db_bind_timestamp_array(query, before, n);
    db_bind_int8_array(query, before_ids, n);
    db_bind_text_array(query, authors, n);
}

int author_listings_new(struct db_group **ret)
{
    return db_group_new(&(struct db_group_options){.one = LIST_ARTICLES_BY_AUTHOR,
                                                   .many = LIST_ARTICLES_BY_AUTHORS,
                                                   .max_statements = MAX_AUTHOR_STATEMENTS,
                                                   .patience_ns = LIST_PATIENCE_NS,
                                                   .max_items = MAX_AUTHORS,
                                                   .max_bytes = MAX_AUTHORS_BYTES,
                                                   .number_column = LISTED_NUMBER,
                                                   .several_rows = true,
                                                   .bind_one = bind_author,
                                                   .bind_many = bind_authors,
                                                   .done = db_share_grouped},
                        ret);
}

/* ---- lists on their way ---- */

/* Equal keys have equal answers: the caller, the list, and what page of it in which form. */
static void submit(struct service *service, struct listing *listing)
{
    const struct posts *posts = service_state(service);
    const struct page *page = &listing->page;
    struct rpc_call *call = listing->call;

    listing->item.query = listing->query;
    listing->item.group = posts->author_listings;
    listing->item.db = service_db(service);
    listing->item.grouped.bytes = listing->by_author.n;
    listing->item.key = arena_printf(
        rpc_call_arena(call), "%" PRId64 " %d %" PRId32 " %" PRId32 " %" PRId64 " %" PRId64 " %.*s",
        service_caller_id(call), page->by_token, page->size, page->offset, page->after.order,
        page->after.id, STR_FMT(page->list));
    if (listing->item.key.p)
        (void)service_share(call, posts->listings, &listing->item);
    else
        service_fail_memory(call);
}

/* The count as answers have it. */
static int32_t count_of(const struct list *list)
{
    return list->total > INT32_MAX ? INT32_MAX : (int32_t)list->total;
}

static struct listing *begin(struct rpc_call *call)
{
    struct listing *listing = arena_calloc(rpc_call_arena(call), 1, sizeof(*listing));

    if (!listing) {
        service_fail_memory(call);
        return NULL;
    }
    listing->call = call;
    STAILQ_INIT(&listing->item.others); /* a search has none */
    return listing;
}

/* ---- ListArticles: filters ---- */

/* The filters that are set, as the statements take them; {NULL, 0}: any. */
struct filters {
    struct str tag;
    struct str author, favorited; /* username keys */
    struct str q;
};

static void reply_articles(struct listing *listing)
{
    Stoa__Posts__V1__ListArticlesResponse response = STOA__POSTS__V1__LIST_ARTICLES_RESPONSE__INIT;
    const struct list *list = &listing->list;

    response.articles = list->articles;
    response.n_articles = list->n;
    response.articles_count = count_of(list);
    if (list->next.token.p && listing->page.by_token) {
        response._next_page_token_case =
            STOA__POSTS__V1__LIST_ARTICLES_RESPONSE___NEXT_PAGE_TOKEN_NEXT_PAGE_TOKEN;
        response.next_page_token = (char *)list->next.token.p;
    }
    reply_list(listing, &response.base);
}

static int read_filters(const Stoa__Posts__V1__ListArticlesRequest *request, struct arena *arena,
                        struct filters *ret)
{
    int r = 0;

    *ret = (struct filters){.tag = STR_NULL};
    if (*request->q)
        ret->q = str_of(request->q);
    if (*request->tag)
        ret->tag = tag_trim(str_of(request->tag));
    if (*request->author)
        r = username_key(str_of(request->author), arena, &ret->author);
    if (r == 0 && *request->favorited)
        r = username_key(str_of(request->favorited), arena, &ret->favorited);
    return r;
}

/* What the page's token and link say of the filters. */
static int name_list(struct page *page, const struct filters *filters, struct arena *arena)
{
    const struct {
        const char *name;
        struct str value;
    } parts[] = {{"q", filters->q},
                 {"tag", filters->tag},
                 {"author", filters->author},
                 {"favorited", filters->favorited}};

    page->query = STR("");
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (parts[i].value.p)
            page->query = page_query_add(arena, page->query, parts[i].name, parts[i].value);
        if (!page->query.p)
            return -ENOMEM;
    }
    page->list = arena_printf(arena, "articles?%.*s", STR_FMT(page->query));
    return page->list.p ? 0 : -ENOMEM;
}

/* The statement that serves these filters; its parameters after the page are bound by
 * bind_filters(). */
static enum posts_statement list_statement(const struct filters *filters)
{
    int n = !!filters->tag.p + !!filters->author.p + !!filters->favorited.p;

    if (filters->q.p)
        return SEARCH_ARTICLES;
    if (n == 0)
        return LIST_ARTICLES;
    if (n > 1)
        return LIST_ARTICLES_FILTERED;
    if (filters->tag.p)
        return LIST_ARTICLES_BY_TAG;
    return filters->author.p ? LIST_ARTICLES_BY_AUTHOR : LIST_ARTICLES_BY_FAVORITE;
}

static void bind_filters(struct db_query *query, enum posts_statement statement,
                         const struct filters *filters)
{
    bool all = statement == LIST_ARTICLES_FILTERED || statement == SEARCH_ARTICLES;

    if (all || filters->tag.p)
        db_bind_text(query, filters->tag);
    if (all || filters->author.p)
        db_bind_text(query, filters->author);
    if (all || filters->favorited.p)
        db_bind_text(query, filters->favorited);
    if (statement == SEARCH_ARTICLES)
        db_bind_text(query, filters->q);
}

/* ---- ListArticles: a search ---- */

/* A search takes milliseconds, and many of them when its words are in many articles; what shares a
 * connection with it would wait as long. So searches run on the database's pool, as transactions
 * do, one after the other. */
static int read_found(void *user, const struct db_result *result)
{
    return read_list(user, result, NULL, db_rows(result), true);
}

static void on_found(void *user, const struct db_result *outcome, int failed)
{
    struct listing *listing = user;

    if (service_query_failed(listing->call, outcome))
        return;
    if (failed)
        service_fail_memory(listing->call);
    else if (listing->list.total == NO_WORDS)
        service_fail_field(listing->call, RPC_INVALID_ARGUMENT, "NO_WORDS", "q",
                           "has no word to search for");
    else if (make_next(listing) < 0)
        service_fail_memory(listing->call);
    else
        reply_articles(listing);
}

static void search(struct service *service, struct listing *listing)
{
    struct rpc_call *call = listing->call;
    struct db_query *limit = db_query(service_db(service), rpc_call_arena(call), LIMIT_SEARCH);

    if (!limit) {
        service_fail_memory(call);
        return;
    }
    listing->turn = (struct turn){.call = call,
                                  .db = service_db(service),
                                  .limit = limit,
                                  .query = listing->query,
                                  .found = read_found,
                                  .done = on_found,
                                  .user = listing};
    turn_take(&listing->turn);
}

/* ---- ListArticles ---- */

static void list_articles(struct service *service, struct rpc_call *call,
                          const Stoa__Posts__V1__ListArticlesRequest *request)
{
    const struct page_request page = {
        .has_limit =
            request->_limit_case != STOA__POSTS__V1__LIST_ARTICLES_REQUEST___LIMIT__NOT_SET,
        .limit = request->limit,
        .offset = request->offset,
        .page_size = request->page_size,
        .page_token = request->page_token,
        .default_size = DEFAULT_PAGE,
    };
    struct arena *arena = rpc_call_arena(call);
    struct listing *listing = begin(call);
    enum posts_statement statement;
    struct filters filters;

    if (!listing)
        return;
    if (read_filters(request, arena, &filters) < 0 ||
        name_list(&listing->page, &filters, arena) < 0) {
        service_fail_memory(call);
        return;
    }
    if (!page_read(call, &page, &listing->page))
        return;
    statement = list_statement(&filters);
    listing->search = statement == SEARCH_ARTICLES;
    listing->reply = reply_articles;
    if (statement == LIST_ARTICLES_BY_AUTHOR && listing->page.offset == 0) {
        listing->by_author = filters.author;
        submit(service, listing);
        return;
    }
    listing->query = db_query(service_db(service), arena, statement);
    if (!listing->query) {
        service_fail_memory(call);
        return;
    }
    bind_page(listing->query, listing);
    bind_filters(listing->query, statement, &filters);
    if (listing->search)
        search(service, listing);
    else
        submit(service, listing);
}
RPC_UNARY(list_articles, struct service, Stoa__Posts__V1__ListArticlesRequest)

/* ---- ListFeed ---- */

static void reply_feed(struct listing *listing)
{
    const struct list *list = &listing->list;
    Stoa__Posts__V1__ListFeedResponse response = STOA__POSTS__V1__LIST_FEED_RESPONSE__INIT;

    response.articles = list->articles;
    response.n_articles = list->n;
    response.articles_count = count_of(list);
    if (list->next.token.p && listing->page.by_token) {
        response._next_page_token_case =
            STOA__POSTS__V1__LIST_FEED_RESPONSE___NEXT_PAGE_TOKEN_NEXT_PAGE_TOKEN;
        response.next_page_token = (char *)list->next.token.p;
    }
    reply_list(listing, &response.base);
}

static void list_feed(struct service *service, struct rpc_call *call,
                      const Stoa__Posts__V1__ListFeedRequest *request)
{
    const struct page_request page = {
        .has_limit = request->_limit_case != STOA__POSTS__V1__LIST_FEED_REQUEST___LIMIT__NOT_SET,
        .limit = request->limit,
        .offset = request->offset,
        .page_size = request->page_size,
        .page_token = request->page_token,
        .default_size = DEFAULT_PAGE,
    };
    struct listing *listing = begin(call);

    if (!listing)
        return;
    listing->query = db_query(service_db(service), rpc_call_arena(call), LIST_FEED);
    listing->reply = reply_feed;
    listing->page.list = STR("feed");
    listing->page.query = STR("");
    if (!page_read(call, &page, &listing->page))
        return;
    if (!listing->query) {
        service_fail_memory(call);
        return;
    }
    bind_page(listing->query, listing);
    submit(service, listing);
}
RPC_UNARY(list_feed, struct service, Stoa__Posts__V1__ListFeedRequest)

/* ---- ListTags ---- */

static void on_tags(void *user, const struct db_result *result)
{
    struct rpc_call *call = user;
    Stoa__Posts__V1__ListTagsResponse response = STOA__POSTS__V1__LIST_TAGS_RESPONSE__INIT;
    size_t n;

    if (service_query_failed(call, result))
        return;
    n = (size_t)db_rows(result);
    response.tags = arena_alloc(rpc_call_arena(call), n * sizeof(*response.tags));
    if (!response.tags) {
        service_fail_memory(call);
        return;
    }
    for (size_t i = 0; i < n; i++)
        response.tags[i] = (char *)db_get_text(result, (int)i, 0).p;
    response.n_tags = n;
    service_reply_tagged(call, &response.base);
}

static void list_tags(struct service *service, struct rpc_call *call,
                      const Stoa__Posts__V1__ListTagsRequest *request UNUSED)
{
    service_query(call, db_query(service_db(service), rpc_call_arena(call), LIST_TAGS), on_tags);
}
RPC_UNARY(list_tags, struct service, Stoa__Posts__V1__ListTagsRequest)

const struct rpc_handler list_articles_handler = {.method = "ListArticles",
                                                  .unary = list_articles_rpc},
                         list_feed_handler = {.method = "ListFeed", .unary = list_feed_rpc},
                         list_tags_handler = {.method = "ListTags", .unary = list_tags_rpc};
