"""The official Python `ably` SDK: what one node is told is asked of the other, which may be the same. Every step prints a
line of JSON, and the last one says `done`.

Arguments: url, the other node's url, key, JWT of client `pia`.
"""

import asyncio
import json
import sys
from urllib.parse import urlsplit

from ably import AblyException, AblyRealtime, AblyRest
from ably.types.connectionstate import ConnectionState


def say(step, **what):
    print(json.dumps({"step": step, **what}), flush=True)


async def connected(realtime):
    if realtime.connection.state != ConnectionState.CONNECTED:
        await asyncio.wait_for(realtime.connection.once_async("connected"), 15)


def rest_client(at, key, binary):
    return AblyRest(key=key, use_binary_protocol=binary, endpoint=at.hostname, port=at.port, tls=False, use_token_auth=True)


async def rest(here, there, key):
    for binary in (False, True):
        async with rest_client(here, key, binary) as api, rest_client(there, key, binary) as other:
            channel = api.channels.get(f"py-rest-{binary}")
            await channel.publish("n", {"a": "ü"})
            await channel.publish("n", bytearray(b"\x00\xff"))
            page = await other.channels.get(f"py-rest-{binary}").history()
            data = [list(item.data) if isinstance(item.data, (bytes, bytearray)) else item.data for item in page.items]
            token = await api.auth.request_token({"capability": {"py": ["subscribe"]}, "ttl": 60000})
            say("rest", binary=binary, data=data, capability=json.loads(str(token.capability)), time=await api.time())


async def realtime(here, there, key, jwt):
    for binary in (False, True):
        options = {"tls": False, "use_binary_protocol": binary}
        one = AblyRealtime(key=key, endpoint=here.netloc, **options)
        two = AblyRealtime(token=jwt, endpoint=there.netloc, **options)
        await connected(one)
        await connected(two)
        name = f"py-realtime-{binary}"
        got = asyncio.get_running_loop().create_future()
        await one.channels.get(name).subscribe(lambda message: got.done() or got.set_result(message))
        await two.channels.get(name).publish("greet", {"n": 1})
        message = await asyncio.wait_for(got, 15)
        say("realtime", binary=binary, data=message.data, client=message.client_id)
        await two.channels.get(name).presence.enter("here")
        # Entering is acknowledged to the one who enters; the other's own copy of the set hears of it a moment later.
        for _ in range(150):
            members = await one.channels.get(name).presence.get()
            if members:
                break
            await asyncio.sleep(0.1)
        say("presence", binary=binary, members=[[one.client_id, one.data] for one in members])
        await one.close()
        await two.close()


async def refused(at, key):
    one = AblyRealtime(key=key.rsplit(":", 1)[0] + ":wrong", endpoint=at.netloc, tls=False)
    change = await asyncio.wait_for(one.connection.once_async("failed"), 15)
    say("refused", code=change.reason.code)
    await one.close()
    try:
        async with AblyRest(token="nonsense", endpoint=at.hostname, port=at.port, tls=False) as api:
            await api.channels.get("x").history()
    except AblyException as error:
        say("refused", code=error.code)


async def main(url, other, key, jwt):
    here, there = urlsplit(url), urlsplit(other)
    await rest(here, there, key)
    await realtime(here, there, key, jwt)
    await refused(there, key)
    say("done")


asyncio.run(main(*sys.argv[1:]))
