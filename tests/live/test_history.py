"""The checker of `make fault` finds what it is there for: each history here is right but for one thing."""
import history
import pytest
from history import DIFFERENT, DOUBLED, HOLE, LOST, REFUSED, REORDERED, UNANSWERED, Entry, History

ROOM = "7"
N = 6


def key(seq):
    return ("ada", f"c{seq}")


def what(seq):
    return f"message c{seq}"


class Right:
    """Six messages, sent one after the other; ada is given all in one piece, zeno in two."""

    def __init__(self):
        self.history = History()
        self.stored = {ROOM: {seq: Entry(what(seq), key(seq)) for seq in range(1, N + 1)}}
        for seq in range(1, N + 1):
            self.history.send(key(seq), ROOM, at=seq)
        for seq in range(1, N + 1):
            self.history.acknowledge(key(seq), seq, at=seq + 0.5)
        self.whole = self.given("ada", 0, 1, 2, 3, 4, 5, 6)
        self.first = self.given("zeno", 0, 1, 2, 3)
        self.second = self.given("zeno", 3, 4, 5, 6)

    def given(self, who, after, *numbers):
        stretch = self.history.subscribe(who, ROOM, after)
        stretch.events += [(seq, what(seq)) for seq in numbers]
        return stretch

    def check(self):
        self.counts = history.check(self.history, self.stored)
        return {kind: len(sentences) for kind, sentences in self.history.problems.items()}


@pytest.fixture
def right():
    return Right()


def test_nothing_wrong(right):
    assert right.check() == {}
    counts = right.counts
    assert (counts.sent, counts.acknowledged, counts.given, counts.again) == (6, 6, 12, 0)
    assert (counts.subscriptions, counts.median_ack, counts.longest_ack, counts.longest_silence) == (3, 0.5, 0.5, 1.0)


def test_who_stood_still_heard_nothing(right):
    """What the harness itself took is no outage of chat's: 1 s lies between any two acknowledgements."""
    right.history.stalls += [(1.75, 2.25), (2.75, 4.25), (4.5, 9.0)]
    assert right.check() == {} and right.counts.longest_silence == 0.5


def test_given_again_is_counted_and_no_harm(right):
    right.second.events.insert(0, (2, what(2)))
    right.second.events.insert(0, (3, what(3)))
    assert right.check() == {}
    assert right.counts.again == 2


def add_change(right, stored=True, **acknowledgement):
    """zeno edits the second message, and that is number 7."""
    right.history.send(("zeno", "e1"), ROOM, at=8, about=2)
    right.history.acknowledge(("zeno", "e1"), **{"seq": 2, "at": 8.5, **acknowledgement})
    if stored:
        right.stored[ROOM][7] = Entry("edited 2", ("zeno", "e1"))
        right.whole.events.append((7, "edited 2"))
        right.second.events.append((7, "edited 2"))


def test_a_change_is_acknowledged_with_the_number_of_its_message(right):
    add_change(right)
    assert right.check() == {}


# ---- lost ----


def test_a_change_acknowledged_and_not_stored(right):
    add_change(right, stored=False)
    assert right.check() == {LOST: 1}


def test_a_change_acknowledged_and_never_given(right):
    add_change(right)
    right.second.events.pop()
    assert right.check() == {LOST: 1}


def test_a_change_acknowledged_as_one_of_another_message(right):
    add_change(right, seq=3)
    assert right.check() == {DIFFERENT: 1}


def test_acknowledged_and_not_stored(right):
    del right.stored[ROOM][6]
    # Nobody can be given what is not there; who was, has something else than Postgres.
    assert right.check() == {LOST: 1, DIFFERENT: 2}


def test_acknowledged_with_the_number_of_another(right):
    right.stored[ROOM][2], right.stored[ROOM][3] = right.stored[ROOM][3], right.stored[ROOM][2]
    assert right.check()[LOST] == 2


def test_never_given_at_the_end(right):
    right.second.events.pop()
    assert right.check() == {LOST: 1}


def test_never_given_between_two_connections(right):
    right.second.events.pop(0)
    assert right.check() == {LOST: 1}


def test_never_given_in_the_middle(right):
    del right.whole.events[2:4]
    assert right.check() == {LOST: 2}


def test_given_nothing(right):
    right.history.subscribe("late", ROOM, 2)
    assert right.check() == {LOST: 4}


def test_stored_without_an_acknowledgement_and_never_given(right):
    right.stored[ROOM][7] = Entry("joined zeno")
    assert right.check() == {HOLE: 2}


def test_acknowledged_and_never_sent(right):
    right.history.acknowledge(("ada", "c99"), 7, at=9)
    assert right.check() == {LOST: 1}


# ---- doubled ----


def test_stored_twice(right):
    right.stored[ROOM][7] = Entry(what(6), key(6))
    right.whole.events.append((7, what(6)))
    right.second.events.append((7, what(6)))
    assert right.check() == {DOUBLED: 1}


def test_acknowledged_with_two_numbers(right):
    right.history.acknowledge(key(2), 5, at=9)
    assert right.check() == {DOUBLED: 1}


def test_the_same_acknowledgement_again(right):
    right.history.acknowledge(key(2), 2, at=9)
    assert right.check() == {}


def test_shown_under_a_number_of_its_own(right):
    """Two numbers for one message, as somebody saw it."""
    right.second.events.append((7, what(6)))
    assert right.check() == {DIFFERENT: 1}


# ---- reordered ----


def test_given_late(right):
    events = right.whole.events
    events[2], events[3] = events[3], events[2]
    assert right.check() == {REORDERED: 1}


def test_given_by_the_next_connection_only(right):
    right.first.events[:] = [(1, what(1)), (3, what(3))]
    right.second.events.insert(0, (2, what(2)))
    assert right.check() == {REORDERED: 1}


def test_sent_later_with_a_lower_number(right):
    for seq in (5, 6):
        sent = right.history.sent[key(seq)]
        sent.at, sent.acknowledged_at = 20 - seq, 20 - seq + 0.5
    assert right.check() == {REORDERED: 1}


def test_sent_at_once_may_have_any_order(right):
    for seq in (5, 6):
        sent = right.history.sent[key(seq)]
        sent.at, sent.acknowledged_at = 20, 22 - seq / 10
    assert right.check() == {}


# ---- not the same for all ----


def test_two_see_something_else(right):
    right.second.events[1] = (5, what(6))
    assert right.check() == {DIFFERENT: 1}


def test_seen_and_gone(right):
    """Announced before it was committed."""
    right.whole.events.append((7, what(7)))
    assert right.check() == {DIFFERENT: 1}


# ---- the rest ----


def test_a_hole_in_what_is_stored(right):
    del right.stored[ROOM][3]
    assert right.check()[HOLE] == 1


def test_never_acknowledged(right):
    right.history.send(("ada", "c7"), ROOM, at=7)
    assert right.check() == {UNANSWERED: 1}


def test_refused(right):
    right.history.refuse(key(1), "INVALID_ARGUMENT")
    assert right.check() == {REFUSED: 1}


def test_a_subscription_that_leaves_something_out(right):
    right.second.after = 5
    del right.second.events[:2]
    # The member's own mistake: it must not hide what it did not get.
    assert right.check() == {HOLE: 1, LOST: 2}


def test_one_key_is_sent_once(right):
    with pytest.raises(ValueError):
        right.history.send(key(1), ROOM, at=9)
