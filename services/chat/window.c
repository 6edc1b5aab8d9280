#include "window.h"

#include <stdlib.h>

#define FIRST_RING 16

struct window_early {
    int64_t seq;
    struct window_entry entry;
};

void window_init(struct window *w, int64_t last)
{
    *w = (struct window){.last = last};
}

static struct window_entry *at(const struct window *w, size_t i)
{
    return &w->ring[(w->head + i) & (w->cap - 1)];
}

static size_t size_of(const struct window_entry *entry)
{
    return rpc_packed_bytes(entry->bytes).n;
}

static void drop_oldest(struct window *w)
{
    struct window_entry *oldest = at(w, 0);

    w->bytes -= size_of(oldest);
    rpc_packed_unref(oldest->bytes);
    w->head = (w->head + 1) & (w->cap - 1);
    w->n--;
}

static void drop_early(struct window *w)
{
    for (size_t i = 0; i < w->n_early; i++)
        rpc_packed_unref(w->early[i].entry.bytes);
    w->n_early = 0;
}

void window_clear(struct window *w)
{
    while (w->n > 0)
        drop_oldest(w);
    drop_early(w);
}

void window_free(struct window *w)
{
    window_clear(w);
    free(w->ring);
    free(w->early);
}

int64_t window_first(const struct window *w)
{
    return w->last - (int64_t)w->n + 1;
}

const struct window_entry *window_at(const struct window *w, int64_t seq)
{
    int64_t first = window_first(w);

    return seq >= first && seq <= w->last ? at(w, (size_t)(seq - first)) : NULL;
}

static bool reserve(struct window *w, size_t n)
{
    size_t cap = w->cap ? w->cap : FIRST_RING;
    struct window_entry *ring;

    while (cap < n)
        cap *= 2;
    if (cap == w->cap)
        return true;
    ring = calloc(cap, sizeof(*ring));
    if (!ring)
        return false;
    for (size_t i = 0; i < w->n; i++)
        ring[i] = *at(w, i);
    free(w->ring);
    w->ring = ring;
    w->head = 0;
    w->cap = cap;
    return true;
}

void window_append(struct window *w, struct window_entry entry)
{
    w->last++;
    if (!reserve(w, w->n + 1)) {
        while (w->n > 0)
            drop_oldest(w);
        rpc_packed_unref(entry.bytes);
        return;
    }
    *at(w, w->n++) = entry;
    w->bytes += size_of(&entry);
}

bool window_prepend(struct window *w, const struct window_entry *entries, size_t n)
{
    if (!reserve(w, w->n + n)) {
        for (size_t i = 0; i < n; i++)
            rpc_packed_unref(entries[i].bytes);
        return false;
    }
    for (size_t i = n; i-- > 0;) {
        w->head = (w->head + w->cap - 1) & (w->cap - 1);
        w->ring[w->head] = entries[i];
        w->n++;
        w->bytes += size_of(&entries[i]);
    }
    return true;
}

void window_trim(struct window *w, size_t max_events, size_t max_bytes)
{
    while (w->n > max_events || w->bytes > max_bytes)
        drop_oldest(w);
}

/* ---- events before their time ---- */

void window_keep_early(struct window *w, int64_t seq, struct window_entry entry)
{
    bool kept = w->n_early < WINDOW_MAX_EARLY;

    for (size_t i = 0; kept && i < w->n_early; i++)
        kept = w->early[i].seq != seq;
    if (kept && !w->early) {
        w->early = calloc(WINDOW_MAX_EARLY, sizeof(*w->early));
        kept = w->early;
    }
    if (kept)
        w->early[w->n_early++] = (struct window_early){seq, entry};
    else
        rpc_packed_unref(entry.bytes);
}

bool window_take_early(struct window *w, struct window_entry *ret)
{
    bool found = false;
    size_t kept = 0;

    for (size_t i = 0; i < w->n_early; i++) {
        struct window_early *early = &w->early[i];

        if (early->seq > w->last + 1) {
            w->early[kept++] = *early;
        } else if (early->seq == w->last + 1) {
            *ret = early->entry;
            found = true;
        } else {
            rpc_packed_unref(early->entry.bytes);
        }
    }
    w->n_early = kept;
    return found;
}

/* ---- messages that have changed ---- */

void window_show_again(struct window *w, int64_t message,
                       struct rpc_packed *(*again)(const struct window_entry *old, void *user),
                       void *user)
{
    for (size_t i = 0; i < w->n; i++) {
        struct window_entry *entry = at(w, i);
        struct rpc_packed *bytes;

        if (entry->message != message)
            continue;
        bytes = again(entry, user);
        if (!bytes) {
            window_clear(w);
            return;
        }
        w->bytes -= size_of(entry);
        rpc_packed_unref(entry->bytes);
        entry->bytes = bytes;
        w->bytes += size_of(entry);
    }
}
