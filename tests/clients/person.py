"""A person with a browser, in a few lines: opens an authorization URL, fills in
the gateway's real login and consent forms, and reports where it was sent.

No JavaScript and no third-party packages, so every client driver can use it: as
a module from Python, as a command from Node. It never follows the redirect that
leaves the gateway; that URL, with the code, belongs to the client.
"""

import http.client
import os
import re
import sys
import time
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

MAX_PAGES = 40
GOES_ON = re.compile(r'<meta http-equiv="refresh" content="(\d+);url=([^"]*)"')


class Forms(HTMLParser):
    """Every form of a page: action, method, fields, and buttons with their text."""

    def __init__(self, html):
        super().__init__()
        self.forms = []
        self.button = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if tag == "form":
            self.forms.append({"action": a.get("action") or "", "method": (a.get("method") or "get").upper(), "fields": [], "buttons": []})
        elif tag == "input" and self.forms:
            kind = (a.get("type") or "text").lower()
            if kind == "submit":
                self.forms[-1]["buttons"].append({"name": a.get("name"), "value": a.get("value") or "", "text": a.get("value") or ""})
            elif kind not in ("checkbox", "radio") or "checked" in a:
                self.forms[-1]["fields"].append({"name": a.get("name"), "type": kind, "value": a.get("value") or ("on" if kind == "checkbox" else "")})
        elif tag == "button" and self.forms and (a.get("type") or "submit").lower() == "submit":
            self.button = {"name": a.get("name"), "value": a.get("value") or "", "text": ""}
            self.forms[-1]["buttons"].append(self.button)

    def handle_endtag(self, tag):
        if tag == "button":
            self.button = None

    def handle_data(self, text):
        if self.button is not None:
            self.button["text"] += text


class Person:
    """Someone who knows the owner's name and password and answers `Allow`: to what the page
    offers first, or to the `tools` alone that are named here. With a `provider` they log in there,
    by its button on the login page, and allow the gateway what it asks there."""

    def __init__(self, name, password, answer="allow", tools=None, provider=None):
        self.name, self.password, self.answer, self.tools = name, password, answer, tools
        self.provider = urlsplit(provider)[:2] if provider else None
        self.cookies = {}

    def approve(self, url):
        """Walk from an authorization URL to the client's redirect URI and return it."""
        origin = urlsplit(url)[:2]
        method, body = "GET", None
        for _ in range(MAX_PAGES):
            status, location, html = self._request(method, url, body)
            if status in (301, 302, 303):
                url = urljoin(url, location)
                if urlsplit(url)[:2] not in (origin, self.provider):
                    return url
                method, body = "GET", None
            elif status == 200 and (waiting := GOES_ON.search(html)):
                # A server that is still starting: the page goes on by itself.
                time.sleep(int(waiting[1]))
                method, url, body = "GET", urljoin(url, unescape(waiting[2])), None
            elif status == 200:
                method, url, body = self._answer(url, html)
            else:
                raise RuntimeError(f"{method} {url.split('?')[0]} answered {status}: {html[:600]}")
        raise RuntimeError(f"still on a page of the gateway after {MAX_PAGES} steps: {url.split('?')[0]}")

    def _answer(self, url, html):
        if urlsplit(url)[:2] == self.provider:
            return self._at_provider(url, html)
        for form in Forms(html).forms:
            if self.provider and form["action"].startswith("/login/"):
                fields = [(f["name"], f["value"]) for f in form["fields"] if f["name"]]
                return form["method"], urljoin(url, form["action"]), urlencode(fields)
            fields = [(f["name"], f["value"]) for f in form["fields"] if f["name"]]
            secret = [f["name"] for f in form["fields"] if f["type"] == "password"]
            press = form["buttons"][0] if form["buttons"] else None
            if secret:
                texts = [f["name"] for f in form["fields"] if f["type"] in ("text", "email")]
                fields = [(n, v) for n, v in fields if n not in texts + secret[:1]]
                fields += [(name, self.name) for name in texts] + [(secret[0], self.password)]
            else:
                wanted = [b for b in form["buttons"] if b["text"].strip().lower().startswith(self.answer)]
                if not wanted:
                    continue
                press = wanted[0]
                if os.environ.get("ALLOW_EVERYTHING") and 'name="tools" value="all"' in html:
                    fields = [(n, v) for n, v in fields if n not in ("tools", "tool")] + [("tools", "all")]
                elif os.environ.get("ALLOW_READING") and 'name="tools" value="read"' in html:
                    fields = [(n, v) for n, v in fields if n not in ("tools", "tool")] + [("tools", "read")]
                elif self.tools is not None and any(n == "tools" for n, _ in fields):
                    fields = [(n, v) for n, v in fields if n not in ("tools", "tool")]
                    fields += [("tools", "chosen")] + [("tool", tool) for tool in self.tools]
            if press and press["name"]:
                fields.append((press["name"], press["value"]))
            return form["method"], urljoin(url, form["action"]), urlencode(fields)
        raise RuntimeError(f"no login form and no `{self.answer}` button on {url.split('?')[0]}: {html[:600]}")

    def _at_provider(self, url, html):
        """Its login form, then its question whether the gateway may know who it is."""
        form = Forms(html).forms[0]
        typed = {"text": self.name, "password": self.password}
        fields = [(f["name"], typed.get(f["type"], f["value"])) for f in form["fields"] if f["name"]]
        return form["method"], urljoin(url, form["action"]), urlencode(fields)

    def _request(self, method, url, body):
        parts = urlsplit(url)
        if body is not None and method == "GET":
            parts, body = parts._replace(query=body), None
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=30)
        headers = {"Accept": "text/html", "User-Agent": "a-person/1"}
        # The two have a host in common here, and cookies that are not each other's.
        cookies = self.cookies.setdefault(parts.netloc, {})
        if cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in cookies.items())
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = f"{parts.scheme}://{parts.netloc}"
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
        response = connection.getresponse()
        html = response.read().decode("utf-8", "replace")
        for line in response.headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].strip().partition("=")
            if value and "max-age=0" not in line.lower():
                cookies[name] = value
            else:
                cookies.pop(name, None)
        connection.close()
        return response.status, response.headers.get("Location"), html


def owner():
    """The person that the environment describes; CHOSEN names tools. ALLOW_EVERYTHING and
    ALLOW_READING choose that. PROVIDER is the issuer at which they log in."""
    chosen = os.environ.get("CHOSEN")
    tools = chosen.split(",") if chosen else None
    name, password = os.environ["OWNER_NAME"], os.environ["OWNER_PASSWORD"]
    return Person(name, password, tools=tools, provider=os.environ.get("PROVIDER"))


if __name__ == "__main__":
    print(owner().approve(sys.argv[1]))
