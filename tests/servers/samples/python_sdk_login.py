"""The bakery on the Python SDK 1.x with an authorization server of its own, as the SDK's example
`simple-auth` has one: a page asks for a name and a password, and any code lives in memory."""

import html
import secrets
import time

from bakery import Bakery, port
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    OAuthAuthorizationServerProvider,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.fastmcp import FastMCP
from mcp.shared.auth import OAuthToken
from starlette.responses import HTMLResponse, RedirectResponse

ORIGIN = f"http://127.0.0.1:{port()}"
PAGE = """<!doctype html><title>Log in</title><h1>Log in</h1>
<form method="post" action="/login?state={state}">
<label>Name <input type="text" name="name"></label> <label>Password <input type="password" name="password"></label>
<button>Log in and allow</button></form>"""


# The page is nobody else's to frame or to keep.
HEADERS = {"Cache-Control": "no-store", "Content-Security-Policy": "frame-ancestors 'none'"}


class Demo(OAuthAuthorizationServerProvider):
    def __init__(self):
        self.clients, self.asked, self.codes, self.tokens = {}, {}, {}, {}

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client_info):
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client, params):
        key = secrets.token_hex(16)
        self.asked[key] = (client.client_id, params)
        return f"{ORIGIN}/login?state={key}"

    def let_in(self, key):
        client_id, params = self.asked.pop(key)
        code = AuthorizationCode(
            code=secrets.token_hex(16),
            client_id=client_id,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            expires_at=time.time() + 300,
            scopes=params.scopes or ["user"],
            code_challenge=params.code_challenge,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(self, client, authorization_code):
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client, authorization_code):
        del self.codes[authorization_code.code]
        token = AccessToken(
            token=secrets.token_hex(32),
            client_id=client.client_id,
            scopes=authorization_code.scopes,
            expires_at=int(time.time()) + 3600,
            resource=authorization_code.resource,
        )
        self.tokens[token.token] = token
        return OAuthToken(
            access_token=token.token, token_type="Bearer", expires_in=3600, scope=" ".join(token.scopes)
        )

    async def load_access_token(self, token):
        return self.tokens.get(token)

    async def load_refresh_token(self, client, refresh_token):
        return None

    async def exchange_refresh_token(self, client, refresh_token, scopes):
        raise NotImplementedError

    async def revoke_token(self, token):
        self.tokens.pop(token.token, None)


bakery = Bakery()
demo = Demo()
server = FastMCP(
    "Bakery",
    port=port(),
    auth_server_provider=demo,
    auth=AuthSettings(
        issuer_url=ORIGIN,
        resource_server_url=f"{ORIGIN}/mcp",
        required_scopes=["user"],
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=["user"], default_scopes=["user"]
        ),
        revocation_options=RevocationOptions(enabled=True),
    ),
)
server.tool()(bakery.recipe)
server.tool()(bakery.bake)


@server.custom_route("/login", methods=["GET"])
async def ask(request):
    return HTMLResponse(PAGE.format(state=html.escape(request.query_params.get("state", ""))), headers=HEADERS)


@server.custom_route("/login", methods=["POST"])
async def answer(request):
    form = await request.form()
    if form.get("name") != "alice" or form.get("password") != "demo password":
        return HTMLResponse("<p>Name or password is wrong.</p>", status_code=401)
    return RedirectResponse(demo.let_in(request.query_params["state"]), status_code=302)


server.run(transport="streamable-http")
