"""The message plane under faults: subscribers of all dialects at every node, published to without a pause while nodes are
killed, paused and cut off, or talk to each other over bad wires. `histories` judges what each of them was told, `past` what
the channels remember, `attendance` who is said to be there, `webhooks` what an app server is told of them. Started by scripts/faults like `run`."""

import argparse
import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import histories
import webhooks
import wires
from attendance import HALL, Hall
from lab import CANARIES, NET, NODES, Lab, Skip, addr, sh
from past import Past
from sockets import Kept
from subscribers import DIALECTS

# How long everything may take to be whole, or complete, again. Bounds for a machine with no time, not promises.
WHOLE, COMPLETE = 60, 30
# What a run that could not begin exits with.
COULD_NOT = 3
# A round of each of these, in this order and with chances in it, again and again.
DOWN = (0.0, 0.2, 1.0, 1.5, 2.0, 2.5, 4.5)
OPEN = ["subscribe", "publish", "presence", "presence-read", "history", "metadata"]


def others(node):
    return [one for one in NODES if one != node]


async def kill(lab, node):
    """kill -9; it comes back with the member list of its own disk, in which it is there as the start before."""
    down = random.choice(DOWN)
    lab.kill(node)
    await asyncio.sleep(down)
    lab.start(node)
    return f"node {node} killed, down for {down} s"


async def stop(lab, node):
    lab.signal(node, signal.SIGTERM)
    for _ in range(300):
        if not lab.alive(node):
            break
        await asyncio.sleep(0.1)
    assert not lab.alive(node), f"node {node} does not stop"
    lab.start(node)
    return f"node {node} restarted in order"


