"""What was sent, acknowledged and seen while things broke, and what of it cannot be.

A History is written by those who chat (members.py) and judged by check() beside what is stored in Postgres. It knows
nothing of transports and faults; test_history.py gives it histories that are wrong."""
import collections
import dataclasses
import statistics

# What is wrong, by kind; the words are the report's.
LOST = "acknowledged and lost"  # not stored, or not given to somebody who has everything else
DOUBLED = "doubled"  # one client_id with two numbers, stored or seen
REORDERED = "reordered"  # given out of order, or with a number below one that was acknowledged before it was sent
DIFFERENT = "different for two"  # one number, and not the same for all and in Postgres
HOLE = "hole"  # a number that is nowhere, or that somebody was never given
UNANSWERED = "never acknowledged"
REFUSED = "refused"  # with an answer that no fault explains
PROBLEMS = (LOST, DOUBLED, REORDERED, DIFFERENT, HOLE, UNANSWERED, REFUSED)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A number of a room as it is stored. what: the same text that members make of the event; key: (account, client_id)
    or None."""

    what: str
    key: tuple = None


@dataclasses.dataclass
class Sent:
    room: str
    at: float  # the first time
    about: int = None  # of a change: the number of the message, which its acknowledgement names
    named: int = None  # what the first acknowledgement said
    acknowledged_at: float = None
    seq: int = None  # its own number: a message's is named, that of a change is looked for in what is stored


@dataclasses.dataclass
class Stretch:
    """What one subscription of one connection gave: everything after `after`."""

    after: int
    events: list = dataclasses.field(default_factory=list)  # (seq, what), as they came


class History:
    def __init__(self):
        self.sent = {}  # (account, client_id): Sent
        self.stretches = collections.defaultdict(list)  # (subscriber, room): [Stretch]
        self.stalls = []  # (from, to): when whoever writes this stood still, and could hear nothing
        self.problems = collections.defaultdict(list)  # kind: [sentence]; check() adds what it finds
        self.resets = 0

    # ---- what members write ----

    def send(self, key, room, at, about=None):
        """The first attempt to send; key: (account, client_id); about: of a change, the message's number."""
        if key in self.sent:
            raise ValueError(f"{key} is sent twice")
        self.sent[key] = Sent(room, at, about)

    def acknowledge(self, key, seq, at):
        sent = self.sent.get(key)
        if sent is None:
            self.wrong(LOST, f"{key} is acknowledged and was never sent")
        elif sent.named is None:
            sent.named, sent.acknowledged_at = seq, at
            if sent.about is None:
                sent.seq = seq
            elif seq != sent.about:
                self.wrong(DIFFERENT, f"{key} in room {sent.room} is about {sent.about} and acknowledged as {seq}")
        elif sent.named != seq:
            self.wrong(DOUBLED, f"{key} in room {sent.room} is acknowledged as {sent.named} and as {seq}")

    def refuse(self, key, why):
        self.wrong(REFUSED, f"{key}: {why}")

    def subscribe(self, subscriber, room, after):
        """The Stretch to which the events of a subscription are added."""
        stretch = Stretch(after)
        self.stretches[subscriber, room].append(stretch)
        return stretch

    def wrong(self, kind, sentence):
        self.problems[kind].append(sentence)


@dataclasses.dataclass
class Counts:
    sent: int = 0
    acknowledged: int = 0
    given: int = 0  # events, to all
    again: int = 0  # of these, what the subscriber had already; goes away by comparing numbers
    subscriptions: int = 0
    resets: int = 0
    median_ack: float = 0.0  # seconds from the first attempt to the acknowledgement
    longest_ack: float = 0.0
    longest_silence: float = 0.0  # seconds in which nothing at all was acknowledged, and somebody listened


def check(history, stored):
    """Adds to history.problems. stored: room -> {seq: Entry}, all that Postgres has of the rooms. Returns Counts."""
    counts = Counts(resets=history.resets)
    check_stored(history, stored)
    check_acknowledged(history, stored, counts)
    check_order_of_sending(history)
    acknowledged = {(sent.room, sent.seq) for sent in history.sent.values() if sent.seq is not None}
    for (subscriber, room), stretches in sorted(history.stretches.items()):
        check_subscriber(history, subscriber, room, stretches, stored.get(room, {}), acknowledged, counts)
    return counts


