/* Builds struct schema from a FileDescriptorSet: splits it into files, declares every name, then
 * has types, rules, methods and routes compiled. One thread; nothing changes after schema_load().
 */
#include "schema/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stoa/api/v1/annotations.pb-c.h>

#define OPTION_METHOD 51000
#define MAX_SET_BYTES (256 << 20)

/* ---- errors and scratch memory ---- */

int load_fail(struct load *load, uint32_t file, struct str element, const char *fmt, ...)
{
    struct str name = file < load->schema->n_files ? load->schema->files[file].name : STR_NULL;
    char cause[512];
    struct str line;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cause, sizeof(cause), fmt, ap);
    va_end(ap);
    line = arena_printf(load->error_arena, "%.*s: %.*s%s%s",
                        STR_FMT(name.n ? name : STR("descriptor set")), STR_FMT(element),
                        element.n ? ": " : "", cause);
    /* Names in a damaged set can hold anything, and the line must stay one line. */
    for (size_t i = 0; i < line.n; i++) {
        if ((uint8_t)line.p[i] < 0x20 || line.p[i] == 0x7f)
            ((char *)line.p)[i] = '?';
    }
    *load->ret_error = line.p ? line : STR("no memory");
    return -EINVAL;
}

static void *scratch_alloc(void *data, size_t n)
{
    struct load *load = data;
    void *p = arena_alloc(&load->scratch, n);

    if (!p)
        load->no_memory = true;
    return p;
}

static void scratch_free(void *data, void *p)
{
    (void)data;
    (void)p;
}

/* protobuf-c says NULL, whatever was wrong. */
int load_unpack(struct load *load, const ProtobufCMessageDescriptor *type, struct str bytes,
                ProtobufCMessage **ret)
{
    *ret = protobuf_c_message_unpack(type, &load->allocator, bytes.n, (const uint8_t *)bytes.p);
    if (*ret)
        return 0;
    return load->no_memory ? -ENOMEM : -EBADMSG;
}

bool load_is_proto3(const struct load *load, uint32_t file)
{
    const char *syntax = load->files[file]->syntax;

    return syntax && strcmp(syntax, "proto3") == 0;
}

/* ---- files ---- */

static int count_files(struct load *load, struct str set)
{
    struct schema_reader r = schema_reader_of(set);
    struct schema_wire_field f;
    int got;

    while ((got = schema_read_field(&r, &f)) == 1) {
        if (f.number == 1 && f.wire_type == SCHEMA_WIRE_LENGTH)
            load->schema->n_files++;
    }
    if (got == 0 && load->schema->n_files)
        return 0;
    load->schema->n_files = 0;
    return load_fail(load, 0, STR_NULL, "is not a FileDescriptorSet");
}

static int copy_imports(struct load *load, struct schema_file *file,
                        const Google__Protobuf__FileDescriptorProto *proto)
{
    struct arena *arena = &load->schema->arena;

    file->n_imports = proto->n_dependency;
    file->imports = arena_calloc(arena, file->n_imports, sizeof(*file->imports));
    if (!file->imports)
        return -ENOMEM;
    for (size_t i = 0; i < file->n_imports; i++) {
        file->imports[i] = arena_copy(arena, str_of(proto->dependency[i]));
        if (!file->imports[i].p)
            return -ENOMEM;
    }
    return 0;
}