async def pause(lab, node):
    seconds = random.choice((0.3, 1.2, 2.8, 3.2, 4.0, 5.0))
    lab.signal(node, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    lab.signal(node, signal.SIGCONT)
    return f"node {node} stood still for {seconds} s"


async def stutter(lab, node):
    """Stands still again and again for a moment, as on a machine that has no time for it."""
    for _ in range(12):
        lab.signal(node, signal.SIGSTOP)
        await asyncio.sleep(random.uniform(0.02, 0.4))
        lab.signal(node, signal.SIGCONT)
        await asyncio.sleep(random.uniform(0.01, 0.1))
    return f"node {node} stuttered 12 times"


async def link(lab, node):
    other, seconds = random.choice(others(node)), random.choice((0.5, 1.5, 3.5))
    lab.block([(node, other), (other, node)])
    await asyncio.sleep(seconds)
    lab.block([])
    return f"nodes {node} and {other} apart for {seconds} s"


async def deaf(lab, node):
    """One way: it is heard and hears nobody."""
    seconds = random.choice((1.0, 2.5))
    lab.block([(other, node) for other in others(node)])
    await asyncio.sleep(seconds)
    lab.block([])
    return f"node {node} heard nobody for {seconds} s"


async def kill_behind_a_cut(lab, node):
    """Killed while one of the others cannot hear it: they learn of its end and of its start in another order."""
    other = random.choice(others(node))
    lab.block([(node, other), (other, node)])
    lab.kill(node)
    await asyncio.sleep(random.choice((0.2, 1.5)))
    lab.start(node)
    await asyncio.sleep(random.choice((0.5, 1.5)))
    lab.block([])
    return f"node {node} killed and started behind a cut to node {other}"


async def weather(lab, node):
    """Every link between nodes is late, and some of what it carries is lost and sent again."""
    async with wires.between(random.getrandbits(32)) as between:
        between.set(late=(0.0, 0.08), stall=(0.02, 0.2, 0.8))
        await asyncio.sleep(4)
    return f"bad wires everywhere for 4 s ({between.said()})"


async def snap(lab, node):
    """The links between nodes break again and again, in the middle of a frame."""
    async with wires.between(random.getrandbits(32)) as between:
        between.set(late=(0.0, 0.02), cut=0.02)
        await asyncio.sleep(4)
    return f"wires that break, for 4 s ({between.said()})"


async def kill_in_weather(lab, node):
    async with wires.between(random.getrandbits(32)) as between:
        between.set(late=(0.0, 0.05), stall=(0.01, 0.2, 0.6))
        await asyncio.sleep(1)
        said = await kill(lab, node)
        await asyncio.sleep(2)
    return f"{said}, over bad wires ({between.said()})"


FAULTS = {"kill": kill, "stop": stop, "pause": pause, "stutter": stutter, "link": link, "deaf": deaf, "weather": weather, "snap": snap,
          "kill-in-weather": kill_in_weather, "kill-behind-a-cut": kill_behind_a_cut}  # fmt: skip
# One fault at a time, and kills above all: what a crash leaves is what most was lost by. A kill behind a cut or over bad
# wires is two, and is run by name only.
CYCLE = ("kill", "pause", "kill", "weather", "kill", "link", "kill", "stop", "kill", "snap", "kill", "stutter", "kill", "deaf")


class Publisher:
    """Publishes to one channel through any nodes, one after the other."""

    def __init__(self, lab, app, book, channel, name, pace):
        self.app, self.book, self.channel, self.name, self.pace = app, book, channel, name, pace
        self.doors = {node: Kept(addr(node), 9601) for node in NODES}
        self.number, self.refused, self.unknown = 0, 0, 0

    async def run(self, going, idle):
        while True:
            if not going.is_set():
                idle.add(self)
                await going.wait()
                idle.discard(self)
            await self.one(random.choice(NODES))
            await asyncio.sleep(random.uniform(0.5, 1.5) * self.pace)

    async def one(self, node):
        self.number += 1
        made = self.book.publish(self.channel, self.name, self.number)
        body = {"channel": self.channel, "name": "news", "data": {"id": made.ident}}
        headers = [f"Authorization: Bearer {CANARIES['admin']}"]
        status, _ = await self.doors[node].ask("POST", f"/v1/apps/{self.app['id']}/publish", body, headers)
        made.acknowledged = status == 200
        self.unknown += status in (0, 504)
        self.refused += status not in (0, 200, 504)


class Plane:
    """Clients and publishers over one lab."""

    def __init__(self, lab, app, channels, pace, receiver):
        self.lab, self.app, self.channels, self.book, self.receiver = lab, app, channels, histories.Book(), receiver
        self.going, self.idle, self.tasks, self.counts, self.healthy = asyncio.Event(), set(), [], {}, []
        self.past = Past(app, channels)
        self.publishers = [Publisher(lab, app, self.book, channel, f"p{n}", pace) for channel in channels for n in (1, 2)]
        # One is published to so often that a pause of some seconds is hundreds of messages.
        self.publishers.append(Publisher(lab, app, self.book, channels[0], "hot", pace / 15))
        self.hall = Hall(lab, app)
        self.subscribers = []
        for node in NODES:
            for dialect in DIALECTS:
                # A poll is for one channel: then each message is promised once.
                each = [[name] for name in channels] if dialect.dialect == "pubnub" else [channels]
                for number, names in enumerate(each):
                    label = f" {number}" if len(each) > 1 else ""
                    self.subscribers.append(dialect(lab, app, self.book, node, names, label))

    async def begin(self):
        self.tasks = [asyncio.create_task(one.run()) for one in self.subscribers]
        await self.until(lambda: all(one.attached() for one in self.subscribers), 30, "subscribed everywhere")
        self.going.set()
        self.tasks += [asyncio.create_task(one.run(self.going, self.idle)) for one in self.publishers]
        self.tasks += self.hall.run(self.going)

    async def until(self, holds, seconds, what):
        began = time.monotonic()
        while not holds():
            for task in self.tasks:
                if task.done():
                    raise AssertionError(f"a client of ours failed: {task.exception()!r}")
            if time.monotonic() - began > seconds:
                return None
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def heard_again(self):
        """How long after this moment everybody has something that was published after it, on every channel."""
        since, began = histories.moment(), time.monotonic()
        fresh = {}

        def heard():
            for one in self.book.published[len(fresh):]:
                fresh[one.ident] = one.asked > since
            return all(one.span and any(fresh.get(ident) for ident in one.span.got[-50:]) for one in self.book.subscriptions)

        if await self.until(heard, COMPLETE, "heard") is None:
            deaf = [one.name() for one in self.book.subscriptions
                    if not one.span or not any(fresh.get(ident) for ident in one.span.got[-50:])]  # fmt: skip
            return None, deaf
        return time.monotonic() - began, []

    async def quiet(self):
        """Lets the publishers finish, and everybody get what was acknowledged; what is missing stays missing."""
        self.going.clear()
        await self.until(lambda: len(self.idle) == len(self.publishers), 30, "idle")
        complete = lambda: all(one.span and not self.book.lacking(one) for one in self.book.subscriptions)
        return await self.until(complete, COMPLETE, "complete")

    async def homewards(self):
        for one in self.subscribers:
            await one.go_home()

    async def end(self):
        for one in self.subscribers:
            one.shut = True
        # Again and again: a cancellation may be lost in `wait_for` when an answer comes at the same moment.
        for _ in range(50):
            waiting = [task for task in self.tasks if not task.done()]
            if not waiting:
                return
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting, timeout=0.2)


