"""What a channel's history says after a fault: everything that was acknowledged lately, in the order it was shown in.

Read through any node as an Ably client reads it; a history that is short of an acknowledged message has lost it to all who
come later, whoever was there to hear it.
"""

import base64
import random
import time

from lab import NODES, addr
from sockets import Kept

PAGE = 1000


class Past:
    def __init__(self, app, channels):
        self.channels, self.read, self.since = channels, 0, time.time()
        self.doors = {node: Kept(addr(node), 6001) for node in NODES}
        self.authorization = "Authorization: Basic " + base64.b64encode(app["ably"].encode()).decode()

    def begin(self):
        """From now on; a little earlier, for the nodes' clocks."""
        self.since = time.time() - 1

    async def of(self, channel):
        """The ids since then, oldest first."""
        found, path = [], f"/channels/{channel}/messages?limit={PAGE}&direction=forwards&start={int(self.since * 1000)}"
        for _ in range(20):
            node = random.choice(NODES)
            status, answer = await self.doors[node].ask("GET", path, headers=[self.authorization])
            if status != 200:
                raise AssertionError(f"the history of {channel} through node {node}: {status} {str(answer)[:200]}")
            found += [one["data"]["id"] if isinstance(one["data"], dict) else one["data"] for one in answer]
            if len(answer) < PAGE:
                return found
            path = f"/channels/{channel}/messages?limit={PAGE}&direction=forwards&start={answer[-1]['timestamp']}"
        raise AssertionError(f"the history of {channel} does not end")

    async def judge(self, book):
        """What is acknowledged and not there. Only when all is quiet, and before the book forgets."""
        wrong = []
        for channel in self.channels:
            found = await self.of(channel)
            self.read += len(found)
            got = {text.split('"')[3] if text.startswith("{") else text for text in found}
            lacks = [one.ident for one in book.published if one.channel == channel and one.acknowledged and one.ident not in got]
            if lacks:
                wrong.append(f"past: the history of {channel} lacks {len(lacks)} ({', '.join(lacks[:4])}…)")
        return wrong