static int unpack_file(struct load *load, uint32_t i)
{
    struct schema_file *file = &load->schema->files[i];
    const ProtobufCMessageDescriptor *type = &google__protobuf__file_descriptor_proto__descriptor;
    Google__Protobuf__FileDescriptorProto *proto;
    ProtobufCMessage *message;
    int err;

    if (load_check_bytes(type, file->bytes))
        return load_fail(load, i, STR_NULL, "is damaged or nested too deeply");
    err = load_unpack(load, type, file->bytes, &message);
    if (err)
        return err == -ENOMEM ? err : load_fail(load, i, STR_NULL, "is damaged");
    proto = load->files[i] = (Google__Protobuf__FileDescriptorProto *)message;
    file->name = arena_copy(&load->schema->arena, str_of(proto->name ? proto->name : ""));
    if (!file->name.p)
        return -ENOMEM;
    if (file->name.n == 0)
        return load_fail(load, i, STR_NULL, "a file has no name");
    if (proto->syntax && proto->syntax[0] && strcmp(proto->syntax, "proto2") != 0 &&
        strcmp(proto->syntax, "proto3") != 0)
        return load_fail(load, i, STR_NULL, "syntax \"%s\" is not supported", proto->syntax);
    err = schema_names_add(&load->schema->file_names, &load->schema->arena, file->name, i);
    if (err == -EEXIST)
        return load_fail(load, i, STR_NULL, "is in the set twice");
    return err ? err : copy_imports(load, file, proto);
}

static int check_imports(struct load *load)
{
    uint32_t unused;

    for (uint32_t i = 0; i < load->schema->n_files; i++) {
        const struct schema_file *file = &load->schema->files[i];

        for (size_t j = 0; j < file->n_imports; j++) {
            if (!schema_names_find(&load->schema->file_names, file->imports[j], &unused))
                return load_fail(load, i, STR_NULL, "imports %s, which is not in the set",
                                 file->imports[j].p);
        }
    }
    return 0;
}

static int read_files(struct load *load, struct str set)
{
    struct schema *schema = load->schema;
    struct schema_reader r = schema_reader_of(set);
    struct schema_wire_field f;
    int err = count_files(load, set);
    uint32_t n = 0;

    if (err)
        return err;
    schema->files = arena_calloc(&schema->arena, schema->n_files, sizeof(*schema->files));
    load->files = arena_calloc(&load->scratch, schema->n_files, sizeof(*load->files));
    if (!schema->files || !load->files)
        return -ENOMEM;
    while (schema_read_field(&r, &f) == 1) {
        if (f.number == 1 && f.wire_type == SCHEMA_WIRE_LENGTH)
            schema->files[n++].bytes = f.bytes;
    }
    for (uint32_t i = 0; i < n; i++) {
        err = unpack_file(load, i);
        if (err)
            return err;
    }
    return check_imports(load);
}

/* ---- counting: tables are made at their size, so that pointers into them stay ---- */

static void count_enums(struct schema *schema, size_t n,
                        Google__Protobuf__EnumDescriptorProto *const *enums)
{
    schema->n_enums += n;
    schema->n_symbols += n;
    for (size_t i = 0; i < n; i++)
        schema->n_symbols += enums[i]->n_value;
}

/* Recursion here and in declaring is bounded: load_check_bytes() has limited the nesting. */
static void count_message(struct schema *schema, const Google__Protobuf__DescriptorProto *proto)
{
    schema->n_messages++;
    schema->n_symbols += 1 + proto->n_field + proto->n_oneof_decl + proto->n_extension;
    schema->n_extensions += proto->n_extension;
    count_enums(schema, proto->n_enum_type, proto->enum_type);
    for (size_t i = 0; i < proto->n_nested_type; i++)
        count_message(schema, proto->nested_type[i]);
}

static void count_file(struct schema *schema, const Google__Protobuf__FileDescriptorProto *proto)
{
    for (size_t i = 0; i < proto->n_message_type; i++)
        count_message(schema, proto->message_type[i]);
    count_enums(schema, proto->n_enum_type, proto->enum_type);
    schema->n_extensions += proto->n_extension;
    schema->n_symbols += proto->n_extension + proto->n_service;
    for (size_t i = 0; i < proto->n_service; i++) {
        schema->n_methods += proto->service[i]->n_method;
        schema->n_symbols += proto->service[i]->n_method;
    }
}

