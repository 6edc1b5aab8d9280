/* The trie of all HTTP bindings: built at load, then searched by any number of threads.
 *
 * A node is a place in a path. From it literal segments lead on by hash table, `*` by one pointer;
 * `**` ends a path. A search tries a literal before `*` before `**` and steps back where a choice
 * leads nowhere, so it visits at most the nodes whose path fits a prefix of the request's: that
 * number depends on how much templates overlap, not on how many there are.
 */
#include "schema/route.h"

#include <errno.h>

#define MAX_METHODS 32 /* different HTTP methods of one descriptor set */
#define ANY_METHOD STR("*")
#define METHOD_GET 0
#define METHOD_HEAD 1
#define METHOD_OPTIONS 6

/* The binding of one HTTP method at a leaf. */
struct choice {
    const struct choice *next;
    unsigned method; /* index of its name */
    const struct schema_binding *binding;
};

/* A path and verb that has bindings. */
struct leaf {
    const struct choice *choices;
    const struct schema_binding *any; /* of "*" */
    uint32_t methods;                 /* bit set of the choices' methods */
};

/* The leaves of a node, one for each verb. */
struct ending {
    struct schema_names verbs; /* index into leaves */
    struct leaf **leaves;
    uint32_t n, cap;
};

struct node {
    struct schema_names literals; /* index into children */
    struct node **children;
    uint32_t n, cap;
    struct node *star;
    struct ending here; /* the path ends at this node */
    struct ending rest; /* ** from this node on */
};

struct schema_routes {
    struct node *root;
    struct schema_names methods; /* names of HTTP methods */
    struct str method_names[MAX_METHODS];
    unsigned n_methods;
    struct schema_names verbs;              /* of all templates, to see fast that a path has none */
    const struct schema_binding **bindings; /* all, in the order of the descriptor set */
    uint32_t n, cap;
};

/* ---- building ---- */

static int method_index(struct schema_routes *r, struct arena *arena, struct str name,
                        uint32_t *ret)
{
    if (schema_names_find(&r->methods, name, ret))
        return 0;
    if (r->n_methods == MAX_METHODS)
        return -E2BIG;
    *ret = r->n_methods;
    r->method_names[r->n_methods++] = name;
    return schema_names_add(&r->methods, arena, name, *ret);
}

struct schema_routes *routes_new(struct arena *arena)
{
    /* In the order of an Allow header; the METHOD_... are indices of these. */
    static const struct str standard[] = {STR("GET"),   STR("HEAD"),   STR("POST"),   STR("PUT"),
                                          STR("PATCH"), STR("DELETE"), STR("OPTIONS")};
    struct schema_routes *r = arena_calloc(arena, 1, sizeof(*r));
    uint32_t unused;

    if (r)
        r->root = arena_calloc(arena, 1, sizeof(*r->root));
    if (!r || !r->root)
        return NULL;
    for (uint32_t i = 0; i < ARRAY_SIZE(standard); i++) {
        if (method_index(r, arena, standard[i], &unused))
            return NULL;
    }
    return r;
}

/* Appends to an array of pointers that doubles when it is full. */
static int append(struct arena *arena, void ***items, uint32_t *n, uint32_t *cap, void *item)
{
    void **bigger;

    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 4;
        bigger = arena_calloc(arena, *cap, sizeof(*bigger));
        if (!bigger)
            return -ENOMEM;
        if (*n)
            memcpy(bigger, *items, *n * sizeof(*bigger));
        *items = bigger;
    }
    (*items)[(*n)++] = item;
    return 0;
}

static struct node *child(struct node *node, struct arena *arena, struct str literal)
{
    struct node *new;
    uint32_t i;

    if (schema_names_find(&node->literals, literal, &i))
        return node->children[i];
    new = arena_calloc(arena, 1, sizeof(*new));
    if (!new || schema_names_add(&node->literals, arena, literal, node->n) ||
        append(arena, (void ***)&node->children, &node->n, &node->cap, new))
        return NULL;
    return new;
}

static struct node *star_child(struct node *node, struct arena *arena)
{
    if (!node->star)
        node->star = arena_calloc(arena, 1, sizeof(*node->star));
    return node->star;
}

/* The node and ending where a template ends. */
static struct ending *find_ending(struct schema_routes *r, struct arena *arena,
                                  const struct route_template *t)
{
    struct node *node = r->root;

    for (unsigned i = 0; node && i < t->n_segments; i++) {
        const struct route_segment *s = &t->segments[i];

        if (s->kind == ROUTE_REST)
            return &node->rest;
        node = s->kind == ROUTE_STAR ? star_child(node, arena) : child(node, arena, s->literal);
    }
    return node ? &node->here : NULL;
}

static struct leaf *find_leaf(struct ending *e, struct arena *arena, struct str verb)
{
    struct leaf *leaf;
    uint32_t i;

    if (schema_names_find(&e->verbs, verb, &i))
        return e->leaves[i];
    leaf = arena_calloc(arena, 1, sizeof(*leaf));
    if (!leaf || schema_names_add(&e->verbs, arena, verb, e->n) ||
        append(arena, (void ***)&e->leaves, &e->n, &e->cap, leaf))
        return NULL;
    return leaf;
}

