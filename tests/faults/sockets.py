"""The two transports below the dialects' raw clients: a WebSocket and an HTTP connection that is kept.

Neither knows a dialect, and neither comes back by itself: what a client sees of a fault is what its dialect makes of it.
"""

import asyncio
import json
import os
import struct


class Closed(Exception):
    """The connection is over; the code says why (1006 = without a close frame)."""

    def __init__(self, code):
        super().__init__(f"closed with {code}")
        self.code = code


class WebSocket:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def dial(cls, host, path, port=6001, timeout=5.0):
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout)
        made = cls(reader, writer)
        writer.write((f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())  # fmt: skip
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout)
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, OSError) as error:
            made.close()
            raise Closed(1006) from error
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            made.close()
            raise Closed(int(head.split(b" ", 2)[1]))
        return made

    def frame(self, opcode, body):
        mask = os.urandom(4)
        head = bytes([0x80 | opcode])
        head += bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(body))
        self.writer.write(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(body)))

    def say(self, value):
        """A value as JSON in a frame of text."""
        self.frame(1, json.dumps(value).encode())

    async def text(self):
        """The next frame of text; answers pings. Raises Closed."""
        while True:
            try:
                first, second = await self.reader.readexactly(2)
                size = second & 127
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                body = await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, OSError) as error:
                raise Closed(1006) from error
            opcode = first & 15
            if opcode == 8:
                raise Closed(struct.unpack("!H", body[:2])[0] if len(body) >= 2 else 1005)
            if opcode == 9:
                self.frame(10, body)
            if opcode == 1:
                return body.decode()

    def close(self):
        self.writer.transport.abort()


class Kept:
    """One HTTP connection to one host, opened when it is needed and again after it broke."""

    def __init__(self, host, port):
        self.host, self.port, self.reader, self.writer = host, port, None, None

    async def ask(self, method, path, body=None, headers=(), timeout=8.0):
        """(status, JSON or text) of the answer; status 0 when nobody can tell whether the request was taken."""
        try:
            return await asyncio.wait_for(self._ask(method, path, body, headers), timeout)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError, IndexError):
            self.close()
            return 0, None
        except asyncio.CancelledError:
            self.close()
            raise

    async def _ask(self, method, path, body, headers):
        if self.writer is None or self.reader.at_eof():
            self.close()
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        # Whoever closes it meanwhile takes these away from the next request, not from this one.
        reader, writer = self.reader, self.writer
        payload = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", f"Content-Length: {len(payload)}", *headers]
        if body is not None:
            lines.append("Content-Type: application/json")
        writer.write("\r\n".join([*lines, "", ""]).encode() + payload)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        answer = await chunks(reader) if "transfer-encoding: chunked" in head else await sized(reader, head)
        if "connection: close" in head:
            self.close()
        return status, json.loads(answer) if answer.strip()[:1] in (b"{", b"[") else answer.decode(errors="replace")

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None


async def sized(reader, head):
    size = next(line.split(":", 1)[1] for line in head.split("\r\n") if line.startswith("content-length:"))
    return await reader.readexactly(int(size))


async def chunks(reader):
    whole = b""
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        whole += await reader.readexactly(size)
        await reader.readexactly(2)
        if size == 0:
            return whole