async def make_app(lab, hooks):
    settings = {"subscription_count": False, "webhook_private_targets": True, "webhooks": hooks}
    spec = {"name": "messages", "doors": ["pusher", "ably", "pubnub", "realtime"], "keys": [{"name": "messages"}],
            "open": [{"pattern": "*", "operations": OPEN}], "settings": settings}  # fmt: skip
    for _ in range(20):
        status, answer = await lab.ask(1, "POST", "/v1/apps", spec, timeout=10)
        if status == 201:
            env = answer["env"]
            return {"id": env["GATECAST_APP_ID"], "key": env["PUSHER_APP_KEY"], "secret": env["PUSHER_APP_SECRET"],
                    "ably": env["ABLY_KEY"], "subscribe_key": env["PUBNUB_SUBSCRIBE_KEY"],
                    "application": env["REALTIME_APPLICATION_KEY"]}  # fmt: skip
        await asyncio.sleep(0.5)
    raise AssertionError(f"the app was not made: {status} {answer}")


def place(app, name):
    """Home and backup of a channel among all three nodes, as src/core/nodes.rs places it."""
    value = 0xCBF29CE484222325
    for byte in int(app["id"]).to_bytes(8, "little") + b"\0" + name.encode():
        value = (value ^ byte) * 0x100000001B3 & (2**64 - 1)
    ranked = sorted(NODES, key=lambda node: mix(value ^ mix(node)), reverse=True)
    return ranked[0], ranked[1]


