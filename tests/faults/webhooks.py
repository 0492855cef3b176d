"""A receiver of webhooks that writes down what it is told, and the judge of it.

    receiver = webhooks.Receiver("10.77.0.254")     # an address that the nodes reach
    await receiver.start()
    app settings: {"webhook_private_targets": True, "webhooks": receiver.hooks()}
    receiver.away = True / False                    # answers 503 to everything meanwhile
    receiver.judge(truth)                           # what is wrong; truth: {"room", "ana in room"} of who is there, or None

Deliveries come at least once, in any order and under one id each. Without what came again and in the order of their ids they must
alternate for each channel and each member, and the last word of each must be the truth.
"""

import asyncio
import json

# What an event means for whom it is of.
ENDS = {"channel_occupied": True, "channel_vacated": False, "member_added": True, "member_removed": False}
MAX_BODY = 1 << 20


def whose(event):
    return f"{event['user_id']} in {event['channel']}" if "user_id" in event else event["channel"]


def judge(events, truth=None):
    """`events`: pairs of id and event. What is wrong with them."""
    wrong, there = [], {}
    for ident, event in sorted({ident: event for ident, event in events if event["name"] in ENDS}.items()):
        now = ENDS[event["name"]]
        if there.get(whose(event), False) == now:
            wrong.append(f"webhooks: {event['name']} of {whose(event)} twice in a row ({ident})")
        there[whose(event)] = now
    if truth is not None:
        left = {one for one, now in there.items() if now}
        wrong += [f"webhooks: {one} was never told to be gone" for one in sorted(left - truth)]
        wrong += [f"webhooks: {one} was never told to be there" for one in sorted(truth - left)]
    return wrong


class Receiver:
    """A small HTTP server on one address."""

    def __init__(self, address):
        self.address, self.port, self.away, self.events, self.requests, self.again = address, 0, False, [], 0, 0
        self.ids, self.server, self.serving, self.broken = set(), None, set(), []

    async def start(self):
        self.server = await asyncio.start_server(self.accept, self.address, 0)
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        self.server.close()

    def hooks(self, prefix=""):
        """An app's hooks to this receiver, of the channels whose names begin so."""
        url = f"http://{self.address}:{self.port}/hook"
        return [{"url": url, "event_types": list(ENDS), "filter": {"channel_name_starts_with": prefix}, "batch": True}]

    def accept(self, reader, writer):
        """Tasks of our own: asyncio's would only print what went wrong in one, and a delivery refused by us would be no finding."""
        task = asyncio.create_task(self.serve(reader, writer))
        self.serving.add(task)
        task.add_done_callback(self.served)

    def served(self, task):
        self.serving.discard(task)
        if not task.cancelled() and task.exception():
            self.broken.append(f"webhooks: a delivery that could not be read: {task.exception()!r}")

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                length = int(headers.get("content-length", 0))
                assert length <= MAX_BODY, f"a body of {length} bytes"
                body = await reader.readexactly(length)
                self.requests += 1
                if self.away:
                    writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
                else:
                    self.take(headers["x-gatecast-event-ids"].split(","), json.loads(body)["events"])
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def take(self, ids, events):
        assert len(ids) == len(events), f"{len(ids)} ids of {len(events)} events"
        self.again += sum(ident in self.ids for ident in ids)
        self.ids.update(ids)
        self.events += zip(ids, events)

    def judge(self, truth=None):
        return self.broken + judge(self.events, truth)

    async def whole(self, truth, seconds):
        """What is wrong still after so long."""
        for _ in range(int(seconds / 0.25)):
            if not self.judge(truth):
                return []
            await asyncio.sleep(0.25)
        return self.judge(truth)


def self_test():
    added = {"name": "member_added", "channel": "r", "user_id": "a"}
    removed = {"name": "member_removed", "channel": "r", "user_id": "a"}
    assert judge([("1", added), ("1", added)], {"a in r"}) == []
    assert judge([("3", added), ("2", removed), ("1", added)], {"a in r"}) == []
    assert len(judge([("1", added), ("2", added)])) == 1
    assert len(judge([("1", removed)])) == 1
    assert len(judge([("1", added)], set())) == 1
    assert len(judge([], {"r"})) == 1


if __name__ == "__main__":
    self_test()
    print("the judge judges")
