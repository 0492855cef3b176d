"""The official PubNub Python SDK as a small service: one JSON call per line in, one JSON answer per line out.

{"url": "...", "keys": {...}, "config": {...}, "call": "publish", "with": [["channel", "c"], ["message", 1]]}

A client that subscribes is kept under a name: `open` subscribes, `next` waits for what its listener hears, `close` ends it.
"""

import json
import queue
import sys
from urllib.parse import urlsplit

from pubnub.callbacks import SubscribeCallback
from pubnub.enums import PNStatusCategory
from pubnub.exceptions import PubNubException
from pubnub.models.consumer.v3.channel import Channel
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub import PubNub


def sdk(request):
    keys = request["keys"]
    config = PNConfiguration()
    config.publish_key = keys["publishKey"]
    config.subscribe_key = keys["subscribeKey"]
    config.uuid = request["config"].get("uuid", "py")
    config.origin = urlsplit(request["url"]).netloc
    config.ssl = False
    if request["config"].get("server"):
        config.secret_key = keys["secretKey"]
    if "auth" in request["config"]:
        config.auth_key = request["config"]["auth"]
    if "presence_timeout" in request["config"]:
        config.set_presence_timeout(request["config"]["presence_timeout"])
    return PubNub(config)


CATEGORIES = {number: name for name, number in vars(PNStatusCategory).items() if name.startswith("PN")}


def readable(name):
    return Channel.id(name).read().write()


class Heard(SubscribeCallback):
    """Everything a subscription tells, in order."""

    def __init__(self):
        self.events = queue.Queue()

    def status(self, pubnub, status):
        category = CATEGORIES.get(status.category, str(status.category))
        self.events.put({"kind": "status", "category": category, "error": bool(status.error), "status": status.status_code})

    def message(self, pubnub, event):
        self.events.put({"kind": "message", "channel": event.channel, "subscription": event.subscription, "message": event.message, "publisher": event.publisher})

    def presence(self, pubnub, event):
        self.events.put({"kind": "presence", "event": event.event, "uuid": event.uuid, "channel": event.channel, "occupancy": event.occupancy, "state": event.state})

    def signal(self, pubnub, event):
        self.events.put({"kind": "signal", "message": event.message})


KEPT = {}


def keep(request):
    if request["call"] == "open":
        pubnub, heard = sdk(request), Heard()
        if "token" in request:
            pubnub.set_token(request["token"])
        pubnub.add_listener(heard)
        call = pubnub.subscribe().channels(request.get("channels", [])).channel_groups(request.get("groups", []))
        (call.with_presence() if request.get("presence") else call).execute()
        KEPT[request["name"]] = (pubnub, heard)
        return True
    pubnub, heard = KEPT[request["name"]]
    if request["call"] == "next":
        return heard.events.get(timeout=15)
    if request["call"] == "subscribed":
        return pubnub.get_subscribed_channels()
    pubnub.unsubscribe_all()
    pubnub.stop()
    return True


def plain(value, depth=3):
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(one, depth) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one, depth) for one in value]
    if depth == 0:
        return str(value)
    return {key: plain(one, depth - 1) for key, one in vars(value).items() if not key.startswith("_")}


def answer(request):
    try:
        if "name" in request:
            return {"ok": keep(request)}
        pubnub = sdk(request)
        if "token" in request and request["call"] != "parse_token":
            pubnub.set_token(request["token"])
        if request["call"] == "parse_token":
            return {"ok": plain(pubnub.parse_token(request["token"]))}
        revoked = request["config"].get("revoke")
        call = getattr(pubnub, request["call"])(*([revoked] if revoked else []))
        for name, value in request.get("with", []):
            if request["call"] == "grant_token" and name == "channels":
                value = [readable(channel) for channel in value]
            call = getattr(call, name)(*([] if value is None else [value]))
        return {"ok": plain(call.sync().result)}
    except PubNubException as error:
        return {"error": {"status": error._status_code, "message": str(error)}}
    except Exception as error:  # Every refusal is an answer here: the test decides what it should have been.
        return {"error": {"type": type(error).__name__, "message": str(error)}}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
