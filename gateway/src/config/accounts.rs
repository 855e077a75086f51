//! `account` of a `[[backend]]`: everybody's own account there.

use url::Url;

use crate::config::reader::Reader;
use crate::config::settings::{Pairs, SecretText, settings};
use crate::config::values;
use gateway_core::account::settings::{
    AccountKind, AccountSettings, CredentialHeader, OAuthAccount,
};
use gateway_core::secret::Secret;

settings! {
    /// `account` of a `[[backend]]`
    #[allow(clippy::struct_excessive_bools)]
    pub(super) struct AccountKeys in "backend[].account." {
        /// Calls to this backend are made with everybody's own account there, which each person connects
        /// once: with `oauth` at the backend's authorization server, as an MCP client would; with `key`
        /// the person pastes a key; with `exchange` the authorization server exchanges what the gateway
        /// says of who calls (RFC 8693), and nobody connects anything. Default: none.
        kind: Option<String>, kind;
        /// Whether the backend is called without an account for whoever has connected none. Else the app
        /// gets an address where the person connects one.
        optional: bool = "false", values::flag;
        /// The header that the credential goes into, where `{}` stands.
        header: CredentialHeader = "Authorization: Bearer {}", header;
        /// What the person is told about where to get a key, on the page where it is pasted.
        hint: Option<String>, values::displayable;
        /// The issuer of the backend's authorization server. Default, like that of the next ones: found by
        /// asking the backend. What stands here may have a private address.
        issuer: Option<String>, issuer;
        /// Where a person allows it.
        authorization_endpoint: Option<Url>, endpoint;
        /// Where codes and refresh tokens are exchanged.
        token_endpoint: Option<Url>, endpoint;
        /// Where tokens are taken back (RFC 7009).
        revocation_endpoint: Option<Url>, endpoint;
        /// The scopes that are asked for.
        scopes: Vec<String>, values::text;
        /// Further parameters of the authorization request, such as `{ access_type = "offline" }`.
        extra: Pairs, values::text;
        /// Whether the backend is named by `resource` (RFC 8707): switch it off for an authorization server
        /// that refuses that.
        resource: bool = "true", values::flag;
        /// The client that was registered there by hand for this gateway, with the redirect URI
        /// `PUBLIC_URL/connect/NAME/callback`. It wants `issuer` or the endpoints beside it. Default: the gateway describes itself by the address of its
        /// metadata document, or registers itself.
        client_id: Option<String>, values::text;
        /// The secret that goes with it.
        client_secret: SecretText, values::text;
        /// A file that holds it.
        client_secret_file: Option<String>, values::file;
    }
}

/// The keys that are for an authorization server.
const OF_SERVER: [&str; 10] = [
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "scopes",
    "extra",
    "resource",
    "client_id",
    "client_secret",
    "client_secret_file",
];

/// `None` where nothing of it is written, or with a problem noted. `name`: the backend's.
pub(super) fn account(
    reader: &mut Reader<'_>,
    backend: &str,
    name: Option<&str>,
    is_on_stdio: bool,
) -> Option<AccountSettings> {
    let table = format!("{backend}.account");
    let at = |key: &str| format!("{table}.{key}");
    let mut keys = AccountKeys::KEYS.iter();
    if !keys.any(|key| reader.is_written(&at(key.name()))) {
        return None;
    }
    let keys = AccountKeys::read(reader, &table);
    if is_on_stdio {
        let sentence =
            "is for a backend with a url: a server on stdin and stdout can't be told who calls";
        reader.conflict(&at("kind"), sentence);
    }
    check_name(reader, &at("kind"), name);
    let kind = match keys.kind.as_deref() {
        Some("oauth") => AccountKind::OAuth(Box::new(server(reader, &table, &keys)?)),
        Some("exchange") => AccountKind::Exchange(Box::new(server(reader, &table, &keys)?)),
        Some(_) => {
            let sentence = "is for `oauth` and `exchange`: nobody is asked about a key";
            reader.refuse(&table, OF_SERVER, sentence);
            AccountKind::Key { hint: keys.hint }
        }
        None => {
            reader.conflict(&at("kind"), "is missing: `oauth`, `key` or `exchange`");
            return None;
        }
    };
    Some(AccountSettings {
        kind,
        header: keys.header,
        optional: keys.optional,
    })
}

