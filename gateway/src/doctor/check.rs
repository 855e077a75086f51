//! The one table of checks: id, why it matters, what to do. Ids are stable across versions.

use std::fmt;

macro_rules! checks {
    ($($name:ident = $id:literal, $why:literal, $next:literal;)*) => {
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
        }
    };
}

checks! {
    // The network
    NameResolves = "name-resolves", "Clients find the server by its name.", "Create the DNS record of the name, or correct the URL; public_url must use the same name.";
    PublicAddress = "public-address", "ChatGPT and claude.ai connect from the internet and reach no private or loopback address.", "Put a reverse proxy or a tunnel with a public https URL in front, and set public_url to that URL.";
    Connects = "connects", "A client may pick any address of the name.", "Open the port in the firewall, check that the reverse proxy listens on IPv4 and IPv6, or remove the dead DNS record; the gateway itself listens where `listen` says.";
    Https = "https", "OAuth requires https except on loopback, and ChatGPT takes nothing else.", "Serve the name with TLS (a reverse proxy or a tunnel does it) and set public_url to the https URL.";
    TlsVersion = "tls-version", "Clients speak TLS 1.2 and 1.3 only.", "Enable TLS 1.2 or 1.3 at what ends TLS for this name.";
    TlsCertificate = "tls-certificate", "Clients refuse a certificate that is expired, for another name, or without a chain to a public root.", "Install a valid certificate with its whole chain (intermediates too) and check that it renews by itself.";
    Clock = "clock", "Codes live 60 seconds and signed client assertions carry times: a wrong clock refuses them.", "Turn on NTP on the machine that runs the gateway (or on this one).";
    NoRedirect = "no-redirect", "Clients follow no redirect of a metadata or MCP URL, or lose the bearer token on the way.", "Give clients the final URL: set public_url to it, and remove redirects (www, http, trailing slash) from what stands in front.";
    BotPage = "bot-page", "A firewall or bot check that answers programs with an HTML page stops every client.", "Exempt /.well-known/*, /register, /token, /revoke and the MCP paths from bot checks and login walls, or allow the egress ranges that OpenAI and Anthropic publish.";
    // What clients discover
    ProtectedResourceMetadata = "protected-resource-metadata", "It tells clients which authorization server guards the MCP URL (RFC 9728).", "Let /.well-known/* through to the gateway unchanged: GET, 200, JSON, no login.";
    ProtectedResourceMetadataRoot = "protected-resource-metadata-root", "Clients that don't find the form with the path ask for the one without.", "Let /.well-known/* through to the gateway unchanged.";
    Resource = "resource", "ChatGPT, Claude and VS Code refuse metadata whose `resource` is not exactly the URL that was typed.", "Type the URL as the start page shows it, or set public_url to the origin that people type.";
    AuthorizationServerMetadata = "authorization-server-metadata", "Without it no client finds the endpoints (RFC 8414).", "Let /.well-known/oauth-authorization-server through to the gateway unchanged: GET, 200, JSON, no login.";
    Issuer = "issuer", "Clients compare `issuer` with `authorization_servers` byte by byte; ChatGPT's stable client id depends on it.", "Set public_url to the one origin, without a trailing slash, and let nothing rewrite bodies on the way.";
    EndpointsOrigin = "endpoints-origin", "Clients expect the endpoints on the issuer's own origin.", "Set public_url to the public origin; every endpoint is printed from it.";
    PrivateHost = "private-host", "A private host name in a public document can't be reached by any client.", "Set public_url to the public origin (not localhost or a container's name), and let nothing rewrite bodies on the way.";
    MetadataHead = "metadata-head", "ChatGPT asks for metadata with HEAD before GET.", "Let HEAD through to the gateway as well as GET.";
    MetadataCors = "metadata-cors", "Clients in a web page (MCP Inspector and others) may read it only with Access-Control-Allow-Origin.", "Don't strip or replace the gateway's Access-Control-* headers.";
    MetadataSpeed = "metadata-speed", "Claude gives up after 10 seconds; people give up sooner.", "Look at the load of the machine and at what stands in front of the gateway.";
    MetadataStable = "metadata-stable", "Metadata that follows a request header can be turned against its readers.", "Take no public URL from X-Forwarded-* or Forwarded; the gateway uses public_url alone, so look at what rewrites its answers.";
    PkceS256 = "pkce-s256", "Clients call a server without S256 in code_challenge_methods_supported unsupported.", "Upgrade the gateway, and let nothing rewrite its metadata.";
    PublicClients = "public-clients", "ChatGPT, Claude and all command-line clients need `none` in token_endpoint_auth_methods_supported.", "Upgrade the gateway, and let nothing rewrite its metadata.";
    CodeFlow = "code-flow", "Clients use response_type=code and grant_type=authorization_code.", "Upgrade the gateway, and let nothing rewrite its metadata.";
    IssFlag = "iss-flag", "With authorization_response_iss_parameter_supported ChatGPT and Codex use their stable client ids and callback.", "Upgrade the gateway, and let nothing rewrite its metadata.";
    ClientIdMetadataDocuments = "client-id-metadata-documents", "ChatGPT and Claude prefer client metadata documents to registration: the host that asks is then verified.", "Upgrade the gateway, or turn client metadata documents on if the configuration turns them off.";
    RegistrationEndpoint = "registration-endpoint", "Cursor and other clients can only register dynamically (RFC 7591).", "Upgrade the gateway, and let nothing rewrite its metadata.";
    Scopes = "scopes", "Clients ask for all scopes that they read; offline_access does not belong to a resource.", "Let nothing rewrite the protected resource metadata; its scopes_supported is [\"mcp\"].";
    OfflineAccess = "offline-access", "Claude, Codex and the SDKs ask for a refresh token only where scopes_supported of the authorization server has offline_access.", "Let nothing rewrite the authorization server's metadata; the gateway lists it where tokens.refresh is on.";
    OpenidConfiguration = "openid-configuration", "ChatGPT asks for it, and half a document makes some clients stop.", "Answer 404 there (the gateway does), or serve a whole OpenID document.";
    UnknownWellKnown = "unknown-well-known", "Clients take a 200 or a 401 at a guessed well-known path for an answer.", "Let the gateway answer everything under /.well-known/ and below the MCP paths; no catch-all page in front of it.";
    Manifest = "manifest", "Old guides and some directories look for /.well-known/mcp/manifest.json.", "Let /.well-known/mcp/manifest.json through to the gateway unchanged.";
    // Without a token
    Challenge = "challenge", "A client learns where to log in from a 401 with a Bearer challenge, whatever the method.", "Let every method and the WWW-Authenticate header through; no other login in front of the MCP path.";
    ChallengeMetadata = "challenge-metadata", "The challenge's resource_metadata is the first URL that clients follow.", "Set public_url to the public origin, and let nothing rewrite the WWW-Authenticate header.";
    ChallengeSse = "challenge-sse", "Clients of the older transport need the same challenge at /sse.", "Let the /sse path through to the gateway with every method and header.";
    ChallengeInvalidToken = "challenge-invalid-token", "Only 401 with error=\"invalid_token\" makes a client log in anew.", "Let the Authorization and WWW-Authenticate headers through; no other login in front of the MCP path.";
    Preflight = "preflight", "A browser asks with OPTIONS and without a token before it calls.", "Let OPTIONS through to the gateway.";
    // Registration
    Registration = "registration", "A client that can't register can't connect.", "Let POST /register through to the gateway as JSON; its log names the reason of a refusal (registration_refused).";
    RegistrationErrors = "registration-errors", "A refused registration must be JSON with an error code, and dangerous redirect URIs must be refused.", "Let nothing replace the gateway's error bodies.";
    // Authorization
    BadRedirect = "bad-redirect", "An unregistered redirect_uri must give a page: a redirect would hand codes to strangers.", "Upgrade the gateway; let no login wall in front redirect to an address from the query.";
    UnknownClient = "unknown-client", "An unknown client_id must give a page that says so; clients that see one register anew.", "Upgrade the gateway; let nothing replace its error pages.";
    LoopbackPort = "loopback-port", "Native clients listen on another port each time; only the port of a loopback redirect may differ.", "Upgrade the gateway.";
    LoginPage = "login-page", "The person must see a page to log in.", "Let /authorize, /login, /consent and /assets/ through to the gateway; a login wall in front of them is possible, but not in front of the rest.";
    LoginPageCache = "login-page-cache", "A cached login page shows one person's form to another and breaks with \"page expired\".", "Exclude /authorize, /login and /consent from every cache in front of the gateway.";
    LoginPageFraming = "login-page-framing", "A page that can be framed can be clicked unknowingly.", "Don't strip the gateway's Content-Security-Policy and X-Frame-Options headers.";
    Login = "login", "The flow needs a person who may log in.", "Check name and password; `gateway users hash` makes a new one for [owner] password_hash_file. An account that is locked opens again by itself.";
    Deny = "deny", "Deny must go back with error, state and no code, or the client waits forever.", "Let nothing rewrite the Location header of redirects.";
    PkceRequired = "pkce-required", "A request without PKCE must be refused: its code could be used by whoever sees it.", "Upgrade the gateway.";
    AuthorizationResponse = "authorization-response", "The client takes code and state from the redirect, byte by byte.", "Let nothing rewrite the Location header of redirects.";
    Iss = "iss", "`iss` in every authorization response must equal the issuer, or clients that saw the flag refuse it (\"OAuthCallback\" errors).", "Set public_url to the one origin, and let nothing rewrite the Location header.";
    // Token
    TokenError = "token-error", "\"Missing access token\" is what people see when /token answers an error; clients need its JSON to know what to do.", "Let nothing replace the gateway's error bodies (proxy_intercept_errors and the like).";
    PkceVerified = "pkce-verified", "A wrong code_verifier must give no token.", "Upgrade the gateway.";
    TokenResponse = "token-response", "The client reads access_token, token_type, expires_in and scope.", "Let POST /token through unchanged; the gateway's log names the reason of a refusal (token_refused).";
    TokenNoStore = "token-no-store", "A stored token response is a stolen token.", "Don't strip the gateway's Cache-Control header.";
    CodeSingleUse = "code-single-use", "A code that works twice works for a thief; with several replicas it shows that they share no store.", "Give all replicas the same [store] url (redis://…).";
    // MCP with the token
    Initialize = "initialize", "The first call with the new token; a failure here is \"connected, but no actions available\".", "Check the backend that `gateway serve` lists at start, and [[backend]] url; the log names the reason.";
    ServerDiscover = "server-discover", "ChatGPT's client asks server/discover first and falls back only on an answer it understands.", "Let bodies of 4xx answers through unchanged.";
    ToolsList = "tools-list", "Without tools there is nothing to call.", "Check the backend's own log.";
    ToolAnnotations = "tool-annotations", "ChatGPT takes a tool without readOnlyHint for one that changes things, and asks each time.", "Annotate the backend's tools (readOnlyHint, destructiveHint, openWorldHint).";
    Search = "search", "Deep research and company knowledge need `search` exactly as the contract says.", "Use the bundled mcp-backend, or make the backend's search take one string `query` and answer one text item with {\"results\":[{\"id\",\"title\",\"url\"}]}.";
    Fetch = "fetch", "Deep research and company knowledge need `fetch` exactly as the contract says.", "Use the bundled mcp-backend, or make the backend's fetch take one string `id` and answer one text item with id, title, text and url.";
    RefreshToken = "refresh-token", "Without a refresh token people must reconnect when the access token ends, although the metadata says otherwise.", "Let POST /token through unchanged; the client's registration must allow refresh_token.";
    Refresh = "refresh", "A refresh that fails ends in \"Connection has expired. Reconnect\".", "Let POST /token through unchanged; the gateway's log names the reason of a refusal (token_refused).";
    RefreshRotation = "refresh-rotation", "A refresh token that is never replaced stays good for whoever stole it.", "Upgrade the gateway, and let nothing cache or rewrite the answers of /token.";
    RefreshGrace = "refresh-grace", "Clients with parallel calls refresh in parallel; if all but one fail, the app logs itself out.", "Give all replicas the same [store] url (redis://…) and the same keys_dir; tokens.refresh_grace is the time for it.";
    SessionUnknown = "session-unknown", "Only 404 makes a client with a forgotten session start a new one.", "Let 404 answers and their bodies through unchanged.";
    QueryToken = "query-token", "A token in a URL ends in logs; it must not work.", "Let nothing turn query parameters into an Authorization header.";
    Origin = "origin", "A web page of a stranger must not call the server with a token it got hold of.", "Keep the Origin header on the way to the gateway, and keep allowed_origins short.";
    // Streams
    StreamCompression = "stream-compression", "A compressed event stream is held back until the compressor has enough.", "Turn compression off for text/event-stream (gzip off, or no event streams among its types).";
    SseFirstEvent = "sse-first-event", "The older transport starts with an `endpoint` event; a client waits for it before it does anything.", "Turn response buffering off for the MCP paths (proxy_buffering off), and speak HTTP/1.1 to the gateway.";
    SseEndpoint = "sse-endpoint", "Clients post to the URL in the `endpoint` event, and refuse another origin.", "Set public_url to the public origin, and let nothing rewrite event streams.";
    SseBuffering = "sse-buffering", "An answer must arrive when it was sent, not when a buffer is full.", "Turn response buffering off for the MCP paths (proxy_buffering off).";
    StreamIdle = "stream-idle", "A quiet stream must stay open: tools take their time.", "Raise the idle timeout of what stands in front above 60 s (proxy_read_timeout and the like); the gateway sends a comment every 15 s.";
    // The end
    Revocation = "revocation", "Access that was taken back must end at once.", "Let POST /revoke through; give all replicas the same [store] url.";
    RevocationStream = "revocation-stream", "A stream of a revoked grant must end, too.", "Upgrade the gateway; give all replicas the same [store] url.";
}

/// The id.
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
        }
    }
}
