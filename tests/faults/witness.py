"""Who may always hear: one client at each node, subscribed by the key's own signature to every channel of the access load.

Revokes take nothing from it. So it receives what no holder may any more, which shows that those messages flow, and all of
it, which the holders cannot show: what they lack may have been taken from them.
"""

import asyncio
import json

import histories
import pusher
from lab import NODES, addr
from sockets import Closed


class Witness:
    def __init__(self, lab, app, book, node, channels):
        self.lab, self.app, self.node = lab, app, node
        self.channels = {name: book.subscribe(f"witness of node {node}", name) for name in channels}
        self.ever = set()

    async def run(self):
        while True:
            try:
                await self.session()
            except (Closed, OSError, asyncio.TimeoutError):
                pass
            for one in self.channels.values():
                one.end("its connection ended")
            await asyncio.sleep(0.2)

    async def session(self):
        client = await pusher.Client.open(addr(self.node), self.app["key"])
        try:
            for name in self.channels:
                client.send("pusher:subscribe", {"channel": name, "auth": client.sign(self.app, f":{name}")})
            waiting = set(self.channels)
            while True:
                event = await asyncio.wait_for(client.event(), 10 if waiting else None)
                name = event.get("channel")
                if event["event"] == "pusher_internal:subscription_succeeded":
                    waiting.discard(name)
                    self.channels[name].begin("subscribed")
                elif event["event"] in ("pusher:error", "pusher:subscription_error"):
                    raise Closed(str(event.get("data")))
                elif event["event"] == "news":
                    data = event["data"]
                    ident = (json.loads(data) if isinstance(data, str) else data)["id"]
                    self.ever.add(ident)
                    self.channels[name].got(ident)
        finally:
            client.close()


class Witnesses:
    def __init__(self, lab, app, channels):
        self.book, self.sent, self.counts = histories.Book(), {}, {}
        self.all = [Witness(lab, app, self.book, node, channels) for node in NODES]

    def run(self):
        return [asyncio.create_task(one.run()) for one in self.all]

    def heard(self):
        """Everything that any of them ever received."""
        return set().union(*(one.ever for one in self.all))

    def publication(self, channel, slot):
        """The next of those that are published one after the other."""
        number = self.sent[channel, slot] = self.sent.get((channel, slot), 0) + 1
        return self.book.publish(channel, f"w{slot}", number)

    async def judge(self, seconds):
        """What is wrong when nobody publishes any more, and has been for so long."""
        subscriptions = self.book.subscriptions
        for _ in range(int(seconds / 0.1)):
            if all(one.span and not self.book.lacking(one) for one in subscriptions):
                break
            await asyncio.sleep(0.1)
        wrong, counts = self.book.judge()
        wrong += [f"not subscribed: {one.name()}" for one in subscriptions if not one.span]
        for key, value in counts.items():
            self.counts[key] = self.counts.get(key, 0) + value
        self.book.forget()
        return wrong