/// The backend's name stands in the path of a page.
fn check_name(reader: &mut Reader<'_>, at: &str, name: Option<&str>) {
    let is_one = |name| values::is_plain(name, b"-_") && !["", "keys"].contains(&name);
    if name.is_some_and(|name| !is_one(name)) {
        let sentence = "wants a backend whose `name` has letters, digits, `-` and `_` alone and is not `keys`: it stands in the address of a page";
        reader.conflict(at, sentence);
    }
}

fn server(reader: &mut Reader<'_>, table: &str, keys: &AccountKeys) -> Option<OAuthAccount> {
    let at = |key: &str| format!("{table}.{key}");
    let (inline, file) = (&keys.client_secret.0, &keys.client_secret_file);
    let secret = reader.secret(&at("client_secret"), inline, file);
    if secret.is_some() && keys.client_id.is_none() {
        reader.conflict(&at("client_id"), "is missing beside its secret");
    }
    if keys.client_id.is_some() && keys.issuer.is_none() && keys.token_endpoint.is_none() {
        // Else its secret would go to whatever server the backend names.
        let sentence = "wants `issuer`, or `authorization_endpoint` and `token_endpoint`, beside it: the \
                        authorization server where it is registered; what the backend names may be another";
        reader.conflict(&at("client_id"), sentence);
    }
    if keys.hint.is_some() {
        reader.conflict(&at("hint"), "is for `key`");
    }
    let is_exchange = keys.kind.as_deref() == Some("exchange");
    if is_exchange {
        if keys.client_id.is_none() || secret.is_none() {
            let sentence =
                "is missing, or its secret is: only a client that is known there may exchange";
            reader.conflict(&at("client_id"), sentence);
        }
        if keys.authorization_endpoint.is_some() {
            let sentence = "is for `oauth`: nobody is asked";
            reader.conflict(&at("authorization_endpoint"), sentence);
        }
    } else if keys.authorization_endpoint.is_some() != keys.token_endpoint.is_some() {
        let sentence =
            "stands alone: give both, or neither, which finds them by asking the backend";
        let key = if keys.authorization_endpoint.is_some() {
            "authorization_endpoint"
        } else {
            "token_endpoint"
        };
        reader.conflict(&at(key), sentence);
    }
    let Some(extra) = keys.extra.0.clone() else {
        reader.wrong(&at("extra"), "is a table of names and values");
        return None;
    };
    const OURS: [&str; 8] = [
        "client_id",
        "redirect_uri",
        "response_type",
        "state",
        "code_challenge",
        "code_challenge_method",
        "scope",
        "resource",
    ];
    if let Some((name, _)) = extra.iter().find(|(name, _)| OURS.contains(&name.as_str())) {
        let sentence = format!("has `{name}`, which the gateway says itself");
        reader.wrong(&at("extra"), sentence);
    }
    Some(OAuthAccount {
        issuer: keys.issuer.clone(),
        authorization_endpoint: keys.authorization_endpoint.clone(),
        token_endpoint: keys.token_endpoint.clone(),
        revocation_endpoint: keys.revocation_endpoint.clone(),
        scopes: (!keys.scopes.is_empty()).then(|| keys.scopes.clone()),
        extra,
        resource: keys.resource,
        client_id: keys.client_id.clone(),
        client_secret: secret
            .filter(|secret| !secret.is_empty())
            .map(Secret::presented),
    })
}

fn kind(text: &str) -> Result<String, String> {
    let kinds = ["oauth", "key", "exchange"];
    values::one_of(text, &kinds.map(|kind| (kind, kind.to_owned())))
}

fn header(text: &str) -> Result<CredentialHeader, String> {
    let header = CredentialHeader::parse(text)?;
    values::free_header(header.name().as_str())?;
    Ok(header)
}

fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "is no URL".to_owned())?;
    values::check_secure(&url)?;
    if url.fragment().is_some() || !url.username().is_empty() {
        return Err("has a fragment or a user name".to_owned());
    }
    Ok(url)
}