static const struct schema_binding *choose(const struct leaf *leaf, unsigned method)
{
    if (!(leaf->methods & UINT32_C(1) << method))
        return NULL;
    for (const struct choice *c = leaf->choices; c; c = c->next) {
        if (c->method == method)
            return c->binding;
    }
    return NULL;
}

static int add_choice(struct schema_routes *r, struct leaf *leaf, struct arena *arena,
                      const struct schema_binding *binding, const struct schema_binding **ret_other)
{
    struct choice *choice;
    uint32_t method;
    int err;

    if (str_eq(binding->http_method, ANY_METHOD)) {
        *ret_other = leaf->any;
        leaf->any = binding;
        return *ret_other ? -EEXIST : 0;
    }
    err = method_index(r, arena, binding->http_method, &method);
    if (err)
        return err;
    *ret_other = choose(leaf, method);
    if (*ret_other)
        return -EEXIST;
    choice = arena_alloc(arena, sizeof(*choice));
    if (!choice)
        return -ENOMEM;
    *choice = (struct choice){.next = leaf->choices, .method = method, .binding = binding};
    leaf->choices = choice;
    leaf->methods |= UINT32_C(1) << method;
    return 0;
}

int routes_add(struct schema_routes *r, struct arena *arena, const struct schema_binding *binding,
               const struct schema_binding **ret_other)
{
    struct str verb = binding->template.verb;
    struct ending *ending = find_ending(r, arena, &binding->template);
    struct leaf *leaf = ending ? find_leaf(ending, arena, verb) : NULL;

    if (!leaf)
        return -ENOMEM;
    if (verb.n && schema_names_add(&r->verbs, arena, verb, 0) == -ENOMEM)
        return -ENOMEM;
    if (append(arena, (void ***)&r->bindings, &r->n, &r->cap, (void *)(uintptr_t)binding))
        return -ENOMEM;
    return add_choice(r, leaf, arena, binding, ret_other);
}

/* ---- searching ---- */

struct search {
    const struct schema_routes *routes;
    struct str segments[ROUTE_MAX_SEGMENTS]; /* the first ones of the path */
    size_t n_segments;                       /* of the path, which may have more */
    struct str verb;
    char verb_text[ROUTE_MAX_LITERAL]; /* normalized */
    int methods[2];                    /* to look for, in this order; -1: none */
    bool escaped;                      /* the path has percent escapes */
    uint32_t allow;                    /* methods of leaves that fit but for the method */
    bool found_path;
};

static const struct schema_binding *look_in(struct search *s, const struct ending *e)
{
    const struct schema_binding *b = NULL;
    const struct leaf *leaf;
    uint32_t i;

    if (!schema_names_find(&e->verbs, s->verb, &i))
        return NULL;
    leaf = e->leaves[i];
    for (unsigned m = 0; !b && m < ARRAY_SIZE(s->methods); m++) {
        if (s->methods[m] >= 0)
            b = choose(leaf, (unsigned)s->methods[m]);
    }
    s->found_path = true;
    s->allow |= leaf->methods;
    return b ? b : leaf->any;
}

static const struct node *literal_child(const struct search *s, const struct node *node,
                                        struct str segment)
{
    char normal[ROUTE_MAX_LITERAL];
    uint32_t i;
    int n;

    if (node->n == 0)
        return NULL;
    if (s->escaped) {
        n = route_normalize(segment, normal);
        if (n < 0)
            return NULL;
        segment = (struct str){normal, (size_t)n};
    }
    return schema_names_find(&node->literals, segment, &i) ? node->children[i] : NULL;
}

/* Recursion is as deep as templates have segments. */
static const struct schema_binding *walk(struct search *s, const struct node *node, size_t i)
{
    const struct schema_binding *b = NULL;
    const struct node *next;

    if (i == s->n_segments) {
        b = look_in(s, &node->here);
    } else if (i < ROUTE_MAX_SEGMENTS) {
        next = literal_child(s, node, s->segments[i]);
        if (next)
            b = walk(s, next, i + 1);
        if (!b && node->star && s->segments[i].n)
            b = walk(s, node->star, i + 1);
    }
    return b ? b : look_in(s, &node->rest);
}

/* Splits what follows the first slash; false when a segment is a dot segment. */
static bool split(struct search *s, struct str path)
{
    const char *at = path.p + 1, *end = path.p + path.n, *slash;
    struct str segment;

    s->n_segments = 0;
    if (at == end) /* "/" has none */
        return true;
    for (;; at = slash + 1) {
        slash = memchr(at, '/', (size_t)(end - at));
        segment = (struct str){at, (size_t)((slash ? slash : end) - at)};
        if (route_is_dots(segment))
            return false;
        if (s->n_segments < ROUTE_MAX_SEGMENTS)
            s->segments[s->n_segments] = segment;
        s->n_segments++;
        if (!slash)
            return true;
    }
}

/* Where the part of a path from segment i on starts. */
static const char *segment_start(const struct search *s, struct str path, size_t i)
{
    return i < s->n_segments && i < ROUTE_MAX_SEGMENTS ? s->segments[i].p : path.p + path.n;
}

