/* Comments, deprecation and packages of all symbols: from the source info of the descriptor set's
 * files (descriptor.proto, SourceCodeInfo), which the compiled tables do not keep. */
#include "openapi/internal.h"

#include <ctype.h>
#include <errno.h>

#include <google/protobuf/descriptor.pb-c.h>

typedef Google__Protobuf__FileDescriptorProto File;
typedef Google__Protobuf__DescriptorProto Message;
typedef Google__Protobuf__EnumDescriptorProto Enum;
typedef Google__Protobuf__ServiceDescriptorProto Service;
typedef Google__Protobuf__SourceCodeInfo__Location Location;

struct walk {
    struct document *d;
    size_t package;
};

/* ---- the table ---- */

static struct note *add_note(struct document *d, struct str symbol)
{
    struct notes *notes = &d->notes;
    struct note *bigger;
    uint32_t i;

    if (schema_names_find(&notes->by_symbol, symbol, &i))
        return &notes->items[i];
    if (notes->n == notes->cap) {
        size_t cap = notes->cap ? notes->cap * 2 : 256;

        bigger = arena_calloc(&d->arena, cap, sizeof(*bigger));
        if (!bigger)
            return NULL;
        if (notes->n)
            memcpy(bigger, notes->items, notes->n * sizeof(*bigger));
        notes->items = bigger;
        notes->cap = cap;
    }
    if (schema_names_add(&notes->by_symbol, &d->arena, symbol, (uint32_t)notes->n))
        return NULL;
    return &notes->items[notes->n++];
}

const struct note *note_of(const struct document *d, struct str symbol)
{
    static const struct note none = {.comment = {"", 0}};
    uint32_t i;

    return schema_names_find(&d->notes.by_symbol, symbol, &i) ? &d->notes.items[i] : &none;
}

static struct str declare(const struct walk *w, struct str scope, const char *name, bool deprecated)
{
    struct str full = text(w->d, "%.*s%s%s", STR_FMT(scope), scope.n ? "." : "", name);
    struct note *note = full.n ? add_note(w->d, full) : NULL;

    if (!note) {
        w->d->failed = true;
        return full;
    }
    *note = (struct note){.comment = STR(""), .package = w->package, .deprecated = deprecated};
    return full;
}

static void declare_enum(const struct walk *w, struct str scope, const Enum *e)
{
    struct str full = declare(w, scope, e->name, e->options && e->options->deprecated);

    for (size_t i = 0; i < e->n_value; i++)
        (void)declare(w, full, e->value[i]->name,
                      e->value[i]->options && e->value[i]->options->deprecated);
}

static void declare_message(const struct walk *w, struct str scope, const Message *m)
{
    struct str full = declare(w, scope, m->name, m->options && m->options->deprecated);

    for (size_t i = 0; i < m->n_field; i++)
        (void)declare(w, full, m->field[i]->name,
                      m->field[i]->options && m->field[i]->options->deprecated);
    for (size_t i = 0; i < m->n_nested_type; i++)
        declare_message(w, full, m->nested_type[i]);
    for (size_t i = 0; i < m->n_enum_type; i++)
        declare_enum(w, full, m->enum_type[i]);
}

static void declare_file(const struct walk *w, struct str package, const File *file)
{
    for (size_t i = 0; i < file->n_message_type; i++)
        declare_message(w, package, file->message_type[i]);
    for (size_t i = 0; i < file->n_enum_type; i++)
        declare_enum(w, package, file->enum_type[i]);
    for (size_t i = 0; i < file->n_service; i++) {
        const Service *s = file->service[i];
        struct str full = declare(w, package, s->name, s->options && s->options->deprecated);

        for (size_t j = 0; j < s->n_method; j++)
            (void)declare(w, full, s->method[j]->name,
                          s->method[j]->options && s->method[j]->options->deprecated);
    }
}

/* ---- comments ---- */

/* Where a location's path is in the file, as a symbol: numbers of fields and indices by turns. */
enum part { IN_FILE, IN_MESSAGE, IN_ENUM, IN_SERVICE, AT_END };

struct place {
    enum part part;
    const void *proto;
    const char *name;
};

#define STEP(list, n_list, in)                                     \
    (i < (n_list) ? (struct place){in, (list)[i], (list)[i]->name} \
                  : (struct place){AT_END, NULL, NULL})

static struct place step(struct place at, int32_t number, size_t i)
{
    const File *file = at.proto;
    const Message *message = at.proto;
    const Enum *e = at.proto;
    const Service *service = at.proto;

    if (at.part == IN_FILE && number == 4)
        return STEP(file->message_type, file->n_message_type, IN_MESSAGE);
    if (at.part == IN_FILE && number == 5)
        return STEP(file->enum_type, file->n_enum_type, IN_ENUM);
    if (at.part == IN_FILE && number == 6)
        return STEP(file->service, file->n_service, IN_SERVICE);
    if (at.part == IN_MESSAGE && number == 2)
        return STEP(message->field, message->n_field, AT_END);
    if (at.part == IN_MESSAGE && number == 3)
        return STEP(message->nested_type, message->n_nested_type, IN_MESSAGE);
    if (at.part == IN_MESSAGE && number == 4)
        return STEP(message->enum_type, message->n_enum_type, IN_ENUM);
    if (at.part == IN_ENUM && number == 2)
        return STEP(e->value, e->n_value, AT_END);
    if (at.part == IN_SERVICE && number == 2)
        return STEP(service->method, service->n_method, AT_END);
    return (struct place){AT_END, NULL, NULL};
}

