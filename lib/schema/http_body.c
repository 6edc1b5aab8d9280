/* google.api.HttpBody: content type and bytes, passed as they are. No state; any thread. */
#include "schema/route.h"

#include <errno.h>

#define CONTENT_TYPE 1
#define DATA 2

/* The public name; what else carries it without these two fields is an ordinary message. */
bool schema_is_http_body(const struct schema_message *type)
{
    const struct schema_field *content_type, *data;

    if (!str_eq(type->full_name, STR("google.api.HttpBody")))
        return false;
    content_type = schema_field_by_number(type, CONTENT_TYPE);
    data = schema_field_by_number(type, DATA);
    return content_type && content_type->type == SCHEMA_STRING && !content_type->repeated && data &&
           data->type == SCHEMA_BYTES && !data->repeated;
}

int schema_read_http_body(struct str wire, struct str *ret_content_type, struct str *ret_data)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    int got;

    *ret_content_type = *ret_data = STR("");
    while ((got = schema_read_field(&r, &f)) == 1) {
        if (f.number != CONTENT_TYPE && f.number != DATA)
            continue;
        if (f.wire_type != SCHEMA_WIRE_LENGTH)
            return -EBADMSG;
        *(f.number == CONTENT_TYPE ? ret_content_type : ret_data) = f.bytes;
    }
    return got;
}

void schema_put_http_body(struct buf *wire, struct str content_type, struct str data)
{
    if (content_type.n) {
        schema_put_tag(wire, CONTENT_TYPE, SCHEMA_WIRE_LENGTH);
        schema_put_varint(wire, content_type.n);
        buf_append_str(wire, content_type);
    }
    if (data.n) {
        schema_put_tag(wire, DATA, SCHEMA_WIRE_LENGTH);
        schema_put_varint(wire, data.n);
        buf_append_str(wire, data);
    }
}

bool schema_match_raw_request(const struct schema_match *match)
{
    const struct schema_field *field = match->binding->body_field;

    if (match->binding->body == ROUTE_BODY_ALL)
        return schema_is_http_body(match->method->input);
    return match->binding->body == ROUTE_BODY_FIELD && field->message && !field->repeated &&
           schema_is_http_body(field->message);
}

bool schema_match_raw_stream(const struct schema_match *match)
{
    return match->binding->body == ROUTE_BODY_NONE ? schema_is_http_body(match->method->input)
                                                   : schema_match_raw_request(match);
}

bool schema_match_raw_response(const struct schema_match *match)
{
    const struct schema_field *field = match->binding->response_field;

    if (!field)
        return schema_is_http_body(match->method->output);
    return field->message && !field->repeated && schema_is_http_body(field->message);
}

int schema_raw_response(const struct schema_match *match, struct str wire, struct str *ret_body)
{
    const struct schema_field *field = match->binding->response_field;
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    int got;

    *ret_body = field ? STR("") : wire;
    if (!field)
        return 0;
    while ((got = schema_read_field(&r, &f)) == 1) {
        if (f.number != field->number)
            continue;
        if (f.wire_type != SCHEMA_WIRE_LENGTH)
            return -EBADMSG;
        *ret_body = f.bytes;
    }
    return got;
}
