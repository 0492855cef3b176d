"""Bad wires between the nodes: what leaves a node for another goes through a proxy that is late, stalls and cuts.

The proxy is a process of its own (this file, started with a seed), so that the clients' work does not slow it down. Each link
has dice of its own from that seed. A node dials the address it knows: its own namespace sends that to the proxy instead.

**Why a proxy and not netem:** not every kernel has it. To whoever reads a TCP stream a lost packet is what is done here: all
behind it is late together. And a cut in the middle of a frame is nothing that netem can do.
"""

import asyncio
import contextlib
import json
import random
import sys

from lab import NET, NODES, addr, sh

PEERS = 7601
HOUSE = f"{NET}.254"


def door(one, other):
    """Where the proxy takes what `one` sends to `other`."""
    return 7700 + 10 * one + other


def pairs():
    return [(one, other) for one in NODES for other in NODES if one != other]


class Link:
    """One connection through the proxy, in both directions."""

    def __init__(self, proxy, near, far):
        self.proxy, self.ends = proxy, (near, far)

    def close(self):
        for _, writer in self.ends:
            writer.transport.abort()

    async def run(self, dice):
        (near, near_out), (far, far_out) = self.ends
        await asyncio.wait([asyncio.create_task(self.carry(near, far_out, dice)), asyncio.create_task(self.carry(far, near_out, dice))],
                           return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        self.close()

    async def carry(self, reader, writer, dice):
        """In order, each piece when it is due; until one of the ends is gone or the link is cut."""
        waiting = asyncio.Queue(256)
        reading = asyncio.create_task(self.read(reader, waiting, dice))
        clock = asyncio.get_running_loop().time
        try:
            while piece := await waiting.get():
                due, data, cut = piece
                await asyncio.sleep(max(0.0, due - clock()))
                writer.write(data)
                await writer.drain()
                if cut:
                    await asyncio.sleep(0.01)
                    return
        except OSError:
            return
        finally:
            reading.cancel()

    async def read(self, reader, waiting, dice):
        clock, last = asyncio.get_running_loop().time, 0.0
        counts = self.proxy.counts
        try:
            while data := await reader.read(65_536):
                weather = self.proxy.weather
                late = dice.uniform(*weather["late"])
                often, least, most = weather["stall"]
                if dice.random() < often:
                    late += dice.uniform(least, most)
                    counts["stalls"] += 1
                cut = dice.random() < weather["cut"]
                if cut:
                    data = data[: dice.randrange(len(data) + 1)]
                    counts["cuts"] += 1
                counts["pieces"] += 1
                last = max(last, clock() + late)
                await waiting.put((last, data, cut))
        except OSError:
            pass
        await waiting.put(None)


class Proxy:
    def __init__(self, seed):
        self.seed, self.links, self.tasks = seed, set(), set()
        self.weather = {"late": (0.0, 0.0), "stall": (0.0, 0.0, 0.0), "cut": 0.0}
        self.counts = {"links": 0, "pieces": 0, "stalls": 0, "cuts": 0}

    async def take(self, one, other, reader, writer):
        self.counts["links"] += 1
        self.tasks.add(asyncio.current_task())
        try:
            far = await asyncio.wait_for(asyncio.open_connection(addr(other), PEERS), 5)
        except (OSError, asyncio.TimeoutError):
            return writer.transport.abort()
        link = Link(self, (reader, writer), far)
        self.links.add(link)
        await link.run(random.Random(f"{self.seed}/{one}/{other}/{self.counts['links']}"))
        self.links.discard(link)

    async def run(self):
        for one, other in pairs():
            take = lambda reader, writer, one=one, other=other: self.take(one, other, reader, writer)
            await asyncio.start_server(take, HOUSE, door(one, other))
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        print("listening", flush=True)
        while order := await orders.readline():
            self.weather.update(json.loads(order))
        for link in list(self.links):
            link.close()
        await asyncio.wait([*self.tasks, asyncio.create_task(asyncio.sleep(0))], timeout=10)
        print(json.dumps(self.counts), flush=True)


class Wires:
    """The proxy, as a scenario sees it."""

    def __init__(self, process):
        self.process, self.counts = process, {}

    def set(self, **weather):
        """`late`: least and most seconds; `stall`: how often, least, most; `cut`: how often. Of every piece that comes."""
        self.process.stdin.write(json.dumps(weather).encode() + b"\n")

    def said(self):
        return ", ".join(f"{count} {what}" for what, count in self.counts.items())


def tables(node, text):
    done = sh("ip", "netns", "exec", f"gcn{node}", "nft", "-f", "-", check=False, text=text)
    assert done.returncode == 0, f"nft: {done.stderr}"


def table(head, chain, rules):
    body = "".join(rule + "\n" for rule in rules)
    return f"table {head}\ndelete table {head}\ntable {head} {{\nchain it {{\n{chain}\n{body}}}\n}}\n"


async def sever():
    """Ends the links there are: whoever says anything on one is told that it is gone."""
    for node in NODES:
        rules = [f"tcp {port} {PEERS} reject with tcp reset" for port in ("sport", "dport")]
        tables(node, table("inet sever", "type filter hook input priority 0;", rules))
    await asyncio.sleep(0.4)
    for node in NODES:
        tables(node, "table inet sever\ndelete table inet sever\n")


@contextlib.asynccontextmanager
async def between(seed):
    """While this is entered, all links between nodes go through a proxy."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-B", __file__, str(seed),
                                                   stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)  # fmt: skip
    wires = Wires(process)
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"listening\n", "the proxy does not listen"
        for node in NODES:
            ways = [f"ip daddr {addr(other)} tcp dport {PEERS} dnat to {HOUSE}:{door(one, other)}" for one, other in pairs() if one == node]
            tables(node, table("ip wires", "type nat hook output priority -100;", ways))
        await sever()
        yield wires
    finally:
        for node in NODES:
            tables(node, "table ip wires\ndelete table ip wires\n")
        process.stdin.close()
        answer = await asyncio.wait_for(process.stdout.readline(), 30)
        wires.counts = json.loads(answer)
        await process.wait()
    assert wires.counts["pieces"], "nothing went through the proxy"


if __name__ == "__main__":
    asyncio.run(Proxy(sys.argv[1]).run())