/* The symbol that a location is of; empty when it is of something smaller, an option say. */
static struct str symbol_at(struct document *d, const File *file, struct str package,
                            const Location *location)
{
    struct place at = {IN_FILE, file, ""};
    struct str symbol = package;

    if (location->n_path == 1 && location->path[0] == 2) /* the package statement */
        return package;
    if (location->n_path == 0 || location->n_path % 2)
        return STR("");
    for (size_t i = 0; i < location->n_path; i += 2) {
        if (location->path[i + 1] < 0)
            return STR("");
        at = step(at, location->path[i], (size_t)location->path[i + 1]);
        if (!at.name)
            return STR("");
        symbol = text(d, "%.*s%s%s", STR_FMT(symbol), symbol.n ? "." : "", at.name);
    }
    return symbol;
}

/* Orders to tools, not words for readers. */
static bool is_directive(struct str line)
{
    return str_starts(line, STR("buf:lint:")) || str_starts(line, STR("@exclude")) ||
           str_starts(line, STR("api-linter:"));
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Without what comment signs leave at both ends of lines. */
static struct str clean(struct document *d, struct str comment)
{
    struct buf b CLEANUP(buf_free) = {.max = 1 << 20};

    while (comment.n) {
        const char *end = memchr(comment.p, '\n', comment.n);
        struct str line = {comment.p, end ? (size_t)(end - comment.p) : comment.n};

        comment = str_skip(comment, line.n + 1);
        if (line.n && line.p[0] == ' ')
            line = str_skip(line, 1);
        while (line.n && is_space(line.p[line.n - 1]))
            line.n--;
        if (is_directive(line))
            continue;
        if (b.n || line.n) {
            buf_append_str(&b, line);
            buf_append_char(&b, '\n');
        }
    }
    while (b.n && b.p[b.n - 1] == '\n')
        b.n--;
    return keep(d, &b);
}

static void read_comments(struct document *d, const File *file, struct str package)
{
    const Google__Protobuf__SourceCodeInfo *info = file->source_code_info;

    for (size_t i = 0; info && i < info->n_location; i++) {
        const Location *location = info->location[i];
        const char *comment = location->leading_comments && *location->leading_comments
                                  ? location->leading_comments
                                  : location->trailing_comments;
        struct str symbol = STR("");
        struct note *note;

        if (comment && *comment)
            symbol = symbol_at(d, file, package, location);
        if (!symbol.n)
            continue;
        note = add_note(d, symbol);
        if (!note)
            d->failed = true;
        else if (!note->comment.n)
            note->comment = clean(d, str_of(comment));
    }
}

int notes_read(struct document *d)
{
    for (size_t i = 0; i < schema_file_count(d->schema) && !d->failed; i++) {
        struct str bytes = schema_file_at(d->schema, i);
        /* schema_load() has unpacked the same bytes. */
        File *file = google__protobuf__file_descriptor_proto__unpack(NULL, bytes.n,
                                                                     (const uint8_t *)bytes.p);
        struct str package;

        if (!file)
            return -ENOMEM;
        package = text(d, "%s", file->package ? file->package : "");
        declare_file(&(struct walk){d, package.n ? package.n + 1 : 0}, package, file);
        read_comments(d, file, package);
        google__protobuf__file_descriptor_proto__free_unpacked(file, NULL);
    }
    return d->failed ? -ENOMEM : 0;
}

/* ---- words ---- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* A field of the message, or of a message that it holds. */
static const struct schema_field *find_field(const struct schema_message *in, struct str name)
{
    const struct schema_field *f = schema_field_by_name(in, name);

    for (size_t i = 0; !f && i < in->n_fields; i++) {
        if (in->fields[i].message)
            f = schema_field_by_name(in->fields[i].message, name);
    }
    return f;
}

/* The authors of a contract write tag_list; who reads the document knows tagList. */
struct str comment_in(struct document *d, struct str comment, const struct schema_message *scope)
{
    struct buf b CLEANUP(buf_free) = {.max = 1 << 20};
    size_t n;

    if (!scope)
        return comment;
    for (; comment.n; comment = str_skip(comment, n)) {
        const struct schema_field *f = NULL;

        for (n = 0; n < comment.n && is_word(comment.p[n]); n++)
            ;
        if (n && memchr(comment.p, '_', n))
            f = find_field(scope, (struct str){comment.p, n});
        if (n == 0)
            n = 1;
        buf_append_str(&b, f ? f->json_name : (struct str){comment.p, n});
    }
    return keep(d, &b);
}

struct str first_sentence(struct document *d, struct str comment)
{
    struct buf b CLEANUP(buf_free) = {.max = 1 << 20};

    for (size_t i = 0; i < comment.n; i++) {
        bool end = i + 1 == comment.n;
        char c = comment.p[i], next = end ? '\0' : comment.p[i + 1];

        if (c == '.' && (end || next == ' ' || next == '\n'))
            break;
        if (c == '\n' && next == '\n')
            break;
        buf_append_char(&b, c == '\n' ? ' ' : c);
    }
    return keep(d, &b);
}

struct str message_comment(struct document *d, const struct schema_message *m)
{
    return comment_in(d, note_of(d, m->full_name)->comment, m);
}
