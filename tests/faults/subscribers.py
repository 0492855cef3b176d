"""Subscribers of the four dialects that write down what they receive and what they are told of gaps.

Each speaks its wire raw, comes back after every end as its SDK does (at its own node if that serves, else at another),
and resumes as its SDK does. What counts as "told that something may be missing" is in `begin` of each.
"""

import asyncio
import json
import random
import re
from urllib.parse import quote

import pusher
from lab import NODES, addr
from sockets import Closed, Kept, WebSocket

# Who gets no answer for so long gives its connection up, as SDKs do; seconds.
ANSWER = 10
BODY = re.compile(r"^([^_]*)_(\d+)-(\d+)_(.*)$", re.S)


class Subscriber:
    """Comes back for ever. A dialect adds `session`: one connection, until it ends."""

    dialect, again = "", False

    def __init__(self, lab, app, book, home_node, channels, label=""):
        self.lab, self.app, self.own = lab, app, home_node
        self.who = f"{self.dialect}{label} of node {home_node}"
        self.channels = {name: book.subscribe(self.who, name, self.again) for name in channels}
        self.at, self.codes, self.shut, self.current = None, {}, False, None

    def told(self, what):
        self.codes[what] = self.codes.get(what, 0) + 1

    async def run(self):
        node = self.own
        while not self.shut:
            try:
                self.at = node
                await self.session(node)
            except Closed as closed:
                self.told(closed.code)
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
                self.told(type(error).__name__)
            self.at = None
            self.left()
            await asyncio.sleep(random.uniform(0.05, 0.3))
            # A balancer knows who is ready; its own node first.
            choice = [self.own, *random.sample([n for n in NODES if n != self.own], 2)]
            for node in choice:
                if await self.lab.ready(node):
                    break

    def left(self):
        for one in self.channels.values():
            one.end("its connection ended")

    async def go_home(self):
        """A client that is elsewhere than at its node goes there: what a balancer's rebalancing is."""
        if self.at is not None and self.at != self.own and self.current is not None:
            self.current.close()

    def attached(self):
        return all(one.span for one in self.channels.values())


class Pusher(Subscriber):
    dialect = "pusher"

    async def session(self, node):
        client = self.current = await pusher.Client.open(addr(node), self.app["key"])
        try:
            for channel in self.channels:
                client.send("pusher:subscribe", {"channel": channel, "auth": ""})
            while True:
                event = await asyncio.wait_for(client.event(), None if self.attached() else ANSWER)
                one = self.channels.get(event.get("channel"))
                if event["event"] == "pusher_internal:subscription_succeeded":
                    one.begin("subscribed anew")
                elif event["event"] in ("pusher:error", "pusher:subscription_error"):
                    raise Closed(str(event.get("data"))[:60])
                elif event["event"] == "news":
                    data = event["data"]
                    one.got((json.loads(data) if isinstance(data, str) else data)["id"])
        finally:
            client.close()


class Ably(Subscriber):
    dialect = "ably"

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.key, self.serials = None, {}

    def left(self):
        for one in self.channels.values():
            one.broke()

    async def session(self, node):
        resume = f"&resume={quote(self.key)}" if self.key else ""
        path = f"/?key={quote(self.app['ably'])}&format=json&heartbeats=true&v=3{resume}"
        socket = self.current = await WebSocket.dial(addr(node), path)
        waiting = set(self.channels)
        try:
            while True:
                frame = json.loads(await asyncio.wait_for(socket.text(), ANSWER if waiting else None))
                action, name = frame["action"], frame.get("channel")
                if action == 4:
                    self.key = frame["connectionDetails"]["connectionKey"]
                    for channel in self.channels:
                        self.attach(socket, channel)
                elif action == 11:
                    waiting.discard(name)
                    self.on_attached(frame)
                elif action == 15:
                    self.serials[name] = frame.get("channelSerial") or self.serials.get(name)
                    for message in frame["messages"]:
                        data = message["data"]
                        self.channels[name].got((json.loads(data) if isinstance(data, str) else data)["id"])
                elif action in (6, 9) and not name:
                    code = (frame.get("error") or {}).get("code")
                    self.key = None if action == 9 else self.key
                    raise Closed(code)
                elif action in (9, 13):
                    self.told(f"{action} {(frame.get('error') or {}).get('code')}")
                    waiting.add(name)
                    await asyncio.sleep(0.2)
                    self.attach(socket, name)
        finally:
            socket.close()

    def attach(self, socket, channel):
        serial = self.serials.get(channel)
        socket.say({"action": 10, "channel": channel, **({"channelSerial": serial} if serial else {})})

    def on_attached(self, frame):
        one = self.channels[frame["channel"]]
        if frame.get("channelSerial"):
            self.serials[frame["channel"]] = frame["channelSerial"]
        if not frame.get("flags", 0) & 4 or not one.span:
            code = (frame.get("error") or {}).get("code")
            if one.span:
                self.told(f"not resumed {code}")
            one.begin(f"attached without RESUMED, {code}")


