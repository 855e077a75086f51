"""OAuth for the libraries that take the Python SDK 1's provider: tokens in a file, the person's web
browser, and a listener at the redirect URI, as the SDK's own example has them.

    one_client.py URL FOLDER

Each driver logs in where it has to, lists the tools, calls `get-sum` twice with a pause for what the
server asks in between, and prints one JSON object: the tools' names and what the calls gave.
"""

import asyncio
import json
import sys
import webbrowser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from common import FileStorage
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

TOOL, ARGUMENTS = "get-sum", {"a": 2, "b": 40}
# server-everything asks for roots 350 ms after the greeting; whoever loses the session by that must
# have lost it when the second call is made.
PAUSE = 1.5


class Loopback:
    """Receives one redirect."""

    async def listen(self):
        self.query = asyncio.get_running_loop().create_future()
        self.server = await asyncio.start_server(self.receive, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}/callback"
        return self

    async def receive(self, reader, writer):
        target = (await reader.readline()).split()[1].decode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nDone")
        await writer.drain()
        writer.close()
        if urlsplit(target).path == "/callback" and not self.query.done():
            self.query.set_result(parse_qs(urlsplit(target).query))

    async def answer(self):
        query = await asyncio.wait_for(self.query, 60)
        return query["code"][0], query["state"][0]


async def provider(name, url, folder):
    """The SDK's own, with its tokens in `folder`."""
    loopback = await Loopback().listen()

    async def redirect(address):
        webbrowser.open(address)

    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name=name,
            redirect_uris=[loopback.uri],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=FileStorage(Path(folder) / "tokens.json", OAuthToken, OAuthClientInformationFull),
        redirect_handler=redirect,
        callback_handler=loopback.answer,
    )


async def twice(call):
    """What two calls give, the second after a pause."""
    first = await call()
    await asyncio.sleep(PAUSE)
    return [str(first), str(await call())]


def run(drive):
    """`drive(url, folder)` gives the names of the tools and what was found."""
    url, folder = sys.argv[1:]
    tools, found = asyncio.run(asyncio.wait_for(drive(url, folder), 90))
    print(json.dumps({"tools": sorted(tools), "found": found}))
