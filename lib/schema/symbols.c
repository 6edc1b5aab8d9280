/* Lookups of messages, methods, files and extensions, for services and for gRPC server reflection.
 * Read-only; any thread. */
#include "schema/load.h"

const struct schema_message *schema_message(const struct schema *schema, struct str full_name)
{
    uint32_t i;

    if (!schema_names_find(&schema->symbol_names, full_name, &i) ||
        schema->symbols[i].kind != SYMBOL_MESSAGE)
        return NULL;
    return &schema->messages[schema->symbols[i].index];
}

struct str schema_message_name(const struct schema_message *message)
{
    return message->full_name;
}

const struct schema_method *schema_method(const struct schema *schema, struct str path)
{
    uint32_t i;

    return schema_names_find(&schema->method_paths, path, &i) ? &schema->methods[i] : NULL;
}

size_t schema_method_count(const struct schema *schema)
{
    return schema->n_methods;
}

const struct schema_method *schema_method_at(const struct schema *schema, size_t i)
{
    return i < schema->n_methods ? &schema->methods[i] : NULL;
}

struct str schema_file_by_name(const struct schema *schema, struct str name)
{
    uint32_t i;

    return schema_names_find(&schema->file_names, name, &i) ? schema->files[i].bytes : STR_NULL;
}

struct str schema_file_by_symbol(const struct schema *schema, struct str symbol)
{
    uint32_t i;

    if (!schema_names_find(&schema->symbol_names, symbol, &i))
        return STR_NULL;
    return schema->files[schema->symbols[i].file].bytes;
}

size_t schema_file_imports(const struct schema *schema, struct str name, const struct str **ret)
{
    uint32_t i;

    if (!schema_names_find(&schema->file_names, name, &i))
        return 0;
    *ret = schema->files[i].imports;
    return schema->files[i].n_imports;
}

size_t schema_file_count(const struct schema *schema)
{
    return schema->n_files;
}

struct str schema_file_at(const struct schema *schema, size_t i)
{
    return schema->files[i].bytes;
}

static int compare_names(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;

    return order ? order : a.n < b.n ? -1 : a.n > b.n;
}

/* The index of the first extension of a message type, or where it would be. */
static size_t first_extension(const struct schema *schema, struct str extendee)
{
    size_t low = 0, high = schema->n_extensions;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare_names(schema->extensions[middle].extendee, extendee) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct str schema_file_by_extension(const struct schema *schema, struct str extendee, int number)
{
    const int32_t *numbers;
    size_t first = first_extension(schema, extendee);
    size_t n = schema_extension_numbers(schema, extendee, &numbers);

    for (size_t i = 0; i < n; i++) {
        if (numbers[i] == number)
            return schema->files[schema->extensions[first + i].file].bytes;
    }
    return STR_NULL;
}

size_t schema_extension_numbers(const struct schema *schema, struct str extendee,
                                const int32_t **ret)
{
    size_t first = first_extension(schema, extendee), end = first;

    while (end < schema->n_extensions && str_eq(schema->extensions[end].extendee, extendee))
        end++;
    *ret = schema->extension_numbers + first;
    return end - first;
}
