"""What clients do while things break, what they see, and what must never be seen.

Writers grant and revoke through random nodes; holders are Pusher clients of each user at every node that try to
stay subscribed to the user's channel. Every publication has an id of its own:

  dark ids   published after a revoke returned: any receipt, ever, over a subscription that stood before the revoke
             returned breaks S1, and so does any receipt before the next grant was asked for. (A subscription that
             was answered later is the next grant's, even if it was asked for before: a message may be late.)
  light ids  published while the right stood: they show that the oracle can see at all

All of both have to come to the witnesses (`witness`), who are revoked nothing.

Grants, revokes and answers to subscriptions are a history for the linearizability checker.
"""

import asyncio
import itertools
import json
import random
import secrets
import time

from lab import NODES, addr
from pusher import Client, Closed
from witness import Witnesses


class Load:
    def __init__(self, lab, app, users=3):
        self.lab, self.app = lab, app
        self.users = [f"user-{n}" for n in range(users)]
        self.moments = itertools.count(1)
        self.revokes = itertools.count(1)
        self.history = {user: [] for user in self.users}
        self.dark, self.light, self.seen = {}, set(), {}
        # The moments at which each user's grants were asked for.
        self.granted = {user: [] for user in self.users}
        self.broken, self.tasks, self.revoke_ms, self.codes = [], [], [], {}
        self.counts = {"grants": 0, "revokes": 0, "fenced": 0, "unknown": 0, "light": 0, "dark": 0, "answers": 0}
        self.writing = asyncio.Event()
        self.writing.set()
        self.idle = {user: asyncio.Event() for user in self.users}
        self.shut = False
        self.gone = set()
        self.witnesses = Witnesses(lab, app, [f"private-{user}" for user in self.users])

    def note(self, user, began, ended, what):
        if user in self.gone:
            return
        self.history.setdefault(user, []).append(f"{began} {ended if ended else '-'} {what}")

    # --- writers ---

    async def change(self, user, method, path, body):
        """Until the outcome is known, through any nodes, under one idempotency key. None = unknown, False = not done."""
        maybe = False
        # The key makes a repetition the same request, on whichever node.
        key = secrets.token_hex(8)
        for _ in range(6):
            node = random.choice(NODES)
            status, answer = await self.lab.ask(node, method, path, body, timeout=9, key=key)
            if status in (200, 201, 202):
                return answer
            # Only "there is nothing of that name" is an answer: a node that does not know the app was not asked about it.
            if status == 404 and (answer or {}).get("error", {}).get("code") == "not_found":
                return {"nothing": True}
            if status in (0, 504, 500, 408):
                maybe = True
            await asyncio.sleep(random.uniform(0.05, 0.3))
        return None if maybe else False

    async def writer(self, user):
        app, channel = self.app["id"], f"private-{user}"
        while not self.shut:
            if not self.writing.is_set():
                self.idle[user].set()
                await self.writing.wait()
                self.idle[user].clear()
            began = next(self.moments)
            self.granted[user].append(began)
            body = {"subject": {"user": user}, "grants": [{"pattern": channel, "operations": ["subscribe"]}]}
            done = await self.change(user, "POST", f"/v1/apps/{app}/grants", body)
            if done is not False:
                self.note(user, began, next(self.moments) if done else None, "grant")
            self.counts["grants" if done else "unknown"] += 1
            # Holders come back and subscribe meanwhile: a revoke that finds nobody proves little.
            await asyncio.sleep(random.uniform(0.2, 0.9))
            await self.publish(user, 3, self.light)
            await self.revoke(user, oracle=done is not None)

    async def revoke(self, user, oracle):
        """Takes the user's rights; with `oracle`, what is published afterwards is dark."""
        app, channel = self.app["id"], f"private-{user}"
        number, began, at = next(self.revokes), next(self.moments), time.monotonic()
        if random.random() < 0.5:
            done = await self.change(user, "POST", f"/v1/apps/{app}/revoke", {"target": {"user": user}})
        else:
            done = await self.change(user, "DELETE", f"/v1/apps/{app}/grants", {"subject": {"user": user}})
        ended = next(self.moments) if done else None
        if done is False:
            return
        if done and done.get("nothing"):
            # It found nothing to take: as good as a refusal.
            self.note(user, began, ended, "refused")
            return
        self.note(user, began, ended if done and not done.get("pending") else None, f"revoke {number}")
        if not done or done.get("pending"):
            self.counts["unknown"] += 1
            return
        self.revoke_ms.append((time.monotonic() - at) * 1000)
        self.counts["revokes"] += 1
        self.counts["fenced"] += bool(done.get("fenced"))
        if not oracle:
            # Nobody knows whether the grant before may still come into force.
            return
        sent = await self.publish(user, 4, None)
        # A publication that did not answer may still be on its way when the next grant begins.
        self.dark.update({ident: (user, number, ended) for ident, status in sent if status == 200})
        await asyncio.sleep(random.uniform(0, 0.4))

    async def publish(self, user, count, into):
        async def one(slot):
            made = self.witnesses.publication(f"private-{user}", slot)
            body = {"channel": f"private-{user}", "name": "news", "data": {"id": made.ident}}
            status, _ = await self.lab.ask(random.choice(NODES), "POST", f"/v1/apps/{self.app['id']}/publish", body, timeout=2)
            made.acknowledged = status == 200
            return made.ident, status

        sent = await asyncio.gather(*(one(slot) for slot in range(count)))
        if into is not None:
            into.update(ident for ident, status in sent if status == 200)
        self.counts["dark" if into is None else "light"] += sum(status == 200 for _, status in sent)
        return sent

    # --- holders ---

    async def guest(self, user, node):
        """A holder for one scenario; its user's grants are nobody's history."""
        task = asyncio.create_task(self.holder(user, node))
        self.history[user] = []
        return task

    async def dismiss(self, user, holder):
        """Again and again: a cancellation may be lost in `wait_for` when an answer comes at the same moment."""
        self.gone.add(user)
        self.history.pop(user, None)
        while not holder.done():
            holder.cancel()
            await asyncio.wait([holder], timeout=1)

    async def holder(self, user, node):
        while not self.shut and user not in self.gone:
            client = None
            try:
                client = await Client.open(addr(node), self.app["key"])
                client.sign_in(self.app, user)
                await self.hold(client, user, node)
            except Closed as closed:
                self.codes[closed.code] = self.codes.get(closed.code, 0) + 1
            except (OSError, asyncio.TimeoutError):
                pass
            finally:
                if client:
                    client.close()
            await asyncio.sleep(random.uniform(0.02, 0.15))

    async def hold(self, client, user, node):
        channel = f"private-{user}"
        while (await asyncio.wait_for(client.event(), 8))["event"] != "pusher:signin_success":
            pass
        since, asked, retry = None, None, 0.0
        while not self.shut and user not in self.gone:
            if asked is None and since is None and time.monotonic() >= retry:
                asked = next(self.moments)
                client.send("pusher:subscribe", {"channel": channel, "auth": ""})
            wait = 10 if since or asked else max(0.01, retry - time.monotonic())
            try:
                event = await asyncio.wait_for(client.event(), wait)
            except asyncio.TimeoutError:
                if asked:
                    raise
                continue
            kind = event["event"]
            if kind == "pusher_internal:subscription_succeeded":
                since = next(self.moments)
                self.note(user, asked, since, "allowed")
                self.counts["answers"] += 1
                asked = None
            elif kind in ("pusher:subscription_error", "pusher:error"):
                status = event.get("data")
                status = json.loads(status) if isinstance(status, str) else (status or {})
                # Only a refusal for want of the right is an answer; "not now" is none.
                if asked and status.get("status") in (401, 403):
                    self.note(user, asked, next(self.moments), "refused")
                    self.counts["answers"] += 1
                asked, since, retry = None, None, time.monotonic() + random.uniform(0.05, 0.2)
            elif kind == "news":
                data = event["data"]
                ident = (json.loads(data) if isinstance(data, str) else data)["id"]
                self.seen.setdefault(ident, []).append((since, next(self.moments), node))

    def run(self):
        self.tasks += self.witnesses.run()
        for user in self.users:
            self.tasks.append(asyncio.create_task(self.writer(user)))
            for node in NODES:
                self.tasks.append(asyncio.create_task(self.holder(user, node)))

    async def settle(self):
        """Lets the writers finish what they do and stand still, and resumes with `self.writing.set()`."""
        self.writing.clear()
        for user in self.users:
            await asyncio.wait_for(self.idle[user].wait(), 60)

    async def end(self):
        self.shut = True
        self.writing.set()
        for task in self.tasks:
            task.cancel()
        # Bounded: a cancellation may be lost in `wait_for` when an answer comes at the same moment.
        done, _ = await asyncio.wait(self.tasks, timeout=15)
        for task in done:
            if not task.cancelled() and task.exception():
                self.broken.append(f"a client of ours failed: {task.exception()!r}")

    def violations(self):
        """S1 over everything seen so far."""
        for ident in self.dark.keys() & self.seen.keys():
            user, number, returned = self.dark[ident]
            granted = next((began for began in self.granted[user] if began > returned), None)
            held = [
                f"node {node} at {at} (subscribed {since})"
                for since, at, node in self.seen[ident]
                # A receipt over a subscription that has just been taken is one without any right.
                if since is None or since < returned or granted is None or at < granted
            ]
            if held:
                self.dark.pop(ident)
                text = f"S1: {ident} was published after revoke {number} of {user} returned at {returned} and reached"
                self.broken.append(f"{text} {', '.join(held)}; granted again at {granted}")
        return self.broken

    def write_history(self, path):
        with open(path, "w") as file:
            for user, lines in self.history.items():
                file.write(f"key {user}\n" + "".join(line + "\n" for line in lines))
