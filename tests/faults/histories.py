"""What was published and what each subscriber received, and the judge of it. No socket, no clock: only order.

A *span* is the time in which a subscriber was never told that something may be missing: for Pusher and a plain Realtime.co
subscription one connection, for Ably what its resumes join, for PubNub and a buffered Realtime.co subscription everything.
Moments are one counter for publishers and subscribers, so "published after it was subscribed" is known and not guessed.

**Why no margins of time:** a span that ended may lack what was under way, and nothing tells how much. But a publisher
asks for one publication per channel after the other; so a span that has one of them has every acknowledged one before
it, and a span that is open when all is quiet has all of them. Both hold on the slowest machine.
"""

import itertools
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter

MOMENTS = itertools.count(1)


def moment():
    return next(MOMENTS)


class Publication:
    """One; `number` ascends by publisher and channel. What was not acknowledged may or may not have been published."""

    def __init__(self, channel, publisher, number):
        self.channel, self.publisher, self.number = channel, publisher, number
        self.ident = f"{channel}/{publisher}/{number}"
        self.asked, self.acknowledged = moment(), False


class Span:
    def __init__(self, again):
        self.since, self.open, self.why = moment(), True, ""
        # Every receipt, and where a connection ended in between.
        self.got, self.breaks = [], []
        # Whether what was received may come again after a connection's end.
        self.again = again
        # By publisher, up to which number everything has been judged already.
        self.judged = {}

    def end(self, why):
        self.open, self.why = False, why


class Subscription:
    """One subscriber's of one channel."""

    def __init__(self, who, channel, again=False):
        self.who, self.channel, self.again, self.spans = who, channel, again, []
        self.last = 0

    @property
    def span(self):
        return self.spans[-1] if self.spans and self.spans[-1].open else None

    def begin(self, why):
        """From now on nothing may be missing."""
        self.end(why)
        self.spans.append(Span(self.again))

    def end(self, why):
        if self.span:
            self.span.end(why)

    def broke(self):
        """The connection ended, the span did not."""
        if self.span:
            self.span.breaks.append(len(self.span.got))

    def got(self, ident):
        self.last = moment()
        if self.span:
            self.span.got.append(ident)

    def name(self):
        return f"{self.who} on {self.channel}"


class Book:
    """Everything of one run."""

    def __init__(self):
        self.published, self.subscriptions = [], []
        self.by_ident = {}

    def publish(self, channel, publisher, number):
        made = Publication(channel, publisher, number)
        self.published.append(made)
        self.by_ident[made.ident] = made
        return made

    def subscribe(self, who, channel, again=False):
        made = Subscription(who, channel, again)
        self.subscriptions.append(made)
        return made

    def lacking(self, subscription, beside=()):
        """What an open span must still get before it is complete."""
        span = subscription.span
        if not span:
            return []
        got = set(span.got)
        return [one.ident for one in self.published if one.channel == subscription.channel and one.acknowledged
                and one.asked > span.since and one.ident not in got and one.publisher not in beside]  # fmt: skip

    def judge(self):
        """What is wrong, as texts, and what was looked at. Only when all is quiet."""
        wrong, counts = [], {"expected": 0, "receipts": 0, "spans": 0, "twice": 0}
        by_channel = defaultdict(list)
        for one in self.published:
            by_channel[one.channel].append(one)
        for subscription in self.subscriptions:
            for span in subscription.spans:
                counts["spans"] += 1
                counts["receipts"] += len(span.got)
                wrong += self.span_is_whole(subscription, span, by_channel[subscription.channel], counts)
                wrong += self.span_is_in_order(subscription, span, counts)
        wrong += self.one_order()
        return wrong, counts

    def span_is_whole(self, subscription, span, published, counts):
        furthest = defaultdict(int)
        for ident in span.got:
            one = self.by_ident[ident]
            furthest[one.publisher] = max(furthest[one.publisher], one.number)
        got, missing = set(span.got), []
        for one in published:
            if one.acknowledged and one.asked > span.since and (span.open or one.number < furthest[one.publisher]):
                counts["expected"] += 1
                if one.ident not in got:
                    missing.append(one.ident)
        if not missing:
            return []
        until = "open" if span.open else f"ended: {span.why}"
        return [f"lost: {subscription.name()} lacks {len(missing)} ({', '.join(missing[:4])}…), the span is {until}"]

    def span_is_in_order(self, subscription, span, counts):
        wrong, seen, last = [], set(), defaultdict(int)
        breaks = set(span.breaks)
        for at, ident in enumerate(span.got):
            if at in breaks and span.again:
                # At least once: after a return whatever was not confirmed comes again, from there on in order.
                seen, last = set(), defaultdict(int)
            one = self.by_ident[ident]
            if ident in seen or (one.acknowledged and not span.again and one.number <= span.judged.get(one.publisher, 0)):
                counts["twice"] += 1
                wrong.append(f"twice: {subscription.name()} got {ident} again")
            elif one.acknowledged and one.number < last[one.publisher]:
                wrong.append(f"order: {subscription.name()} got {ident} after number {last[one.publisher]}")
            seen.add(ident)
            if one.acknowledged:
                last[one.publisher] = max(last[one.publisher], one.number)
        return wrong[:4]

    def one_order(self):
        """All subscribers of a channel see one order."""
        before = defaultdict(lambda: defaultdict(set))
        for subscription in self.subscriptions:
            if subscription.again:
                continue
            for span in subscription.spans:
                graph = before[subscription.channel]
                for one, other in itertools.pairwise(dict.fromkeys(span.got)):
                    graph[other].add(one)
        wrong = []
        for channel, graph in before.items():
            try:
                TopologicalSorter(graph).prepare()
            except CycleError as error:
                wrong.append(f"two orders: on {channel} subscribers disagree about {', '.join(error.args[1][:4])}")
        return wrong

    def forget(self):
        """Drops what has been judged, when all is quiet; none of it may come again."""
        numbers = defaultdict(dict)
        for one in self.published:
            numbers[one.channel][one.publisher] = one.number
        self.published.clear()
        for subscription in self.subscriptions:
            span = subscription.span
            subscription.spans = [span] if span else []
            if span:
                span.since, span.got, span.breaks = moment(), [], []
                span.judged.update(numbers[subscription.channel])


