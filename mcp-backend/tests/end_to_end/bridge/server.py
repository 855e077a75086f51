"""An MCP server on stdin and stdout that does what a test tells it to, also what no server should.

Its first argument is how it behaves:
  sessions    2025-11-25: knows initialize, not server/discover
  stateless   2026-07-28: knows server/discover, not initialize
  either      both, until it is asked to initialize: from then on as `sessions`
  first       both; whichever comes first is what it goes on with
  strict      as `sessions`, but ends at a first message that is not initialize
  picky       as `sessions`, but refuses clients that it does not know
  silent      reads and never answers
  exit        ends at once
With two more arguments, a file and a number, its first starts fail, so many: the file counts them.
A tool call runs in a thread of its own, so that several can be under way.
"""

import json
import os
import subprocess
import sys
import threading
import time

VERSION = "io.modelcontextprotocol/protocolVersion"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
mode = sys.argv[1]
tied = None
lock = threading.Lock()
answers = {}
answered = threading.Condition()
heard = []
asked = 0


def write(text):
    with lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def send(**message):
    write(json.dumps({"jsonrpc": "2.0", **message}))


def notify(method, **params):
    send(method=method, params=params)


def text(value):
    value = value if isinstance(value, str) else json.dumps(value)
    return {"content": [{"type": "text", "text": value}]}


def ask(method, params):
    """Ask the client and wait for what it says."""
    global asked
    with lock:
        asked += 1
        number = f"question {asked}"
    send(id=number, method=method, params=params)
    with answered:
        answered.wait_for(lambda: number in answers, timeout=20)
    return answers.pop(number, None)


def call(name, arguments, meta):
    if name == "echo":
        return text(arguments)
    if name == "environment":
        return text({"environment": dict(os.environ), "folder": os.getcwd(), "pid": os.getpid()})
    if name == "heard":
        return text(heard)
    if name == "sleep":
        time.sleep(arguments["seconds"])
        return text("slept")
    if name == "progress":
        for step in range(3):
            notify("notifications/progress", progressToken=meta["progressToken"], progress=step + 0.5)
            time.sleep(0.05)
        return text("done")
    if name == "log":
        for level in ["debug", "warning"]:
            notify("notifications/message", level=level, data=f"a {level} of {arguments['who']}")
        time.sleep(0.1)
        return text("logged")
    if name == "change":
        notify("notifications/tools/list_changed")
        notify("notifications/resources/updated", uri="test://a")
        notify("notifications/resources/updated", uri="test://b")
        return text("changed")
    if name == "ask":
        return text([ask(question["method"], question["params"]) for question in arguments["questions"]])
    if name == "die":
        os._exit(3)
    if name == "mute":
        return None
    if name == "noise":
        write("Server running on stdio")
        write('{"jsonrpc": "2.0", "half')
        write("[1, 2]")
        sys.stderr.write("x" * 100_000 + "\n")
        for line in range(arguments["lines"]):
            sys.stderr.write(f"line {line}\n")
        sys.stderr.flush()
        return text("still well")
    if name == "long line":
        write("x" * arguments["bytes"])
        return text("after the long line")
    if name == "family":
        child = subprocess.Popen(["sh", "-c", "trap '' TERM HUP; while :; do sleep 1; done"], stdin=subprocess.DEVNULL)
        return text({"pid": os.getpid(), "child": child.pid})
    raise KeyError(name)


def run(id, params):
    meta = params.get("_meta", {})
    try:
        result = call(params["name"], params.get("arguments", {}), meta)
    except KeyError:
        send(id=id, error={"code": -32602, "message": "Unknown tool"})
        return
    if result is not None:
        send(id=id, result=complete(result))


def complete(result):
    return result if speaks() == "sessions" else {"resultType": "complete", **result}


BOTH = ["either", "first"]
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
INFO = {"name": "scripted", "version": "1.0"}


def speaks():
    if mode in ["picky", "strict"]:
        return "sessions"
    return mode if mode not in BOTH else tied or "stateless"


def request(id, method, params):
    global tied
    if method == "initialize" and (mode == "either" or tied is None):
        tied = "sessions"
    tied = tied or "stateless"
    if speaks() == "stateless" and VERSION not in params.get("_meta", {}):
        return send(id=id, error={"code": -32602, "message": "_meta lacks the version"})
    if method == "initialize" and speaks() == "sessions":
        version = params["protocolVersion"]
        if mode == "picky" and params["clientInfo"]["name"] != "cupcake-gateway":
            return send(id=id, error={"code": -32000, "message": "I don't know you"})
        return send(
            id=id,
            result={"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": INFO, "instructions": "Be kind"},
        )
    if method == "server/discover" and speaks() == "stateless":
        return send(
            id=id,
            result={
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": CAPABILITIES,
                "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
                "ttlMs": 1000,
                "cacheScope": "public",
            },
        )
    if method == "subscriptions/listen" and speaks() == "stateless":
        meta = {"_meta": {SUBSCRIPTION: id}}
        notify("notifications/subscriptions/acknowledged", notifications=params["notifications"], **meta)
        return notify("notifications/tools/list_changed", **meta)
    if method == "tools/list":
        tool = {"name": "echo", "inputSchema": {"type": "object"}}
        return send(id=id, result=complete({"tools": [tool]}))
    if method == "tools/call":
        return threading.Thread(target=run, args=(id, params), daemon=True).start()
    if method == "resources/read":
        return send(id=id, error={"code": -32002, "message": "Resource not found"})
    if method == "x/verbatim":
        # Members in an order, numbers in forms, that only text keeps.
        return write(f'{{"result":{{"z":1.0,"a":12345678901234567890123,"e":1E400,"u":"\\u00e9"}},"x":[1.50],"id":{json.dumps(id)},"jsonrpc":"2.0"}}')
    if method in ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] and speaks() == "sessions":
        return send(id=id, result={})
    send(id=id, error={"code": -32601, "message": "Method not found"})


if len(sys.argv) > 2:
    with open(sys.argv[2], "a") as starts:
        starts.write(".")
    if os.path.getsize(sys.argv[2]) <= int(sys.argv[3]):
        sys.stderr.write("the database is away\n")
        sys.exit(5)

if mode == "exit":
    sys.stderr.write("I can't go on\n")
    sys.exit(7)

for line in sys.stdin:
    message = json.loads(line)
    heard.append(line.strip())
    if mode == "silent":
        continue
    if mode == "strict" and len(heard) == 1 and message.get("method") != "initialize":
        sys.stderr.write("expect initialize request\n")
        sys.exit(1)
    if "method" not in message:
        with answered:
            answers[message["id"]] = message.get("result", message.get("error"))
            answered.notify_all()
    elif "id" in message:
        request(message["id"], message["method"], message.get("params", {}))