/// Kept as it is written: it is compared byte for byte.
fn issuer(text: &str) -> Result<String, String> {
    endpoint(text)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::layers::Layers;
    use crate::config::{Config, SCHEMA, resolve};

    fn read(lines: &str) -> Result<Config, String> {
        let mut layers = Layers::new(&SCHEMA);
        let text = format!(
            "[[backend]]\nname = \"notes\"\nurl = \"http://127.0.0.1:9000\"\n[backend.account]\n{lines}\n"
        );
        layers.file(Path::new("gateway.toml"), &text);
        resolve(&layers).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn a_kind_is_enough_and_everything_else_is_found_or_has_its_default() {
        let config = read("kind = \"oauth\"").unwrap();
        let account = config.backends[0].account.clone().unwrap();
        assert_eq!(
            account.header,
            CredentialHeader::parse("Authorization: Bearer {}").unwrap()
        );
        assert!(!account.optional);
        let AccountKind::OAuth(server) = account.kind else {
            panic!("{account:?}")
        };
        assert!(server.resource && server.issuer.is_none() && server.scopes.is_none());
        let used = config.backends[0].backend.account.clone().unwrap();
        assert_eq!(
            (used.header.as_str(), used.is_optional),
            ("authorization", false)
        );

        let config = read("kind = \"key\"\nheader = \"X-Api-Key: {}\"\noptional = true").unwrap();
        let used = config.backends[0].backend.account.clone().unwrap();
        assert_eq!(
            (used.header.as_str(), used.is_optional),
            ("x-api-key", true)
        );
        let config = read(
            "kind = \"oauth\"\nextra = { access_type = \"offline\" }\nresource = false\nclient_id = \"c\"\n\
             client_secret = \"hunter2\"\nscopes = [\"a\", \"b\"]\nissuer = \"https://a.example\"",
        )
        .unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let backend = "[[backend]]\nurl = \"http://127.0.0.1:9000\"\n";
        let mut layers = Layers::new(&SCHEMA);
        layers.file(Path::new("gateway.toml"), backend);
        let config = resolve(&layers).unwrap();
        assert!(config.backends[0].account.is_none());
        assert!(config.backends[0].backend.account.is_none());
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for (lines, expected) in [
            ("optional = true", "`backend.0.account.kind` is missing"),
            ("kind = \"basic\"", "`backend.0.account.kind` must be"),
            (
                "kind = \"key\"\nheader = \"X-Key\"",
                "`backend.0.account.header` must be",
            ),
            (
                "kind = \"key\"\nheader = \"Host: {}\"",
                "`backend.0.account.header` `host` has another",
            ),
            (
                "kind = \"key\"\nscopes = [\"a\"]",
                "`backend.0.account.scopes` is for `oauth`",
            ),
            (
                "kind = \"oauth\"\nhint = \"x\"",
                "`backend.0.account.hint` is for `key`",
            ),
            (
                "kind = \"oauth\"\nclient_secret = \"s\"",
                "`backend.0.account.client_id` is missing",
            ),
            (
                "kind = \"oauth\"\nclient_id = \"c\"\nclient_secret = \"s\"",
                "`backend.0.account.client_id` wants `issuer`",
            ),
            (
                "kind = \"oauth\"\nclient_id = \"c\"\nscopes = [\"a\"]",
                "`backend.0.account.client_id` wants `issuer`",
            ),
            (
                "kind = \"exchange\"\nclient_id = \"c\"\nclient_secret = \"s\"",
                "`backend.0.account.client_id` wants `issuer`",
            ),
            (
                "kind = \"oauth\"\nclient_id = \"c\"\ntoken_endpoint = \"https://a.example/t\"",
                "`backend.0.account.token_endpoint` stands alone",
            ),
            (
                "kind = \"oauth\"\nissuer = \"http://a.example\"",
                "`backend.0.account.issuer` must be https",
            ),
            (
                "kind = \"oauth\"\nextra = { state = \"x\" }",
                "`backend.0.account.extra` has `state`",
            ),
            (
                "kind = \"exchange\"",
                "`backend.0.account.client_id` is missing",
            ),
            (
                "kind = \"key\"\nkey = \"k\"",
                "unknown key `backend.0.account.key`",
            ),
        ] {
            let problems = read(lines).expect_err(lines);
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
        for (backend, expected) in [
            (
                "name = \"a b\"\nurl = \"http://x\"",
                "wants a backend whose `name`",
            ),
            (
                "name = \"keys\"\nurl = \"http://x\"",
                "wants a backend whose `name`",
            ),
            ("stdio = [\"cat\"]", "is for a backend with a url"),
            (
                "url = \"http://x\"\nheaders = { authorization = \"Bearer x\" }",
                "`backend.0.account.header` is one of `headers`",
            ),
            (
                "url = \"http://x\"\ntoken_header = \"Authorization\"",
                "`backend.0.account.header` is the `token_header`",
            ),
        ] {
            let mut layers = Layers::new(&SCHEMA);
            let text = format!("[[backend]]\n{backend}\naccount = {{ kind = \"key\" }}\n");
            layers.file(Path::new("gateway.toml"), &text);
            let problems = format!("{:?}", resolve(&layers).unwrap_err());
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}