static int make_tables(struct load *load)
{
    struct schema *schema = load->schema;
    struct arena *arena = &schema->arena, *scratch = &load->scratch;

    for (size_t i = 0; i < schema->n_files; i++)
        count_file(schema, load->files[i]);
    schema->messages = arena_calloc(arena, schema->n_messages, sizeof(*schema->messages));
    schema->enums = arena_calloc(arena, schema->n_enums, sizeof(*schema->enums));
    schema->methods = arena_calloc(arena, schema->n_methods, sizeof(*schema->methods));
    schema->symbols = arena_calloc(arena, schema->n_symbols, sizeof(*schema->symbols));
    schema->extensions = arena_calloc(arena, schema->n_extensions, sizeof(*schema->extensions));
    schema->extension_numbers = arena_calloc(arena, schema->n_extensions, sizeof(int32_t));
    load->messages = arena_calloc(scratch, schema->n_messages, sizeof(*load->messages));
    load->enums = arena_calloc(scratch, schema->n_enums, sizeof(*load->enums));
    load->methods = arena_calloc(scratch, schema->n_methods, sizeof(*load->methods));
    load->extensions = arena_calloc(scratch, schema->n_extensions, sizeof(*load->extensions));
    if (!schema->messages || !schema->enums || !schema->methods || !schema->symbols ||
        !schema->extensions || !schema->extension_numbers || !load->messages || !load->enums ||
        !load->methods || !load->extensions)
        return -ENOMEM;
    /* From here on the counts say how much of each table is used. */
    schema->n_messages = schema->n_enums = schema->n_methods = 0;
    schema->n_symbols = schema->n_extensions = 0;
    return 0;
}

/* ---- declaring ---- */

static bool is_identifier(const char *s)
{
    if (!s || !*s || (*s >= '0' && *s <= '9'))
        return false;
    for (; *s; s++) {
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              *s == '_'))
            return false;
    }
    return true;
}

/* Enters scope.name into the table of symbols. */
static int declare(struct load *load, uint32_t file, struct str scope, const char *name,
                   enum schema_symbol_kind kind, size_t index, struct str *ret_full_name)
{
    struct schema *schema = load->schema;
    struct str full;
    int err;

    if (!is_identifier(name))
        return load_fail(load, file, scope, "\"%s\" is not a name", name ? name : "");
    full = arena_printf(&schema->arena, "%.*s%s%s", STR_FMT(scope), scope.n ? "." : "", name);
    if (!full.p)
        return -ENOMEM;
    err =
        schema_names_add(&schema->symbol_names, &schema->arena, full, (uint32_t)schema->n_symbols);
    if (err == -EEXIST)
        return load_fail(load, file, full, "is declared twice");
    if (err)
        return err;
    schema->symbols[schema->n_symbols++] =
        (struct schema_symbol){.kind = kind, .index = (uint32_t)index, .file = file};
    *ret_full_name = full;
    return 0;
}

static int declare_enum(struct load *load, uint32_t file, struct str scope,
                        const Google__Protobuf__EnumDescriptorProto *proto)
{
    struct schema *schema = load->schema;
    size_t i = schema->n_enums;
    struct str unused;
    int err;

    err = declare(load, file, scope, proto->name, SYMBOL_ENUM, i, &schema->enums[i].full_name);
    if (err)
        return err;
    load->enums[i] = (struct load_enum){.proto = proto, .file = file};
    schema->n_enums++;
    /* Values are siblings of their enum, as in C. */
    for (size_t v = 0; !err && v < proto->n_value; v++)
        err = declare(load, file, scope, proto->value[v]->name, SYMBOL_MEMBER, 0, &unused);
    return err;
}

static int declare_extension(struct load *load, uint32_t file, struct str scope,
                             const Google__Protobuf__FieldDescriptorProto *proto)
{
    struct schema *schema = load->schema;
    struct load_extension *extension = &load->extensions[schema->n_extensions];
    struct str extendee;
    int err = declare(load, file, scope, proto->name, SYMBOL_MEMBER, 0, &extension->full_name);

    if (err)
        return err;
    if (!proto->extendee || proto->extendee[0] != '.')
        return load_fail(load, file, scope, "extension %s extends nothing", proto->name);
    extendee = arena_copy(&schema->arena, str_of(proto->extendee + 1));
    if (!extendee.p)
        return -ENOMEM;
    extension->proto = proto;
    extension->file = file;
    schema->extensions[schema->n_extensions++] =
        (struct schema_extension){.extendee = extendee, .number = proto->number, .file = file};
    return 0;
}

