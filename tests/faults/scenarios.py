"""What is done to the cluster. Each scenario breaks something, waits, mends it; it returns what it measured.

The runner adds the oracles: nothing dark was received, everything heals, the history is linearizable.
"""

import asyncio
import random
import signal
import subprocess
import time
from pathlib import Path

from lab import NODES, Skip, addr, sh

# A minority is silent within this, seconds.
SILENT = 5.0
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def others(node):
    return [n for n in NODES if n != node]


async def killing(lab, load, nodes, down):
    lab.kill(*nodes)
    began = time.monotonic()
    if len(nodes) == 1:
        first = await first_write(lab, load, others(nodes[0]))
        await asyncio.sleep(max(0, down - (time.monotonic() - began)))
        said = f"first grant after {first * 1000:.0f} ms"
    else:
        await asyncio.sleep(down)
        said = f"{len(nodes)} nodes down for {down:.1f} s"
    for node in nodes:
        lab.start(node)
    return said


async def first_write(lab, load, nodes, within=30):
    began = time.monotonic()
    while time.monotonic() - began < within:
        for node in nodes:
            body = {"subject": {"user": "probe"}, "grants": [{"pattern": "private-probe", "operations": ["subscribe"]}]}
            status, _ = await lab.ask(node, "POST", f"/v1/apps/{load.app['id']}/grants", body, timeout=8)
            if status in (200, 201):
                return time.monotonic() - began
        await asyncio.sleep(0.02)
    raise AssertionError(f"no grant succeeds within {within} s")


async def kill_leader(lab, load):
    return await killing(lab, load, [await lab.leader()], 3.5)


async def kill_follower(lab, load):
    return await killing(lab, load, [random.choice(others(await lab.leader()))], 1.0)


async def kill_majority(lab, load):
    return await killing(lab, load, others(random.choice(NODES)), 2.0)


async def kill_all(lab, load):
    return await killing(lab, load, list(NODES), 0.5)


