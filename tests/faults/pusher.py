"""A raw Pusher-protocol client: no SDK between us and what the broker really sends."""

import asyncio
import hashlib
import hmac
import json
import os
import struct


class Closed(Exception):
    """The connection is over; the code says why (1006 = without a close frame)."""

    def __init__(self, code):
        super().__init__(f"closed with {code}")
        self.code = code


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, host, key, port=6001, timeout=5.0):
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout)
        client = cls(reader, writer)
        path = f"/app/{key}?protocol=7&client=gatecast-faults&version=1"
        writer.write((f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())  # fmt: skip
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout)
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise Closed(int(head.split(b" ", 2)[1]))
            hello = await asyncio.wait_for(client.event(), timeout)
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, OSError) as error:
            client.close()
            raise Closed(1006) from error
        if hello["event"] != "pusher:connection_established":
            client.close()
            raise Closed(int((hello.get("data") or {}).get("code") or 1006))
        client.socket_id = json.loads(hello["data"])["socket_id"]
        return client

    def send(self, event, data):
        self.frame(1, json.dumps({"event": event, "data": data}).encode())

    def frame(self, opcode, body):
        mask = os.urandom(4)
        head = bytes([0x80 | opcode])
        head += bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(body))
        self.writer.write(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(body)))

    async def event(self):
        """The next event; answers pings. Raises Closed."""
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
                event = json.loads(body)
                if event["event"] == "pusher:ping":
                    self.send("pusher:pong", {})
                    continue
                return event

    def sign_in(self, app, user):
        user_data = json.dumps({"id": user})
        text = f"{self.socket_id}::user::{user_data}"
        mac = hmac.new(app["secret"].encode(), text.encode(), hashlib.sha256).hexdigest()
        self.send("pusher:signin", {"user_data": user_data, "auth": f"{app['key']}:{mac}"})

    def close(self):
        self.writer.transport.abort()
