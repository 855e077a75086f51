//! The one table of checks: id, why it matters, what to do. Ids are stable across versions.

use std::fmt;

/// A row is id, why it matters to a client, what to do at this gateway, and what to do at a server of
/// another kind where that is something else. Here each check passes, so that something on the way took
/// it where it does not; another server may never have had it.
macro_rules! checks {
    ($($name:ident = $id:literal, $why:literal, $next:literal $(, $elsewhere:literal)?;)*) => {
        /// One thing that the doctor looks at. The order is that of the report.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check { $(#[doc = $why] $name,)* }

        impl Check {
            /// Every check, in the order of the report.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// Why it matters to a client, in a sentence.
            pub const fn why(self) -> &'static str {
                match self { $(Self::$name => $why,)* }
            }

            /// What to do when it is not well.
            pub const fn next(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }

            /// What its operator can do at a server of another kind.
            pub const fn next_elsewhere(self) -> &'static str {
                match self { $(Self::$name => checks!(@elsewhere $next $(, $elsewhere)?),)* }
            }
        }
    };
    (@elsewhere $next:literal) => { $next };
    (@elsewhere $next:literal, $elsewhere:literal) => { $elsewhere };
}

checks! {
    // The network
    NameResolves = "name-resolves", "Clients find the server by its name.",
        "Create the DNS record of the name, or correct the URL; public_url must use the same name.",
        "Create the DNS record of the name, or correct the URL.";
    PublicAddress = "public-address", "ChatGPT and claude.ai connect from the internet and reach no private or loopback address.",
        "Put a reverse proxy or a tunnel with a public https URL in front, and set public_url to that URL.",
        "Right for a server on this machine. For ChatGPT and claude.ai put a reverse proxy or a tunnel with a public https URL in front, and tell the server that URL.";
    Connects = "connects", "A client may pick any address of the name.",
        "Open the port in the firewall, check that the reverse proxy listens on IPv4 and IPv6, or remove the dead DNS record; the gateway itself listens where `listen` says.",
        "Check that the server runs and on which address and port it listens; open the port in the firewall.";
    Https = "https", "OAuth requires https except on loopback, and ChatGPT takes nothing else.",
        "Serve the name with TLS (a reverse proxy or a tunnel does it) and set public_url to the https URL.",
        "Right for a server on this machine. For anybody else serve the name with TLS, and tell the server its https URL.";
    TlsVersion = "tls-version", "Clients speak TLS 1.2 and 1.3 only.",
        "Enable TLS 1.2 or 1.3 at what ends TLS for this name.";
    TlsCertificate = "tls-certificate", "Clients refuse a certificate that is expired, for another name, or without a chain to a public root.",
        "Install a valid certificate with its whole chain (intermediates too) and check that it renews by itself.";
    Clock = "clock", "Codes live 60 seconds and signed client assertions carry times: a wrong clock refuses them.",
        "Turn on NTP on the machine that runs the gateway (or on this one).",
        "Turn on NTP on the machine that runs the server (or on this one).";
    NoRedirect = "no-redirect", "Clients follow no redirect of a metadata or MCP URL, or lose the bearer token on the way.",
        "Give clients the final URL: set public_url to it, and remove redirects (www, http, trailing slash) from what stands in front.",
        "Give clients the final URL, and remove redirects (www, http, trailing slash).";
    BotPage = "bot-page", "A firewall or bot check that answers programs with an HTML page stops every client.",
        "Exempt /.well-known/*, /register, /token, /revoke and the MCP paths from bot checks and login walls, or allow the egress ranges that OpenAI and Anthropic publish.";
    // What clients discover
    ProtectedResourceMetadata = "protected-resource-metadata", "It tells clients which authorization server guards the MCP URL (RFC 9728).",
        "Let /.well-known/* through to the gateway unchanged: GET, 200, JSON, no login.",
        "Serve RFC 9728 metadata at /.well-known/oauth-protected-resource and the path of the MCP URL; the SDKs do it when the server is told its resource URL.";
    ProtectedResourceMetadataRoot = "protected-resource-metadata-root", "Clients that don't find the form with the path ask for the one without; where the form with the path is found, nobody needs it.",
        "Let /.well-known/* through to the gateway unchanged.",
        "Answer 404 there, or the same document in JSON.";
    Resource = "resource", "ChatGPT, Claude and VS Code refuse metadata whose `resource` is not exactly the URL that was typed.",
        "Type the URL as the start page shows it, or set public_url to the origin that people type.",
        "Tell the server the URL that people type (resource URL, base URL).";
    AuthorizationServerMetadata = "authorization-server-metadata", "Without it no client finds the endpoints (RFC 8414).",
        "Let /.well-known/oauth-authorization-server through to the gateway unchanged: GET, 200, JSON, no login.",
        "Serve RFC 8414 metadata at the issuer that the protected resource metadata names.";
    Issuer = "issuer", "Clients compare `issuer` with `authorization_servers` byte by byte; ChatGPT's stable client id depends on it.",
        "Set public_url to the one origin, without a trailing slash, and let nothing rewrite bodies on the way.",
        "Make issuer and authorization_servers the same text, with or without a slash at the end.";
    EndpointsOrigin = "endpoints-origin", "Clients expect the endpoints on the issuer's own origin.",
        "Set public_url to the public origin; every endpoint is printed from it.",
        "Nothing, if the endpoints are meant to be there.";
    PrivateHost = "private-host", "A private host name in a public document can't be reached by any client.",
        "Set public_url to the public origin (not localhost or a container's name), and let nothing rewrite bodies on the way.",
        "Tell the server its public URL (base URL, issuer URL): it publishes the one that it listens on.";
    MetadataHead = "metadata-head", "ChatGPT asks for metadata with HEAD before GET.",
        "Let HEAD through to the gateway as well as GET.",
        "Route HEAD like GET for the documents under /.well-known/.";
    MetadataCors = "metadata-cors", "Clients in a web page (MCP Inspector and others) may read it only with Access-Control-Allow-Origin.",
        "Don't strip or replace the gateway's Access-Control-* headers.",
        "Send Access-Control-Allow-Origin: * with the documents, if clients in a web page (MCP Inspector without its proxy) are to connect.";
    MetadataSpeed = "metadata-speed", "Claude gives up after 10 seconds; people give up sooner.",
        "Look at the load of the machine and at what stands in front of the gateway.",
        "Look at the load of the machine and at what stands in front.";
    MetadataStable = "metadata-stable", "Metadata that follows a request header can be turned against its readers.",
        "Take no public URL from X-Forwarded-* or Forwarded; the gateway uses public_url alone, so look at what rewrites its answers.",
        "Make the public URL a setting: nothing in a request may change what the documents say.";
    PkceS256 = "pkce-s256", "Clients call a server without S256 in code_challenge_methods_supported unsupported.",
        "Upgrade the gateway, and let nothing rewrite its metadata.",
        "List S256 in code_challenge_methods_supported; OAuth 2.1 and MCP ask for PKCE.";
    PublicClients = "public-clients", "ChatGPT, Claude and all command-line clients need `none` in token_endpoint_auth_methods_supported.",
        "Upgrade the gateway, and let nothing rewrite its metadata.",
        "List none in token_endpoint_auth_methods_supported, if clients without a secret are served; most try anyway.";
    CodeFlow = "code-flow", "Clients use response_type=code and grant_type=authorization_code.",
        "Upgrade the gateway, and let nothing rewrite its metadata.",
        "List code and authorization_code; MCP knows no other flow for people.";
    IssFlag = "iss-flag", "With authorization_response_iss_parameter_supported ChatGPT and Codex use their stable client ids and callback.",
        "Upgrade the gateway, and let nothing rewrite its metadata.",
        "Send iss in authorization responses and say so (RFC 9207), where the server can.";
    ClientIdMetadataDocuments = "client-id-metadata-documents", "ChatGPT and Claude prefer client metadata documents to registration: the host that asks is then verified.",
        "Upgrade the gateway, or turn client metadata documents on if the configuration turns them off.",
        "Nothing, while clients may register; support for client metadata documents makes that unneeded.";
    RegistrationEndpoint = "registration-endpoint", "Cursor and other clients can only register dynamically (RFC 7591).",
        "Upgrade the gateway, and let nothing rewrite its metadata.",
        "Offer registration (RFC 7591) or client metadata documents; without either, each client has to be set up by hand.";
    Scopes = "scopes", "Clients ask for all scopes that they read; offline_access does not belong to a resource.",
        "Let nothing rewrite the protected resource metadata; its scopes_supported is [\"mcp\"].",
        "Leave offline_access out of the resource's scopes_supported.";
    OfflineAccess = "offline-access", "Claude, Codex and the SDKs ask for a refresh token only where scopes_supported of the authorization server has offline_access.",
        "Let nothing rewrite the authorization server's metadata; the gateway lists it where tokens.refresh is on.",
        "List offline_access in the authorization server's scopes_supported, if refresh tokens are given for it.";
    OpenidConfiguration = "openid-configuration", "ChatGPT asks for it, and half a document makes some clients stop.",
        "Answer 404 there (the gateway does), or serve a whole OpenID document.",
        "Answer 404 there, or serve a whole OpenID document.";
    UnknownWellKnown = "unknown-well-known", "Clients take a 200 or a 401 at a guessed well-known path for an answer.",
        "Let the gateway answer everything under /.well-known/ and below the MCP paths; no catch-all page in front of it.",
        "Answer 404 for paths that do not exist.";
    Manifest = "manifest", "Old guides and some directories look for /.well-known/mcp/manifest.json.",
        "Let /.well-known/mcp/manifest.json through to the gateway unchanged.",
        "Answer 404 there, or JSON.";
    // Without a token
    Challenge = "challenge", "A client learns where to log in from a 401 with a Bearer challenge, whatever the method.",
        "Let every method and the WWW-Authenticate header through; no other login in front of the MCP path.",
        "Answer every request without a token with 401 and WWW-Authenticate: Bearer resource_metadata=\"…\" (RFC 9728 section 5.1).";
    ChallengeMetadata = "challenge-metadata", "The challenge's resource_metadata is the first URL that clients follow.",
        "Set public_url to the public origin, and let nothing rewrite the WWW-Authenticate header.",
        "Let resource_metadata lead to the protected resource metadata on the same origin.";
    ChallengeSse = "challenge-sse", "Clients of the older transport need the same challenge at /sse.",
        "Let the /sse path through to the gateway with every method and header.",
        "Guard the older transport's path like the MCP URL, or serve none.";
    ChallengeInvalidToken = "challenge-invalid-token", "Only 401 with error=\"invalid_token\" makes a client log in anew.",
        "Let the Authorization and WWW-Authenticate headers through; no other login in front of the MCP path.",
        "Answer a token that is unknown or over with 401 and error=\"invalid_token\" (RFC 6750 section 3.1); in the SDKs the verifier has to return nothing, or throw the SDK's own error.";
    Preflight = "preflight", "A browser asks with OPTIONS and without a token before it calls.",
        "Let OPTIONS through to the gateway.",
        "Answer OPTIONS without a token, if clients in a web page are to connect.";
    // Registration
    Registration = "registration", "A client that can't register can't connect.",
        "Let POST /register through to the gateway as JSON; its log names the reason of a refusal (registration_refused).",
        "Answer registrations with 201 and the client as JSON (RFC 7591 section 3.2.1).";
    RegistrationErrors = "registration-errors", "A refused registration must be JSON with an error code, and dangerous redirect URIs must be refused.",
        "Let nothing replace the gateway's error bodies.",
        "Refuse redirect URIs of schemes that run script (javascript:, data:) with 400 and invalid_redirect_uri.";
    // Authorization
    BadRedirect = "bad-redirect", "An unregistered redirect_uri must give a page: a redirect would hand codes to strangers.",
        "Upgrade the gateway; let no login wall in front redirect to an address from the query.",
        "Show a page for a redirect_uri that is not registered, and redirect nowhere (OAuth 2.1 section 4.1.2.1).";
    UnknownClient = "unknown-client", "An unknown client_id must give a page that says so; clients that see one register anew.",
        "Upgrade the gateway; let nothing replace its error pages.",
        "Show a page for a client_id that is not known, and redirect nowhere.";
    LoopbackPort = "loopback-port", "Native clients listen on another port each time; only the port of a loopback redirect may differ.",
        "Upgrade the gateway.",
        "Compare loopback redirect URIs without their port (RFC 8252 section 7.3).";
    LoginPage = "login-page", "The person must see a page to log in: where a code is given without one, whoever opens a link lets any app in.",
        "Let /authorize, /login, /consent and /assets/ through to the gateway; a login wall in front of them is possible, but not in front of the rest.",
        "Ask who it is and whether the app may, before a code is given. A server that lets everybody in is for trying out on one machine.";
    LoginPageCache = "login-page-cache", "A cached login page shows one person's form to another and breaks with \"page expired\".",
        "Exclude /authorize, /login and /consent from every cache in front of the gateway.",
        "Send Cache-Control: no-store with the pages of the login.";
    LoginPageFraming = "login-page-framing", "A page that can be framed can be clicked unknowingly.",
        "Don't strip the gateway's Content-Security-Policy and X-Frame-Options headers.",
        "Send Content-Security-Policy: frame-ancestors 'none' with the pages of the login (RFC 9700 section 4.16).";
    Login = "login", "The flow needs a person who may log in.",
        "Check name and password; `gateway users hash` makes a new one for [owner] password_hash_file. An account that is locked opens again by itself.",
        "Check name and password. Logins by another site's page can't be filled in: run without --login, at a terminal.";
    Deny = "deny", "Deny must go back with error, state and no code, or the client waits forever.",
        "Let nothing rewrite the Location header of redirects.",
        "Redirect with error=access_denied and the state as it came.";
    PkceRequired = "pkce-required", "A request without PKCE must be refused: its code could be used by whoever sees it.",
        "Upgrade the gateway.",
        "Refuse authorization requests without code_challenge (OAuth 2.1 section 7.5).";
    AuthorizationResponse = "authorization-response", "The client takes code and state from the redirect, byte by byte.",
        "Let nothing rewrite the Location header of redirects.",
        "Redirect with the code and the state as it came.";
    Iss = "iss", "`iss` in every authorization response must equal the issuer, or clients that saw the flag refuse it (\"OAuthCallback\" errors).",
        "Set public_url to the one origin, and let nothing rewrite the Location header.",
        "Send the issuer as iss, letter by letter, or take the flag out of the metadata (RFC 9207).";
    // Token
    TokenError = "token-error", "\"Missing access token\" is what people see when /token answers an error; clients need its JSON to know what to do.",
        "Let nothing replace the gateway's error bodies (proxy_intercept_errors and the like).",
        "Answer a code that is none with 400 and {\"error\":\"invalid_grant\"} (RFC 6749 section 5.2).";
    PkceVerified = "pkce-verified", "A wrong code_verifier must give no token.",
        "Upgrade the gateway.",
        "Compare code_verifier with the code_challenge of the request (RFC 7636 section 4.6).";
    TokenResponse = "token-response", "The client reads access_token, token_type, expires_in and scope.",
        "Let POST /token through unchanged; the gateway's log names the reason of a refusal (token_refused).",
        "Answer with access_token, token_type, expires_in and scope (RFC 6749 section 5.1).";
    TokenNoStore = "token-no-store", "A stored token response is a stolen token.",
        "Don't strip the gateway's Cache-Control header.",
        "Send Cache-Control: no-store with tokens (RFC 6749 section 5.1).";
    CodeSingleUse = "code-single-use", "A code that works twice works for a thief; with several replicas it shows that they share no store.",
        "Give all replicas the same [store] url (redis://…).",
        "Take a code once (OAuth 2.1 section 4.1.3); several instances need one store.";
    // MCP with the token
    Initialize = "initialize", "The first call with the new token; a failure here is \"connected, but no actions available\".",
        "Check the backend that `gateway serve` lists at start, and [[backend]] url; the log names the reason.",
        "Look into the server's own log.";
    ServerDiscover = "server-discover", "ChatGPT's client asks server/discover first and falls back only on an answer it understands.",
        "Let bodies of 4xx answers through unchanged.",
        "Answer methods that are not known with a JSON-RPC error.";
    ToolsList = "tools-list", "Without tools there is nothing to call.",
        "Check the backend's own log.",
        "Look into the server's own log.";
    ToolAnnotations = "tool-annotations", "ChatGPT takes a tool without readOnlyHint for one that changes things, and asks each time.",
        "Annotate the backend's tools (readOnlyHint, destructiveHint, openWorldHint).",
        "Annotate the tools (readOnlyHint, destructiveHint, openWorldHint).";
    Search = "search", "Deep research and company knowledge need `search` exactly as the contract says.",
        "Use the bundled mcp-backend, or make the backend's search take one string `query` and answer one text item with {\"results\":[{\"id\",\"title\",\"url\"}]}.",
        "For deep research: take one string query, and answer one text item with {\"results\":[{\"id\",\"title\",\"url\"}]}.";
    Fetch = "fetch", "Deep research and company knowledge need `fetch` exactly as the contract says.",
        "Use the bundled mcp-backend, or make the backend's fetch take one string `id` and answer one text item with id, title, text and url.",
        "For deep research: take one string id, and answer one text item with id, title, text and url.";
    RefreshToken = "refresh-token", "Without a refresh token people must reconnect when the access token ends, although the metadata says otherwise.",
        "Let POST /token through unchanged; the client's registration must allow refresh_token.",
        "Give a refresh token with the code, or take refresh_token out of grant_types_supported.";
    Refresh = "refresh", "A refresh that fails ends in \"Connection has expired. Reconnect\".",
        "Let POST /token through unchanged; the gateway's log names the reason of a refusal (token_refused).",
        "Answer refreshes with an access token that works, or take refresh_token out of grant_types_supported.";
    RefreshRotation = "refresh-rotation", "A refresh token that is never replaced stays good for whoever stole it.",
        "Upgrade the gateway, and let nothing cache or rewrite the answers of /token.",
        "Replace the refresh token of a public client at each use (OAuth 2.1 section 4.3.1).";
    RefreshGrace = "refresh-grace", "Clients with parallel calls refresh in parallel; if all but one fail, the app logs itself out.",
        "Give all replicas the same [store] url (redis://…) and the same keys_dir; tokens.refresh_grace is the time for it.",
        "Take a refresh token that was just replaced for some seconds more.";
    SessionUnknown = "session-unknown", "Only 404 makes a client with a forgotten session start a new one.",
        "Let 404 answers and their bodies through unchanged.",
        "Answer calls in a session that is not known with 404 (MCP, Streamable HTTP).";
    QueryToken = "query-token", "A token in a URL ends in logs; it must not work.",
        "Let nothing turn query parameters into an Authorization header.",
        "Take no token from the URL (OAuth 2.1 section 5.1).";
    Origin = "origin", "A web page of a stranger must not call the server with a token it got hold of.",
        "Keep the Origin header on the way to the gateway, and keep allowed_origins short.",
        "Answer 403 to origins that are not expected, if the server is ever reached without a token (MCP, Streamable HTTP).";
    // Streams
    StreamCompression = "stream-compression", "A compressed event stream is held back until the compressor has enough.",
        "Turn compression off for text/event-stream (gzip off, or no event streams among its types).",
        "Turn compression and response buffering off for text/event-stream in what stands in front of the server.";
    SseFirstEvent = "sse-first-event", "The older transport starts with an `endpoint` event; a client waits for it before it does anything.",
        "Turn response buffering off for the MCP paths (proxy_buffering off), and speak HTTP/1.1 to the gateway.",
        "Turn compression and response buffering off for text/event-stream in what stands in front of the server.";
    SseEndpoint = "sse-endpoint", "Clients post to the URL in the `endpoint` event, and refuse another origin.",
        "Set public_url to the public origin, and let nothing rewrite event streams.",
        "Send an endpoint URL on the server's own public origin, or a relative one.";
    SseBuffering = "sse-buffering", "An answer must arrive when it was sent, not when a buffer is full.",
        "Turn response buffering off for the MCP paths (proxy_buffering off).",
        "Turn compression and response buffering off for text/event-stream in what stands in front of the server.";
    StreamIdle = "stream-idle", "A quiet stream must stay open: tools take their time.",
        "Raise the idle timeout of what stands in front above 60 s (proxy_read_timeout and the like); the gateway sends a comment every 15 s.",
        "Raise the idle timeout of what stands in front above 60 s, or send comments more often.";
    // The end
    Revocation = "revocation", "Access that was taken back must end at once.",
        "Let POST /revoke through; give all replicas the same [store] url.",
        "Look a token up at each call, and end its streams when it is revoked.";
    RevocationStream = "revocation-stream", "A stream of a revoked grant must end, too.",
        "Upgrade the gateway; give all replicas the same [store] url.",
        "Look a token up at each call, and end its streams when it is revoked.";
}

