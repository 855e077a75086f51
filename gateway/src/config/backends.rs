//! The backends of the configuration: where each is, and where it is mounted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use mcp_protocol::{RevisionFamilies, RevisionFamily};
use url::Url;

use crate::config::reader::Reader;
use crate::config::settings::{SecretList, SecretPairs, SecretText, Words, settings};
use crate::config::{accounts, aggregate, stdio, units, values};
use crate::supervisor::Program;
use gateway_core::account::settings::AccountSettings;
use gateway_core::protocol::published::PublishedFolder;
use gateway_core::protocol::resource::Mount;
use gateway_core::secret::SecretHash;
use gateway_upstream::{AccountUse, Address, Backend};

/// A backend and the program to start for it, if the gateway is to start one.
#[derive(Clone, Debug)]
pub struct ConfiguredBackend {
    /// Where it is and how it is served.
    pub backend: Backend,
    /// What is started beside us; `None`: it runs by itself.
    pub program: Option<Program>,
    /// The revision families that it speaks; none: it is asked.
    pub families: RevisionFamilies,
    /// Whether `server/discover` is answered for it if it does not know that.
    pub answer_discover: bool,
    /// Of the secret with which it may introspect tokens, if it may.
    pub introspection: Option<SecretHash>,
    /// Everybody's own account there, if calls are made with one.
    pub account: Option<AccountSettings>,
}

impl ConfiguredBackend {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.backend.mount.name
    }
}

settings! {
    /// `[[backend]]`
    pub(super) struct BackendKeys in "backend[]." {
        /// The backend's name on pages and in the log.
        name: Option<String>, values::text;
        /// Where it is mounted: `/` serves /mcp and /sse, `/notes` serves /notes/mcp and /notes/sse.
        path: String = "/", values::text;
        /// Where it is: `http://host:port`, `https://…` or `unix:/path`.
        url: Option<String>, values::text;
        /// Instead of a url: other backends, by name, that are offered together here. Their tools and
        /// prompts are called by their names with the member's before them.
        pub(super) members: Vec<String>, values::text;
        /// What stands between a member's name and a tool's: `notes_search`.
        pub(super) separator: String = "_", values::text;
        /// How long a list of several backends waits for each of them. Whoever takes longer is left out,
        /// until it answers.
        pub(super) list_timeout: Duration = "5s", units::duration;
        /// Above so many tools several backends offer two tools in place of all: `search_tools`, which finds
        /// them, and `call_tool`, which calls one. Default: all are listed, however many.
        pub(super) compact: Option<usize>, values::at_least_one;
        /// The path of its Streamable HTTP endpoint.
        mcp_path: String = "/mcp", values::url_path;
        /// The path of its legacy SSE stream.
        sse_path: String = "/sse", values::url_path;
        /// The eras of MCP that it speaks, of `2024-11-05`, `2025` and `2026-07-28`. Default: found out
        /// by asking it.
        eras: Vec<RevisionFamily>, family;
        /// Whether `server/discover` is answered for a backend that does not know it. Clients that know
        /// older revisions, too, then use 2026-07-28, translated. Default: `false`; `true` for `stdio`.
        answer_discover: Option<bool>, values::flag;
        /// Headers for every request to it, such as its own credential.
        headers: SecretPairs, values::text;
        /// Tools that need an approval of one of the approvers, carried by the token.
        approval_required: Vec<String>, values::tool;
        /// A header that carries a signed, short-lived token of who calls, which the backend can check
        /// offline. Default: none.
        token_header: Option<HeaderName>, values::free_header;
        /// The folder of its pages that people may open at `/pages/` below its path, such as `/documents/` of
        /// mcp-backend: whoever may read one with the tool `fetch`, and the owner. The backend is told
        /// where they are by the header X-Forwarded-Pages. Default: none.
        pages: Option<PublishedFolder>, published;
        /// A program to start beside the gateway, and its arguments. It ends with the gateway.
        command: Words, values::text;
        /// Lets the backend ask /introspect what a token for it says: the SHA-256 of a random secret of
        /// its own, as `sha256sum` prints it.
        introspection_secret_hash: SecretText, values::text;
        /// A file that holds it.
        introspection_secret_hash_file: Option<String>, values::file;
        /// Instead of a url: a server that speaks on stdin and stdout, as a program and its arguments.
        /// `mcp-backend bridge` is started in front of it.
        pub(super) stdio: Words, values::text;
        /// The environment of that server, as `NAME=VALUE`, or `NAME` to pass the gateway's own on.
        /// Besides PATH and HOME it gets no others.
        pub(super) environment: SecretList, values::text;
        /// Who gets a process of that server: each `session`, or all one that is `shared`.
        pub(super) process: String = "session", process;
        /// The folder that it runs in.
        pub(super) working_directory: Option<String>, values::file;
        /// How long connecting may take.
        connect_timeout: Duration = "5s", units::duration;
        /// How long it may take to begin an answer.
        response_timeout: Duration = "300s", units::duration;
        /// How long the server may take from its start to its list of tools. The consent page waits so
        /// long. A server on stdio is stopped when it takes longer; its very first start, which may
        /// install it, may take five times as long, and is waited for so long.
        pub(super) start_timeout: Duration = "60s", units::duration;
    }
}

