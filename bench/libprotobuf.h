/* The same conversions by Google's C++ library, for bench/codec.c to compare with. One thread. */
#ifndef STOA_BENCH_LIBPROTOBUF_H
#define STOA_BENCH_LIBPROTOBUF_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct libprotobuf;

/* Keeps the bytes of a stoa.posts.v1.GetArticleResponse as JSON, as wire bytes and as a message;
 * NULL when they are none. */
struct libprotobuf *libprotobuf_new(const char *json, size_t json_size, const void *wire,
                                    size_t wire_size);
void libprotobuf_free(struct libprotobuf *p);

/* Each returns the number of bytes (of a message: of its wire form) that it made; 0 is a failure.
 */
size_t libprotobuf_json_to_message(struct libprotobuf *p); /* JsonStringToMessage */
size_t libprotobuf_json_to_wire(struct libprotobuf *p);    /* and SerializeToString */
size_t libprotobuf_message_to_json(struct libprotobuf *p); /* MessageToJsonString */
size_t libprotobuf_wire_to_json(struct libprotobuf *p);    /* ParseFromString, and that */

#ifdef __cplusplus
}
#endif

#endif
