// What a web page is that is an MCP client itself, on an origin of its own. It leaves for the login and
// comes back to `/callback`, so that all it holds is in the storage of its origin. `window.report` says
// what it saw.

const read = (name) => JSON.parse(localStorage.getItem(name) ?? "null") ?? undefined;
const keep = (name) => (value) => localStorage.setItem(name, JSON.stringify(value));

/** An OAuthClientProvider of a page. */
const provider = (name) => ({
  redirectUrl: `${location.origin}/callback`,
  clientMetadata: {
    client_name: name,
    redirect_uris: [`${location.origin}/callback`],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  },
  state: () => {
    const state = crypto.randomUUID();
    keep("state")(state);
    return state;
  },
  clientInformation: () => read("client"),
  saveClientInformation: keep("client"),
  tokens: () => read("tokens"),
  saveTokens: keep("tokens"),
  codeVerifier: () => read("verifier"),
  saveCodeVerifier: keep("verifier"),
  discoveryState: () => read("discovered"),
  saveDiscoveryState: keep("discovered"),
  redirectToAuthorization: (url) => {
    location.assign(url);
    // Nothing is done by a page that is left.
    return new Promise(() => {});
  },
});

async function use(client) {
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  const call = () => client.callTool({ name: "get-sum", arguments: { a: 2, b: 40 } });
  const found = [await call()];
  await new Promise((done) => setTimeout(done, 1500));
  found.push(await call());
  await client.close();
  return { tools, found };
}

/** `makeTransport(url, provider)`, `finish(transport, query)` and `makeClient()` are an SDK's. */
export async function run({ name, makeTransport, finish, makeClient }) {
  try {
    const query = new URLSearchParams(location.search);
    if (query.has("server")) keep("server")(query.get("server"));
    const transport = () => makeTransport(new URL(read("server")), provider(name));
    if (location.pathname === "/callback") {
      if (query.get("state") !== read("state")) throw new Error("state did not come back as sent");
      await finish(transport(), query);
      history.replaceState(null, "", "/");
    }
    const client = makeClient();
    await client.connect(transport());
    window.report = await use(client);
  } catch (error) {
    window.report = { error: String(error?.stack ?? error) };
  }
}
