/* post list, search, show, publish, delete; feed, follow, unfollow. */
#include "post.h"

#include "base/uuid.h"
#include "markdown.h"
#include "prompt.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ARTICLES &stoa__posts__v1__article_service__descriptor
#define DRAFTS &stoa__posts__v1__draft_service__descriptor
#define PROFILES &stoa__posts__v1__profile_service__descriptor

#define DRAFT_PREFIX "draft/"
#define READING_WIDTH 100 /* longer lines are hard to read */

struct str new_key(struct client *c)
{
    char text[UUID_CHARS + 1];
    struct uuid id;

    if (uuid_new(&id))
        exit(fail(c, LOCAL, "the system gives no random numbers"));
    uuid_print(&id, text);
    return must_str(arena_copy(&c->arena, str_of(text)));
}

int post_name_read(struct client *c, char *text, struct post_name *ret)
{
    int64_t number = 0;

    *ret = (struct post_name){.slug = text};
    if (strncmp(text, DRAFT_PREFIX, strlen(DRAFT_PREFIX)) != 0)
        return 0;
    if (str_to_int64(str_of(text + strlen(DRAFT_PREFIX)), &number) || number < 1 ||
        number > UINT32_MAX)
        return fail(c, USAGE, "'%s' is no draft: draft/NUMBER, as `stoa post list --drafts' has it",
                    text);
    ret->draft = (uint32_t)number;
    return 0;
}

static char *option_text(const struct client *c, char letter)
{
    return (char *)(has_option(c, letter) ? option_of(c, letter) : "");
}

/* ---- lists ---- */

static void say_more(struct client *c, const char *command, const char *token)
{
    if (token && *token && c->set.output == OUTPUT_TABLE)
        say(c, "More: stoa %s --page %s", command, token);
}

/* A list of articles, in the output that was asked for. command: how to go on. */
static int say_articles(struct client *c, const ProtobufCMessage *response,
                        Stoa__Posts__V1__Article *const *articles, size_t n, const char *next_page,
                        const char *command)
{
    static const struct column columns[] = {
        {"SLUG", false, true},       {"AUTHOR", false, false}, {"PUBLISHED", false, false},
        {"FAVOURITES", true, false}, {"TITLE", false, true},
    };
    struct table table;

    if (c->set.output == OUTPUT_JSON)
        return say_json(c, response);
    table_begin(&table, c, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < n; i++) {
        const Stoa__Posts__V1__Article *a = articles[i];

        table_add(&table, str_of(a->slug));
        table_add(&table, str_of(a->author ? a->author->username : ""));
        table_add(&table, time_text(c, a->created_at));
        table_addf(&table, "%d", (int)a->favorites_count);
        table_add(&table, str_of(a->title));
    }
    table_end(&table);
    say_more(c, command, next_page);
    return DONE;
}

static int list_drafts(struct client *c, int32_t limit)
{
    static const struct column columns[] = {
        {"DRAFT", false, false}, {"CHANGED", false, false}, {"TITLE", false, true}};
    Stoa__Posts__V1__ListDraftsRequest request = STOA__POSTS__V1__LIST_DRAFTS_REQUEST__INIT;
    const struct call call = {.service = DRAFTS, .method = "ListDrafts", .request = &request.base};
    const Stoa__Posts__V1__ListDraftsResponse *response;
    struct rpc_answer answer;
    struct table table;
    int status;

    request.page_size = limit;
    request.page_token = option_text(c, 'p');
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    response = (const Stoa__Posts__V1__ListDraftsResponse *)answer.response;
    table_begin(&table, c, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < response->n_drafts; i++) {
        table_addf(&table, DRAFT_PREFIX "%u", (unsigned)response->drafts[i]->id);
        table_add(&table, time_text(c, response->drafts[i]->updated_at));
        table_add(&table, str_of(response->drafts[i]->title));
    }
    table_end(&table);
    say_more(c, "post list --drafts", response->next_page_token);
    return DONE;
}

static int ask_for_articles(struct client *c, char *query, struct rpc_answer *ret)
{
    Stoa__Posts__V1__ListArticlesRequest request = STOA__POSTS__V1__LIST_ARTICLES_REQUEST__INIT;
    const struct call call = {
        .service = ARTICLES, .method = "ListArticles", .request = &request.base};
    int64_t limit;

    if (!number_option(c, 'n', 1, 100, 20, &limit))
        return USAGE;
    request.page_size = (int32_t)limit;
    request.page_token = option_text(c, 'p');
    request.tag = option_text(c, 't');
    request.author = option_text(c, 'a');
    request.favorited = option_text(c, 'f');
    request.q = query;
    return make_call(c, &call, ret);
}

