/* gateway/frame_queue.c: frames that wait, shared by sessions. */
#include "../../gateway/frame_queue.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

static char room[16];

static void push(struct frame_queue *queue, const char *payload)
{
    struct frame *frame = frame_new(WEBSOCKET_TEXT, WEBSOCKET_FIN, str_of(payload));

    assert_non_null(frame);
    assert_true(frame_queue_push(queue, frame));
    assert_int_equal(frame->refs, 2);
    frame_release(frame);
}

static void assert_peek(const struct frame_queue *queue, struct str expected)
{
    struct str got = frame_queue_peek(queue, room, sizeof(room));

    assert_int_equal(got.n, expected.n);
    assert_memory_equal(got.p, expected.p, expected.n);
}

static void gathers_small_frames(void **state)
{
    struct frame_queue queue = {0};

    (void)state;
    assert_peek(&queue, STR(""));
    push(&queue, "a");
    push(&queue, "bc");
    assert_int_equal(queue.bytes, 7);
    assert_int_equal(frame_queue_waiting(), 7);
    assert_int_equal(frame_memory(), 7);
    assert_peek(&queue, STR("\x81\x01"
                            "a\x81\x02"
                            "bc"));
    frame_queue_take(&queue, 4);
    assert_peek(&queue, STR("\x02"
                            "bc"));
    push(&queue, "");
    assert_peek(&queue, STR("\x02"
                            "bc\x81\x00"));
    frame_queue_take(&queue, 5);
    assert_int_equal(queue.bytes, 0);
    assert_int_equal(frame_queue_waiting(), 0);
    assert_int_equal(frame_memory(), 0);
    assert_null(queue.ring);
}

/* What is offered stays where it is until it has gone: TLS writes the same bytes again. */
static void offers_the_same_place_again(void **state)
{
    struct frame_queue queue = {0};
    struct str before, after;

    (void)state;
    push(&queue, "small");
    before = frame_queue_peek(&queue, room, sizeof(room));
    push(&queue, "a frame that is larger than the room");
    after = frame_queue_peek(&queue, room, sizeof(room));
    assert_ptr_equal(before.p, after.p);
    assert_true(after.n >= before.n);
    frame_queue_take(&queue, after.n);
    before = frame_queue_peek(&queue, room, sizeof(room));
    assert_int_equal(before.n, sizeof(room));
    push(&queue, "more");
    after = frame_queue_peek(&queue, room, sizeof(room));
    assert_ptr_equal(before.p, after.p);
    assert_int_equal(before.n, after.n);
    frame_queue_clear(&queue);
}

static void keeps_order_whatever_is_taken(void **state)
{
    struct frame_queue queue = {0};
    char expected[8192], got[8192];
    size_t n = 0, have = 0;
    unsigned at = 1;

    (void)state;
    for (unsigned i = 0; i < 500; i++) {
        char text[40];
        size_t size = i * 7 % sizeof(text);

        memset(text, 'a' + (int)(i % 26), sizeof(text));
        if (n + size + 2 > sizeof(expected))
            break;
        expected[n++] = (char)0x81;
        expected[n++] = (char)size;
        memcpy(expected + n, text, size);
        n += size;
        text[size < sizeof(text) ? size : sizeof(text) - 1] = '\0';
        push(&queue, text);
        while (queue.count > i % 20) { /* rings grow and go round */
            struct str part = frame_queue_peek(&queue, room, sizeof(room));
            size_t take = 1 + (at += 3) % part.n;

            memcpy(got + have, part.p, take);
            have += take;
            frame_queue_take(&queue, take);
        }
    }
    while (queue.count) {
        struct str part = frame_queue_peek(&queue, room, sizeof(room));

        memcpy(got + have, part.p, part.n);
        have += part.n;
        frame_queue_take(&queue, part.n);
    }
    assert_int_equal(have, n);
    assert_memory_equal(got, expected, n);
}

static void shares_frames(void **state)
{
    struct frame_queue queues[3] = {{0}};
    struct frame *frame = frame_new_close(1000, STR("bye"));

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(queues); i++)
        assert_true(frame_queue_push(&queues[i], frame));
    assert_int_equal(frame->refs, 4);
    frame_queue_take(&queues[0], frame->n);
    frame_queue_clear(&queues[1]);
    assert_int_equal(frame->refs, 2);
    frame_release(frame);
    assert_peek(&queues[2], STR("\x88\x05\x03\xe8"
                                "bye"));
    frame_queue_clear(&queues[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gathers_small_frames),
        cmocka_unit_test(offers_the_same_place_again),
        cmocka_unit_test(keeps_order_whatever_is_taken),
        cmocka_unit_test(shares_frames),
    };

    return cmocka_run_group_tests_name("frame queue", tests, NULL, NULL);
}