async def pause(lab, load, node, seconds):
    lab.signal(node, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    lab.signal(node, signal.SIGCONT)
    return f"node {node} stood still for {seconds} s"


async def pause_leader(lab, load):
    return await pause(lab, load, await lab.leader(), 4.5)


async def pause_follower(lab, load):
    return await pause(lab, load, random.choice(others(await lab.leader())), random.choice([1.0, 4.0]))


async def isolate_leader(lab, load):
    return await silence(lab, load, await lab.leader(), lambda node: lab.isolate(node))


async def isolate_follower(lab, load):
    return await silence(lab, load, random.choice(others(await lab.leader())), lambda node: lab.isolate(node))


async def deaf_leader(lab, load):
    """One way: what it sends arrives, what others send does not."""
    node = await lab.leader()
    return await silence(lab, load, node, lambda node: lab.block([(other, node) for other in others(node)]))


async def mute_leader(lab, load):
    node = await lab.leader()
    lab.block([(node, other) for other in others(node)])
    await asyncio.sleep(6)
    lab.block([])
    return f"nobody heard node {node} for 6 s"


async def silence(lab, load, node, cut):
    """Cuts a node off and proves that it delivers nothing protected and calls itself not ready in time."""
    app, user = load.app["id"], f"silent-{random.randrange(10**9)}"
    body = {"subject": {"user": user}, "grants": [{"pattern": f"private-{user}", "operations": ["subscribe"]}]}
    status, _ = await lab.ask(node, "POST", f"/v1/apps/{app}/grants", body)
    assert status in (200, 201), f"the grant before the cut: {status}"
    holder = await load.guest(user, node)
    for _ in range(100):
        if any("allowed" in line for line in load.history[user]):
            break
        await asyncio.sleep(0.05)
    assert any("allowed" in line for line in load.history[user]), "the holder never subscribed"
    cut(node)
    began, sent, unready = time.monotonic(), {}, None
    while time.monotonic() - began < 8:
        ident = f"cut{random.randrange(10**12)}"
        at = time.monotonic()
        await lab.ask(node, "POST", f"/v1/apps/{app}/publish",
                      {"channel": f"private-{user}", "name": "news", "data": {"id": ident}}, timeout=0.5)  # fmt: skip
        sent[ident] = at - began
        if unready is None and not await lab.ready(node):
            unready = time.monotonic() - began
        await asyncio.sleep(0.1)
    late = [ident for ident, at in sent.items() if at > SILENT and ident in load.seen]
    early = [sent[ident] for ident in sent if ident in load.seen]
    await load.dismiss(user, holder)
    lab.block([])
    assert not late, f"S5: node {node} delivered {len(late)} messages later than {SILENT} s after it was cut off"
    assert unready is not None and unready <= SILENT, f"S5: node {node} called itself ready for {unready} s"
    return f"node {node} not ready after {unready:.1f} s, last delivery {max(early, default=0):.1f} s after the cut"


async def lost_link(lab, load):
    """Two nodes do not hear each other; both hear the third."""
    a, b = random.sample(NODES, 2)
    lab.block([(a, b), (b, a)])
    await asyncio.sleep(4)
    lab.block([])
    return f"nodes {a} and {b} apart for 4 s"


async def flapping(lab, load):
    node = await lab.leader()
    for _ in range(6):
        lab.isolate(node)
        await asyncio.sleep(random.uniform(0.2, 1.0))
        lab.block([])
        await asyncio.sleep(random.uniform(0.2, 0.8))
    return f"node {node} came and went 6 times"


async def restart_with(lab, node, **variables):
    lab.kill(node)
    lab.start(node, **variables)
    took = await lab.all_ready(30, [node])
    assert took is not None, f"node {node} does not come back with {variables}"


async def fsync_slow(lab, load):
    node = await lab.leader()
    plan = lab.folder / "sync_plan"
    plan.write_text("0 0\n")
    await restart_with(lab, node, LD_PRELOAD=str(lab.shim), SYNC_PLAN=str(plan))
    plan.write_text("120 0\n")
    await asyncio.sleep(4)
    plan.write_text("0 0\n")
    return f"every fsync of node {node} took 120 ms for 4 s"


async def fsync_fails(lab, load):
    """One failed fsync: the node must end, and say why; it comes back clean when the disk does."""
    node = await lab.leader()
    plan = lab.folder / "sync_plan"
    plan.write_text("0 0\n")
    await restart_with(lab, node, LD_PRELOAD=str(lab.shim), SYNC_PLAN=str(plan))
    plan.write_text("0 1\n")
    began, stopped = time.monotonic(), None
    while time.monotonic() - began < 8 and stopped is None:
        await first_write(lab, load, others(node), 10)
        if not await lab.ready(node):
            stopped = time.monotonic() - began
    # The disk seems to work again: a node that asked it a second time would believe it.
    plan.write_text("0 0\n")
    assert stopped is not None, f"node {node} goes on although its fsync fails"
    for _ in range(300):
        if not lab.alive(node):
            break
        await asyncio.sleep(0.1)
    code = lab.procs[node].poll()
    assert code == 1, f"node {node} ended with {code} and not with 1 after a failed fsync"
    assert "could not be made durable" in lab.logs[node].read_text(errors="replace"), "it does not say why it ended"
    lab.start(node)
    return f"node {node} left service after {stopped:.1f} s and ended with code 1"


async def disk_full(lab, load):
    """Refuses changes in words, stays, and goes on by itself. The leader's disk as often as another's."""
    leader = await lab.leader()
    node = random.choice([leader, random.choice(others(leader))])
    lab.kill(node)
    folder = lab.data(node)
    keep = folder.with_name(folder.name + ".keep")
    folder.rename(keep)
    folder.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder))
    try:
        sh("cp", "-a", f"{keep}/.", str(folder))
        lab.start(node, GATECAST_DISK_RESERVE_MB="16")
        assert await lab.all_ready(30, [node]) is not None, "the node does not start on tmpfs"
        await asyncio.sleep(1)
        # Not a byte is left.
        filler = folder / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
            except OSError:
                pass
        noticed = await stuff(lab, load, node)
        first = await first_write(lab, load, others(node))
        status, answer = await grant(lab, load, node, "refused")
        assert (status, answer.get("error", {}).get("code")) == (507, "disk_full"), f"a write on the full node: {status} {answer}"
        assert await lab.leader() != node, f"node {node} leads on a full disk"
        assert lab.alive(node), f"node {node} ended over a full disk"
        filler.unlink()
        took = await lab.all_ready(10, [node])
        assert took is not None, f"node {node} is not ready although there is room: {await lab.ask(node, 'GET', '/ready')}"
        status, answer = await grant(lab, load, node, "again")
        assert status in (200, 201), f"a write after there was room: {status} {answer}"
        lab.kill(node)
        sh("cp", "-a", f"{folder}/.", str(keep))
    finally:
        if lab.alive(node):
            lab.kill(node)
        sh("umount", str(folder), check=False)
        folder.rmdir()
        keep.rename(folder)
        (folder / "filler").unlink(missing_ok=True)
    lab.extra[node] = {}
    lab.start(node)
    led = "the leader" if node == leader else "a follower"
    return f"node {node}, {led}, {noticed}, refused writes with 507, ready by itself {took:.1f} s after there was room; a grant on the others took {first * 1000:.0f} ms meanwhile"


async def grant(lab, load, node, user, **more):
    body = {"subject": {"user": user}, "grants": [{"pattern": f"private-{user}", "operations": ["subscribe"], **more}]}
    return await lab.ask(node, "POST", f"/v1/apps/{load.app['id']}/grants", body, timeout=9)


