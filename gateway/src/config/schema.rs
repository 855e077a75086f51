//! The keys of the configuration, written once: the file reader refuses any other, the environment
//! is mapped onto them, `gateway check` prints them, and the reference in the manual is made from
//! them.

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Count,
    /// A number with a unit of time: `15s`, `24h`.
    Duration,
    /// A number with a unit of bytes: `4MiB`, `64KiB`.
    Size,
    /// A list of texts.
    List,
    /// A table of texts.
    Map,
    /// Text that is never printed.
    Secret,
    /// A table of texts that are never printed.
    SecretMap,
    /// A list of `NAME` or `NAME=VALUE`, the values of which are never printed.
    SecretList,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its dotted path; `backend[].url` stands for that key of every backend.
    pub path: &'static str,
    /// What it must look like.
    pub kind: Kind,
    /// The default, as one would write it in the environment. Empty: none.
    pub default: &'static str,
    /// What it decides, in a sentence.
    pub about: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key {
        path,
        kind,
        default,
        about,
    }
}

/// Every key, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key(
        "public_url",
        Kind::Text,
        "",
        "The origin that clients and browsers use. The only source of every URL that is published. Default: `http://localhost:` and the port of `listen`.",
    ),
    key(
        "listen",
        Kind::List,
        "127.0.0.1:8080",
        "Where clients and browsers are served.",
    ),
    key(
        "admin_listen",
        Kind::Text,
        "127.0.0.1:9090",
        "Where health, metrics and the operator's commands are served. Never make it public.",
    ),
    key(
        "title",
        Kind::Text,
        "Cupcake Gateway",
        "The name on pages and in the manifest.",
    ),
    key(
        "threads",
        Kind::Count,
        "",
        "Worker threads. Default: one per core.",
    ),
    key(
        "keys_dir",
        Kind::Text,
        "",
        "The folder of the signing keys. Default: `keys` in the state folder, `./state/keys` with a store that has none.",
    ),
    key(
        "trusted_proxies",
        Kind::List,
        "",
        "Addresses or networks whose X-Forwarded-For is believed, for limits and logs.",
    ),
    key(
        "allowed_origins",
        Kind::List,
        "well-known",
        "Web origins besides our own whose pages may call the MCP endpoints with a token; what needs none is readable from everywhere. Whole origins (`https://example.com`), all below a domain (`https://*.example.com`), any port (`http://localhost:*`), `*` for all, `none`. `well-known`, alone or beside others, stands for `https://claude.ai`, `https://claude.com`, `https://chatgpt.com`, `https://chat.openai.com`, `https://platform.openai.com`, `https://gemini.google.com`, `https://aistudio.google.com`, `https://copilot.microsoft.com`, `https://m365.cloud.microsoft`, `https://chat.mistral.ai`, `https://www.perplexity.ai`, `https://grok.com`, `https://vscode.dev`, `https://insiders.vscode.dev`, `https://*.vscode-cdn.net`, `https://github.dev`, `https://*.github.dev`, `vscode-file://vscode-app`, and programs on the person's own computer, such as MCP Inspector: `http://localhost:*`, `http://127.0.0.1:*`, `http://[::1]:*`.",
    ),
    key("log.format", Kind::Text, "json", "`json` or `pretty`."),
    key(
        "log.level",
        Kind::Text,
        "info",
        "`error`, `warn`, `info`, `debug` or `trace`.",
    ),
    key(
        "store.url",
        Kind::Text,
        "file:./state",
        "`file:DIR`, `redis://…`, `rediss://…`, `redis+unix://…` or `memory:`.",
    ),
    key(
        "store.password",
        Kind::Secret,
        "",
        "The password for Redis, if it is not in the URL.",
    ),
    key(
        "store.password_file",
        Kind::Text,
        "",
        "A file that holds it.",
    ),
    key(
        "tokens.access_ttl",
        Kind::Duration,
        "",
        "The lifetime of access tokens. Default: 24h, and 1h with `tokens.refresh`.",
    ),
    key(
        "tokens.refresh",
        Kind::Bool,
        "false",
        "Refresh tokens: apps renew their access without asking a person.",
    ),
    key(
        "tokens.refresh_idle",
        Kind::Duration,
        "30d",
        "How long a refresh token lives that is not used; each use begins this time anew.",
    ),
    key(
        "tokens.refresh_max",
        Kind::Duration,
        "180d",
        "How long after its consent an app must ask a person again, however often it refreshed.",
    ),
    key(
        "tokens.refresh_grace",
        Kind::Duration,
        "60s",
        "How long a used refresh token gives the same successor again, for parallel requests and lost answers. A later use revokes the grant.",
    ),
    key(
        "owner.name",
        Kind::Text,
        "",
        "Unattended set-up: the owner's login name.",
    ),
    key(
        "owner.password_hash",
        Kind::Secret,
        "",
        "The owner's argon2id hash; `gateway users hash` makes one.",
    ),
    key(
        "owner.password_hash_file",
        Kind::Text,
        "",
        "A file that holds it.",
    ),
    key(
        "clients.metadata_documents",
        Kind::Bool,
        "true",
        "Client ID Metadata Documents: a client_id may be the https address of the client's own description.",
    ),
    key(
        "clients.metadata_hosts",
        Kind::List,
        "",
        "The hosts whose documents are taken. Default: any public host.",
    ),
    key(
        "clients.private_hosts",
        Kind::List,
        "",
        "Hosts of your own network whose documents may have a private address or another port.",
    ),
    key(
        "clients.redirect_schemes",
        Kind::List,
        "",
        "Private-use schemes of native apps that may be redirect URIs, besides `cursor`, `grokbot`, `vscode`, `vscode-insiders` and reverse-domain ones.",
    ),
    key(
        "audit.file",
        Kind::Text,
        "",
        "The audit log: what gives or takes access; calls are beside it, in `audit-calls.jsonl`. Default: `audit/audit.jsonl` in the state folder, none with a store that has no folder. `off`: none.",
    ),
    key(
        "audit.max_size",
        Kind::Size,
        "32MiB",
        "The size at which a new file begins; the old one gets a number.",
    ),
    key(
        "audit.keep",
        Kind::Count,
        "16",
        "How many numbered files are kept, of each of the two.",
    ),
    key(
        "audit.arguments",
        Kind::Text,
        "hash",
        "How the arguments of a call are written: `hash` (keyed), `none` or `full`.",
    ),
    key(
        "audit.checkpoint_every",
        Kind::Duration,
        "60s",
        "The longest time from a line to the signature over it.",
    ),
    key(
        "audit.on_failure",
        Kind::Text,
        "refuse",
        "While the log can't be written: `refuse` logins, tokens and calls with 503, or `continue` without.",
    ),
    key(
        "identity.user_header",
        Kind::Text,
        "X-Forwarded-User",
        "The header that tells a backend the user's name.",
    ),
    key(
        "identity.client_header",
        Kind::Text,
        "X-Forwarded-Client",
        "The header that tells it the client id.",
    ),
    key(
        "identity.grant_header",
        Kind::Text,
        "X-Forwarded-Grant",
        "The header that tells it the grant id.",
    ),
    key(
        "limits.request_body",
        Kind::Size,
        "4MiB",
        "The largest message that is passed to a backend.",
    ),
    key(
        "limits.request_header",
        Kind::Size,
        "32KiB",
        "The largest header of a request.",
    ),
    key(
        "limits.in_flight",
        Kind::Size,
        "128MiB",
        "How much of unfinished requests (messages above 16 KiB, headers above 8 KiB) and answers (lists and events that are looked into, answers that are translated, 128 KiB for each that its client does not read) is held in memory at once; what is more is answered 503, or its answer is cut. Never less than one message of limits.request_body, nor than one answer that is translated.",
    ),
    key(
        "limits.in_flight_per_address",
        Kind::Size,
        "32MiB",
        "The same from one address; what is more is answered 429.",
    ),
    key(
        "limits.in_flight_per_grant",
        Kind::Size,
        "16MiB",
        "The same with the tokens of one grant.",
    ),
    key(
        "limits.memory",
        Kind::Size,
        "512MiB",
        "How much memory connections and what they hold may take in all: no more are let in than it is enough for, at 64 KiB each, beside limits.in_flight and 64 MiB for the gateway itself.",
    ),
    key(
        "limits.connections",
        Kind::Count,
        "5000",
        "Connections at once. For more, raise limits.memory, too.",
    ),
    key(
        "limits.connections_per_address",
        Kind::Count,
        "2000",
        "Connections at once from one address.",
    ),
    key(
        "limits.registrations_per_hour",
        Kind::Count,
        "60",
        "Client registrations from one address in an hour.",
    ),
    key(
        "timeouts.header",
        Kind::Duration,
        "15s",
        "From the first byte of a request to the end of its header.",
    ),
    key(
        "timeouts.body",
        Kind::Duration,
        "30s",
        "For a whole request body.",
    ),
    key(
        "timeouts.keepalive",
        Kind::Duration,
        "15s",
        "Silence on an event stream after which a comment is sent.",
    ),
    key(
        "timeouts.shutdown",
        Kind::Duration,
        "10s",
        "From SIGTERM until open requests are cut.",
    ),
    key(
        "discovery.apps_challenge",
        Kind::Text,
        "",
        "The token for /.well-known/openai-apps-challenge.",
    ),
    key(
        "discovery.security_contact",
        Kind::Text,
        "",
        "The Contact of /.well-known/security.txt: a mailto: or https: URI.",
    ),
    key(
        "scope.NAME.words",
        Kind::Text,
        "",
        "What the consent page says that this scope allows, such as `Read your notes`. Where no scope is configured, `mcp` is the only one and covers everything.",
    ),
    key(
        "scope.NAME.tools",
        Kind::List,
        "",
        "The tools that it covers: names, in which `*` stands for any characters.",
    ),
    key(
        "scope.NAME.read_only",
        Kind::Bool,
        "false",
        "Instead of `tools`: all tools that the backend calls read-only.",
    ),
    key(
        "scope.NAME.methods",
        Kind::List,
        "",
        "The methods of MCP beside tools that it covers, such as `resources/*`.",
    ),
    key(
        "scope.NAME.includes",
        Kind::List,
        "",
        "Other scopes that it covers along.",
    ),
    key(
        "scope.NAME.default",
        Kind::Bool,
        "false",
        "Whether an app gets it that asks for no scope, and is told so at its first visit. If no scope is a default, all are.",
    ),
    key(
        "scope.NAME.backends",
        Kind::List,
        "",
        "The backends that have it, by name. Default: all.",
    ),
    key(
        "approvers",
        Kind::Map,
        "",
        "Whose approvals of tools count: names and the public keys that `gateway token approver-key` prints.",
    ),
    key(
        "policy.file",
        Kind::Text,
        "",
        "The policy: a file of Biscuit Datalog that decides about every call. Read again, with groups and networks, on SIGHUP. Default: none; what a token grants is allowed.",
    ),
    key(
        "policy.utc_offset",
        Kind::Text,
        "+00:00",
        "How far local time is ahead of UTC, for the policy's `hour` and `weekday`: `+02:00`, `-05:30`.",
    ),
    key(
        "group[].name",
        Kind::Text,
        "",
        "A group of people that the policy speaks of.",
    ),
    key("group[].users", Kind::List, "", "Their login names."),
    key(
        "network[].name",
        Kind::Text,
        "",
        "A network that the policy speaks of.",
    ),
    key(
        "network[].addresses",
        Kind::List,
        "",
        "Its addresses or networks, such as `192.0.2.0/24`.",
    ),
    key(
        "backend[].name",
        Kind::Text,
        "",
        "The backend's name on pages and in the log.",
    ),
    key(
        "backend[].path",
        Kind::Text,
        "/",
        "Where it is mounted: `/` serves /mcp and /sse, `/notes` serves /notes/mcp and /notes/sse.",
    ),
    key(
        "backend[].url",
        Kind::Text,
        "",
        "Where it is: `http://host:port`, `https://…` or `unix:/path`.",
    ),
    key(
        "backend[].mcp_path",
        Kind::Text,
        "/mcp",
        "The path of its Streamable HTTP endpoint.",
    ),
    key(
        "backend[].sse_path",
        Kind::Text,
        "/sse",
        "The path of its legacy SSE stream.",
    ),
    key(
        "backend[].eras",
        Kind::List,
        "",
        "The eras of MCP that it speaks, of `2024-11-05`, `2025` and `2026-07-28`. Default: found out by asking it.",
    ),
    key(
        "backend[].answer_discover",
        Kind::Bool,
        "false",
        "Whether `server/discover` is answered for a backend that does not know it. Clients that know older revisions, too, then use 2026-07-28, translated.",
    ),
    key(
        "backend[].headers",
        Kind::SecretMap,
        "",
        "Headers for every request to it, such as its own credential.",
    ),
    key(
        "backend[].approval_required",
        Kind::List,
        "",
        "Tools that need an approval of one of the approvers, carried by the token.",
    ),
    key(
        "backend[].token_header",
        Kind::Text,
        "",
        "A header that carries a signed, short-lived token of who calls, which the backend can check offline. Default: none.",
    ),
    key(
        "backend[].command",
        Kind::List,
        "",
        "A program to start beside the gateway, and its arguments. It ends with the gateway.",
    ),
    key(
        "backend[].introspection_secret_hash",
        Kind::Secret,
        "",
        "Lets the backend ask /introspect what a token for it says: the SHA-256 of a random secret of its own, as `sha256sum` prints it.",
    ),
    key(
        "backend[].introspection_secret_hash_file",
        Kind::Text,
        "",
        "A file that holds it.",
    ),
    key(
        "backend[].stdio",
        Kind::List,
        "",
        "Instead of a url: a server that speaks on stdin and stdout, as a program and its arguments. `mcp-backend bridge` is started in front of it.",
    ),
    key(
        "backend[].environment",
        Kind::SecretList,
        "",
        "The environment of that server, as `NAME=VALUE`, or `NAME` to pass the gateway's own on. Besides PATH and HOME it gets no others.",
    ),
    key(
        "backend[].process",
        Kind::Text,
        "session",
        "Who gets a process of that server: each `session`, or all one that is `shared`.",
    ),
    key(
        "backend[].working_directory",
        Kind::Text,
        "",
        "The folder that it runs in.",
    ),
    key(
        "backend[].connect_timeout",
        Kind::Duration,
        "5s",
        "How long connecting may take.",
    ),
    key(
        "backend[].response_timeout",
        Kind::Duration,
        "300s",
        "How long it may take to begin an answer.",
    ),
    key(
        "backend[].start_timeout",
        Kind::Duration,
        "60s",
        "How long the server may take from its start to its list of tools. The consent page waits so long. A server on stdio is stopped when it takes longer, at its very first start (which may install it) five times as long.",
    ),
    key(
        "client[].id",
        Kind::Text,
        "",
        "A client that you register yourself: its client_id, which you type into the app.",
    ),
    key(
        "client[].name",
        Kind::Text,
        "",
        "Its name on the consent page, which says that you set it up.",
    ),
    key(
        "client[].redirect_uris",
        Kind::List,
        "",
        "Where the app may be sent back to; the port of a loopback address is free.",
    ),
    key(
        "client[].method",
        Kind::Text,
        "none",
        "How it authenticates: `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`.",
    ),
    key(
        "client[].secret_hash",
        Kind::Secret,
        "",
        "The SHA-256 of its secret in hexadecimal: `openssl rand -hex 32` makes a secret, `printf %s SECRET | sha256sum` the hash.",
    ),
    key(
        "client[].secret_file",
        Kind::Text,
        "",
        "A file that holds the secret itself, of 32 characters or more.",
    ),
    key(
        "client[].jwks",
        Kind::Text,
        "",
        "For `private_key_jwt`: its public keys, a JWK Set in JSON.",
    ),
    key(
        "client[].jwks_file",
        Kind::Text,
        "",
        "A file that holds them.",
    ),
    key(
        "client[].jwks_uri",
        Kind::Text,
        "",
        "The https URL that they are fetched from.",
    ),
];

