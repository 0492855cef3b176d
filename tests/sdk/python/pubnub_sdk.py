"""The official PubNub Python SDK as a small service: one JSON call per line in, one JSON answer per line out.

{"url": "...", "keys": {...}, "config": {...}, "call": "publish", "with": [["channel", "c"], ["message", 1]]}
"""

import json
import sys
from urllib.parse import urlsplit

from pubnub.exceptions import PubNubException
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
    return PubNub(config)


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
        pubnub = sdk(request)
        if request["call"] == "parse_token":
            return {"ok": plain(pubnub.parse_token(request["token"]))}
        call = getattr(pubnub, request["call"])()
        for name, value in request.get("with", []):
            call = getattr(call, name)(*([] if value is None else [value]))
        return {"ok": plain(call.sync().result)}
    except PubNubException as error:
        return {"error": {"status": error._status_code, "message": str(error)}}
    except Exception as error:  # Every refusal is an answer here: the test decides what it should have been.
        return {"error": {"type": type(error).__name__, "message": str(error)}}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