fn family(text: &str) -> Result<RevisionFamily, String> {
    RevisionFamily::named(text)
        .ok_or_else(|| "is none of `2024-11-05`, `2025` and `2026-07-28`".to_owned())
}

fn published(text: &str) -> Result<PublishedFolder, String> {
    PublishedFolder::parse(text).map_err(|error| error.to_string())
}

fn process(text: &str) -> Result<String, String> {
    let owners = ["session", "shared"];
    values::one_of(text, &owners.map(|owner| (owner, owner.to_owned())))
}

/// `state`: the folder for the sockets of bridges.
pub(super) fn backends(reader: &mut Reader<'_>, state: &Path) -> Vec<ConfiguredBackend> {
    let tables = reader.tables("backend");
    if tables.is_empty() {
        reader.wrong("backend", "is missing: the gateway stands in front of at least one. Name your configuration with --config FILE, write a [[backend]] with a url or stdio into it, or give --backend URL or -- COMMAND");
    }
    let is_only = tables.len() == 1;
    let mut backends: Vec<_> = tables
        .iter()
        .filter_map(|table| backend(reader, table, is_only, state))
        .collect();
    let mut names = HashSet::new();
    let mut prefixes = HashSet::new();
    for configured in &backends {
        let mount = &configured.backend.mount;
        if !names.insert(&mount.name) {
            let sentence = format!("`{}` is the name of two backends", mount.name);
            reader.wrong("backend", sentence);
        }
        if !prefixes.insert(&mount.prefix) {
            let sentence = format!("`{}/` is the path of two backends", mount.prefix);
            reader.wrong("backend", sentence);
        }
    }
    aggregate::join(reader, &mut backends);
    backends
}

/// Every problem of one, and the backend if it can be used.
fn backend(
    reader: &mut Reader<'_>,
    table: &str,
    is_only: bool,
    state: &Path,
) -> Option<ConfiguredBackend> {
    let keys = BackendKeys::read(reader, table);
    let at = |key: &str| format!("{table}.{key}");
    let prefix = mount_prefix(&keys.path);
    if let Err(sentence) = prefix {
        reader.conflict(&at("path"), sentence);
    }
    let only = is_only.then(|| "backend".to_owned());
    let name = keys.name.clone().or(only);
    if name.is_none() {
        let sentence = "is missing: with several backends each has a name";
        reader.conflict(&at("name"), sentence);
    }
    if keys.pages.is_some() && !keys.stdio.0.is_empty() {
        let sentence = "is for a backend with a url: a server on stdin and stdout has no pages";
        reader.conflict(&at("pages"), sentence);
    }
    let headers = headers(reader, &at("headers"), &keys.headers);
    let introspection = introspection(reader, table, &keys);
    let is_on_stdio = !keys.stdio.0.is_empty();
    let account = accounts::account(reader, table, name.as_deref(), is_on_stdio);
    if let Some(account) = &account {
        check_header(reader, &at("account.header"), account, &headers, &keys);
    }
    let program_name = name.as_deref().unwrap_or_default();
    let aggregate = if aggregate::is_one(reader, table) {
        Some(aggregate::aggregate(reader, table, &keys)?)
    } else {
        None
    };
    let reached = match &aggregate {
        Some(_) => Reached::at(Address::Within, "localhost"),
        None => Reached::from_keys(reader, table, &keys, program_name, state)?,
    };
    let is_on_stdio = reached.is_on_stdio;
    // The members are asked in what they speak; all together are asked in the latest.
    let families = match &aggregate {
        Some(_) => RevisionFamilies::NONE.and(RevisionFamily::Stateless),
        None => keys.eras.iter().copied().collect(),
    };
    Some(ConfiguredBackend {
        backend: Backend {
            mount: Mount {
                name: name?,
                prefix: prefix.ok()?,
            },
            address: reached.address,
            host: reached.host,
            mcp_path: keys.mcp_path,
            sse_path: keys.sse_path,
            headers,
            approval_required: keys.approval_required.into_iter().collect(),
            token_header: keys.token_header,
            connect_timeout: keys.connect_timeout,
            response_timeout: keys.response_timeout,
            start_timeout: keys.start_timeout,
            is_on_stdio,
            starts_with_us: reached.program.is_some(),
            pages: keys.pages,
            aggregate: aggregate.map(Arc::new),
            account: account.as_ref().map(|account| AccountUse {
                header: account.header.name().clone(),
                is_optional: account.optional,
            }),
        },
        account,
        program: reached.program,
        families,
        // A server that is started for its clients is to serve each of them at the first attempt.
        answer_discover: keys.answer_discover.unwrap_or(is_on_stdio),
        introspection,
    })
}

/// Where a backend is, and the program that is started for it.
pub(super) struct Reached {
    pub(super) address: Address,
    pub(super) host: String,
    pub(super) program: Option<Program>,
    pub(super) is_on_stdio: bool,
}