static int declare_message(struct load *load, uint32_t file, struct str scope,
                           const Google__Protobuf__DescriptorProto *proto)
{
    struct schema *schema = load->schema;
    struct schema_message *m = &schema->messages[schema->n_messages];
    struct str unused;
    int err;

    err =
        declare(load, file, scope, proto->name, SYMBOL_MESSAGE, schema->n_messages, &m->full_name);
    if (err)
        return err;
    load->messages[schema->n_messages++] = (struct load_message){.proto = proto, .file = file};
    for (size_t i = 0; !err && i < proto->n_field; i++)
        err = declare(load, file, m->full_name, proto->field[i]->name, SYMBOL_MEMBER, 0, &unused);
    for (size_t i = 0; !err && i < proto->n_oneof_decl; i++)
        err = declare(load, file, m->full_name, proto->oneof_decl[i]->name, SYMBOL_MEMBER, 0,
                      &unused);
    for (size_t i = 0; !err && i < proto->n_extension; i++)
        err = declare_extension(load, file, m->full_name, proto->extension[i]);
    for (size_t i = 0; !err && i < proto->n_enum_type; i++)
        err = declare_enum(load, file, m->full_name, proto->enum_type[i]);
    for (size_t i = 0; !err && i < proto->n_nested_type; i++)
        err = declare_message(load, file, m->full_name, proto->nested_type[i]);
    return err;
}

static int declare_service(struct load *load, uint32_t file, struct str scope,
                           const Google__Protobuf__ServiceDescriptorProto *proto)
{
    struct schema *schema = load->schema;
    struct str service, unused;
    int err = declare(load, file, scope, proto->name, SYMBOL_SERVICE, 0, &service);

    for (size_t i = 0; !err && i < proto->n_method; i++) {
        struct schema_method *method = &schema->methods[schema->n_methods];

        err = declare(load, file, service, proto->method[i]->name, SYMBOL_MEMBER, 0, &unused);
        if (err)
            return err;
        method->service = service;
        method->path = arena_printf(&schema->arena, "/%s/%s", service.p, proto->method[i]->name);
        if (!method->path.p)
            return -ENOMEM;
        load->methods[schema->n_methods++] =
            (struct load_method){.proto = proto->method[i], .file = file};
    }
    return err;
}

/* Every part of "a.b.c" is an identifier. */
static bool is_package(const char *s)
{
    char part[256];
    size_t n;

    for (;; s += n + 1) {
        n = strcspn(s, ".");
        if (n >= sizeof(part))
            return false;
        memcpy(part, s, n);
        part[n] = '\0';
        if (!is_identifier(part))
            return false;
        if (s[n] == '\0')
            return true;
    }
}

static int declare_file(struct load *load, uint32_t file)
{
    const Google__Protobuf__FileDescriptorProto *proto = load->files[file];
    struct str package = proto->package ? str_of(proto->package) : STR("");
    int err = 0;

    if (package.n && !is_package(package.p))
        return load_fail(load, file, STR_NULL, "\"%s\" is not a package name", package.p);
    for (size_t i = 0; !err && i < proto->n_message_type; i++)
        err = declare_message(load, file, package, proto->message_type[i]);
    for (size_t i = 0; !err && i < proto->n_enum_type; i++)
        err = declare_enum(load, file, package, proto->enum_type[i]);
    for (size_t i = 0; !err && i < proto->n_extension; i++)
        err = declare_extension(load, file, package, proto->extension[i]);
    for (size_t i = 0; !err && i < proto->n_service; i++)
        err = declare_service(load, file, package, proto->service[i]);
    return err;
}

/* ---- methods ---- */

