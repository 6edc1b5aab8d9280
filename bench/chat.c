/* The load driver of `make bench-chat`: reads commands, one a line, and answers each with one line
 * of JSON. bench/chat.py starts it and says what to do; chat.h.
 *
 *   token TEXT                the token of one account more, for Stoa
 *   open COUNT ROOM FROM TO [idle]
 *                             so many clients more in a room, of the accounts FROM to TO - 1 in
 * turns; idle: nothing is sent there send closed COUNT SECONDS so many messages outstanding: each
 * until it is acknowledged and everybody has it send rate COUNT SECONDS   so many messages a
 * second, whatever comes back stall COUNT               the last of those that take part read
 * nothing more resume and read again: who of them was cut? storm MISSED              all are cut
 * and come back at once; each of them missed so many numbers visits COUNT SECONDS      so many
 * connections a second, each until its handshake is answered
 *
 * usage: chat stoa|socket.io ADDRESS:PORT[,...] SOURCES */
#include "chat.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_CLIENTS 32768
#define MAX_ROOMS 1024
#define MAX_TOKENS 32768
#define MAX_VISITS 8192 /* at once */
#define OPENING 128     /* at once, when there is no hurry */
#define BEGUN_AT_ONCE 256
#define SENDERS 64
#define CLOSE_CODES 5000
#define PATIENCE_NS (30 * NSEC_PER_SEC) /* for what must come */
#define DRAIN_NS (10 * NSEC_PER_SEC)    /* for deliveries that a row is still waiting for */
#define HUNG_NS (10 * NSEC_PER_SEC)
/* Who is refused comes back after half of it to all of it; then of twice that, so many times. */
#define BACK_FIRST_NS (NSEC_PER_SEC / 2)
#define BACK_DOUBLINGS 4
/* Of the clients one in so many looks when a message was sent. */
#define SAMPLED 16

/* Some milliseconds each, sorted when they are asked for. */
struct samples {
    float *p;
    size_t n, cap;
};

static const struct dialect *dialect;
static struct client clients[MAX_CLIENTS];
static size_t n_clients, n_active; /* those that take part come first */
static struct room rooms[MAX_ROOMS];
static size_t n_rooms, n_active_rooms;
static char *tokens[MAX_TOKENS];
static size_t n_tokens;

static size_t n_ready, n_opening, n_stalled;
static uint64_t n_sent, n_acks, n_deliveries;
static int64_t first_id; /* of this row: what has an id once is one message for ever */
static int64_t *sent_at; /* by what a message's id is more than the first */
static size_t sent_cap;
static struct samples acks, deliveries;

static struct {
    struct client clients[MAX_VISITS];
    size_t free[MAX_VISITS], n_free; /* indexes */
    uint64_t begun, accepted, refused, failed, skipped, late;
    struct samples times, refusals; /* until an answer: of those that were let in, and of others */
    struct samples server_times, server_refusals; /* of that, what the server took */
} visits;

static uint64_t returns_tried;
static size_t returns_waiting;
static unsigned closed_with[CLOSE_CODES];

