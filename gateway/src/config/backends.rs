//! The backends of the configuration: where each is, and where it is mounted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};
use mcp_protocol::{RevisionFamilies, RevisionFamily};
use url::Url;

use crate::config::ConfiguredBackend;
use crate::config::layers::Raw;
use crate::config::{reader::Reader, values};
use gateway_core::protocol::resource::Mount;
use gateway_core::secret::SecretHash;
use gateway_upstream::{Address, Backend};

impl Reader<'_> {
    /// `state`: the folder for the sockets of bridges.
    pub(super) fn backends(&mut self, state: &Path) -> Vec<ConfiguredBackend> {
        let count = self.layers.backends();
        if count == 0 {
            self.wrong("backend", "is missing: the gateway stands in front of at least one. Name your configuration with --config FILE, write a [[backend]] with a url or stdio into it, or give --backend URL or -- COMMAND");
        }
        let backends: Vec<_> = (0..count)
            .filter_map(|index| self.backend(index, count, state))
            .collect();
        let mut names = HashSet::new();
        let mut prefixes = HashSet::new();
        for configured in &backends {
            let mount = &configured.backend.mount;
            if !names.insert(mount.name.clone()) {
                self.wrong(
                    "backend",
                    &format!("`{}` is the name of two backends", mount.name),
                );
            }
            if !prefixes.insert(mount.prefix.clone()) {
                self.wrong(
                    "backend",
                    &format!("`{}/` is the path of two backends", mount.prefix),
                );
            }
        }
        backends
    }

    fn backend(&mut self, index: usize, count: usize, state: &Path) -> Option<ConfiguredBackend> {
        let at = |key: &str| format!("backend.{index}.{key}");
        let path = self.text(&at("path"))?;
        let prefix = match mount_prefix(&path) {
            Ok(prefix) => Some(prefix),
            Err(sentence) => {
                self.wrong(&at("path"), sentence);
                None
            }
        };
        let name = match self.text(&at("name")) {
            Some(name) => name,
            None if count == 1 => "backend".to_owned(),
            None => {
                self.wrong(
                    &at("name"),
                    "is missing: with several backends each has a name",
                );
                return None;
            }
        };
        let headers = self.headers(&at("headers"));
        let token_header = self.token_header(&at("token_header"));
        let introspection = self.introspection(index);
        let before = self.problems.len();
        let bridge = self.bridge(index, &name, state);
        if bridge.is_none() && self.problems.len() > before {
            return None;
        }
        let mut families: RevisionFamilies = self
            .list(&at("eras"), |text| {
                RevisionFamily::named(text)
                    .ok_or_else(|| "is none of `2024-11-05`, `2025` and `2026-07-28`".to_owned())
            })
            .into_iter()
            .collect();
        let is_on_stdio = bridge.is_some();
        let (address, host, command, environment) = match bridge {
            Some(bridge) => {
                if families.is_empty() {
                    // The bridge need not be asked.
                    families = RevisionFamily::ALL.into_iter().collect();
                }
                (
                    bridge.address,
                    "localhost".to_owned(),
                    bridge.command,
                    bridge.environment,
                )
            }
            None => {
                let (address, host) = self.reached(&at("url"))?;
                let command = self.words(&at("command"));
                (address, host, command, Vec::new())
            }
        };
        let starts_with_us = !command.is_empty();
        Some(ConfiguredBackend {
            command,
            environment,
            families,
            answer_discover: self.flag(&at("answer_discover"))?,
            introspection,
            backend: Backend {
                mount: Mount {
                    name,
                    prefix: prefix?,
                },
                address,
                host,
                mcp_path: self.path(&at("mcp_path"))?,
                sse_path: self.path(&at("sse_path"))?,
                headers,
                approval_required: self
                    .list(&at("approval_required"), values::tool)
                    .into_iter()
                    .collect(),
                token_header,
                connect_timeout: self.duration(&at("connect_timeout"))?,
                response_timeout: self.duration(&at("response_timeout"))?,
                start_timeout: self.duration(&at("start_timeout"))?,
                is_on_stdio,
                starts_with_us,
            },
        })
    }

    /// Address and `Host` of a backend that is reached by its URL.
    fn reached(&mut self, path: &str) -> Option<(Address, String)> {
        let Some(text) = self.text(path) else {
            self.wrong(path, "is missing");
            return None;
        };
        let reached = reached(&text);
        if let Err(sentence) = &reached {
            self.wrong(path, sentence);
        }
        reached.ok()
    }

    /// A header that is nobody else's.
    fn token_header(&mut self, path: &str) -> Option<HeaderName> {
        self.text(path)?;
        self.parsed(path, values::free_header)
    }

    /// `sha256sum` prints a file name after the hash: what follows the digits is left out.
    fn introspection(&mut self, index: usize) -> Option<SecretHash> {
        let key = format!("backend.{index}.introspection_secret_hash");
        let file = format!("{key}_file");
        let text = self.secret(&key, &file)?;
        let digits = text.split_ascii_whitespace().next().unwrap_or_default();
        let hash = SecretHash::from_hex(digits);
        if hash.is_none() {
            let at = if self.text(&key).is_some() {
                &key
            } else {
                &file
            };
            self.wrong(at, "is no SHA-256 in 64 hexadecimal digits");
        }
        hash
    }

    fn headers(&mut self, path: &str) -> Vec<(HeaderName, HeaderValue)> {
        let Some((Raw::Map(pairs), _)) = self.layers.value(path) else {
            if self.layers.value(path).is_some() {
                self.wrong(path, "is a table of header names and values");
            }
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
                    self.wrong(
                        path,
                        &format!("can't set a header that is the gateway's: {sentence}"),
                    );
                }
                _ => self.wrong(path, &format!("`{name}` is no header with a value")),
            }
        }
        headers
    }
}

fn mount_prefix(path: &str) -> Result<String, &'static str> {
    let prefix = path.strip_suffix('/').unwrap_or(path);
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
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
                "assets",
                ".well-known",
                "healthz",
                "mcp",
                "sse",
                "messages",
                "introspect",
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
            let example = "http://127.0.0.1:3001";
            return Err(format!(
                "must be http://, https:// or unix:/path, such as {example}"
            ));
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