impl Reached {
    /// What runs by itself.
    pub(super) fn at(address: Address, host: &str) -> Self {
        Self {
            address,
            host: host.to_owned(),
            program: None,
            is_on_stdio: false,
        }
    }

    /// By its URL, or through a bridge; `None` with a problem noted.
    fn from_keys(
        reader: &mut Reader<'_>,
        table: &str,
        keys: &BackendKeys,
        name: &str,
        state: &Path,
    ) -> Option<Self> {
        if !keys.stdio.0.is_empty() {
            return stdio::bridge(reader, table, keys, name, state);
        }
        if stdio::is_forgotten(reader, table) {
            return None;
        }
        let path = format!("{table}.url");
        let Some(text) = &keys.url else {
            reader.conflict(&path, "is missing");
            return None;
        };
        let (address, host) = reader.noted(&path, reached(text))?;
        let program = (!keys.command.0.is_empty()).then(|| Program {
            name: name.to_owned(),
            command: keys.command.0.clone(),
            environment: Vec::new(),
        });
        Some(Self {
            program,
            ..Self::at(address, &host)
        })
    }
}

/// `sha256sum` prints a file name after the hash: what follows the digits is left out.
fn introspection(reader: &mut Reader<'_>, table: &str, keys: &BackendKeys) -> Option<SecretHash> {
    let key = format!("{table}.introspection_secret_hash");
    let inline = &keys.introspection_secret_hash.0;
    let text = reader.secret(&key, inline, &keys.introspection_secret_hash_file)?;
    let digits = text.split_ascii_whitespace().next().unwrap_or_default();
    let hash = SecretHash::from_hex(digits);
    if hash.is_none() {
        reader.wrong_secret(&key, inline, "is no SHA-256 in 64 hexadecimal digits");
    }
    hash
}

fn headers(
    reader: &mut Reader<'_>,
    path: &str,
    written: &SecretPairs,
) -> Vec<(HeaderName, HeaderValue)> {
    let Some(pairs) = &written.0 else {
        reader.wrong(path, "is a table of header names and values");
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (name, value) in pairs {
        match (
            values::free_header(name),
            HeaderValue::try_from(value.as_str()),
        ) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            (Err(sentence), Ok(_)) if HeaderName::try_from(name.as_str()).is_ok() => {
                let sentence = format!("can't set a header that is the gateway's: {sentence}");
                reader.wrong(path, sentence);
            }
            _ => reader.wrong(path, format!("`{name}` is no header with a value")),
        }
    }
    headers
}

/// A header holds one credential.
fn check_header(
    reader: &mut Reader<'_>,
    at: &str,
    account: &AccountSettings,
    headers: &[(HeaderName, HeaderValue)],
    keys: &BackendKeys,
) {
    let name = account.header.name();
    if headers.iter().any(|(header, _)| header == name) {
        reader.conflict(at, "is one of `headers`, which every call carries");
    }
    if keys.token_header.as_ref() == Some(name) {
        reader.conflict(at, "is the `token_header`, which every call carries");
    }
}

fn mount_prefix(path: &str) -> Result<String, &'static str> {
    let prefix = path.strip_suffix('/').unwrap_or(path);
    let plain = |part| values::is_plain(part, b"-_.") && !["", ".", ".."].contains(&part);
    match prefix.strip_prefix('/') {
        _ if prefix.is_empty() => Ok(String::new()),
        Some(rest) if rest.split('/').all(plain) => {
            let first = rest.split('/').next().unwrap_or_default();
            let ours = [
                "authorize",
                "login",
                "logout",
                "consent",
                "token",
                "register",
                "revoke",
                "setup",
                "account",
                "connect",
                "assets",
                ".well-known",
                "healthz",
                "mcp",
                "sse",
                "messages",
                "introspect",
                "device",
                "device_authorization",
                "pages",
                "admin",
            ];
            if ours.contains(&first) {
                Err("begins with a path of the gateway's own")
            } else {
                Ok(prefix.to_owned())
            }
        }
        _ => Err("must be `/` or an absolute path of letters, digits, `-`, `_` and `.`"),
    }
}

/// Address and `Host` of a backend's URL.
fn reached(text: &str) -> Result<(Address, String), String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok((Address::Unix(PathBuf::from(path)), "localhost".to_owned()));
    }
    let url = Url::parse(text)
        .map_err(|_| format!("is no URL, such as http://127.0.0.1:3001; it is `{text}`"))?;
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => {
            let sentence = "must be http://, https:// or unix:/path, such as http://127.0.0.1:3001";
            return Err(sentence.to_owned());
        }
    };
    let host = url.host_str().ok_or("names no host")?;
    if url.path() != "/"
        || url.query().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(format!(
            "must be an origin: write `{}`. A path goes to mcp_path and sse_path, which are /mcp and /sse \
             where nothing else is said; a credential goes to headers",
            url.origin().ascii_serialization()
        ));
    }
    let port = url.port_or_known_default().ok_or("names no port")?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Ok((Address::Tcp { host, port, tls }, authority))
}