static int set_cache_control(struct load *load, uint32_t file, struct schema_method *method,
                             const char *value)
{
    if (!*value)
        return 0;
    for (const char *p = value; *p; p++) {
        if (*p < 0x20 || *p > 0x7e)
            return load_fail(load, file, method->path, "cache_control is no header value");
    }
    method->cache_control = arena_copy(&load->schema->arena, str_of(value));
    return method->cache_control.p ? 0 : -ENOMEM;
}

static int set_headers(struct load *load, uint32_t file, struct schema_method *method,
                       const Stoa__Api__V1__MethodRules *rules)
{
    for (size_t i = 0; i < rules->n_headers; i++) {
        switch (rules->headers[i]) {
        case STOA__API__V1__HEADER__HEADER_ETAG:
            method->headers |= SCHEMA_ETAG;
            break;
        case STOA__API__V1__HEADER__HEADER_IF_MATCH:
            method->headers |= SCHEMA_IF_MATCH;
            break;
        case STOA__API__V1__HEADER__HEADER_IDEMPOTENCY_KEY:
            method->headers |= SCHEMA_IDEMPOTENCY_KEY;
            break;
        case STOA__API__V1__HEADER__HEADER_LINK:
            method->headers |= SCHEMA_LINK;
            break;
        default:
            return load_fail(load, file, method->path, "unknown header %d", (int)rules->headers[i]);
        }
    }
    return 0;
}

static int set_method_options(struct load *load, uint32_t file, struct schema_method *method,
                              const Google__Protobuf__MethodOptions *options)
{
    const Stoa__Api__V1__MethodRules *rules;
    ProtobufCMessage *own;
    int err;

    method->http_status = 200;
    method->idempotent =
        options && options->idempotency_level !=
                       GOOGLE__PROTOBUF__METHOD_OPTIONS__IDEMPOTENCY_LEVEL__IDEMPOTENCY_UNKNOWN;
    err = load_option(load, file, method->path, options ? &options->base : NULL, OPTION_METHOD,
                      &stoa__api__v1__method_rules__descriptor, false, &own);
    if (err || !own)
        return err;
    rules = (const Stoa__Api__V1__MethodRules *)own;
    if (rules->auth == STOA__API__V1__AUTH__AUTH_OPTIONAL)
        method->auth = SCHEMA_AUTH_OPTIONAL;
    else if (rules->auth == STOA__API__V1__AUTH__AUTH_NONE)
        method->auth = SCHEMA_AUTH_NONE;
    else if (rules->auth != STOA__API__V1__AUTH__AUTH_UNSPECIFIED &&
             rules->auth != STOA__API__V1__AUTH__AUTH_REQUIRED)
        return load_fail(load, file, method->path, "unknown auth %d", (int)rules->auth);
    if (rules->http_status && (rules->http_status < 200 || rules->http_status > 299))
        return load_fail(load, file, method->path, "http_status %d is not of a success",
                         rules->http_status);
    if (rules->http_status)
        method->http_status = rules->http_status;
    method->json_lines = rules->json_lines;
    err = set_headers(load, file, method, rules);
    return err ? err : set_cache_control(load, file, method, rules->cache_control);
}

static const struct schema_field *find_apart(const struct schema_message *input)
{
    for (size_t i = 0; i < input->n_fields; i++) {
        if (input->fields[i].apart)
            return &input->fields[i];
    }
    return NULL;
}

static int compile_method(struct load *load, uint32_t i)
{
    struct schema *schema = load->schema;
    struct schema_method *method = &schema->methods[i];
    const Google__Protobuf__MethodDescriptorProto *proto = load->methods[i].proto;
    uint32_t file = load->methods[i].file;

    method->input = load_find_message(load, proto->input_type);
    method->output = load_find_message(load, proto->output_type);
    if (!method->input || !method->output)
        return load_fail(load, file, method->path, "unknown type %s",
                         !method->input ? (proto->input_type ? proto->input_type : "")
                                        : (proto->output_type ? proto->output_type : ""));
    method->client_streaming = proto->client_streaming;
    method->server_streaming = proto->server_streaming;
    method->apart = find_apart(method->input);
    method->apart_number = method->apart ? method->apart->number : 0;
    if (schema_names_add(&schema->method_paths, &schema->arena, method->path, i))
        return -ENOMEM;
    return set_method_options(load, file, method, proto->options);
}