static void capture(const struct search *s, struct str path, struct schema_match *ret)
{
    const struct route_template *t = &ret->binding->template;

    for (unsigned i = 0; i < t->n_variables; i++) {
        const struct route_variable *v = &t->variables[i];
        unsigned last = v->first + v->n - 1;
        const char *start = segment_start(s, path, v->first);
        const char *end = path.p + path.n;

        if (t->segments[last].kind != ROUTE_REST)
            end = s->segments[last].p + s->segments[last].n;
        ret->captures[i] = (struct schema_capture){
            .binding = ret->binding,
            .variable = i,
            .raw = {start, (size_t)(end - start)},
        };
    }
    ret->n_captures = t->n_variables;
}

/* One try: with the path as it is, or with its verb cut off. */
static bool try_path(struct search *s, struct str path, struct str verb, struct schema_match *ret)
{
    s->verb = verb;
    if (!split(s, path))
        return false;
    ret->binding = walk(s, s->routes->root, 0);
    if (!ret->binding)
        return false;
    ret->method = ret->binding->method;
    capture(s, path, ret);
    return true;
}

/* Cuts path at the last colon of its last segment, if some template has the verb behind it. */
static bool cut_verb(struct search *s, struct str *path, struct str *ret_verb)
{
    uint32_t unused;
    int n;

    for (size_t i = path->n; i-- > 1 && path->p[i] != '/';) {
        if (path->p[i] != ':')
            continue;
        n = route_normalize(str_skip(*path, i + 1), s->verb_text);
        *ret_verb = (struct str){s->verb_text, n > 0 ? (size_t)n : 0};
        path->n = i;
        return n > 0 && schema_names_find(&s->routes->verbs, *ret_verb, &unused);
    }
    return false;
}

static void find_methods(struct search *s, struct str http_method)
{
    uint32_t i;

    s->methods[0] = s->methods[1] = -1;
    if (schema_names_find(&s->routes->methods, http_method, &i))
        s->methods[0] = (int)i;
    if (s->methods[0] == METHOD_HEAD)
        s->methods[1] = METHOD_GET;
}

int schema_route(const struct schema *schema, struct str http_method, struct str path,
                 struct schema_match *ret)
{
    struct str without_verb = path, verb;
    struct search s; /* its segments are filled as far as they are used */

    ret->binding = NULL;
    ret->method = NULL;
    ret->n_captures = 0;
    ret->allow = 0;
    if (path.n == 0 || path.p[0] != '/')
        return -ENOENT;
    s.routes = schema->routes;
    s.allow = 0;
    s.found_path = false;
    s.escaped = memchr(path.p, '%', path.n) != NULL;
    find_methods(&s, http_method);
    if (s.routes->verbs.used && cut_verb(&s, &without_verb, &verb) &&
        try_path(&s, without_verb, verb, ret))
        return 0;
    if (try_path(&s, path, STR(""), ret))
        return 0;
    if (!s.found_path)
        return -ENOENT;
    ret->allow = s.allow;
    return -EPERM;
}

struct str schema_allow(const struct schema *schema, const struct schema_match *match,
                        struct arena *arena)
{
    const struct schema_routes *r = schema->routes;
    uint32_t methods = match->allow | UINT32_C(1) << METHOD_OPTIONS;
    size_t n = 0;
    char *text;

    if (methods & UINT32_C(1) << METHOD_GET) /* answers HEAD too */
        methods |= UINT32_C(1) << METHOD_HEAD;
    for (unsigned i = 0; i < r->n_methods; i++) {
        if (methods & UINT32_C(1) << i)
            n += r->method_names[i].n + 2;
    }
    text = arena_alloc(arena, n + 1);
    if (!text)
        return STR_NULL;
    n = 0;
    for (unsigned i = 0; i < r->n_methods; i++) {
        if (!(methods & UINT32_C(1) << i))
            continue;
        if (n) {
            memcpy(text + n, ", ", 2);
            n += 2;
        }
        memcpy(text + n, r->method_names[i].p, r->method_names[i].n);
        n += r->method_names[i].n;
    }
    text[n] = '\0';
    return (struct str){text, n};
}

bool schema_match_has_body(const struct schema_match *match)
{
    return match->binding->body != ROUTE_BODY_NONE;
}

/* ---- listing ---- */

size_t schema_binding_count(const struct schema *schema)
{
    return schema->routes->n;
}

const struct schema_binding *schema_binding_at(const struct schema *schema, size_t i)
{
    return schema->routes->bindings[i];
}

void schema_binding_describe(const struct schema_binding *binding,
                             struct schema_binding_description *ret)
{
    *ret = (struct schema_binding_description){
        .method = binding->method,
        .http_method = binding->http_method,
        .path = binding->template.text,
        .body = STR(""),
        .response_body = binding->response_field ? binding->response_field->name : STR(""),
    };
    if (binding->body != ROUTE_BODY_NONE)
        ret->body = binding->body == ROUTE_BODY_ALL ? STR("*") : binding->body_field->name;
}
