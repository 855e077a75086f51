//! The one list of reason codes: why something was refused, in words for the log and the pages.
//!
//! The manual's tables are generated here: [`troubleshooting`] and [`reference()`].

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $sentence:literal, $remedy:literal;)*) => {
        /// Why a request was refused or something went wrong. One code each, stable across versions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* #[doc = $sentence] $name,)* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code in the log, in metrics and on pages.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What happened, in one sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// What to do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

reasons! {
    // Authorization request
    ClientUnknown = "client_unknown", "No client with this client_id is registered here.", "Remove the connection in the app and add it again; it will register anew.";
    ClientDocumentUnreachable = "cimd_unreachable", "The client's metadata document could not be fetched, and none is known.", "Check that this machine reaches the host of the client_id by https; or switch clients.metadata_documents off, so that clients register themselves.";
    ClientDocumentInvalid = "cimd_invalid", "The client's metadata document, or its address, is not as it must be.", "The page and the log name what is wrong; the app's vendor must mend it.";
    ClientDocumentHostNotAllowed = "cimd_host_not_allowed", "The host of the client's metadata document is not one that the operator allows.", "Add it to clients.metadata_hosts.";
    HeaderTakenForClient = "header_taken_for_client", "The app was set up with a header, and takes the header's name for a client id: it did not send its token.", "Where the app asks for a header, give Authorization as its name and Bearer with the token as its value; where it asks for an OAuth client id, leave that empty and remove the header.";
    RedirectUriMismatch = "redirect_uri_mismatch", "The redirect_uri is not one that the client registered.", "Compare it character by character with the registered ones; only the port of a loopback address may differ.";
    RequestMalformed = "request_malformed", "A parameter is missing, repeated or not of its form.", "The error description names the parameter.";
    ResponseTypeUnsupported = "response_type_unsupported", "Only response_type=code is served.", "Configure the client for the authorization code flow.";
    PkceMissing = "pkce_missing", "The request carries no code_challenge.", "The client must use PKCE with S256.";
    PkceMethodUnsupported = "pkce_method_unsupported", "Only code_challenge_method=S256 is served.", "The client must use PKCE with S256.";
    ResourceUnknown = "resource_unknown", "The resource is not one that this gateway serves.", "Use the MCP URL that the start page shows.";
    UserDenied = "user_denied", "The person pressed Deny.", "Nothing to mend; start again to decide anew.";
    PageExpired = "page_expired", "The page was open for too long, or was already used.", "Go back to the app and start the connection again.";
    CrossSiteForm = "cross_site_form", "The form was not sent from a page of this gateway to the same browser.", "Allow cookies for this site and start the connection again in the app.";
    // Login and set-up
    LoginFailed = "login_failed", "The name or the password is wrong.", "Try again; the operator can set a new password with `gateway users password`, for the owner of the configuration with `gateway users hash`.";
    UserDisabled = "user_disabled", "This person may not log in.", "The operator can let them in again with `gateway users enable`.";
    LoginLimited = "login_limited", "Too many wrong passwords.", "Wait for the time that the page names.";
    SetupCodeWrong = "setup_code_wrong", "The setup code is wrong, used or older than 15 minutes.", "Take the link that was printed last, by whichever replica, or restart the gateway: while there is no owner it prints a new code.";
    SetupDone = "setup_done", "This gateway has its owner.", "Log in instead.";
    PasswordTooWeak = "password_too_weak", "The password is too short or too long.", "Take at least 12 characters.";
    UserExists = "user_exists", "Somebody has this login name.", "Take another name; `gateway users ls` lists those that are taken.";
    InConfiguration = "in_configuration", "This stands in the configuration.", "Change it there and restart the gateway.";
    KeysFolderUnwritable = "keys_folder_unwritable", "The gateway can't write to its keys folder.", "Make the key with `gateway keys create signing-N.key` and put it where the folder comes from, such as a secret that is mounted: the gateway takes it up by itself.";
    LastSigningKey = "last_signing_key", "Without these keys the gateway could sign nothing.", "Make another first: gateway keys rotate --now makes one and revokes all others.";
    AdminTokenWrong = "admin_token_wrong", "A request to the operator's API does not carry the token of this gateway.", "Run the command as the gateway's user with its configuration: the token is admin.token in keys_dir.";
    AdminRequestForeign = "admin_request_foreign", "A request to the operator's API comes from a web page, or is for a host by name.", "Ask the address of admin_listen itself, from a program.";
    // Login with an identity provider
    ProviderUnreachable = "provider_unreachable", "The identity provider could not be reached.", "Try again, or log in another way; the operator checks that this machine reaches the provider's issuer. Whoever is connected stays so.";
    ProviderDocumentInvalid = "provider_document_invalid", "What the identity provider says of itself is not as it must be.", "The page and the log name what is wrong; login.issuer must be written as the provider's discovery document has it.";
    ProviderRefused = "provider_refused", "The identity provider did not log this person in.", "Start again; if it recurs, the operator compares client_id, secret and callback URL with those at the provider: the page and the log have its own words.";
    ProviderClientRefused = "provider_client_refused", "The identity provider does not take this gateway for the client that it says it is.", "The operator compares login.client_id and the secret with those at the provider, where the secret may have run out; the log has the provider's own words.";
    ProviderAnswerInvalid = "provider_answer_invalid", "The identity provider answered something that can't be taken.", "Start again; if it recurs, the page and the log name what is wrong.";
    LoginStateUnknown = "login_state_unknown", "This login was not begun in this browser, is over ten minutes old, or was already used.", "Start again from the login page; allow cookies for this site.";
    LoginIssuerMismatch = "login_issuer_mismatch", "The answer comes from another identity provider than the one that was asked.", "Start again; if it recurs, somebody may be mixing up providers: the operator checks login.issuer.";
    IdTokenMalformed = "id_token_malformed", "The identity provider's token is none that can be read.", "The log names what is wrong with it; the provider must mend it.";
    IdTokenAlgorithm = "id_token_algorithm", "The identity provider's token is not signed in a way that is taken.", "Set the provider to sign with RS256, ES256 or EdDSA; `none` and HMAC are never taken.";
    IdTokenKeyUnknown = "id_token_key_unknown", "The identity provider's token is signed with a key that the provider does not publish.", "Start again; if it recurs, the provider's jwks_uri does not have the key that it signs with, or several that it may be.";
    IdTokenSignature = "id_token_signature", "The signature of the identity provider's token is wrong.", "Start again; if it recurs, somebody changes what the provider sends.";
    IdTokenIssuer = "id_token_issuer", "The identity provider's token names another issuer.", "login.issuer must be the issuer that the provider's tokens name.";
    IdTokenAudience = "id_token_audience", "The identity provider's token is for another application.", "Compare login.client_id with the one at the provider.";
    IdTokenNonce = "id_token_nonce", "The identity provider's token belongs to another login.", "Start again; the provider must send back the nonce that it was sent.";
    IdTokenExpired = "id_token_expired", "The identity provider's token is over, or not valid yet.", "Check the clocks of this machine and of the provider.";
    PersonNotAllowed = "person_not_allowed", "The identity provider knows this person, and no rule of this gateway lets them in.", "Log in there with another account, or ask the operator: login.allow says who may come in.";
    LastWayIn = "last_way_in", "Without this the person could not log in.", "Add another way to log in first: a password, a passkey or an account at an identity provider. To keep somebody out, use `gateway users disable`.";
    IdentityTaken = "identity_taken", "This account at the identity provider belongs to another person here.", "Log in with it and use that person; an account stands for one person only.";
    LoginAgain = "login_again", "What the identity provider said of this person is too old to go on with.", "Reconnect in the app, which leads through the provider's login again; for a personal token, log in to the gateway in a browser. login.groups_max_age sets the time.";
    ProviderDecides = "provider_decides", "This person comes through an identity provider alone, and the provider decides whether they may.", "Let the provider let them in. To make them a person of this gateway's own, give them a password: `gateway users password`.";
    PasswordLoginOff = "password_login_off", "Passwords are for the owner only here.", "Log in with an identity provider.";
    LogoutTokenWithoutSubject = "logout_token_without_subject", "The identity provider's logout token names a session there, and no person.", "Let the provider put `sub` into its logout tokens: its sessions are not told apart here.";
    LogoutTokenInvalid = "logout_token_invalid", "The identity provider's logout token was not accepted.", "The error description and the log name what is wrong; compare login.issuer and login.client_id with the provider's.";
    // Passkeys and rescue links
    PasskeyUnknown = "passkey_unknown", "Nobody here has this passkey.", "Log in another way, and add a passkey under My apps; the device's own settings remove the old one.";
    PasskeyInvalid = "passkey_invalid", "The answer of the passkey was not accepted.", "Try again; if it recurs, the log names what is wrong with it.";
    PasskeyForeign = "passkey_foreign", "The answer of the passkey was made for another site.", "Open the gateway at its public_url. If that is where you were, another site may be imitating it.";
    PasskeyUnverified = "passkey_unverified", "The device did not check who is using the passkey.", "Set up a PIN, a fingerprint or face recognition on the device, and try again.";
    PasskeyCloned = "passkey_cloned", "The passkey's own count went backwards, so there may be a copy of it.", "Log in another way and remove the passkey; the operator can with `gateway users remove-passkey`. Then add a new one.";
    PasskeyTaken = "passkey_taken", "This passkey is here already.", "Use it as it is, or another device.";
    PasskeysFull = "passkeys_full", "Nobody has more than 20 passkeys.", "Remove one that is not used any more.";
    RescueLinkWrong = "rescue_link_wrong", "The link is wrong, was used, is older than 15 minutes, or its person logs in with something else since.", "Ask the operator for another: `gateway users link`.";
    // Token endpoint
    ClientAuthenticationFailed = "client_authentication_failed", "The client did not authenticate with its registered method.", "Remove the connection in the app and add it again.";
    ClientAssertionInvalid = "client_assertion_invalid", "The client's signed assertion was not accepted.", "The error description names what is wrong; check the client's clock and its published keys.";
    ClientAssertionReused = "client_assertion_reused", "The client sent the same signed assertion twice.", "The client must sign a new one, with a jti of its own, for every request.";
    ClientKeysUnreachable = "client_keys_unreachable", "The client's published keys could not be fetched.", "Check that this machine reaches the client's jwks_uri by https; requests go on by themselves once it does.";
    ClientChanged = "client_changed", "The client's metadata document has other redirect URIs or keys than when the person allowed it.", "Start the connection again; the consent page tells of the change.";
    CodeUnknown = "code_unknown", "The authorization code is not one of ours, or is long gone.", "Start the connection again; if it recurs, two gateways answer under one name without a shared store.";
    CodeExpired = "code_expired", "The authorization code is older than 60 seconds.", "Start the connection again; if it recurs at once, a clock is wrong: check that those of the replicas agree.";
    CodeReused = "code_reused", "The authorization code was redeemed before; the grant it gave is revoked.", "Start the connection again; the client or a prefetching browser sent it twice.";
    CodeRetried = "code_retried", "The authorization code was redeemed a moment ago; what that request was given stays good.", "Use the answer to the first request. If there was none, start the connection again; the client sent its token request twice.";
    CodeNeverRedeemed = "code_never_redeemed", "The client did not come for the authorization code that it was given.", "The app gave up after the browser had come back to it: start the connection again in a fresh tab, and check that the app reaches /token at the public URL.";
    CodeClientMismatch = "code_client_mismatch", "The authorization code was given to another client.", "Start the connection again.";
    CodeRedirectMismatch = "code_redirect_mismatch", "The redirect_uri differs from the one of the authorization request.", "The client must send the same redirect_uri, or none.";
    PkceMismatch = "pkce_mismatch", "The code_verifier does not match the code_challenge.", "Start the connection again; the client lost or mixed up its verifier.";
    ResourceMismatch = "resource_mismatch", "The resource differs from the one that was consented to.", "The client must send the same resource at both endpoints.";
    RefreshExpired = "refresh_expired", "The refresh token was not used in time, or the grant reached its longest life.", "Reconnect in the app; tokens.refresh_idle and tokens.refresh_max set the times.";
    RefreshReused = "refresh_reused", "A refresh token was used again after its grace; the grant is revoked.", "Reconnect in the app. If it recurs, the app keeps an old token or two of its copies share one; tokens.refresh_grace allows for slow ones.";
    RefreshUnknown = "refresh_unknown", "The refresh token is not one of ours, or its grant ended long ago.", "Reconnect in the app; keep the store's data and the keys folder across restarts.";
    RefreshClientMismatch = "refresh_client_mismatch", "The refresh token was given to another client.", "Reconnect in the app; nothing was revoked.";
    RefreshNotRegistered = "refresh_not_registered", "The client's registration names its grant types, and refresh_token is not among them.", "The client must register refresh_token to use it.";
    RefreshScopeWider = "refresh_scope_wider", "A refresh asks for a scope that was not granted.", "The client must ask for no more than it was granted, or start a new authorization.";
    GrantTypeUnsupported = "grant_type_unsupported", "This grant_type is not served.", "Only authorization_code is served, refresh_token where tokens.refresh is on, client_credentials where a [[client]] may use it, device_code where clients.device is on, and jwt-bearer where a [[login]] has id_jag.";
    ClientCredentialsNotConfigured = "client_credentials_not_configured", "This client may not get a token for itself.", "A [[client]] of the configuration may that acts_as a [[service]] and has client_credentials among its grants; an app that registered itself never.";
    ScopeNotConfigured = "scope_not_configured", "The client asks for a scope that the configuration does not give it.", "The client must ask for less, or the operator adds it to client.scopes.";
    ServiceNameTaken = "service_name_taken", "A person has the name of this service, and neither may stand for the other.", "Give the [[service]] another name.";
    DevicePending = "device_pending", "Nobody has answered the app on another machine yet.", "Open /device, type the code that the app shows, and decide.";
    DeviceCodeExpired = "device_code_expired", "Nobody answered the app within ten minutes, or its device code is none.", "Start the login in the app again.";
    DeviceCodeUsed = "device_code_used", "The answer to the app on another machine was fetched before.", "Start the login in the app again.";
    DeviceNotAllowed = "device_not_allowed", "This app may not ask from another machine.", "Apps that nobody vouches for may where the operator sets clients.device to all, one of the configuration where its client.grants name device_code; else log in with a browser, or make a token at /account/tokens.";
    UserCodeUnknown = "user_code_unknown", "No app waits with this code.", "Compare it with the one that the app shows; it is good for ten minutes and for one answer.";
    IdJagInvalid = "id_jag_invalid", "The identity provider's assertion for the app was not accepted.", "The error description and the log name what is wrong with it; the provider must mend it, or login.issuer is not written as its tokens name it.";
    IdJagAudience = "id_jag_audience", "The identity provider's assertion is for another authorization server.", "Let the provider issue it for this gateway: its audience is public_url.";
    IdJagClientMismatch = "id_jag_client_mismatch", "The identity provider's assertion was issued for another app.", "The provider must know the app by the client_id that it has here, and put that into the assertion.";
    IdJagClientNotAllowed = "id_jag_client_not_allowed", "This app may not connect by an identity provider's word.", "Add its client_id to login.id_jag.clients; it must authenticate with a secret or a key, never with nothing.";
    IdJagReused = "id_jag_reused", "The identity provider's assertion was exchanged before.", "The app must fetch a new one from the provider for every token.";
    IdJagScopeEmpty = "id_jag_scope_empty", "Nothing is left of the scope that the app asked for.", "The app gets what it asks for, the assertion names and login.id_jag.scopes lists; make the three meet.";
    IdJagWithheld = "id_jag_withheld", "The person or the operator took this access back, and an identity provider's word does not bring it again.", "The person lifts it at /account, the operator with `gateway users readmit NAME CLIENT`.";
    IntrospectionUnauthenticated = "introspection_unauthenticated", "A request to the introspection endpoint does not come from a configured backend.", "Send the backend's name and its secret as HTTP Basic; backend.introspection_secret_hash holds the secret's SHA-256.";
    MediaTypeWrong = "media_type_wrong", "The body is not of the media type that the endpoint takes.", "Send application/x-www-form-urlencoded to the token endpoint, application/json to the registration and MCP endpoints.";
    // Registration
    RedirectUriInvalid = "redirect_uri_invalid", "A redirect URI is of a kind that is not accepted.", "Use https, a loopback http address, or the scheme of a known native app, to which clients.redirect_schemes adds others; no fragment, no user name.";
    ClientMetadataInvalid = "client_metadata_invalid", "The client metadata can't be accepted.", "The error description names the member.";
    RateLimited = "rate_limited", "Too many requests of this kind from one address.", "Wait for the time in Retry-After.";
    // Resource server
    TokenMissing = "token_missing", "The request carries no access token.", "This is how a client learns where to log in; nothing to mend unless it never comes back with a token.";
    TokenMalformed = "token_malformed", "The Authorization header or the token in it is not of its form.", "Disconnect and connect again in the app.";
    TokenBadSignature = "token_bad_signature", "The access token was not signed by this gateway.", "Keep the keys folder across restarts and share it between replicas.";
    TokenKeyUnknown = "token_key_unknown", "The access token names a signing key that is not here.", "Keep the keys folder across restarts and share it between replicas.";
    TokenExpired = "token_expired", "The access token is past its lifetime.", "The app refreshes it by itself where tokens.refresh is on; else reconnect in the app. tokens.access_ttl sets the lifetime. If a new token is refused so, the clock of this machine or of a replica is wrong.";
    TokenWrongAudience = "token_wrong_audience", "The access token is for another resource.", "Connect to this URL separately: each backend has its own token.";
    PersonalTokenMalformed = "personal_token_malformed", "The personal token was not copied whole, or is none.", "Copy it again: cupgw_ and 56 letters and digits, with nothing before or after.";
    PersonalTokenUnknown = "personal_token_unknown", "This gateway did not give this personal token, or it ended long ago.", "Make another at /account/tokens; keep the keys folder and the store's data across restarts.";
    PersonalTokensOff = "personal_tokens_off", "Personal tokens are switched off here.", "Connect as an app does; the operator decides with tokens.personal.";
    PersonalTokensTooMany = "personal_tokens_too_many", "This person has as many personal tokens as one person may have, which are 100.", "Revoke some of them at /account/tokens, or with `gateway token rm`.";
    TokenInUrl = "token_in_url", "A personal token stood in the URL of a request, where others can read it, so it is revoked.", "Make another and send it in the Authorization header: URLs stand in logs and histories.";
    TokenNarrowingRefused = "token_narrowing_refused", "A block that was appended to the token is none of those that are taken.", "Narrow tokens with gateway token narrow, or with checks of the documented form; gateway token inspect shows the block.";
    TokenOlderThanStore = "token_older_than_store", "The access token is older than the store, which was emptied since.", "Reconnect in the app; keep the store's data across restarts. If new tokens are refused so, a clock is wrong: compare that of the gateway's machine now with when the store was first used.";
    GrantRevoked = "grant_revoked", "The grant behind this token was revoked.", "Reconnect in the app to grant access again.";
    GrantUnknown = "grant_unknown", "The store does not have the grant behind this token any more, or not with the tools that the token stands for.", "Reconnect in the app; keep the store's data across restarts.";
    ScopeInsufficient = "scope_insufficient", "The token's scope does not cover this.", "Apps that know how ask for the scope that the challenge names by themselves; else reconnect in the app and allow it.";
    ToolInNoScope = "tool_in_no_scope", "No scope of this gateway covers this tool, so nobody can be granted it.", "Name the tool in a [scope.NAME] of the configuration, or add [scope.mcp], which covers everything.";
    TokenNarrowed = "token_narrowed", "Whoever narrowed this token left this call out.", "Use the token that it was made from, or narrow it less; gateway token inspect shows its conditions.";
    ApprovalMissing = "approval_missing", "The tool needs an approval that the token does not carry.", "Ask an approver for gateway token approve, and use the token that comes of it before the approval ends.";
    PolicyDenied = "policy_denied", "The operator's policy does not allow this.", "The log and the audit record name the check or deny that decided (rule=FILE:LINE), and no rule where nothing allows it; ask the operator if it is meant otherwise.";
    PolicyFailed = "policy_failed", "The operator's policy could not be evaluated for this call, so it is refused.", "The log says why: mostly an argument of another kind than a rule expects, or a path that can be read as another one.";
    PolicyUnreadable = "policy_unreadable", "SIGHUP found a fault in the configuration or its policy; the old policy stays in force.", "The log and `gateway check` name every fault with its line; mend them and send SIGHUP again.";
    PolicyArgumentsUnclear = "policy_arguments_unclear", "The operator's policy asks about arguments that are too many to be known, or resemble each other too much, or what is called resembles something else that it names.", "Send fewer arguments, and none whose names differ in case only; call what is meant by its very name.";
    ToolNotAllowed = "tool_not_allowed", "The token does not allow this tool.", "Reconnect in the app and allow the tool on the consent page.";
    ToolDefinitionChanged = "tool_definition_changed", "The backend changed the definition of this tool since it was allowed.", "The page /account shows the tool as it is now: approve it again there, or reconnect in the app.";
    ToolDefinitionUnknown = "tool_definition_unknown", "The backend could not be asked whether this tool is still the one that was allowed.", "Check that the backend runs and answers tools/list; calls go on by themselves once it does.";
    ToolNameDoubled = "tool_name_doubled", "The backend lists two tools of this name, and nobody can know which of them a call would run.", "Whoever runs the backend gives each tool a name of its own; calls go on by themselves once its list has one of them.";
    RpcMethodNotAllowed = "rpc_method_not_allowed", "The token does not allow this method of MCP.", "Reconnect in the app and allow everything on the consent page, if resources and prompts are wanted; where the configuration has scopes, one of them must name the method.";
    AnswerUnasked = "answer_unasked", "The client answered something that the backend has not asked in this session.", "Nothing to mend if a question was answered late or twice; the backend was not told.";
    ToolsChangedMeanwhile = "tools_changed_meanwhile", "The backend changed a tool while the consent page was open, so nothing was granted.", "The page is shown again with the tools as they are now; if it recurs, the backend changes its definitions all the time.";
    ToolsUnknown = "tools_unknown", "The backend could not be asked for its tools.", "Check that the backend runs and answers tools/list.";
    OriginNotAllowed = "origin_not_allowed", "The Origin header names a site that is not allowed.", "Add it to allowed_origins in the gateway's configuration if a page there is to call it.";
    HostNotOurs = "host_not_ours", "The Host header names another host.", "Set public_url to the name that clients use; a proxy in front that changes Host belongs in trusted_proxies.";
    MessageMalformed = "message_malformed", "The body is not one unambiguous JSON-RPC message.", "The error description names what is wrong.";
    BodyTooLarge = "body_too_large", "The body is larger than the limit.", "Raise limits.request_body if such messages are expected.";
    HeaderTooLarge = "header_too_large", "The header of the request is larger than the limit.", "Raise limits.request_header if such headers are expected; clear the cookies of this site where a browser sends many.";
    BodyCompressed = "body_compressed", "The body is compressed.", "The client must send it plain.";
    BodyTooSlow = "body_too_slow", "The body did not arrive in time.", "Check the network between client and gateway.";
    PathAmbiguous = "path_ambiguous", "The path can be read in more than one way.", "Use the MCP URL exactly as shown.";
    RequestAmbiguous = "request_ambiguous", "The request's framing or headers can be read in more than one way.", "Repeat no header that may stand once.";
    SessionUnknown = "session_unknown", "The session id was not given to this user and client.", "The client starts a new session by itself.";
    NotFound = "not_found", "Nothing is served under this path.", "Use the MCP URL that the start page shows.";
    BackendPageNotAllowed = "backend_page_not_allowed", "No app of yours may read this page now.", "Connect an app to this backend and allow it the tool fetch, then open the page again: it shows what an app may read in your name, by the operator's policy too.";
    BackendPageUnfit = "backend_page_unfit", "What the backend answered is not a page that is shown here.", "The page names what is wrong with it: pages are HTML, plain text, style sheets and pictures of at most 4 MiB.";
    MethodNotAllowed = "method_not_allowed", "The path does not take this method.", "The Allow header names those it takes.";
    // Everybody's own account at a backend
    AccountNotConnected = "account_not_connected", "The backend is called with everybody's own account there, and this person has connected none.", "Open the address that the app shows, or /account at the gateway, and connect one.";
    AccountConnectAgain = "account_connect_again", "This person's account at the backend is not accepted there any more.", "Open the address that the app shows, or /account at the gateway, and connect it again.";
    AccountScope = "account_scope", "This person's account at the backend may not do what was asked: the backend wants a larger scope.", "Open the address that the app shows, and allow more there.";
    AccountUnavailable = "account_unavailable", "This person's account at the backend has to be renewed, and the backend's authorization server can't be asked.", "Nothing to connect: calls go on by themselves once it answers; the operator checks that this machine reaches it.";
    AccountServerUnreachable = "account_server_unreachable", "The backend's authorization server could not be reached.", "Try again; the operator checks that this machine reaches it: the page and the log name it. What is connected goes on until it has to be renewed.";
    AccountServerUnusable = "account_server_unusable", "The backend's authorization server could not be found or used.", "The page and the log name what is wrong; what the backend does not say of it can be said in backend.account.";
    AccountRefused = "account_refused", "The backend's authorization server did not allow it.", "Start again; if it recurs, the page and the log have its error code, and the operator compares backend.account with what is registered there.";
    AccountAnswerInvalid = "account_answer_invalid", "The backend's authorization server answered something that can't be taken.", "Start again; if it recurs, the page and the log name what is wrong.";
    AccountIssuerMismatch = "account_issuer_mismatch", "The answer comes from another authorization server than the one that was asked.", "Start again; if it recurs, somebody may be mixing them up: the operator checks backend.account.";
    AccountStateUnknown = "account_state_unknown", "This connection was not begun in this browser by this person, is over ten minutes old, or was already used.", "Start again from /account; allow cookies for this site.";
    AccountLinkUnknown = "account_link_unknown", "The link is wrong or older than 15 minutes.", "Call again in the app, which shows another; or connect the account at /account.";
    AccountLinkForeign = "account_link_foreign", "The link is for another person than the one who is logged in here.", "Nothing was changed. Whoever sent you this link wants you to connect your account for them: don't. If it is yours, log in as who uses the app.";
    AccountConnected = "account_connected", "This person's account at the backend is connected, and what was called stands for its tools only while there is none.", "List the tools again: they are there now.";
    AccountKeyRefused = "account_key_refused", "The backend did not accept the key in a trial call.", "Compare it with the one at the backend, and paste it whole.";
    // Faults
    AuditUnavailable = "audit_unavailable", "The audit log can't be written, so nothing is given that it would have to hold.", "Check the space and rights of the disk that audit.file is on; requests go on by themselves once it takes records. audit.on_failure decides.";
    StoreUnavailable = "store_unavailable", "The state store did not answer.", "Check the store; requests go on by themselves once it is back.";
    RecordUnreadable = "record_unreadable", "The state store answered, and a record in it can't be read.", "The log's cause names the kind of the record, and the program that wrote it if that is a later version: run that version again. Else take it away: `gateway grants revoke`, `gateway clients rm`, or `gateway users add` for the same name; or restore the store from a backup. Waiting does not help.";
    SigningKeyMissing = "signing_key_missing", "No key is here that signs tokens: all that this replica knows are revoked.", "The operator runs `gateway keys rotate`, or gives this replica the keys folder that the others have; requests go on by themselves then.";
    UpstreamUnreachable = "upstream_unreachable", "The backend did not accept the connection.", "Check that the backend runs and that its url in the configuration is right.";
    UpstreamTimeout = "upstream_timeout", "The backend accepted the connection but did not answer in time.", "Check the backend's own log.";
    UpstreamFailed = "upstream_failed", "The backend broke off or answered something that is not HTTP.", "Check the backend's own log.";
    UpstreamRefusedUs = "upstream_refused_us", "The backend itself asked for authentication.", "Give the gateway the backend's credential in backend.headers.";
    UpstreamRefusedHost = "upstream_refused_host", "The backend refused the Host or Origin of the request.", "Use the host name that the backend expects in backend.url.";
    TranslationLimit = "translation_limit", "This is more than the gateway translates between revisions of MCP.", "Ask for less at once; or use a client and a server that speak the same revision: what passes as it is has no such limit.";
    Overloaded = "overloaded", "Too many requests wait for the same resource.", "Try again shortly.";
    LimitReached = "limit_reached", "A limit that the operator has set on calls, or the holder of a token on what was made from it, is reached.", "Wait for the time that Retry-After names. Where there is none waiting does not help: send fewer calls at once, or have another token narrowed, if it is that one's budget. The operator can raise the limit in its [[limit]] and reload, and /account shows what is left.";
    InFlightFull = "in_flight_full", "More bytes of unfinished requests and answers would be held in memory than may be.", "Wait for the time in Retry-After, send fewer large requests at once, and read what is answered; the operator can raise limits.in_flight, limits.in_flight_per_address or limits.in_flight_per_grant.";
    ConnectionsFull = "connections_full", "Too many connections are open.", "Close some or wait for the time in Retry-After; the operator can raise limits.memory, limits.connections or limits.connections_per_address, and list a reverse proxy in trusted_proxies.";
    OpenFilesExhausted = "open_files_exhausted", "The gateway may not open more files: each connection takes two.", "Raise the limit of open files of the gateway's process: `ulimit -n`, LimitNOFILE= of systemd, ulimits.nofile of compose; where it is that of the machine, `sysctl fs.file-max`.";
    Internal = "internal", "Something in the gateway failed.", "The log has a line with the same request id; please report it.";
}

/// What an app shows its user when a connection fails, and the reasons that the log may then give.
#[derive(Clone, Copy, Debug)]
pub struct Symptom {
    /// The app's words.
    pub shown: &'static str,
    /// What lies behind them, in a sentence.
    pub meaning: &'static str,
    /// The reasons to look for in the log, likeliest first.
    pub reasons: &'static [Reason],
}

/// The troubleshooting table, keyed by what ChatGPT shows.
pub const SYMPTOMS: &[Symptom] = &[
    Symptom {
        shown: "Missing access token, received 400 … invalid_grant",
        meaning: "The token endpoint refused the authorization code.",
        reasons: &[
            Reason::CodeReused,
            Reason::CodeRetried,
            Reason::CodeExpired,
            Reason::CodeUnknown,
            Reason::PkceMismatch,
            Reason::CodeRedirectMismatch,
            Reason::CodeClientMismatch,
            Reason::ResourceMismatch,
            Reason::MediaTypeWrong,
            Reason::ClientAuthenticationFailed,
        ],
    },
    Symptom {
        shown: "OAuthCallback",
        meaning: "The browser came back to ChatGPT without a code it could use: Deny was pressed, the login took too long, or another browser profile answered. If the log says code_issued and then code_never_redeemed, the gateway's part is done: clear ChatGPT's cookies, or use a private window.",
        reasons: &[
            Reason::UserDenied,
            Reason::CodeNeverRedeemed,
            Reason::PageExpired,
            Reason::ResourceUnknown,
            Reason::PkceMissing,
        ],
    },
    Symptom {
        shown: "Unable to load conversation",
        meaning: "A message of ChatGPT's own pages, not of OAuth: start a new chat and add the connection again. If calls fail then, the log names the reason.",
        reasons: &[
            Reason::TokenExpired,
            Reason::GrantRevoked,
            Reason::TokenBadSignature,
        ],
    },
    Symptom {
        shown: "Something went wrong with setting up the connection",
        meaning: "Discovery or registration failed, mostly because public_url is not the URL that ChatGPT was given.",
        reasons: &[
            Reason::NotFound,
            Reason::RedirectUriInvalid,
            Reason::ClientMetadataInvalid,
            Reason::RateLimited,
            Reason::ClientUnknown,
            Reason::RedirectUriMismatch,
        ],
    },
    Symptom {
        shown: "Connection has expired. Reconnect",
        meaning: "The access token is no longer accepted, and it could not be refreshed.",
        reasons: &[
            Reason::TokenExpired,
            Reason::RefreshExpired,
            Reason::RefreshReused,
            Reason::RefreshUnknown,
            Reason::GrantRevoked,
            Reason::TokenKeyUnknown,
            Reason::TokenBadSignature,
            Reason::TokenOlderThanStore,
            Reason::GrantUnknown,
            Reason::TokenWrongAudience,
        ],
    },
    Symptom {
        shown: "Connected, but no tools; a call fails",
        meaning: "The token is good; the backend or the message is not, or it is about a tool that was not allowed.",
        reasons: &[
            Reason::UpstreamUnreachable,
            Reason::UpstreamTimeout,
            Reason::UpstreamRefusedHost,
            Reason::UpstreamRefusedUs,
            Reason::ToolDefinitionChanged,
            Reason::ToolNotAllowed,
            Reason::PolicyDenied,
            Reason::RpcMethodNotAllowed,
            Reason::SessionUnknown,
            Reason::MessageMalformed,
            Reason::StoreUnavailable,
            Reason::RecordUnreadable,
        ],
    },
];

/// The troubleshooting table in Markdown, as it stands in the manual.
pub fn troubleshooting() -> String {
    let mut table = String::from(
        "| ChatGPT shows | reason in the log | what happened | what to do |\n|---|---|---|---|\n",
    );
    for symptom in SYMPTOMS {
        table.push_str(&format!(
            "| **{}** | | {} | |\n",
            symptom.shown, symptom.meaning
        ));
        for reason in symptom.reasons {
            table.push_str("| ");
            table.push_str(&reason.row());
        }
    }
    table
}

/// Every reason in Markdown, as it stands in the manual.
pub fn reference() -> String {
    let mut table = String::from("| reason | what happened | what to do |\n|---|---|---|\n");
    table.extend(Reason::ALL.iter().map(|reason| reason.row()));
    table
}

impl Reason {
    fn row(self) -> String {
        let (code, sentence, remedy) = (self.code(), self.sentence(), self.remedy());
        format!("| `{code}` | {sentence} | {remedy} |\n")
    }
}

/// The code, as the log prints it.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl log::kv::ToValue for Reason {
    fn to_value(&self) -> log::kv::Value<'_> {
        log::kv::Value::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_code_and_a_sentence_and_a_remedy() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.sentence().ends_with('.'), "{reason}");
            assert!(reason.remedy().ends_with('.'), "{reason}");
        }
    }
}