int post_list(struct client *c)
{
    const Stoa__Posts__V1__ListArticlesResponse *response;
    struct rpc_answer answer;
    int64_t limit;
    char none[] = "";
    int status;

    if (has_option(c, 'd'))
        return number_option(c, 'n', 1, 100, 20, &limit) ? list_drafts(c, (int32_t)limit) : USAGE;
    status = ask_for_articles(c, none, &answer);
    if (status)
        return status;
    response = (const Stoa__Posts__V1__ListArticlesResponse *)answer.response;
    return say_articles(c, answer.response, response->articles, response->n_articles,
                        response->next_page_token, "post list");
}

/* ---- search ---- */

/* HTML of a Highlight: escapes, and <mark> around hits. */
static struct str plain_highlight(struct client *c, struct str html, bool marks)
{
    static const struct {
        struct str html, text;
    } escapes[] = {
        {{"&amp;", 5}, {"&", 1}},   {{"&lt;", 4}, {"<", 1}},   {{"&gt;", 4}, {">", 1}},
        {{"&quot;", 6}, {"\"", 1}}, {{"&#34;", 5}, {"\"", 1}}, {{"&#39;", 5}, {"'", 1}},
    };
    struct buf text = {.max = OUTPUT_MAX}, part = {.max = OUTPUT_MAX};
    struct str copy;

    while (html.n) {
        size_t used = 1;
        bool begins = str_starts(html, STR("<mark>")), ends = str_starts(html, STR("</mark>"));

        if (begins || ends) {
            terminal_clean(&text, buf_str(&part), false);
            part.n = 0;
            buf_append_str(&text, str_of(marks ? style(c, begins ? BOLD : PLAIN) : ""));
            html = str_skip(html, begins ? strlen("<mark>") : strlen("</mark>"));
            continue;
        }
        for (size_t i = 0; *html.p == '&' && i < ARRAY_SIZE(escapes); i++) {
            if (str_starts(html, escapes[i].html)) {
                buf_append_str(&part, escapes[i].text);
                used = escapes[i].html.n;
            }
        }
        if (used == 1)
            buf_append_char(&part, *html.p);
        html = str_skip(html, used);
    }
    terminal_clean(&text, buf_str(&part), false);
    copy = must_str(arena_copy(&c->arena, text.p ? buf_str(&text) : STR("")));
    buf_free(&text);
    buf_free(&part);
    return copy;
}

static void say_hit(struct client *c, const Stoa__Posts__V1__Article *a)
{
    const Stoa__Posts__V1__Highlight *h = a->highlight;
    struct buf *out = &c->out;

    buf_append_str(out, h ? plain_highlight(c, str_of(h->title), true) : STR(""));
    buf_append_str(out, str_of(style(c, DIM)));
    say(c, "  %s, %s, %s", a->slug, a->author ? a->author->username : "",
        time_text(c, a->created_at).p);
    buf_append_str(out, str_of(style(c, PLAIN)));
    buf_append_str(out, STR("    "));
    buf_append_str(out, h ? plain_highlight(c, str_of(h->excerpt), true) : STR(""));
    buf_append_char(out, '\n');
}

static struct str words(struct client *c)
{
    struct str all = STR("");

    for (int i = 0; i < c->argc; i++)
        all = TEXT(c, "%.*s%s%s", STR_FMT(all), i ? " " : "", c->argv[i]);
    return all;
}

int post_search(struct client *c)
{
    const Stoa__Posts__V1__ListArticlesResponse *response;
    struct rpc_answer answer;
    struct str query = words(c);
    int status = ask_for_articles(c, (char *)query.p, &answer);

    if (status)
        return status;
    response = (const Stoa__Posts__V1__ListArticlesResponse *)answer.response;
    if (c->set.output != OUTPUT_TABLE)
        return say_articles(c, answer.response, response->articles, response->n_articles,
                            response->next_page_token, "post search");
    for (size_t i = 0; i < response->n_articles; i++)
        say_hit(c, response->articles[i]);
    if (!response->n_articles)
        say(c, "Nothing was found.");
    say_more(c, TEXT(c, "post search '%.*s'", STR_FMT(query)).p, response->next_page_token);
    return DONE;
}

/* ---- one of them ---- */

