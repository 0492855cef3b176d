"""The official Python SDK as a small service: one JSON call per line in, one JSON answer per line out.

{"url": "http://127.0.0.1:6001", "call": "trigger", "args": [...], "kwargs": {...}} -> {"ok": ...} or {"error": {...}}
"""

import json
import sys
from urllib.parse import urlsplit

import pusher


def sdk(request):
    url = urlsplit(request["url"])
    app = request["app"]
    return pusher.Pusher(
        app_id=app["id"],
        key=app["key"],
        secret=app["secret"],
        host=url.hostname,
        port=url.port,
        ssl=False,
        timeout=15,
    )


def answer(request):
    try:
        call = getattr(sdk(request), request["call"])
        return {"ok": call(*request.get("args", []), **request.get("kwargs", {}))}
    except Exception as error:  # Every refusal is an answer here: the test decides what it should have been.
        return {"error": {"type": type(error).__name__, "message": str(error)}}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