impl Check {
    /// Whether it stops no client at a server of another kind: no standard's MUST is broken, or only
    /// some clients or uses have trouble, which its sentence names. It is a warning there.
    pub const fn is_minor_elsewhere(self) -> bool {
        matches!(
            self,
            // RFC 9110 asks for HEAD, and clients go on with GET; CORS and OPTIONS matter to clients in
            // a web page alone.
            Self::MetadataHead | Self::MetadataCors | Self::Preflight
            // What is listed is a hint: clients register with `none` and try. RFC 9207, offline_access and
            // registration are options, and one origin for all endpoints is a habit.
            | Self::PublicClients | Self::IssFlag | Self::OfflineAccess | Self::RegistrationEndpoint
            | Self::EndpointsOrigin | Self::Scopes
            // A browser follows no redirect to a script; most native clients register the port they use.
            | Self::RegistrationErrors | Self::LoopbackPort
            // Its own form decides whether a cached page is stale.
            | Self::LoginPageCache
            // Clients that refresh in parallel are few; a bearer token does not come with a page of a
            // stranger's by itself, as a cookie would.
            | Self::RefreshGrace | Self::Origin
            // People connect again when the access token ends.
            | Self::RefreshToken
            // Two answers of the metadata that few ask for.
            | Self::Manifest | Self::UnknownWellKnown
        )
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_check_has_its_own_id_in_kebab_case_and_says_why_and_what_next() {
        let ids: HashSet<_> = Check::ALL.iter().map(|check| check.id()).collect();
        assert_eq!(ids.len(), Check::ALL.len());
        for check in Check::ALL {
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(check.id().chars().all(kebab), "{check}");
            assert!(check.why().ends_with(['.', ')']), "{check}");
            assert!(check.next().ends_with('.'), "{check}");
            let elsewhere = check.next_elsewhere();
            assert!(elsewhere.ends_with('.'), "{check}");
            for ours in ["gateway", "public_url", "[store]", "allowed_origins"] {
                assert!(!elsewhere.contains(ours), "{check}: {elsewhere}");
            }
        }
    }
}