static void fill_document(struct document *d, const char *title, const char *description,
                          const char *body, char *const *tags, size_t n_tags)
{
    *d = (struct document){.title = str_of(title),
                           .description = str_of(description),
                           .body = body ? str_of(body) : STR("")};
    for (size_t i = 0; i < n_tags && i < DOCUMENT_TAGS_MAX; i++)
        d->tags[d->n_tags++] = str_of(tags[i]);
}

static int fetch_article(struct client *c, char *slug, struct post *ret)
{
    Stoa__Posts__V1__GetArticleRequest request = STOA__POSTS__V1__GET_ARTICLE_REQUEST__INIT;
    const struct call call = {
        .service = ARTICLES, .method = "GetArticle", .request = &request.base};
    const Stoa__Posts__V1__Article *a;
    struct rpc_answer answer;
    int status;

    request.slug = slug;
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    a = ((const Stoa__Posts__V1__GetArticleResponse *)answer.response)->article;
    if (!a)
        return fail(c, FAILED, "the answer has no article in it");
    ret->article = a;
    ret->response = answer.response;
    ret->etag = rpc_answer_header(&answer, "etag");
    fill_document(&ret->document, a->title, a->description, a->body, a->tag_list, a->n_tag_list);
    return 0;
}

static int fetch_draft(struct client *c, uint32_t id, struct post *ret)
{
    Stoa__Posts__V1__GetDraftRequest request = STOA__POSTS__V1__GET_DRAFT_REQUEST__INIT;
    const struct call call = {.service = DRAFTS, .method = "GetDraft", .request = &request.base};
    const Stoa__Posts__V1__Draft *d;
    struct rpc_answer answer;
    int status;

    request.id = id;
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    d = ((const Stoa__Posts__V1__GetDraftResponse *)answer.response)->draft;
    if (!d)
        return fail(c, FAILED, "the answer has no draft in it");
    ret->draft = d;
    ret->response = answer.response;
    ret->etag = rpc_answer_header(&answer, "etag");
    fill_document(&ret->document, d->title, d->description, d->body, d->tag_list, d->n_tag_list);
    return 0;
}

int post_fetch(struct client *c, const struct post_name *name, struct post *ret)
{
    *ret = (struct post){.article = NULL};
    return name->draft ? fetch_draft(c, name->draft, ret) : fetch_article(c, name->slug, ret);
}

struct str document_text(struct client *c, const struct document *d)
{
    struct buf text CLEANUP(buf_free) = {.max = OUTPUT_MAX};

    document_print(d, &text);
    if (buf_error(&text))
        must_have(NULL);
    return must_str(arena_copy(&c->arena, buf_str(&text)));
}

static void say_head(struct client *c, const struct post *p)
{
    const struct document *d = &p->document;
    struct buf *out = &c->out;

    buf_append_str(out, str_of(style(c, BOLD)));
    say_line_of(c, d->title);
    buf_append_str(out, str_of(style(c, PLAIN)));
    buf_append_char(out, '\n');
    buf_append_str(out, str_of(style(c, DIM)));
    if (p->article)
        say(c, "%s, %s, %d favourites", p->article->author ? p->article->author->username : "",
            time_text(c, p->article->created_at).p, (int)p->article->favorites_count);
    else if (p->draft)
        say(c, "draft of %s", time_text(c, p->draft->updated_at).p);
    for (size_t i = 0; i < d->n_tags; i++) {
        buf_append_str(out, i ? STR(" #") : STR("#"));
        say_line_of(c, d->tags[i]);
    }
    buf_append_str(out, str_of(style(c, PLAIN)));
    buf_append_str(out, d->n_tags ? STR("\n\n") : STR("\n"));
    if (d->description.n) {
        say_line_of(c, d->description);
        buf_append_str(out, STR("\n\n"));
    }
}

int post_show(struct client *c)
{
    struct post_name name;
    struct post post;
    int status = post_name_read(c, c->argv[0], &name);

    if (!status)
        status = post_fetch(c, &name, &post);
    if (status)
        return status;
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, post.response);
    if (c->set.output == OUTPUT_PLAIN) {
        say_text_of(c, document_text(c, &post.document));
        return DONE;
    }
    say_head(c, &post);
    if (markdown_render(&c->out, post.document.body,
                        c->width < READING_WIDTH ? c->width : READING_WIDTH, c->color))
        must_have(NULL);
    return DONE;
}