/// The key at a concrete path such as `backend.0.url`.
pub fn find(path: &str) -> Option<&'static Key> {
    let general = general(path);
    KEYS.iter().find(|key| key.path == general)
}

/// The tables that may stand several times: `[[backend]]`.
pub const LISTS: [&str; 4] = ["backend", "client", "group", "network"];

/// The tables that may stand several times under names: `[scope.read]`.
pub const NAMED: [&str; 1] = ["scope"];

/// `backend.0.url` and `scope.read.tools` as the documentation writes them: `backend[].url`,
/// `scope.NAME.tools`.
pub fn general(path: &str) -> String {
    let mut parts = path.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(list), Some(index), Some(rest))
            if LISTS.contains(&list) && index.bytes().all(|b| b.is_ascii_digit()) =>
        {
            format!("{list}[].{rest}")
        }
        (Some(table), Some(_), Some(rest)) if NAMED.contains(&table) => {
            format!("{table}.NAME.{rest}")
        }
        (Some(table), Some(_), None) if NAMED.contains(&table) => format!("{table}.NAME"),
        _ => path.to_owned(),
    }
}

/// Whether some key lies below a path, so that it is a table and no value.
pub fn is_table(path: &str) -> bool {
    let below = format!("{}.", general(path));
    KEYS.iter().any(|key| key.path.starts_with(&below))
}