class PubNub(Subscriber):
    """Polls one channel, which it gets once; its cursor is never given up, so nothing of it may be missing."""

    dialect = "pubnub"

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.cursor, self.region = "0", ""

    def left(self):
        for one in self.channels.values():
            one.broke()

    async def session(self, node):
        client = self.current = Kept(addr(node), 6001)
        names = ",".join(quote(name) for name in self.channels)
        uuid = self.who.replace(" ", "-")
        try:
            while True:
                path = f"/v2/subscribe/{self.app['subscribe_key']}/{names}/0?tt={self.cursor}&uuid={uuid}"
                path += f"&tr={self.region}" if self.region else ""
                status, answer = await client.ask("GET", path, timeout=300)
                if status != 200 or not isinstance(answer, dict):
                    raise Closed(f"status {status}")
                began = self.cursor == "0"
                self.cursor, self.region = answer["t"]["t"], answer["t"]["r"]
                for one in self.channels.values():
                    if began:
                        one.begin("began")
                for message in answer.get("m", []):
                    self.channels[message["c"]].got(message["d"]["id"])
        finally:
            client.close()


class Realtime(Subscriber):
    """Subscribed plainly: at most once, and only while it is connected."""

    dialect, subscriber = "realtime", ""

    def left(self):
        for one in self.channels.values():
            one.broke() if self.again else one.end("its connection ended")

    async def session(self, node):
        socket = self.current = await WebSocket.dial(addr(node), "/broadcast/123/abcdefgh/websocket")
        key, token, waiting = self.app["application"], "anytoken", set(self.channels)
        try:
            while True:
                text = await asyncio.wait_for(socket.text(), ANSWER if waiting else None)
                if text == "o":
                    socket.say(f"validate;{key};{token};;;faults;")
                if not text.startswith("a"):
                    continue
                said = json.loads(json.loads(text[1:])[0])
                if said.get("op") == "ortc-validated":
                    for name in self.channels:
                        socket.say(self.subscribe(key, token, name))
                elif said.get("op") == "ortc-subscribed":
                    waiting.discard(said["ch"])
                    if not self.channels[said["ch"]].span:
                        self.channels[said["ch"]].begin("subscribed anew")
                elif said.get("op") == "ortc-error":
                    raise Closed(str(said["ex"])[:80])
                elif "m" in said:
                    self.on_message(socket, key, said)
        finally:
            socket.close()

    def subscribe(self, key, token, name):
        return f"subscribe;{key};{token};{name};null"

    def on_message(self, socket, key, said):
        number, _, _, body = BODY.match(said["m"]).groups()
        self.channels[said["ch"]].got(json.loads(body)["id"])
        if "s" in said:
            socket.say(f"ack;{key};{said['ch']};{number};{said['s']};1")


class Buffered(Realtime):
    """Subscribed with a place: at least once, through every end."""

    dialect, again = "realtime-buffered", True

    def subscribe(self, key, token, name):
        place = self.who.replace(" ", "-")
        return f"subscribeoptions;{key};{token};{name};{place};;;null;"


DIALECTS = (Pusher, Ably, PubNub, Realtime, Buffered)
