"""A raw Pusher-protocol client: no SDK between us and what the broker really sends."""

import asyncio
import hashlib
import hmac
import json

from sockets import Closed, WebSocket

__all__ = ["Client", "Closed"]


class Client(WebSocket):
    @classmethod
    async def open(cls, host, key, port=6001, timeout=5.0):
        client = await cls.dial(host, f"/app/{key}?protocol=7&client=gatecast-faults&version=1", port, timeout)
        try:
            hello = await asyncio.wait_for(client.event(), timeout)
        except (asyncio.TimeoutError, OSError) as error:
            client.close()
            raise Closed(1006) from error
        if hello["event"] != "pusher:connection_established":
            client.close()
            raise Closed(int((hello.get("data") or {}).get("code") or 1006))
        client.socket_id = json.loads(hello["data"])["socket_id"]
        return client

    def send(self, event, data):
        self.say({"event": event, "data": data})

    async def event(self):
        """The next event; answers pings. Raises Closed."""
        while True:
            event = json.loads(await self.text())
            if event["event"] != "pusher:ping":
                return event
            self.send("pusher:pong", {})

    def sign(self, app, text):
        mac = hmac.new(app["secret"].encode(), f"{self.socket_id}{text}".encode(), hashlib.sha256).hexdigest()
        return f"{app['key']}:{mac}"

    def sign_in(self, app, user):
        user_data = json.dumps({"id": user})
        self.send("pusher:signin", {"user_data": user_data, "auth": self.sign(app, f"::user::{user_data}")})

    def enter(self, app, channel, user):
        """Subscribes to a presence channel as that user."""
        data = json.dumps({"user_id": user})
        self.send("pusher:subscribe", {"channel": channel, "channel_data": data, "auth": self.sign(app, f":{channel}:{data}")})