def mix(value):
    a = (value + 0x9E3779B97F4A7C15) & (2**64 - 1)
    b = (a ^ (a >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    c = (b ^ (b >> 27)) * 0x94D049BB133111EB & (2**64 - 1)
    return c ^ (c >> 31)


def channels(app):
    """One channel for each pair of home and backup: whichever node is hit, it is either, and neither, of two."""
    found = {}
    for number in range(10_000):
        name = f"room-{number}"
        found.setdefault(place(app, name), name)
        if len(found) == len(NODES) * (len(NODES) - 1):
            return list(found.values())
    raise AssertionError("placement leaves out a pair of nodes")


async def one_round(lab, plane, name, node):
    """What was wrong, and what it was."""
    said = await FAULTS[name](lab, node)
    over = time.monotonic()
    took = await lab.all_ready(WHOLE)
    if took is None:
        return [f"not ready everywhere within {WHOLE} s"], said
    await plane.homewards()
    heard, deaf = await plane.heard_again()
    wrong = [f"deaf: {', '.join(deaf[:6])} ({len(deaf)} in all)"] if deaf else []
    plane.healthy.append(time.monotonic() - over)
    complete = await plane.quiet()
    found, counts = plane.book.judge()
    wrong += found
    if complete is None and not wrong:
        gone = [one.name() for one in plane.book.subscriptions if not one.span]
        wrong.append(f"not complete within {COMPLETE} s; not subscribed: {gone[:6]}")
    wrong += await plane.past.judge(plane.book)
    wrong += await plane.hall.judge(COMPLETE)
    wrong += (await plane.receiver.whole(plane.hall.told(), COMPLETE))[:6]
    for key, value in counts.items():
        plane.counts[key] = plane.counts.get(key, 0) + value
    plane.counts["lost"] = plane.counts.get("lost", 0) + sum(text.startswith("lost") for text in wrong)
    plane.book.forget()
    plane.past.begin()
    plane.going.set()
    # Copies to a backup that lagged are tried again every two seconds; a second fault before that is two at once.
    await asyncio.sleep(0.5)
    ready = f"ready after {took:.1f} s, " if took > 0.05 else ""
    return wrong, f"{said}; {ready}everybody heard again after {plane.healthy[-1]:.1f} s"


async def play(lab, names, pace):
    for node in NODES:
        lab.start(node)
    if await lab.all_ready(60) is None:
        raise AssertionError("the cluster does not come up; see the logs")
    # Where every node reaches it, and no cut does.
    receiver = webhooks.Receiver(f"{NET}.254")
    await receiver.start()
    app = await make_app(lab, receiver.hooks(HALL))
    plane = Plane(lab, app, channels(app), pace, receiver)
    passed, failed = 0, 0
    try:
        await plane.begin()
        await asyncio.sleep(1)
        for number, name in enumerate(names, 1):
            began, node = time.monotonic(), random.choice(NODES)
            try:
                wrong, said = await one_round(lab, plane, name, node)
            except (AssertionError, asyncio.TimeoutError, OSError) as error:
                wrong, said = [f"{type(error).__name__}: {error}"], ""
            wrong += lab.faults_in_logs({**CANARIES, "app": app["secret"]})[:3]
            failed, passed = failed + bool(wrong), passed + (not wrong)
            verdict = "FAILED" if wrong else "ok"
            print(f"fault {number} {name}: {verdict} {time.monotonic() - began:.1f} s  {said}", flush=True)
            for text in wrong[:12]:
                print(f"    {text[:400]}", flush=True)
            if "not ready" in str(wrong):
                break
    finally:
        await plane.end()
        receiver.stop()
    table(plane)
    if not plane.counts.get("expected") or not all(one.heard for one in plane.hall.watchers) or not receiver.events:
        print("fault oracle: FAILED nothing was expected, or a watcher or a receiver heard nothing: it was blind")
        failed += 1
    return passed, failed


def table(plane):
    counts, healthy = plane.counts, sorted(plane.healthy)
    print(f"\nreceipts expected {counts.get('expected', 0)}, received {counts.get('receipts', 0)}, spans {counts.get('spans', 0)}, "
          f"subscriptions that lost {counts.get('lost', 0)}, twice {counts.get('twice', 0)}")  # fmt: skip
    if healthy:
        at = lambda p: healthy[min(len(healthy) - 1, int(len(healthy) * p))]
        print(f"from the end of a fault until everybody heard again: p50 {at(0.5):.1f} s, p99 {at(0.99):.1f} s, max {healthy[-1]:.1f} s")
    numbers = sum(one.number for one in plane.publishers)
    print(f"comings and goings heard {sum(one.heard for one in plane.hall.watchers)}, messages read in histories {plane.past.read}")
    told = plane.receiver
    print(f"webhook events {len(told.ids)}, received again under the same id {told.again}, requests {told.requests}")
    print(f"published {numbers}, refused {sum(one.refused for one in plane.publishers)}, outcome unknown {sum(one.unknown for one in plane.publishers)}")
    codes = {}
    for one in plane.subscribers:
        for code, count in one.codes.items():
            codes[f"{one.dialect} {code}"] = codes.get(f"{one.dialect} {code}", 0) + count
    print(f"ends and signals: {dict(sorted(codes.items()))}")


def burn(count):
    """Busy loops that end by themselves; whoever started them ends them before."""
    loop = "import time\nend = time.monotonic() + 3600\nwhile time.monotonic() < end: pass"
    return [subprocess.Popen(["nice", "-n", "10", sys.executable, "-c", loop]) for _ in range(count)]


def main():
    parser = argparse.ArgumentParser(prog="scripts/faults messages")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", action="append", default=[], choices=list(FAULTS))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--starve", type=int, default=0, metavar="N", help="N busy loops beside it, and nodes that stand behind them")
    parser.add_argument("--pace", type=float, default=0.3, help="seconds between the messages of a publisher")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    # A client that goes elsewhere may still be confirming what it has read.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    histories.self_test()
    webhooks.self_test()
    cycle = arguments.only or CYCLE
    names = [cycle[number % len(cycle)] for number in range(arguments.rounds)]
    lab = Lab(Path(os.environ["GATECAST_FAULTS_DIR"]) / "messages", os.environ["GATECAST_BIN"])
    lab.niceness = 10 if arguments.starve else 0
    print(f"seed {arguments.seed}, {len(names)} rounds, {arguments.starve} busy loops beside them")
    burners = []
    # As the first process of its namespace it would not be ended by the signal alone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        Path("/run/netns").mkdir(parents=True, exist_ok=True)
        sh("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        lab.build()
        burners = burn(arguments.starve)
        passed, failed = asyncio.run(play(lab, names, arguments.pace))
    except (Skip, FileNotFoundError) as skip:
        print(f"fault tests skipped: {skip}")
        sys.exit(COULD_NOT)
    finally:
        for one in burners:
            one.kill()
        lab.stop()
    left = len(names) - passed - failed
    print(f"{passed} faults passed, {failed + max(left, 0)} faults failed")
    sys.exit(1 if failed or left > 0 else 0)


if __name__ == "__main__":
    main()