def check_stored(history, stored):
    for room, entries in stored.items():
        numbers = {}
        for seq in range(1, max(entries, default=0) + 1):
            if seq not in entries:
                history.wrong(HOLE, f"room {room} has no {seq}")
        for seq, entry in sorted(entries.items()):
            if entry.key is None:
                continue
            if entry.key in numbers:
                history.wrong(DOUBLED, f"{entry.key} in room {room} is stored as {numbers[entry.key]} and as {seq}")
            numbers[entry.key] = seq


def check_acknowledged(history, stored, counts):
    times, waits = [], []
    numbers = {(room, entry.key): seq for room, entries in stored.items() for seq, entry in entries.items() if entry.key}
    for key, sent in history.sent.items():
        counts.sent += 1
        if sent.named is None:
            history.wrong(UNANSWERED, f"{key} in room {sent.room}")
            continue
        counts.acknowledged += 1
        times.append(sent.acknowledged_at)
        waits.append(sent.acknowledged_at - sent.at)
        if sent.about is not None:
            sent.seq = numbers.get((sent.room, key))
        entry = stored.get(sent.room, {}).get(sent.seq)
        if entry is None or entry.key != key:
            history.wrong(LOST, f"{key} is acknowledged as {sent.seq} of room {sent.room}, where Postgres has {entry}")
    if waits:
        counts.median_ack, counts.longest_ack = statistics.median(waits), max(waits)
    times.sort()
    counts.longest_silence = max((b - a - stalled(history, a, b) for a, b in zip(times, times[1:])), default=0.0)


def stalled(history, begin, end):
    """Seconds between these two moments in which nobody listened."""
    return sum(max(0.0, min(end, to) - max(begin, since)) for since, to in history.stalls)


def check_order_of_sending(history):
    """Who sends after somebody's acknowledgement has come gets a higher number."""
    moments = []
    for key, sent in history.sent.items():
        if sent.seq is not None:
            moments.append((sent.acknowledged_at, 0, sent.room, sent.seq, key))
            moments.append((sent.at, 1, sent.room, sent.seq, key))
    highest = {}
    for _, begins, room, seq, key in sorted(moments):
        before = highest.get(room, 0)
        if not begins:
            highest[room] = max(before, seq)
        elif seq <= before:
            history.wrong(REORDERED, f"{key} of room {room} is {seq}, and was sent when {before} was acknowledged")


def check_subscriber(history, subscriber, room, stretches, entries, acknowledged, counts):
    who = f"{subscriber} in room {room}"
    position = stretches[0].after
    missing = set()
    for stretch in stretches:
        counts.subscriptions += 1
        if stretch.after > position:
            history.wrong(HOLE, f"{who} goes on after {stretch.after}, and has {position}")
            missing.update(range(position + 1, stretch.after + 1))
        last = stretch.after
        for seq, what in stretch.events:
            counts.given += 1
            if seq <= last and seq not in missing:
                counts.again += 1
            elif seq in missing:
                history.wrong(REORDERED, f"{who} is given {seq} after {last}")
                missing.discard(seq)
            elif seq > last + 1:
                missing.update(range(last + 1, seq))
            last = max(last, seq)
            compare(history, who, seq, what, entries.get(seq))
        # With numbers below its after_seq a subscription has given again what there was.
        position = max(position, last)
    missing.update(range(position + 1, max(entries, default=0) + 1))
    for seq in sorted(missing & entries.keys()):
        kind = LOST if (room, seq) in acknowledged else HOLE
        history.wrong(kind, f"{who} is never given {seq}: {entries[seq].what}")


def compare(history, who, seq, what, entry):
    if entry is None:
        history.wrong(DIFFERENT, f"{who} is given {seq}: {what}, and Postgres has none")
    elif entry.what != what:
        history.wrong(DIFFERENT, f"{who} is given {seq}: {what}, and Postgres has {entry.what}")