async def stuff(lab, load, node):
    """Writes more than a full disk takes, through the others, and waits until the node shows it."""
    body = {"subject": {"user": "bulk"}, "grants": [
        {"pattern": f"private-bulk-{'x' * 60}-{n}", "operations": ["subscribe"]} for n in range(200)]}  # fmt: skip
    began = time.monotonic()
    while time.monotonic() - began < 10:
        for via in others(node):
            body["subject"]["user"] = f"bulk-{random.randrange(20)}"
            status, _ = await lab.ask(via, "POST", f"/v1/apps/{load.app['id']}/grants", body, timeout=8)
            assert status in (200, 201, 504, 503, 0), f"a grant on node {via} while node {node}'s disk is full: {status}"
        assert lab.alive(node), f"node {node} ended over a full disk"
        status, seen = await lab.ask(node, "GET", "/ready", timeout=2)
        if status == 503 and "disk" in " ".join(seen.get("reasons", [])):
            return f"left service after {time.monotonic() - began:.1f} s"
    raise AssertionError(f"node {node} does not say that its disk is full")


async def clock(lab, load, node, jump):
    """One wall clock an hour wrong: its node leaves service and says so; rights end on time by the cluster's."""
    if not Path(FAKETIME).exists():
        raise Skip("libfaketime is not installed")
    stamp = lab.folder / f"faketime{node}"
    stamp.write_text("+0\n")
    await restart_with(lab, node, LD_PRELOAD=FAKETIME, FAKETIME_TIMESTAMP_FILE=str(stamp), FAKETIME_NO_CACHE="1",
                       FAKETIME_DONT_FAKE_MONOTONIC="1", DONT_FAKE_MONOTONIC="1")  # fmt: skip
    early = asyncio.create_task(expires(lab, load, random.choice(others(node)), "before"))
    await asyncio.sleep(1)
    stamp.write_text(jump + "\n")
    began, said = time.monotonic(), ""
    while time.monotonic() - began < 10 and "clock" not in said:
        status, seen = await lab.ask(node, "GET", "/ready", timeout=2)
        said = "; ".join(seen.get("reasons", [])) if status == 503 else ""
        await asyncio.sleep(0.1)
    left = time.monotonic() - began
    assert "clock" in said, f"node {node} is {jump} off and does not say so: {status} {seen}"
    metrics = (await lab.ask(node, "GET", "/metrics"))[1].get("text", "")
    assert "gatecast_clock_alarm 2" in metrics, "no alarm in the metrics of the node whose clock is wrong"
    late = await expires(lab, load, random.choice(others(node)), "after")
    ends = [await early, late]
    stamp.write_text("+0\n")
    back = await lab.all_ready(15, [node])
    assert back is not None, f"node {node} does not come back although its clock is right"
    lab.kill(node)
    lab.extra[node] = {}
    lab.start(node)
    return (f"node {node} at {jump} left service after {left:.1f} s ({said}), back {back:.1f} s after it was right; "
            f"rights of 3 s ended after {ends[0]:.1f} and {ends[1]:.1f} s")


async def expires(lab, load, node, name):
    """A right of three seconds, held on a node whose clock is right: when is its last message sent?"""
    user, ttl = f"ends-{name}-{random.randrange(10**9)}", 3.0
    holder = await load.guest(user, node)
    await asyncio.sleep(1)
    asked = time.monotonic()
    status, answer = await grant(lab, load, node, user, ttl_ms=int(ttl * 1000))
    granted = time.monotonic()
    assert status in (200, 201), f"a grant for three seconds: {status} {answer}"
    sent = {}
    while time.monotonic() - granted < ttl + 2.5:
        ident = f"end{random.randrange(10**12)}"
        sent[ident] = time.monotonic()
        await lab.ask(node, "POST", f"/v1/apps/{load.app['id']}/publish",
                      {"channel": f"private-{user}", "name": "news", "data": {"id": ident}}, timeout=1)  # fmt: skip
        await asyncio.sleep(0.05)
    await load.dismiss(user, holder)
    last = max((at for ident, at in sent.items() if ident in load.seen), default=None)
    assert last is not None, "nothing was ever received under a right of three seconds"
    assert last <= granted + ttl + 1, f"S8: delivered {last - granted:.1f} s after a right of {ttl} s was granted"
    assert last >= asked + ttl - 1, f"S8: a right of {ttl} s ended after {last - asked:.1f} s"
    return last - asked


async def clock_follower_ahead(lab, load):
    return await clock(lab, load, random.choice(others(await lab.leader())), "+3600s")


async def clock_leader_behind(lab, load):
    return await clock(lab, load, await lab.leader(), "-3600s")


SCENARIOS = {
    "kill-leader": kill_leader,
    "kill-follower": kill_follower,
    "kill-majority": kill_majority,
    "kill-all": kill_all,
    "pause-leader": pause_leader,
    "pause-follower": pause_follower,
    "isolate-leader": isolate_leader,
    "isolate-follower": isolate_follower,
    "deaf-leader": deaf_leader,
    "mute-leader": mute_leader,
    "lost-link": lost_link,
    "flapping": flapping,
    "fsync-slow": fsync_slow,
    "fsync-fails": fsync_fails,
    "disk-full": disk_full,
    "clock-follower-ahead": clock_follower_ahead,
    "clock-leader-behind": clock_leader_behind,
}
SHORT = ["kill-leader", "kill-all", "pause-leader", "isolate-leader", "deaf-leader", "flapping", "fsync-fails", "disk-full"]