def self_test():
    """The judge sees each of the things it is there for, and nothing in a history that is sound."""

    def run(*acts):
        book = Book()
        one, other = book.subscribe("one", "c"), book.subscribe("other", "c")
        again = book.subscribe("again", "c", again=True)
        for each in (one, other, again):
            each.begin("")
        sent = [book.publish("c", "p", number) for number in (1, 2, 3)]
        for each in sent:
            each.acknowledged = True
        for act in acts or (lambda *_: None,):
            act(book, one, sent)
        for each in (one, other, again):
            if not each.span or not each.span.got:
                each.begin("") if not each.span else None
                for message in sent:
                    each.got(message.ident)
        return [text.split(":")[0] for text in book.judge()[0]]

    def gets(*numbers):
        return lambda book, one, sent: [one.got(sent[number - 1].ident) for number in numbers]

    def late(book, one, sent):
        one.begin("")
        one.got(sent[2].ident)

    def broken(book, one, sent):
        one.broke()
        one.again = one.span.again = True
        one.got(sent[1].ident)
        one.got(sent[2].ident)

    assert run() == [], "a sound history is called broken"
    assert run(gets(1, 2)) == ["lost"], "a message that never came"
    assert run(gets(1, 3), lambda book, one, sent: one.end("closed")) == ["lost"], "a hole in a span that ended"
    assert run(gets(1), lambda book, one, sent: one.end("closed")) == [], "what was under way when a connection ended"
    assert run(late) == [], "what was published before the subscription stood"
    assert run(gets(1, 2, 2, 3)) == ["twice"], "a message that came twice"
    assert "order" in run(gets(2, 1, 3)), "an order that is not the publisher's"
    assert run(gets(1, 2, 3), broken) == [], "at least once"
    book = Book()
    one, sent = book.subscribe("one", "c"), book.publish("c", "p", 1)
    one.begin("")
    sent.acknowledged = True
    one.got(sent.ident)
    book.forget()
    one.got(sent.ident)
    assert [text.split(":")[0] for text in book.judge()[0]] == ["twice"], "a message of a round before"
    book = Book()
    first, second = book.publish("c", "p", 1), book.publish("c", "q", 1)
    for who, order in (("one", (first, second)), ("other", (second, first))):
        subscription = book.subscribe(who, "c")
        subscription.begin("")
        for message in order:
            subscription.got(message.ident)
    assert [text.split(":")[0] for text in book.judge()[0]] == ["two orders"], "two orders of one channel"