static int compare_extensions(const void *a, const void *b)
{
    const struct schema_extension *e = a, *f = b;
    int order = strcmp(e->extendee.p, f->extendee.p);

    return order ? order : e->number < f->number ? -1 : e->number > f->number;
}

static void sort_extensions(struct schema *schema)
{
    qsort(schema->extensions, schema->n_extensions, sizeof(*schema->extensions),
          compare_extensions);
    for (size_t i = 0; i < schema->n_extensions; i++)
        schema->extension_numbers[i] = schema->extensions[i].number;
}

/* ---- the whole ---- */

static int load_all(struct load *load, struct str set)
{
    int err = read_files(load, set);

    if (!err)
        err = make_tables(load);
    for (uint32_t i = 0; !err && i < load->schema->n_files; i++)
        err = declare_file(load, i);
    if (!err)
        err = load_types(load);
    if (!err)
        err = load_rules(load);
    for (uint32_t i = 0; !err && i < load->schema->n_methods; i++)
        err = compile_method(load, i);
    if (!err)
        err = load_entity_tags(load);
    if (!err)
        err = load_event_ids(load);
    if (!err)
        err = load_routes(load);
    if (!err)
        sort_extensions(load->schema);
    return err;
}

int schema_load(struct str descriptor_set, struct arena *error_arena, struct schema **ret,
                struct str *ret_error)
{
    struct schema *schema = calloc(1, sizeof(*schema));
    struct load load = {.schema = schema, .error_arena = error_arena, .ret_error = ret_error};
    struct str set;
    int err;

    *ret_error = STR("no memory");
    if (!schema)
        return -ENOMEM;
    arena_init(&schema->arena, 0);
    arena_init(&load.scratch, 0);
    load.allocator = (ProtobufCAllocator){scratch_alloc, scratch_free, &load};
    if (descriptor_set.n > MAX_SET_BYTES) {
        err = load_fail(&load, 0, STR_NULL, "is longer than %d bytes", MAX_SET_BYTES);
    } else {
        set = arena_copy(&schema->arena, descriptor_set);
        err = set.p ? load_all(&load, set) : -ENOMEM;
    }
    arena_free(&load.scratch);
    if (err) {
        schema_free(schema);
        return err;
    }
    *ret_error = STR_NULL;
    *ret = schema;
    return 0;
}

void schema_free(struct schema *schema)
{
    if (!schema)
        return;
    schema_rules_free(schema->rules);
    arena_free(&schema->arena);
    free(schema);
}

/* ---- from a file ---- */

static int read_whole(int fd, struct buf *to)
{
    struct stat st;
    ssize_t n;
    char *room;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    do {
        room = buf_reserve(to, 65536);
        if (!room)
            return buf_error(to) == -ENOMEM ? -ENOMEM : -EFBIG;
        n = read(fd, room, 65536);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            to->n += (size_t)n;
    } while (n != 0);
    return 0;
}

int schema_load_file(const char *path, struct arena *error_arena, struct schema **ret,
                     struct str *ret_error)
{
    struct buf bytes CLEANUP(buf_free) = {.max = MAX_SET_BYTES + 65536};
    struct str error;
    int fd, err;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    err = fd < 0 ? -errno : read_whole(fd, &bytes);
    if (fd >= 0)
        close(fd);
    if (err) {
        error = arena_printf(error_arena, "%s: cannot read the descriptor set: %s", path,
                             strerror(-err));
        *ret_error = error.p ? error : STR("no memory");
        return -EINVAL;
    }
    return schema_load(buf_str(&bytes), error_arena, ret, ret_error);
}
