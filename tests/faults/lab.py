"""The laboratory: three nodes, each a real process in a network namespace of its own, and what can be done to them.

Everything is made inside this process's own network and mount namespaces (scripts/faults enters them), so it is
gone when the process is. Processes are ended by the ids that were started here.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NET = "10.77.0"
NODES = (1, 2, 3)
CANARIES = {name: f"canary-{name}-{secrets.token_hex(12)}" for name in ("cluster", "admin")}


BACKUP = b"gatecast backup 1\n"


class Skip(Exception):
    """The kernel or the machine does not allow what a test needs; the text says what."""


def sh(*command, check=True, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise Skip(f"`{' '.join(command)}`: {done.stderr.strip() or done.returncode}")
    return done


def addr(node):
    return f"{NET}.{node}"


class Lab:
    def __init__(self, folder, binary):
        self.folder, self.binary = Path(folder), Path(binary)
        self.procs, self.logs, self.extra, self.told_dead = {}, {}, {}, set()
        # How far the nodes stand behind everything else on the machine.
        self.niceness = 0
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.shim = self.folder / "sync_shim.so"

    # --- the network ---

    def build(self):
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "link", "add", "gc0", "type", "bridge")
        sh("ip", "addr", "add", f"{NET}.254/24", "dev", "gc0")
        sh("ip", "link", "set", "gc0", "up")
        for node in NODES:
            ns = f"gcn{node}"
            sh("ip", "netns", "add", ns)
            sh("ip", "link", "add", f"gcv{node}", "type", "veth", "peer", "name", "eth0", "netns", ns)
            sh("ip", "link", "set", f"gcv{node}", "master", "gc0", "up")
            sh("ip", "-n", ns, "addr", "add", f"{addr(node)}/24", "dev", "eth0")
            sh("ip", "-n", ns, "link", "set", "eth0", "up")
            sh("ip", "-n", ns, "link", "set", "lo", "up")
            sh("ip", "netns", "exec", ns, "nft", "list", "ruleset")
        sh("cc", "-shared", "-fPIC", "-O1", "-o", str(self.shim), str(ROOT / "tests/faults/sync_shim.c"), "-ldl")
        for name, value in CANARIES.items():
            path = self.folder / f"{name}_secret"
            path.write_text(value + "\n")
            path.chmod(0o600)

    def block(self, pairs):
        """Nothing gets from the first of each pair to the second any more."""
        for node in NODES:
            rules = [f"ip saddr {addr(a)} drop" for a, b in pairs if b == node]
            table = "table inet cut\ndelete table inet cut\n"
            if rules:
                table += "table inet cut {\nchain input {\ntype filter hook input priority 0;\n" + "\n".join(rules) + "\n}\n}\n"
            done = sh("ip", "netns", "exec", f"gcn{node}", "nft", "-f", "-", check=False, text=table)
            assert done.returncode == 0, f"nft: {done.stderr}"

    def isolate(self, node):
        self.block([(a, b) for a in NODES for b in NODES if a != b and node in (a, b)])

    # --- the processes ---

    def start(self, node, **variables):
        self.extra[node] = variables or self.extra.get(node, {})
        members = ",".join(f"{n}={addr(n)}:7601" for n in NODES)
        at = addr(node)
        command = ["nice", "-n", str(self.niceness), "ip", "netns", "exec", f"gcn{node}", "env", *[f"{k}={v}" for k, v in self.extra[node].items()],
                   str(self.binary), "serve", "--node", str(node), "--data", str(self.data(node)),
                   "--public", f"{at}:6001", "--internal", f"{at}:9601", "--peer", f"{at}:7601", "--cluster", members,
                   "--allow-plaintext-peers", "--allow-plaintext-internal",
                   "--cluster-secret-file", str(self.folder / "cluster_secret"),
                   "--admin-token-file", str(self.folder / "admin_secret"), "--log-format", "pretty"]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GATECAST_")}
        log = open(self.folder / f"node{node}.log", "ab")
        self.logs[node] = self.folder / f"node{node}.log"
        self.procs[node] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        log.close()

    def data(self, node):
        path = self.folder / f"node{node}"
        path.mkdir(exist_ok=True)
        return path

    def signal(self, node, what):
        self.procs[node].send_signal(what)

    def kill(self, *nodes):
        for node in nodes:
            self.signal(node, signal.SIGKILL)
        for node in nodes:
            self.procs[node].wait(10)

    def alive(self, node):
        return self.procs[node].poll() is None

    def stop(self):
        for node, proc in self.procs.items():
            if proc.poll() is None:
                proc.send_signal(signal.SIGCONT)
                proc.terminate()
        for proc in self.procs.values():
            try:
                proc.wait(20)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait(5)

    # --- what they say ---

    async def ask(self, node, method, path, body=None, timeout=5.0, key=None):
        """(status, JSON) of a node's answer; status 0 when there is none in time."""
        try:
            return await asyncio.wait_for(http(addr(node), method, path, body, key), timeout)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError):
            return 0, {}

    async def state(self, node):
        """The bytes of what the node knows of apps, keys and rights; none if it does not tell."""
        try:
            file = await asyncio.wait_for(backup(addr(node)), 5)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError):
            return None
        head = int.from_bytes(file[len(BACKUP) : len(BACKUP) + 4], "big")
        return file[len(BACKUP) + 4 + head :]

    async def ready(self, node):
        return (await self.ask(node, "GET", "/ready", timeout=2))[0] == 200

    async def all_ready(self, seconds, nodes=NODES):
        """How long it took; nothing if it did not happen."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if all(await asyncio.gather(*(self.ready(node) for node in nodes))):
                return time.monotonic() - began
            await asyncio.sleep(0.1)
        return None

    async def leader(self):
        for _ in range(100):
            for node in NODES:
                status, seen = await self.ask(node, "GET", "/v1/cluster", timeout=1)
                if status == 200 and seen.get("leader"):
                    return seen["leader"]
            await asyncio.sleep(0.1)
        raise AssertionError("nobody leads")

    def faults_in_logs(self, secret_texts):
        found = []
        for node, path in self.logs.items():
            text = path.read_text(errors="replace")
            found += [f"node {node} panicked: {line}" for line in text.splitlines() if "panicked at" in line][:3]
            found += [f"node {node} logged the secret {name}" for name, value in secret_texts.items() if value in text]
        return found


async def backup(host, port=9601):
    """A node's own state, as a backup is made of it; what stands in front of it says when and where that was."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write((f"GET /v1/cluster/backup HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CANARIES['admin']}\r\n"
                      "Connection: close\r\n\r\n").encode())  # fmt: skip
        _, found, file = (await reader.read()).partition(b"\r\n\r\n")
        if not file.startswith(BACKUP):
            raise ValueError("no backup")
        return file
    finally:
        writer.close()


async def http(host, method, path, body, key, port=9601):
    reader, writer = await asyncio.open_connection(host, port)
    try:
        payload = b"" if body is None else json.dumps(body).encode()
        head = (f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {CANARIES['admin']}\r\n"
                + (f"Idempotency-Key: {key}\r\n" if key else "") +
                f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\nConnection: close\r\n\r\n")  # fmt: skip
        writer.write(head.encode() + payload)
        await writer.drain()
        answer = await reader.read()
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" in head.lower():
            body = b"".join(unchunk(body))
        return status, json.loads(body) if body.strip().startswith((b"{", b"[")) else {"text": body.decode(errors="replace")}
    except IndexError as error:
        raise ValueError("no HTTP answer") from error
    finally:
        writer.close()


def unchunk(body):
    while body:
        size, _, body = body.partition(b"\r\n")
        size = int(size, 16)
        if size == 0:
            return
        yield body[:size]
        body = body[size + 2 :]
