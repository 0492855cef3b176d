"""Runs scenarios against real processes and judges what clients saw. Started by scripts/faults, as root, inside
network and mount namespaces of its own."""

import argparse
import asyncio
import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from lab import CANARIES, NODES, ROOT, Lab, Skip, sh
from load import Load
from scenarios import SCENARIOS, SHORT

# A cluster is whole again this long after the fault has ended, seconds.
HEALED = 20


async def make_app(lab):
    app = {"name": "faults", "protocols": ["pusher"], "settings": {"user_sign_in": True, "grants_open_channels": True},
           "keys": [{"name": "faults"}]}  # fmt: skip
    for _ in range(20):
        status, answer = await lab.ask(1, "POST", "/v1/apps", app, timeout=10)
        if status == 201:
            env = answer["env"]
            return {"id": env["GATECAST_APP_ID"], "key": env["PUSHER_APP_KEY"], "secret": env["PUSHER_APP_SECRET"]}
        await asyncio.sleep(0.5)
    raise AssertionError(f"the app was not made: {status} {answer}")


async def whole(lab):
    """Ready everywhere."""
    took = await lab.all_ready(HEALED)
    if took is None:
        said = [(n, await lab.ask(n, "GET", "/ready")) for n in NODES]
        raise AssertionError(f"not whole again within {HEALED} s: {said}")
    return took


async def same_state(lab):
    """Every node has the same apps, keys and rights, byte for byte. Only when nobody writes any more; the time of the
    cluster is written as well, so they are asked until they are asked between two of those."""
    for _ in range(100):
        states = await asyncio.gather(*(lab.state(node) for node in NODES))
        if None not in states and len(set(states)) == 1:
            return len(states[0])
        await asyncio.sleep(0.1)
    said = [(node, state and (len(state), hashlib.sha256(state).hexdigest()[:12])) for node, state in zip(NODES, states)]
    raise AssertionError(f"the nodes do not come to the same state: {said}")


async def acknowledged(lab, load):
    """Every right that was acknowledged is there, through every node; none that was taken is back."""
    for user in load.users:
        wanted = asyncio.create_task(last_change(lab, load, user))
        await wanted


async def last_change(lab, load, user):
    for node in NODES:
        began = next(load.moments)
        question = {"user": user, "channel": f"private-{user}", "operations": ["subscribe"]}
        for _ in range(20):
            status, answer = await lab.ask(node, "POST", f"/v1/apps/{load.app['id']}/explain", question)
            if status == 200 and answer.get("fresh"):
                break
            await asyncio.sleep(0.2)
        assert status == 200, f"explain on node {node}: {status} {answer}"
        load.note(user, began, next(load.moments), "allowed" if answer.get("allowed") else "refused")


async def play(lab, names, folder):
    for node in NODES:
        lab.start(node)
    took = await lab.all_ready(60)
    if took is None:
        raise AssertionError("the cluster does not come up; see the logs")
    app = await make_app(lab)
    load = Load(lab, app)
    load.run()
    await asyncio.sleep(2)
    rows, failed = [], 0
    for name in names:
        began, verdict, said = time.monotonic(), "ok", ""
        before = dict(load.counts)
        try:
            said = await SCENARIOS[name](lab, load)
            said += f"; whole after {await whole(lab):.1f} s"
            await asyncio.sleep(0.5)
            await load.settle()
            said += f"; the same {await same_state(lab)} bytes of state everywhere"
            await acknowledged(lab, load)
            wrong = await load.witnesses.judge(HEALED)
            assert not wrong, "; ".join(wrong[:4])
            load.writing.set()
        except Skip as skip:
            verdict, said = "skipped", str(skip)
        except (AssertionError, asyncio.TimeoutError, OSError, KeyError) as error:
            verdict, said = "FAILED", f"{type(error).__name__}: {error}"
            lab.block([])
            for node in NODES:
                if not lab.alive(node):
                    lab.start(node)
            await lab.all_ready(HEALED)
            load.writing.set()
        broken = load.violations()
        if broken:
            verdict, said = "FAILED", "; ".join(broken[:3])
            load.broken = []
        bad = lab.faults_in_logs({**CANARIES, "app": app["secret"]})
        if bad:
            verdict, said = "FAILED", "; ".join(bad[:3])
        failed += verdict == "FAILED"
        work = {key: load.counts[key] - before[key] for key in load.counts}
        rows.append((name, verdict, time.monotonic() - began, work, said))
        print(f"fault {name}: {verdict} {time.monotonic() - began:.1f} s  {said}", flush=True)
    await load.end()
    failed += judge(lab, load, folder, rows)
    table(rows, load)
    return failed, sum(row[1] == "ok" for row in rows)


