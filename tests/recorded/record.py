#!/usr/bin/env python3
"""Records what one version of the gateway writes, for tests/tests/wire/recorded.rs.

    tests/recorded/record.py GATEWAY MCP_BACKEND

GATEWAY and MCP_BACKEND are the programs of the version that is recorded; redis-server must be installed. It walks through the real pages and commands, once on the embedded
store and once on Redis, and leaves in tests/recorded/embedded and tests/recorded/redis:

    state/…         the state folder (the embedded store's file compressed), or
    redis.commands  what Redis appended to its file, as the bytes of its protocol
    audit/…         the audit log
    keys/…          the keys, made for this recording and used by nothing else
    said.json       what clients and people were given and typed: tokens, codes, passwords

Nothing in it is a secret of anybody. Everything that ends was given a hundred years; what can't be
(a code lives 60 seconds, a login twelve hours) has ended when the recording is read.
"""

import base64, gzip, hashlib, html, http.client, json, pathlib, re, secrets, shutil, socket
import subprocess, sys, tempfile, time, urllib.parse

GATEWAY, BACKEND = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
HERE = pathlib.Path(__file__).resolve().parent
PORT = 18471  # On addresses of the loopback network that nobody else listens on.
PLACES = {"embedded": "127.77.0.1", "redis": "127.77.0.2"}
CALLBACK = "http://127.0.0.1:53680/callback"
PASSWORDS = {
    "alice": "the owner of the recording",
    "bob": "a person of the recording",
    "carol": "kept out by the operator",
}
TOKENS = """
[tokens]
refresh = true
access_ttl = "36500d"
refresh_idle = "36510d"
refresh_max = "36520d"
refresh_grace = "1s"
"""


