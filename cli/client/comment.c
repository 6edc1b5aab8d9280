/* comment list, add, delete. */
#include "post.h"

#include "markdown.h"

#define COMMENTS &stoa__posts__v1__comment_service__descriptor

static void say_comment(struct client *c, const Stoa__Posts__V1__Comment *comment)
{
    buf_append_str(&c->out, str_of(style(c, BOLD)));
    buf_printf(&c->out, "%u  ", (unsigned)comment->id);
    say_line_of(c, str_of(comment->author ? comment->author->username : ""));
    buf_append_str(&c->out, str_of(style(c, PLAIN)));
    say(c, "  %s", time_text(c, comment->created_at).p);
    if (markdown_render(&c->out, str_of(comment->body), c->width, c->color))
        must_have(NULL);
    buf_append_char(&c->out, '\n');
}

int comment_list(struct client *c)
{
    static const struct column columns[] = {{"NUMBER", true, false},
                                            {"AUTHOR", false, false},
                                            {"WRITTEN", false, false},
                                            {"TEXT", false, true}};
    Stoa__Posts__V1__ListCommentsRequest request = STOA__POSTS__V1__LIST_COMMENTS_REQUEST__INIT;
    const struct call call = {
        .service = COMMENTS, .method = "ListComments", .request = &request.base};
    const Stoa__Posts__V1__ListCommentsResponse *response;
    struct rpc_answer answer;
    struct table table;
    int64_t limit;
    int status;

    if (!number_option(c, 'n', 1, 100, 20, &limit))
        return USAGE;
    request.slug = c->argv[0];
    request.page_size = (int32_t)limit;
    request.page_token = (char *)(has_option(c, 'p') ? option_of(c, 'p') : "");
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    response = (const Stoa__Posts__V1__ListCommentsResponse *)answer.response;
    if (c->set.output == OUTPUT_TABLE) {
        for (size_t i = 0; i < response->n_comments; i++)
            say_comment(c, response->comments[i]);
        if (response->next_page_token && *response->next_page_token)
            say(c, "More: stoa comment list %s --page %s", c->argv[0], response->next_page_token);
        return DONE;
    }
    table_begin(&table, c, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < response->n_comments; i++) {
        const Stoa__Posts__V1__Comment *comment = response->comments[i];

        table_addf(&table, "%u", (unsigned)comment->id);
        table_add(&table, str_of(comment->author ? comment->author->username : ""));
        table_add(&table, time_text(c, comment->created_at));
        table_add(&table, str_of(comment->body));
    }
    table_end(&table);
    return DONE;
}

int comment_add(struct client *c)
{
    Stoa__Posts__V1__CreateCommentRequest request = STOA__POSTS__V1__CREATE_COMMENT_REQUEST__INIT;
    Stoa__Posts__V1__CreateCommentRequest__NewComment comment =
        STOA__POSTS__V1__CREATE_COMMENT_REQUEST__NEW_COMMENT__INIT;
    const struct call call = {.service = COMMENTS,
                              .method = "CreateComment",
                              .request = &request.base,
                              .idempotency_key = new_key(c)};
    const Stoa__Posts__V1__CreateCommentResponse *response;
    struct text_source source;
    struct rpc_answer answer;
    struct str text;
    int status = text_source_words(&source, c, &text);

    if (status)
        return status;
    request.slug = c->argv[0];
    request.comment = &comment;
    comment.body = (char *)text.p;
    if (try_call(c, &call, &answer) != RPC_OK) {
        struct str line;

        status = describe(c, SERVICE_POSTS, &answer, &line);
        return text_source_fail(&source, c, status, line, source.text,
                                TEXT(c, "stoa comment add %s", c->argv[0]).p);
    }
    text_source_done(&source);
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    response = (const Stoa__Posts__V1__CreateCommentResponse *)answer.response;
    say(c, c->set.output == OUTPUT_PLAIN ? "%u" : "Comment %u.",
        response->comment ? (unsigned)response->comment->id : 0);
    return DONE;
}

int comment_delete(struct client *c)
{
    Stoa__Posts__V1__DeleteCommentRequest request = STOA__POSTS__V1__DELETE_COMMENT_REQUEST__INIT;
    const struct call call = {
        .service = COMMENTS, .method = "DeleteComment", .request = &request.base};
    struct rpc_answer answer;
    int64_t number;
    int status;

    if (!number_argument(c, c->argv[1], "comment", 1, &number))
        return USAGE;
    if (number > UINT32_MAX)
        return fail(c, MISSING, "there is no comment %lld", (long long)number);
    request.slug = c->argv[0];
    request.id = (uint32_t)number;
    status = make_call(c, &call, &answer);
    if (!status && c->set.output != OUTPUT_JSON)
        say(c, "Deleted comment %s.", c->argv[1]);
    return status;
}
