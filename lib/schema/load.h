/* What the files that build the tables share; private to lib/schema. Loading runs on one thread;
 * its scratch memory lives until schema_load() returns. */
#ifndef STOA_SCHEMA_LOAD_H
#define STOA_SCHEMA_LOAD_H

#include "schema/tables.h"

#include <google/protobuf/descriptor.pb-c.h>

struct schema_file {
    struct str name;
    struct str bytes; /* serialized FileDescriptorProto */
    struct str *imports;
    size_t n_imports;
};

enum schema_symbol_kind { SYMBOL_MESSAGE, SYMBOL_ENUM, SYMBOL_SERVICE, SYMBOL_MEMBER };

struct schema_symbol {
    enum schema_symbol_kind kind;
    uint32_t index; /* in messages or enums */
    uint32_t file;
};

struct schema_extension {
    struct str extendee;
    int32_t number;
    uint32_t file;
};

struct schema_rules_list; /* rules.c: what schema_free() must give back */
struct schema_routes;     /* route.c */

struct schema {
    struct arena arena;
    struct schema_file *files;
    struct schema_message *messages;
    struct schema_enum *enums;
    struct schema_method *methods;
    struct schema_symbol *symbols;
    struct schema_extension *extensions; /* sorted by extendee, then number */
    int32_t *extension_numbers;          /* the same order */
    size_t n_files, n_messages, n_enums, n_methods, n_symbols, n_extensions;
    struct schema_names file_names, symbol_names, method_paths;
    struct schema_rules_list *rules;
    const struct schema_routes *routes;
};

/* A message, enum or method as the descriptor set has it, at the index of its table. */
struct load_message {
    const Google__Protobuf__DescriptorProto *proto;
    uint32_t file;
    const struct load_extension *extensions; /* of this message; a list */
    size_t n_extensions;
};

struct load_extension {
    const Google__Protobuf__FieldDescriptorProto *proto;
    uint32_t file;
    struct str full_name;
    const struct load_extension *next;
};

struct load_enum {
    const Google__Protobuf__EnumDescriptorProto *proto;
    uint32_t file;
};

struct load_method {
    const Google__Protobuf__MethodDescriptorProto *proto;
    uint32_t file;
};

struct load {
    struct schema *schema;
    struct arena scratch;
    ProtobufCAllocator allocator; /* of scratch */
    bool no_memory;               /* allocator had none, once */
    Google__Protobuf__FileDescriptorProto **files;
    struct load_message *messages;
    struct load_enum *enums;
    struct load_method *methods;
    struct load_extension *extensions; /* as many as the schema has, in order of declaration */
    struct arena *error_arena;
    struct str *ret_error;
};

/* Sets the error line "file: element: cause" and returns -EINVAL. */
int load_fail(struct load *load, uint32_t file, struct str element, const char *fmt, ...)
    PRINTF_LIKE(4, 5) MUST_CHECK;

/* Unpacks bytes that load_check_bytes() has let through, in scratch memory. -EBADMSG: protobuf-c
 * takes them for damaged; -ENOMEM. */
int load_unpack(struct load *load, const ProtobufCMessageDescriptor *type, struct str bytes,
                ProtobufCMessage **ret) MUST_CHECK;

bool load_is_proto3(const struct load *load, uint32_t file);

/* types.c: messages and enums, once every name is declared. */
int load_types(struct load *load) MUST_CHECK;

/* The message of a type reference (".package.Name"); NULL if there is none. */
struct schema_message *load_find_message(const struct load *load, const char *type_name);

/* options.c: checks bytes of a message that protobuf-c knows, before it unpacks them: it would
 * follow nesting without bound. Returns 0 or -EBADMSG. */
int load_check_bytes(const ProtobufCMessageDescriptor *type, struct str bytes) MUST_CHECK;

/* Unpacks extension `number` of an options message as `type`, in scratch memory; *ret is NULL when
 * it is not set. strict: a field that the type does not have is an error. Errors name file and
 * element. */
int load_option(struct load *load, uint32_t file, struct str element,
                const ProtobufCMessage *options, uint32_t number,
                const ProtobufCMessageDescriptor *type, bool strict,
                ProtobufCMessage **ret) MUST_CHECK;

bool load_has_option(const ProtobufCMessage *options, uint32_t number);

/* rules.c: compiles buf.validate rules of all fields and oneofs. fields and oneofs are those of
 * load->schema->messages, still writable. */
int load_rules(struct load *load) MUST_CHECK;
void schema_rules_free(struct schema_rules_list *rules);

/* way.c: the way to the field that is marked. The one that the fewest messages enclose counts,
 * SCHEMA_MAX_WAY at most; where several are as near there is none. */
typedef bool load_marked_fn(const struct schema_field *f);
int load_way(struct schema *schema, const struct schema_message *type, load_marked_fn *marked,
             struct schema_way *ret) MUST_CHECK;

/* event_id.c: where each method's messages have ids; whether a field can hold one. */
int load_event_ids(struct load *load) MUST_CHECK;
bool load_is_id_type(const struct schema_field *f);

/* entity_tag.c: where each method's response has its entity tag. */
int load_entity_tags(struct load *load) MUST_CHECK;

/* route.c: compiles google.api.http of all methods. */
int load_routes(struct load *load) MUST_CHECK;

#endif
