"""Who is there, as it is told: members come and go at all nodes while watchers at each write down what they hear.

A watcher's list is what it was given when it subscribed and what it was told since. Members must come and go in turn in
it, and when all is quiet it is the truth, as is the list that every node gives.
"""

import asyncio
import json
import random

import pusher
from lab import NODES, addr
from sockets import Closed

HALL = "presence-hall"


def differs(seen, truth):
    return f"has {sorted(seen - truth)}, who are not there, and lacks {sorted(truth - seen)}"


class Watcher:
    def __init__(self, lab, app, node):
        self.lab, self.app, self.node, self.user = lab, app, node, f"watcher-{node}"
        self.there, self.wrong, self.heard = None, [], 0

    async def run(self):
        while True:
            try:
                await self.session(self.node if await self.lab.ready(self.node) else random.choice(NODES))
            except (Closed, OSError, asyncio.TimeoutError):
                pass
            self.there = None
            await asyncio.sleep(0.2)

    async def session(self, node):
        client = await pusher.Client.open(addr(node), self.app["key"])
        try:
            client.enter(self.app, HALL, self.user)
            while True:
                event = await asyncio.wait_for(client.event(), 10 if self.there is None else None)
                data = event.get("data")
                data = json.loads(data) if isinstance(data, str) else data
                if event["event"] == "pusher_internal:subscription_succeeded":
                    self.there = set(data["presence"]["ids"])
                elif event["event"] in ("pusher:error", "pusher:subscription_error"):
                    raise Closed(str(data))
                elif event["event"] == "pusher_internal:member_added":
                    self.told(data["user_id"], True)
                elif event["event"] == "pusher_internal:member_removed":
                    self.told(data["user_id"], False)
        finally:
            client.close()

    def told(self, user, there):
        self.heard += 1
        if (user in self.there) == there:
            self.wrong.append(f"presence: {self.user} was told twice that {user} {'came' if there else 'went'}")
        (self.there.add if there else self.there.discard)(user)


class Mover:
    """Comes and goes, at any node; stays where it is when all is to be quiet."""

    def __init__(self, lab, app, user):
        self.lab, self.app, self.user, self.client = lab, app, user, None

    async def run(self, going):
        while True:
            await going.wait()
            try:
                await self.visit(random.choice(NODES), going)
            except (Closed, OSError, asyncio.TimeoutError):
                pass
            self.client = None
            await asyncio.sleep(random.uniform(0.2, 1.5))

    async def visit(self, node, going):
        client = await pusher.Client.open(addr(node), self.app["key"])
        try:
            client.enter(self.app, HALL, self.user)
            while (await asyncio.wait_for(client.event(), 10))["event"] != "pusher_internal:subscription_succeeded":
                pass
            self.client = client
            listening = asyncio.create_task(self.listen(client))
            await asyncio.wait([listening], timeout=random.uniform(0.5, 3))
            while not going.is_set() and not listening.done():
                await asyncio.sleep(0.05)
            listening.cancel()
        finally:
            client.close()

    async def listen(self, client):
        try:
            while True:
                await client.event()
        except Closed:
            self.client = None


class Hall:
    def __init__(self, lab, app, movers=6):
        self.lab, self.app = lab, app
        self.watchers = [Watcher(lab, app, node) for node in NODES]
        self.movers = [Mover(lab, app, f"mover-{number}") for number in range(movers)]

    def run(self, going):
        tasks = [asyncio.create_task(one.run()) for one in self.watchers]
        return tasks + [asyncio.create_task(one.run(going)) for one in self.movers]

    def truth(self):
        inside = {one.user for one in self.movers if one.client}
        return inside | {one.user for one in self.watchers if one.there is not None}

    def told(self):
        """The truth in the words of webhooks."""
        truth = self.truth()
        return {f"{user} in {HALL}" for user in truth} | ({HALL} if truth else set())

    async def listed(self, node):
        status, answer = await self.lab.ask(node, "GET", f"/v1/apps/{self.app['id']}/channels/{HALL}/members")
        return {one["client"] for one in answer["members"]} if status == 200 else None

    async def differs(self):
        """What differs from the truth, when nobody moves any more."""
        truth, wrong = self.truth(), []
        for one in self.watchers:
            if one.there != truth:
                wrong.append(f"presence: {one.user} {differs(one.there or set(), truth)}")
        for node in NODES:
            listed = await self.listed(node)
            if listed != truth:
                wrong.append(f"presence: the list of node {node} {differs(listed or set(), truth)}")
        return wrong

    async def judge(self, seconds):
        """What was told wrong, and what is wrong still after so long."""
        for _ in range(int(seconds / 0.25)):
            wrong = await self.differs()
            if not wrong:
                break
            await asyncio.sleep(0.25)
        for one in self.watchers:
            wrong += one.wrong[:3]
            one.wrong = []
        return wrong