/// The known key that an unknown one was probably meant to be.
pub fn suggestion(path: &str) -> Option<&'static str> {
    let general = general(path);
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    KEYS.iter()
        .map(|key| {
            let whole = strsim::jaro_winkler(key.path, &general);
            // The right word in the wrong table is the most common slip.
            let word = strsim::jaro_winkler(&last(key.path), &last(&general)) - 0.05;
            (key.path, whole.max(word))
        })
        .filter(|(_, likeness)| *likeness > 0.8)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(path, _)| path)
}

/// Every key in Markdown, as it stands in the manual.
pub fn reference() -> String {
    let mut table = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in KEYS {
        let default = match key.default {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        table.push_str(&format!("| `{}` | {default} | {} |\n", key.path, key.about));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_gets_the_likely_one_suggested() {
        assert_eq!(suggestion("pubic_url"), Some("public_url"));
        assert_eq!(suggestion("tokens.acess_ttl"), Some("tokens.access_ttl"));
        assert_eq!(suggestion("backend.2.uri"), Some("backend[].url"));
        assert_eq!(suggestion("access_ttl"), Some("tokens.access_ttl"));
        assert_eq!(suggestion("zzz"), None);
    }

    #[test]
    fn concrete_paths_of_backends_are_known() {
        assert!(find("backend.0.url").is_some());
        assert!(find("backend.x.url").is_none());
        assert!(find("client.12.redirect_uris").is_some());
        assert!(find("other.0.url").is_none());
        assert!(find("scope.read.tools").is_some());
        assert!(find("scope.read").is_none() && is_table("scope.read") && is_table("scope"));
        assert!(find("scope.a.b.tools").is_none() && !is_table("scope.a.b"));
        assert!(is_table("store"));
        assert!(!is_table("store.url"));
    }
}