int post_publish(struct client *c)
{
    Stoa__Posts__V1__PublishDraftRequest request = STOA__POSTS__V1__PUBLISH_DRAFT_REQUEST__INIT;
    const struct call call = {.service = DRAFTS,
                              .method = "PublishDraft",
                              .request = &request.base,
                              .idempotency_key = new_key(c)};
    const Stoa__Posts__V1__PublishDraftResponse *response;
    struct post_name name;
    struct rpc_answer answer;
    int status = post_name_read(c, c->argv[0], &name);

    if (!status && !name.draft)
        status =
            fail(c, USAGE, "'%s' is no draft: draft/NUMBER, as `stoa post list --drafts' has it",
                 c->argv[0]);
    request.id = name.draft;
    if (!status)
        status = make_call(c, &call, &answer);
    if (status)
        return status;
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    response = (const Stoa__Posts__V1__PublishDraftResponse *)answer.response;
    say(c, c->set.output == OUTPUT_PLAIN ? "%s" : "Published %s.",
        response->article ? response->article->slug : "");
    return DONE;
}

int post_delete(struct client *c)
{
    Stoa__Posts__V1__DeleteArticleRequest article = STOA__POSTS__V1__DELETE_ARTICLE_REQUEST__INIT;
    Stoa__Posts__V1__DeleteDraftRequest draft = STOA__POSTS__V1__DELETE_DRAFT_REQUEST__INIT;
    struct call call = {.service = ARTICLES, .method = "DeleteArticle", .request = &article.base};
    struct post_name name;
    struct rpc_answer answer;
    int status = post_name_read(c, c->argv[0], &name);

    if (status)
        return status;
    if (!has_option(c, 'y') && !isatty(STDIN_FILENO))
        return fail(c, USAGE, "nobody can be asked: --yes deletes %s without a question",
                    c->argv[0]);
    if (!has_option(c, 'y') && !prompt_yes(TEXT(c, "Delete %s for good?", c->argv[0]).p))
        return fail(c, FAILED, "nothing was deleted");
    article.slug = name.slug;
    draft.id = name.draft;
    if (name.draft)
        call = (struct call){.service = DRAFTS, .method = "DeleteDraft", .request = &draft.base};
    status = make_call(c, &call, &answer);
    if (!status && c->set.output != OUTPUT_JSON)
        say(c, "Deleted %s.", c->argv[0]);
    return status;
}

/* ---- people ---- */

int people_feed(struct client *c)
{
    Stoa__Posts__V1__ListFeedRequest request = STOA__POSTS__V1__LIST_FEED_REQUEST__INIT;
    const struct call call = {.service = ARTICLES, .method = "ListFeed", .request = &request.base};
    const Stoa__Posts__V1__ListFeedResponse *response;
    struct rpc_answer answer;
    int64_t limit;
    int status;

    if (!number_option(c, 'n', 1, 100, 20, &limit))
        return USAGE;
    request.page_size = (int32_t)limit;
    request.page_token = option_text(c, 'p');
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    response = (const Stoa__Posts__V1__ListFeedResponse *)answer.response;
    return say_articles(c, answer.response, response->articles, response->n_articles,
                        response->next_page_token, "feed");
}

static int say_followed(struct client *c, const struct rpc_answer *answer,
                        const Stoa__Posts__V1__Profile *profile)
{
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer->response);
    if (profile)
        say(c, profile->following ? "You follow %s." : "You do not follow %s.", profile->username);
    return DONE;
}

int people_follow(struct client *c)
{
    Stoa__Posts__V1__FollowProfileRequest request = STOA__POSTS__V1__FOLLOW_PROFILE_REQUEST__INIT;
    const struct call call = {
        .service = PROFILES, .method = "FollowProfile", .request = &request.base};
    struct rpc_answer answer;
    int status;

    request.username = c->argv[0];
    status = make_call(c, &call, &answer);
    return status ? status
                  : say_followed(
                        c, &answer,
                        ((const Stoa__Posts__V1__FollowProfileResponse *)answer.response)->profile);
}

int people_unfollow(struct client *c)
{
    Stoa__Posts__V1__UnfollowProfileRequest request =
        STOA__POSTS__V1__UNFOLLOW_PROFILE_REQUEST__INIT;
    const struct call call = {
        .service = PROFILES, .method = "UnfollowProfile", .request = &request.base};
    struct rpc_answer answer;
    int status;

    request.username = c->argv[0];
    status = make_call(c, &call, &answer);
    return status
               ? status
               : say_followed(
                     c, &answer,
                     ((const Stoa__Posts__V1__UnfollowProfileResponse *)answer.response)->profile);
}