def judge(lab, load, folder, rows):
    bad = load.violations()
    if not load.light & load.seen.keys():
        bad.append("no publication was ever received: the oracle was blind")
    if not load.witnesses.counts.get("expected") or not load.dark.keys() & load.witnesses.heard():
        bad.append("the witnesses received nothing, or nothing that was kept from others: they were blind")
    path = folder / "history.txt"
    load.write_history(path)
    checker = os.environ["GATECAST_LINEARIZE"]
    done = subprocess.run([checker, str(path)], capture_output=True, text=True)
    if done.returncode != 0:
        bad.append("the history is not linearizable")
        print(done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    good = done.returncode == 0
    print(f"fault history: {'ok' if good else 'FAILED'} {'; '.join(line for line in lines if 'calls' in line)}")
    bad += lab.faults_in_logs({**CANARIES, "app": load.app["secret"]})
    for what in bad:
        print(f"fault oracle: FAILED {what}")
    rows.append(("history and logs", "FAILED" if bad else "ok", 0.0, {}, "; ".join(bad)))
    return len(bad)


def table(rows, load):
    print(f"\n{'scenario':22} {'verdict':8} {'s':>5} {'grants':>6} {'revokes':>7} {'fenced':>6} {'unknown':>7} {'dark':>5} {'answers':>7}  note")
    for name, verdict, took, work, said in rows:
        columns = [work.get(key, 0) for key in ("grants", "revokes", "fenced", "unknown", "dark", "answers")]
        numbers = f"{columns[0]:6} {columns[1]:7} {columns[2]:6} {columns[3]:7} {columns[4]:5} {columns[5]:7}"
        print(f"{name:22} {verdict:8} {took:5.1f} {numbers}  {said[:150]}")
    times = sorted(load.revoke_ms)
    if times:
        at = lambda p: times[min(len(times) - 1, int(len(times) * p))]
        print(f"\nrevokes: {len(times)}, p50 {at(0.5):.0f} ms, p99 {at(0.99):.0f} ms, max {times[-1]:.0f} ms (faults included)")
    print(f"light messages {load.counts['light']}, received {len(load.light & load.seen.keys())}; dark {load.counts['dark']}, received 0 or named above")
    counts = load.witnesses.counts
    print(f"witnesses: receipts expected {counts.get('expected', 0)}, received {counts.get('receipts', 0)}, lost 0 or named above")
    print(f"closes by code: {dict(sorted(load.codes.items()))}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    names = arguments.only or (SHORT if arguments.short else list(SCENARIOS))
    for name in names:
        if name not in SCENARIOS:
            sys.exit(f"no such scenario: {name}; there are {', '.join(SCENARIOS)}")
    rounds = [name for _ in range(arguments.rounds) for name in random.sample(names, len(names))]
    if arguments.short:
        rounds = names
    folder = Path(os.environ["GATECAST_FAULTS_DIR"])
    lab = Lab(folder / "lab", os.environ["GATECAST_BIN"])
    print(f"seed {arguments.seed}, {len(rounds)} scenarios")
    try:
        Path("/run/netns").mkdir(parents=True, exist_ok=True)
        sh("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        lab.build()
    except (Skip, FileNotFoundError) as skip:
        print(f"fault tests skipped: {skip}")
        sys.exit(3)
    try:
        failed, passed = asyncio.run(play(lab, rounds, folder))
    finally:
        lab.stop()
    print(f"{passed} faults passed, {failed} faults failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