void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("chat: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

const char *token_of(unsigned account)
{
    if (account >= n_tokens)
        fail("account %u has no token", account);
    return tokens[account];
}

/* ---- samples ---- */

static void *grown(void *p, size_t *cap, size_t size)
{
    *cap = *cap ? *cap * 2 : 4096;
    p = realloc(p, *cap * size);
    if (!p)
        fail("no memory");
    return p;
}

static void sample_ns(struct samples *samples, int64_t ns)
{
    if (samples->n == samples->cap)
        samples->p = grown(samples->p, &samples->cap, sizeof(*samples->p));
    samples->p[samples->n++] = (float)ns / 1e6f;
}

static void sample(struct samples *samples, int64_t began)
{
    sample_ns(samples, clock_monotonic_ns() - began);
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* "NAME_p50": ..., and so on. */
static void print_samples(const char *name, struct samples *samples)
{
    if (samples->n == 0)
        return;
    qsort(samples->p, samples->n, sizeof(*samples->p), compare);
    printf(", \"%s_p50\": %.3f, \"%s_p99\": %.3f, \"%s_max\": %.3f", name,
           (double)samples->p[samples->n / 2], name, (double)samples->p[samples->n * 99 / 100],
           name, (double)samples->p[samples->n - 1]);
}

/* ---- what comes ---- */

void chat_on_ready(struct client *client)
{
    client->state = CLIENT_READY;
    n_ready++;
    n_opening--;
    if (client->returning)
        sample(&visits.times, client->began);
    client->returning = false;
}

void chat_on_delivery(struct client *client, const char *p, size_t n)
{
    static const char mark[] = "t=";
    const char *at;

    if (client->idle)
        return;
    n_deliveries++;
    if (client->number % SAMPLED != 0)
        return;
    at = memmem(p, n, mark, sizeof(mark) - 1);
    if (at)
        sample(&deliveries, strtoll(at + sizeof(mark) - 1, NULL, 10));
}

void chat_on_ack(int64_t id)
{
    if (id < first_id || (uint64_t)(id - first_id) >= n_sent)
        fail("an answer to message %" PRId64 ", of %" PRIu64 " after %" PRId64, id, n_sent,
             first_id);
    n_acks++;
    sample(&acks, sent_at[id - first_id]);
}

static void end_visit(struct client *client, uint64_t *count)
{
    bool let_in = count == &visits.accepted;

    ++*count;
    visits.late += client->late;
    sample(let_in ? &visits.times : &visits.refusals, client->began);
    if (client->state != CLIENT_CONNECTING && count != &visits.failed)
        sample_ns(let_in ? &visits.server_times : &visits.server_refusals,
                  (client->answered_us - client->asked_us) * NSEC_PER_USEC);
    if (client->state != CLIENT_CLOSED)
        client_cut(client);
    visits.free[visits.n_free++] = (size_t)(client - visits.clients);
}

/* The server had no room for it: once more, later, and not all at the same time. Each time it may
 * be twice as long. */
static void come_back_later(struct client *client)
{
    int64_t now = clock_monotonic_ns(), most;

    if (now - client->began > PATIENCE_NS)
        fail("client %u does not come back", client->number);
    most = BACK_FIRST_NS << (client->refused < BACK_DOUBLINGS ? client->refused : BACK_DOUBLINGS);
    client->refused++;
    client->back_at = now + most / 2 + random() % (most / 2);
    returns_waiting++;
}

static void come_back(void)
{
    int64_t now = returns_waiting > 0 ? clock_monotonic_ns() : 0;

    for (size_t i = 0; i < n_clients && returns_waiting > 0; i++) {
        struct client *client = &clients[i];
        int64_t began = client->began;

        if (client->back_at == 0 || client->back_at > now)
            continue;
        client->back_at = 0;
        returns_waiting--;
        returns_tried++;
        client_open(client);
        client->began = began;
    }
}

void chat_on_answered(struct client *client, int status)
{
    if (client->visit) {
        end_visit(client, status == 101 ? &visits.accepted : &visits.refused);
    } else if (client->returning && (status == 429 || status == 503)) {
        client_cut(client);
        come_back_later(client);
    } else {
        fail("client %u: the handshake is answered with %d", client->number, status);
    }
}

void chat_on_closed(struct client *client, int code)
{
    if (client->visit)
        end_visit(client, &visits.failed);
    else if (client->returning)
        come_back_later(client);
    else if (client->number >= n_active - n_stalled && client->number < n_active)
        closed_with[code > 0 && code < CLOSE_CODES ? code : 0]++;
    else
        fail("the server closed client %u (code %d)", client->number, code);
}

/* ---- open ---- */

static struct room *room_of(const char *id)
{
    for (size_t i = 0; i < n_rooms; i++)
        if (strcmp(rooms[i].id, id) == 0)
            return &rooms[i];
    if (n_rooms == MAX_ROOMS || strlen(id) >= sizeof(rooms[0].id))
        fail("room %s: too many, or its id is too long", id);
    memcpy(rooms[n_rooms].id, id, strlen(id) + 1);
    return &rooms[n_rooms++];
}

/* Waits until all that are opening have their rooms. */
static void await_ready(size_t opening_at_most)
{
    int64_t end = clock_monotonic_ns() + PATIENCE_NS;

    while (n_opening > opening_at_most) {
        if (clock_monotonic_ns() > end)
            fail("%zu clients are not answered", n_opening);
        clients_step(returns_waiting > 0 ? 5 : 100);
        come_back();
    }
}

static void open_clients(size_t count, const char *room_id, unsigned from, unsigned to, bool idle)
{
    struct room *room = room_of(room_id);

    if (n_clients + count > MAX_CLIENTS || (!idle && n_active < n_clients))
        fail("too many clients, or some that take part after idle ones");
    for (size_t i = 0; i < count; i++) {
        struct client *client = &clients[n_clients];

        client->number = (unsigned)n_clients++;
        client->account = from + (unsigned)i % (to - from);
        client->room = room;
        client->idle = idle;
        client->after = -1;
        await_ready(OPENING - 1);
        n_opening++;
        client_open(client);
    }
    await_ready(0);
    if (!idle) {
        n_active = n_clients;
        n_active_rooms = n_rooms;
    }
    printf("{\"open\": %zu}\n", n_ready);
}

/* ---- send ---- */

/* How many receive a message. */
static uint64_t members(void)
{
    return (n_active - n_stalled) / n_active_rooms;
}

/* Those that nobody needs to wait for any more. */
static uint64_t done(void)
{
    uint64_t everywhere = n_deliveries / members();

    return n_acks < everywhere ? n_acks : everywhere;
}

static void send_one(void)
{
    static const char filler[] = "a chat message of about one hundred bytes, such as people write";
    size_t n_senders = n_active < SENDERS ? n_active : SENDERS;
    char text[128];
    int64_t now = clock_monotonic_ns();

    if (n_sent == sent_cap)
        sent_at = grown(sent_at, &sent_cap, sizeof(*sent_at));
    sent_at[n_sent] = now;
    snprintf(text, sizeof(text), "t=%019" PRId64 " %s", now, filler);
    dialect->send(&clients[n_sent % n_senders * n_active / n_senders], first_id + (int64_t)n_sent,
                  text);
    n_sent++;
}

static double cpu_seconds(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        fail("getrusage");
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* So many as may be outstanding, or are due. Returns for how many milliseconds nothing more is to
 * do. */
static int send_due(bool closed, uint64_t count, int64_t elapsed)
{
    uint64_t due = closed ? done() + count : (uint64_t)(elapsed / 1000 * (int64_t)count / 1000000);

    while (n_sent < due)
        send_one();
    return closed ? 100 : 1;
}

static void send_messages(bool closed, uint64_t count, int64_t seconds)
{
    int64_t start, now, end;
    uint64_t sent, delivered, expected;
    double cpu = cpu_seconds(), elapsed;

    if (n_active == 0 || n_active % n_active_rooms != 0)
        fail("nobody to send to, or rooms of different sizes");
    first_id += (int64_t)n_sent;
    n_sent = n_acks = n_deliveries = 0;
    acks.n = deliveries.n = 0;
    start = now = clock_monotonic_ns();
    end = start + seconds * NSEC_PER_SEC;
    while (now < end) {
        clients_step(send_due(closed, count, now - start));
        now = clock_monotonic_ns();
    }
    elapsed = (double)(now - start) / 1e9;
    cpu = cpu_seconds() - cpu;
    sent = n_acks;
    delivered = n_deliveries;
    expected = n_sent * members();
    end = now + DRAIN_NS;
    while ((n_deliveries < expected || n_acks < n_sent) && clock_monotonic_ns() < end)
        clients_step(100);
    printf("{\"seconds\": %.6f, \"messages\": %" PRIu64 ", \"deliveries\": %" PRIu64
           ", \"unanswered\": %" PRIu64 ", \"undelivered\": %" PRId64 ", \"driver_cpu\": %.3f",
           elapsed, sent, delivered, n_sent - n_acks, (int64_t)(expected - n_deliveries), cpu);
    print_samples("ack", &acks);
    print_samples("delivery", &deliveries);
    puts("}");
}

/* ---- those that read nothing ---- */

static void stall(size_t count)
{
    if (count > n_active / SENDERS)
        fail("%zu of %zu: some of them send", count, n_active);
    n_stalled = count;
    for (size_t i = n_active - count; i < n_active; i++)
        client_stall(&clients[i]);
    printf("{\"stalled\": %zu}\n", count);
}

static void resume(void)
{
    const char *comma = "";

    memset(closed_with, 0, sizeof(closed_with));
    for (size_t i = n_active - n_stalled; i < n_active; i++)
        client_resume(&clients[i]);
    /* What was still on its way. */
    for (int64_t end = clock_monotonic_ns() + NSEC_PER_SEC; clock_monotonic_ns() < end;)
        clients_step(100);
    printf("{\"closed\": {");
    for (int code = 0; code < CLOSE_CODES; code++)
        if (closed_with[code] > 0) {
            printf("%s\"%d\": %u", comma, code, closed_with[code]);
            comma = ", ";
        }
    puts("}}");
}

/* ---- storm ---- */

static void storm(int64_t missed)
{
    int64_t start = clock_monotonic_ns();
    double cpu = cpu_seconds();

    visits.times.n = 0;
    n_deliveries = returns_tried = 0;
    for (size_t i = 0; i < n_clients; i++)
        client_cut(&clients[i]);
    n_opening = n_clients;
    n_ready = 0;
    for (size_t i = 0; i < n_clients; i++) {
        int64_t seq = clients[i].room->seq;

        clients[i].after = seq > missed ? seq - missed : 0;
        clients[i].returning = true;
        clients[i].refused = 0;
        client_open(&clients[i]);
    }
    await_ready(0);
    printf("{\"clients\": %zu, \"seconds\": %.3f, \"deliveries\": %" PRIu64
           ", \"tried_again\": %" PRIu64 ", \"driver_cpu\": %.3f",
           n_clients, (double)(clock_monotonic_ns() - start) / 1e9, n_deliveries, returns_tried,
           cpu_seconds() - cpu);
    print_samples("back", &visits.times);
    puts("}");
}

/* ---- visits ---- */

static void begin_visit(void)
{
    struct client *client;

    visits.begun++;
    if (visits.n_free == 0) {
        visits.skipped++;
        return;
    }
    client = &visits.clients[visits.free[--visits.n_free]];
    client->number = (unsigned)visits.begun;
    client->account = n_tokens > 0 ? (unsigned)(visits.begun % n_tokens) : 0;
    client->visit = true;
    client_open(client);
}

static void make_visits(int64_t rate, int64_t seconds)
{
    int64_t start = clock_monotonic_ns(), now = start, end = start + seconds * NSEC_PER_SEC;
    double cpu = cpu_seconds();

    visits.begun = visits.accepted = visits.refused = visits.failed = visits.skipped = 0;
    visits.late = visits.times.n = visits.refusals.n = visits.n_free = 0;
    visits.server_times.n = visits.server_refusals.n = 0;
    for (size_t i = 0; i < MAX_VISITS; i++)
        visits.free[visits.n_free++] = i;
    while (now < end) {
        uint64_t due = (uint64_t)((now - start) / 1000 * rate / 1000000);

        /* What is overdue comes as it would from many: answers are taken between. */
        for (int i = 0; i < BEGUN_AT_ONCE && visits.begun < due; i++)
            begin_visit();
        clients_step(visits.begun < due ? 0 : 1);
        now = clock_monotonic_ns();
    }
    while (visits.n_free < MAX_VISITS && clock_monotonic_ns() < end + HUNG_NS)
        clients_step(100);
    printf("{\"begun\": %" PRIu64 ", \"accepted\": %" PRIu64 ", \"refused\": %" PRIu64
           ", \"failed\": %" PRIu64 ", \"hung\": %zu, \"skipped\": %" PRIu64 ", \"late\": %" PRIu64
           ", \"driver_cpu\": %.3f",
           visits.begun, visits.accepted, visits.refused, visits.failed, MAX_VISITS - visits.n_free,
           visits.skipped, visits.late, cpu_seconds() - cpu);
    print_samples("accepted", &visits.times);
    print_samples("refused", &visits.refusals);
    print_samples("accepted_server", &visits.server_times);
    print_samples("refused_server", &visits.server_refusals);
    puts("}");
    for (size_t i = 0; i < MAX_VISITS; i++)
        if (visits.clients[i].state != CLIENT_CLOSED)
            client_cut(&visits.clients[i]);
}

/* ---- commands ---- */

static void add_token(const char *text)
{
    if (n_tokens == MAX_TOKENS || !(tokens[n_tokens] = strdup(text)))
        fail("too many tokens");
    n_tokens++;
    printf("{\"tokens\": %zu}\n", n_tokens);
}

static void obey(const char *line)
{
    static char word[4096];
    int64_t a = 0, b = 0;
    unsigned from = 0, to = 0;
    char idle[8] = "";

    if (sscanf(line, "token %4095s", word) == 1)
        add_token(word);
    else if (sscanf(line, "open %" SCNd64 " %23s %u %u %7s", &a, word, &from, &to, idle) >= 4 &&
             a > 0 && to > from)
        open_clients((size_t)a, word, from, to, strcmp(idle, "idle") == 0);
    else if (sscanf(line, "send closed %" SCNd64 " %" SCNd64, &a, &b) == 2 && a > 0 && b > 0)
        send_messages(true, (uint64_t)a, b);
    else if (sscanf(line, "send rate %" SCNd64 " %" SCNd64, &a, &b) == 2 && a > 0 && b > 0)
        send_messages(false, (uint64_t)a, b);
    else if (sscanf(line, "stall %" SCNd64, &a) == 1 && a > 0)
        stall((size_t)a);
    else if (strcmp(line, "resume\n") == 0)
        resume();
    else if (sscanf(line, "storm %" SCNd64, &a) == 1 && a >= 0)
        storm(a);
    else if (sscanf(line, "visits %" SCNd64 " %" SCNd64, &a, &b) == 2 && a > 0 && b > 0)
        make_visits(a, b);
    else
        fail("not understood: %s", line);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static char line[8192];
    int64_t sources = 0;

    if (argc != 4 || str_to_int64(str_of(argv[3]), &sources) != 0)
        fail("usage: chat stoa|socket.io ADDRESS:PORT[,...] SOURCES");
    dialect = strcmp(argv[1], dialect_stoa.name) == 0 ? &dialect_stoa : &dialect_socket_io;
    clients_init(dialect, argv[2], (unsigned)sources);
    /* One command at a time, each after the answer to the one before: nothing waits in stdio's
     * buffer. */
    for (;;) {
        struct pollfd commands = {.fd = STDIN_FILENO, .events = POLLIN};

        if (poll(&commands, 1, 0) == 1) {
            if (!fgets(line, sizeof(line), stdin))
                return 0;
            obey(line);
        }
        clients_step(20);
    }
}
