// Generated classes, messages and strings used again: how libprotobuf is fastest.
#include "libprotobuf.h"

#include "stoa/posts/v1/posts.pb.h"

#include <google/protobuf/util/json_util.h>

using google::protobuf::util::JsonStringToMessage;
using google::protobuf::util::MessageToJsonString;

struct libprotobuf {
    std::string json, wire, out;
    stoa::posts::v1::GetArticleResponse message, scratch;
};

struct libprotobuf *libprotobuf_new(const char *json, size_t json_size, const void *wire,
                                    size_t wire_size)
{
    auto *p = new libprotobuf;

    p->json.assign(json, json_size);
    p->wire.assign(static_cast<const char *>(wire), wire_size);
    if (p->message.ParseFromString(p->wire))
        return p;
    delete p;
    return nullptr;
}

void libprotobuf_free(struct libprotobuf *p)
{
    delete p;
}

size_t libprotobuf_json_to_message(struct libprotobuf *p)
{
    p->scratch.Clear();
    return JsonStringToMessage(p->json, &p->scratch).ok() ? p->wire.size() : 0;
}

size_t libprotobuf_json_to_wire(struct libprotobuf *p)
{
    p->scratch.Clear();
    if (!JsonStringToMessage(p->json, &p->scratch).ok() || !p->scratch.SerializeToString(&p->out))
        return 0;
    return p->out.size();
}

size_t libprotobuf_message_to_json(struct libprotobuf *p)
{
    p->out.clear();
    return MessageToJsonString(p->message, &p->out).ok() ? p->out.size() : 0;
}

size_t libprotobuf_wire_to_json(struct libprotobuf *p)
{
    p->out.clear();
    if (!p->scratch.ParseFromString(p->wire) || !MessageToJsonString(p->scratch, &p->out).ok())
        return 0;
    return p->out.size();
}