class Recording:
    def __init__(self, kind):
        self.kind, self.folder = kind, pathlib.Path(tempfile.mkdtemp())
        self.place = PLACES[kind]
        self.url = f"http://{self.place}:{PORT}"
        self.config = self.folder / "gateway.toml"
        self.programs, self.cookies = [], {}

    def start(self):
        store = f"file:{self.folder}/state"
        if self.kind == "redis":
            self.run_beside("redis-server", "--port", "18474", "--bind", self.place, "--save", "",
                            "--appendonly", "yes", "--appendfsync", "always",
                            "--aof-use-rdb-preamble", "no", "--dir", str(self.folder))
            reached(18474, self.place)
            store = f"redis://{self.place}:18474/0"
        self.run_beside(BACKEND, "--documents", HERE.parent.parent / "conf/documents", "--listen",
                        "127.0.0.1:18473")
        reached(18473, "127.0.0.1")
        hashed = subprocess.run([GATEWAY, "users", "hash"], input=PASSWORDS["alice"] + "\n",
                                capture_output=True, text=True, check=True).stdout.strip()
        self.config.write_text(f"""
public_url = "{self.url}"
listen = ["{self.place}:{PORT}"]
admin_listen = "{self.place}:18472"
keys_dir = "{self.folder}/keys"
[store]
url = "{store}"
[audit]
file = "{self.folder}/audit/audit.jsonl"
[owner]
name = "alice"
password_hash = "{hashed}"
{TOKENS}
[[backend]]
name = "documents"
path = "/"
url = "http://127.0.0.1:18473"
""")
        self.owner_hash = hashed
        self.run_beside(GATEWAY, "serve", "--config", self.config)
        reached(PORT, self.place)
        time.sleep(5)  # Until the backend's tools are known.

    def run_beside(self, *words):
        log = open(self.folder / f"log.{len(self.programs)}", "w")
        self.programs.append(subprocess.Popen([str(word) for word in words], stdout=log, stderr=log))

    def stop(self):
        for program in reversed(self.programs):
            program.terminate()
            program.wait(30)

    def command(self, *words, typed=""):
        done = subprocess.run([GATEWAY, *words, "--config", self.config], input=typed,
                              capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def request(self, method, url, body=None, headers=None):
        connection = http.client.HTTPConnection(self.place, PORT)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookie, "Origin": self.url, **(headers or {})}
        if isinstance(body, list):
            body = urllib.parse.urlencode(body)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        path = url.removeprefix(self.url)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, value = line.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer.status, answer.headers.get("Location"), answer.read().decode()

    def register(self, name, method="none"):
        metadata = {"client_name": name, "redirect_uris": [CALLBACK],
                    "token_endpoint_auth_method": method}
        status, _, text = self.request("POST", "/register", json.dumps(metadata),
                                       {"Content-Type": "application/json"})
        assert status == 201, text
        return json.loads(text)

    def code(self, client, person, tools="today"):
        """Everything up to the code, through the pages."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = urllib.parse.urlencode({
            "response_type": "code", "client_id": client["client_id"], "redirect_uri": CALLBACK,
            "code_challenge": challenge.decode().rstrip("="), "code_challenge_method": "S256",
            "scope": "mcp", "state": "s", "resource": f"{self.url}/mcp"})
        self.cookies = {}
        page = self.settle(f"/authorize?{query}")
        fields, action = form(page[1], "password")
        fields = [(n, {"name": person, "username": person, "password": PASSWORDS[person]}.get(n, v))
                  for n, v in fields]
        page = self.settle(action or page[0], fields, page[0])
        fields, action = form(page[1], "Allow")
        fields = [field for field in fields if field[0] not in ("tool", "tools")]
        fields += [("tools", tools)] if isinstance(tools, str) else [
            ("tools", "chosen"), *(("tool", tool) for tool in tools)]
        place = self.settle(action or page[0], fields, page[0], stop=CALLBACK)
        found = urllib.parse.parse_qs(urllib.parse.urlsplit(place).query)
        return found["code"][0], verifier

    def settle(self, url, fields=None, base="/", stop=None):
        """Follows to a page, or to the client."""
        url = urllib.parse.urljoin(self.url + base.removeprefix(self.url), html.unescape(url))
        method = "POST" if fields is not None else "GET"
        status, place, text = self.request(method, url, fields)
        while place is not None:
            url = urllib.parse.urljoin(url, place)
            if stop and url.startswith(stop):
                return url
            status, place, text = self.request("GET", url)
        if stop:
            # A page that leads the browser on by itself.
            found = re.search(re.escape(stop) + r'[^"\'<> ]*', html.unescape(text))
            assert found, text
            return found.group(0)
        assert status == 200, (status, text)
        return url, text

    def token(self, client, **fields):
        fields = {"client_id": client["client_id"], **fields}
        if "client_secret" in client:
            fields["client_secret"] = client["client_secret"]
        status, _, text = self.request("POST", "/token", list(fields.items()))
        assert status == 200, text
        return json.loads(text)

    def redeem(self, client, code):
        return self.token(client, grant_type="authorization_code", code=code[0],
                          code_verifier=code[1], redirect_uri=CALLBACK)

    def connect(self, client, person, tools="today"):
        return self.redeem(client, self.code(client, person, tools))

    def call(self, token):
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "recorder", "version": "1"}}}
        return self.request("POST", "/mcp", json.dumps(message), {
            "Content-Type": "application/json", "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream"})[0]

    def walk(self):
        for person in ("bob", "carol"):
            self.command("users", "add", person, typed=PASSWORDS[person] + "\n")
        app, secretive = self.register("App"), self.register("Secretive", "client_secret_post")
        lost, cut = self.register("Lost"), self.register("Cut off")
        said = {"url": self.url, "callback": CALLBACK, "passwords": PASSWORDS, "tokens": TOKENS,
                "owner_hash": self.owner_hash, "app": app, "secretive": secretive}
        refreshing = self.connect(app, "alice", "all")
        assert self.call(refreshing["access_token"]) == 200
        said["refreshing"] = self.token(app, grant_type="refresh_token",
                                        refresh_token=refreshing["refresh_token"])
        said["chosen"] = self.connect(secretive, "bob", tools=["search"])
        reused = self.connect(app, "bob")
        said["reused"] = {"old": reused, "new": self.token(
            app, grant_type="refresh_token", refresh_token=reused["refresh_token"])}
        code = self.code(app, "bob")
        said["redeemed"] = {"code": code, "tokens": self.redeem(app, code)}
        said["pending"] = self.code(app, "alice")
        revoked = {how: {"client": client["client_id"], **self.connect(client, person)}
                   for how, client, person in (("by its client", app, "alice"),
                                               ("by the operator", app, "alice"),
                                               ("with its app", cut, "alice"),
                                               ("with its client's record", lost, "alice"),
                                               ("with its person", app, "carol"))}
        for grant in revoked.values():
            assert self.call(grant["access_token"]) == 200
        fields = [("token", revoked["by its client"]["refresh_token"]),
                  ("client_id", app["client_id"])]
        assert self.request("POST", "/revoke", fields)[0] == 200
        self.command("token", "revoke", typed=revoked["by the operator"]["access_token"])
        self.command("grants", "revoke", "--client", cut["client_id"])
        self.command("clients", "rm", lost["client_id"])
        self.command("users", "disable", "carol")
        said["revoked"] = revoked
        time.sleep(2)
        for grant in revoked.values():
            assert self.call(grant["access_token"]) == 401
        said["people"] = json.loads(self.command("users", "ls", "--json"))
        said["clients"] = json.loads(self.command("clients", "ls", "--json"))
        said["grants"] = json.loads(self.command("grants", "ls", "--json"))
        return said

    def keep(self, said):
        place = HERE / self.kind
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shutil.copytree(self.folder / "keys", place / "keys")
        shutil.copytree(self.folder / "audit", place / "audit")
        if self.kind == "redis":
            said_to = sorted((self.folder / "appendonlydir").glob("*.incr.aof"))
            (place / "redis.commands").write_bytes(b"".join(f.read_bytes() for f in said_to))
        else:
            shutil.copytree(self.folder / "state", place / "state")
            for file in (place / "state").rglob("*.redb"):
                file.with_name(file.name + ".gz").write_bytes(
                    gzip.compress(file.read_bytes(), 9, mtime=0))
                file.unlink()
        said["version"] = subprocess.run([GATEWAY, "--version"], capture_output=True,
                                         text=True).stdout.strip()
        (place / "said.json").write_text(json.dumps(said, indent=1) + "\n")


def form(page, marker):
    """The fields of the form that has this in it, as the browser would send them."""
    found = [f for f in re.findall(r"<form.*?</form>", page, re.S) if marker in f]
    assert found, page
    markup, fields = found[0], []
    action = re.search(r'<form[^>]*action="([^"]*)"', markup)
    for tag in re.findall(r"<(?:input|button)[^>]*>", markup):
        said = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if "name" not in said:
            continue
        if said.get("type") in ("checkbox", "radio") and not re.search(r"\bchecked\b", tag):
            continue
        if tag.startswith("<button"):
            words = re.search(re.escape(tag) + r"(.*?)</button>", markup, re.S).group(1)
            if marker not in words:
                continue
        fields.append((said["name"], html.unescape(said.get("value", ""))))
    return fields, action.group(1) if action else None


def reached(port, address):
    for _ in range(300):
        try:
            return socket.create_connection((address, port), 1).close()
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nobody listens on port {port}")


for kind in ("embedded", "redis"):
    recording = Recording(kind)
    try:
        recording.start()
        said = recording.walk()
    finally:
        recording.stop()
    recording.keep(said)
    shutil.rmtree(recording.folder)
    print(kind, "is recorded")
