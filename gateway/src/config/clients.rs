//! Clients: how those that nobody registered here are taken (`[clients]`), and those that the operator
//! registers (`[[client]]`).

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::reader::Reader;
use crate::config::settings::{SecretTexts, settings};
use crate::config::{units, values};
use gateway_core::client::keys::{KeySet, KeySource};
use gateway_core::client::{
    Client, ClientAuthentication, ClientId, REMEMBERED, Registration, registration,
};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::redirect_uri::{PrivateUseSchemes, RedirectUri};
use gateway_core::secret::{Secret, SecretHash};
use gateway_oauth::device::DeviceApps;

/// People find time for the consent page within it.
const SHORTEST_UNUSED: Duration = Duration::from_secs(3600);

/// A secret that is guessed once in 2^128 tries has no fewer characters than this.
const SHORTEST_SECRET: usize = 32;

settings! {
    /// `[clients]`
    #[derive(Debug)]
    pub struct Clients in "clients." {
        /// Client ID Metadata Documents: a client_id may be the https address of the client's own
        /// description.
        pub metadata_documents: bool = "true", values::flag;
        /// The hosts whose documents are taken. Default: any public host.
        pub metadata_hosts: Vec<String>, values::host;
        /// Hosts of your own network whose documents may have a private address or another port.
        pub private_hosts: Vec<String>, values::host;
        /// Which apps may ask from another machine, where a person types a code at `/device`: `off`,
        /// `verified` (those of your configuration, and those that a site describes) or `all`, also those
        /// that registered themselves.
        pub device: DeviceApps = "verified", device;
        /// Private-use schemes of native apps that may be redirect URIs, besides `cursor`, `grokbot`,
        /// `vscode`, `vscode-insiders` and reverse-domain ones.
        pub redirect_schemes: Vec<String>, values::scheme;
        /// How long a client that registered itself is kept while nobody has allowed it anything, from 1h
        /// to 90d. One that comes later is told to register again.
        pub unused_for: Duration = "72h", unused_for;
    }
}

settings! {
    /// `[[client]]`
    pub(super) struct ClientKeys in "client[]." {
        /// A client that you register yourself: its client_id, which you type into the app.
        id: Option<ClientId>, client_id;
        /// Its name on the consent page, which says that you set it up.
        name: Option<String>, values::displayable;
        /// What it may get: `authorization_code`, which a person has to allow; `device_code`, which a
        /// person allows at `/device`; and `client_credentials`, which it gets for itself. Default:
        /// `authorization_code`.
        pub(super) grants: Vec<GrantType>, grant_type;
        /// With `client_credentials`: the `[[service]]` in whose name it calls.
        pub(super) acts_as: Option<String>, service;
        /// With `client_credentials`: the backends that it may use; all, where none is named.
        pub(super) backends: Vec<String>, values::text;
        /// With `client_credentials`: the tools that it may use, however they are defined; all that its
        /// scopes cover, where none is named.
        pub(super) tools: Vec<String>, values::tool;
        /// With `client_credentials`: the scopes that it may have; the default ones, where none is named.
        pub(super) scopes: Vec<String>, values::text;
        /// Where the app may be sent back to; the port of a loopback address is free.
        redirect_uris: Vec<String>, values::text;
        /// How it authenticates: `none`, `client_secret_basic`, `client_secret_post` or
        /// `private_key_jwt`.
        method: String = "none", values::text;
        /// The SHA-256 of its secret in hexadecimal: `openssl rand -hex 32` makes a secret, `printf %s
        /// SECRET | sha256sum` the hash. A list of two, while the secret is changed: both are taken.
        secret_hash: SecretTexts, values::text;
        /// A file that holds the secret itself, of 32 characters or more.
        secret_file: Option<String>, values::file;
        /// For `private_key_jwt`: its public keys, a JWK Set in JSON.
        jwks: Option<String>, values::text;
        /// A file that holds them.
        jwks_file: Option<String>, values::file;
        /// The https URL that they are fetched from.
        jwks_uri: Option<String>, values::text;
    }
}

fn unused_for(text: &str) -> Result<Duration, String> {
    let time = units::duration(text)?;
    if (SHORTEST_UNUSED..=REMEMBERED).contains(&time) {
        Ok(time)
    } else {
        Err("must be between 1h and 90d".to_owned())
    }
}

fn device(text: &str) -> Result<DeviceApps, String> {
    use DeviceApps::{All, Off, Verified};
    values::one_of(text, &[("off", Off), ("verified", Verified), ("all", All)])
}

/// What a client of the configuration may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantType {
    AuthorizationCode,
    DeviceCode,
    ClientCredentials,
}

fn grant_type(text: &str) -> Result<GrantType, String> {
    let types = [
        ("authorization_code", GrantType::AuthorizationCode),
        ("device_code", GrantType::DeviceCode),
        ("client_credentials", GrantType::ClientCredentials),
    ];
    values::one_of(text, &types)
}

fn service(text: &str) -> Result<String, String> {
    Ok(text.to_lowercase())
}

impl ClientKeys {
    /// Whether browsers are sent back to it.
    fn sends_browsers(&self) -> bool {
        self.grants.is_empty() || self.grants.contains(&GrantType::AuthorizationCode)
    }

    /// Whether it may ask people from another machine.
    fn asks_from_elsewhere(&self) -> bool {
        self.grants.contains(&GrantType::DeviceCode)
    }

    /// Whether people are asked to allow it something.
    fn asks_people(&self) -> bool {
        self.sends_browsers() || self.asks_from_elsewhere()
    }
}

/// The clients that the operator registers, each with its table and its keys. `schemes`: the
/// private-use ones that are taken beside the known ones.
pub(super) fn clients(
    reader: &mut Reader<'_>,
    schemes: &[String],
) -> Vec<(String, ClientKeys, Client)> {
    let schemes = PrivateUseSchemes::new(schemes.to_vec());
    let mut ids = HashSet::new();
    let mut clients = Vec::new();
    for table in reader.tables("client") {
        let keys = ClientKeys::read(reader, &table);
        let Some(client) = client(reader, &table, &keys, &schemes) else {
            continue;
        };
        if !ids.insert(client.id.clone()) {
            let sentence = format!("`{}` is the id of two clients", client.id);
            reader.wrong(&format!("{table}.id"), sentence);
        }
        clients.push((table, keys, client));
    }
    clients
}

/// Every problem of it, and the client if there is none.
fn client(
    reader: &mut Reader<'_>,
    table: &str,
    keys: &ClientKeys,
    schemes: &PrivateUseSchemes,
) -> Option<Client> {
    let at = |key: &str| format!("{table}.{key}");
    reader.require(&at("id"), "is missing");
    if keys.asks_people() {
        reader.require(&at("name"), "is missing: the consent page shows it");
    }
    let uris = at("redirect_uris");
    let redirect_uris: Vec<String> = keys
        .redirect_uris
        .iter()
        .filter_map(|text| {
            let uri = RedirectUri::parse(text, schemes);
            let uri = uri.map_err(|error| format!("{error}; it is `{text}`"));
            Some(reader.noted(&uris, uri)?.as_str().to_owned())
        })
        .collect();
    if keys.sends_browsers() && reader.layers.value(&uris).is_none() {
        reader.wrong(&uris, "is missing");
    }
    let authentication = authentication(reader, table, keys);
    Some(Client {
        id: keys.id.clone()?,
        name: keys.name.clone(),
        redirect_uris,
        authentication: authentication?,
        registration: Registration::PreRegistered,
        registered: Timestamp::from_secs(0),
        may_refresh: keys.asks_people(),
        may_ask_from_elsewhere: keys.asks_from_elsewhere(),
        echoed: Map::new(),
    })
}

/// How a client authenticates: what its method takes must be there, and nothing else.
fn authentication(
    reader: &mut Reader<'_>,
    table: &str,
    keys: &ClientKeys,
) -> Option<ClientAuthentication> {
    let at = |key: &str| format!("{table}.{key}");
    let method = keys.method.as_str();
    let has_secret = ["secret_hash", "secret_file"];
    let has_keys = ["jwks", "jwks_file", "jwks_uri"];
    let (wanted, unwanted): (&[&str], Vec<&str>) = match method {
        "none" => (&[], [&has_secret[..], &has_keys[..]].concat()),
        "client_secret_basic" | "client_secret_post" => (&has_secret, has_keys.to_vec()),
        "private_key_jwt" => (&has_keys, has_secret.to_vec()),
        _ => {
            let methods = registration::METHODS.join(", ");
            let sentence = format!("must be one of {methods}; it is `{method}`");
            reader.wrong(&at("method"), sentence);
            return None;
        }
    };
    for key in unwanted {
        if reader.is_written(&at(key)) {
            reader.wrong(&at(key), format!("has no use with the method `{method}`"));
        }
    }
    let given = wanted.iter().filter(|key| reader.is_written(&at(key)));
    if !wanted.is_empty() && given.count() != 1 {
        let sentence = format!("`{method}` takes one of {}", wanted.join(", "));
        reader.wrong(&at("method"), sentence);
        return None;
    }
    match method {
        "client_secret_basic" => {
            let (secret, second) = client_secrets(reader, table, keys)?;
            Some(ClientAuthentication::ClientSecretBasic { secret, second })
        }
        "client_secret_post" => {
            let (secret, second) = client_secrets(reader, table, keys)?;
            Some(ClientAuthentication::ClientSecretPost { secret, second })
        }
        "private_key_jwt" => Some(ClientAuthentication::PrivateKeyJwt {
            keys: client_keys(reader, table, keys)?,
        }),
        _ => Some(ClientAuthentication::None),
    }
}

/// The secret of a client, and the second one while it is changed. What is wrong with one is told
/// without it.
fn client_secrets(
    reader: &mut Reader<'_>,
    table: &str,
    keys: &ClientKeys,
) -> Option<(SecretHash, Option<SecretHash>)> {
    let hash = format!("{table}.secret_hash");
    if reader.is_written(&hash) {
        let hashes: Option<Vec<_>> = keys
            .secret_hash
            .0
            .iter()
            .map(|text| SecretHash::from_hex(text))
            .collect();
        let sentence = match hashes.as_deref() {
            Some([one]) => return Some((one.clone(), None)),
            Some([one, other]) if one == other => "holds the same hash twice",
            Some([one, other]) => return Some((one.clone(), Some(other.clone()))),
            Some([]) => "holds no hash",
            Some(_) => "holds more than two: the one in use and the one that replaces it",
            None => "is no SHA-256 in 64 hexadecimal digits",
        };
        reader.wrong(&hash, sentence);
        return None;
    }
    let key = format!("{table}.secret");
    let secret = reader.secret(&key, &None, &keys.secret_file)?;
    if secret.len() < SHORTEST_SECRET {
        let sentence = format!("holds fewer than {SHORTEST_SECRET} characters");
        reader.wrong_secret(&key, &None, sentence);
        return None;
    }
    Some((Secret::presented(secret).hash(), None))
}

fn client_keys(reader: &mut Reader<'_>, table: &str, keys: &ClientKeys) -> Option<KeySource> {
    if let Some(text) = &keys.jwks_uri {
        let keys = registration::keys_at(text);
        let keys = keys.map_err(|_| format!("is no https URL; it is `{text}`"));
        return reader.noted(&format!("{table}.jwks_uri"), keys);
    }
    let key = format!("{table}.jwks");
    let text = reader.secret(&key, &keys.jwks, &keys.jwks_file)?;
    let read = serde_json::from_str::<Value>(&text)
        .map_err(|error| format!("is no JSON: {error}"))
        .and_then(|set| KeySet::parse(&set).map_err(|error| error.to_string()));
    match read {
        Ok(set) => Some(KeySource::Jwks(set)),
        Err(sentence) => {
            reader.wrong_secret(&key, &keys.jwks, sentence);
            None
        }
    }
}

/// An id that can be typed into an app, and that nobody else can have: those of clients that
/// register themselves begin with `c_`, those of people with `u_`, of documents with `https:`.
fn client_id(text: &str) -> Result<ClientId, String> {
    if text.len() > 100 || !values::is_plain(text, b"-_.~") {
        return Err("must have at most 100 letters, digits, `-`, `_`, `.` and `~`".to_owned());
    }
    if ["c_", "u_", "g_"].iter().any(|ours| text.starts_with(ours)) {
        return Err("must not begin like an id that the gateway gives (c_, u_, g_)".to_owned());
    }
    if text == ClientId::PERSONAL_TOKEN {
        return Err("is the id of personal tokens".to_owned());
    }
    Ok(ClientId::new(text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::layers::Layers;
    use crate::config::{Config, SCHEMA, resolve};

    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn read(clients: &str) -> Result<Config, String> {
        let mut layers = Layers::new(&SCHEMA);
        let text = format!("[[backend]]\nurl = \"http://127.0.0.1:9000\"\n{clients}");
        layers.file(Path::new("gateway.toml"), &text);
        resolve(&layers).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn a_client_of_each_method_is_read() {
        let folder = std::env::temp_dir();
        let file = folder.join(format!("client-secret-{}", std::process::id()));
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let config = read(&format!(
            "[[client]]\nid = \"a\"\nname = \"A\"\nredirect_uris = [\"http://localhost/cb\", \"cursor://x/cb\"]\n\
             [[client]]\nid = \"b\"\nname = \"B\"\nredirect_uris = [\"https://b.example/cb\"]\nmethod = \"client_secret_basic\"\nsecret_hash = \"{HASH}\"\n\
             [[client]]\nid = \"c\"\nname = \"C\"\nredirect_uris = \"https://c.example/cb\"\nmethod = \"client_secret_post\"\nsecret_file = \"{}\"\n\
             [[client]]\nid = \"d\"\nname = \"D\"\nredirect_uris = [\"https://d.example/cb\"]\nmethod = \"private_key_jwt\"\njwks_uri = \"https://d.example/keys\"\n",
            file.display()
        ));
        std::fs::remove_file(&file).unwrap();
        let clients = config.unwrap().clients;
        let methods: Vec<_> = clients.iter().map(|c| c.authentication.method()).collect();
        assert_eq!(
            methods,
            [
                "none",
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt"
            ]
        );
        let ClientAuthentication::ClientSecretBasic { secret, .. } = &clients[1].authentication
        else {
            panic!("{:?}", clients[1]);
        };
        assert!(secret.matches(&Secret::presented("secret")));
        let ClientAuthentication::ClientSecretPost { secret, .. } = &clients[2].authentication
        else {
            panic!("{:?}", clients[2]);
        };
        assert!(secret.matches(&Secret::presented("0123456789abcdef0123456789abcdef")));
        assert!(
            clients
                .iter()
                .all(|c| c.registration == Registration::PreRegistered)
        );
    }

    #[test]
    fn two_secrets_are_taken_while_one_is_changed_and_never_more() {
        let other = HASH.replace('2', "3");
        let client = |hashes: &str| {
            read(&format!(
                "[[client]]\nid = \"b\"\nname = \"B\"\nredirect_uris = [\"https://b.example/cb\"]\nmethod = \"client_secret_basic\"\nsecret_hash = [{hashes}]\n"
            ))
        };
        let config = client(&format!("\"{HASH}\", \"{other}\"")).unwrap();
        let ClientAuthentication::ClientSecretBasic { secret, second } =
            &config.clients[0].authentication
        else {
            panic!("{:?}", config.clients[0]);
        };
        assert_eq!(Some(secret), SecretHash::from_hex(HASH).as_ref());
        assert_eq!(second, &SecretHash::from_hex(&other));
        for (hashes, said) in [
            (String::new(), "holds no hash"),
            (format!("\"{HASH}\", \"hunter2\""), "is no SHA-256"),
            (
                format!("\"{HASH}\", \"{HASH}\""),
                "holds the same hash twice",
            ),
            (
                format!("\"{HASH}\", \"{other}\", \"{}\"", HASH.replace('2', "4")),
                "holds more than two",
            ),
        ] {
            let problems = client(&hashes).unwrap_err();
            let said = format!("`client.0.secret_hash` {said}");
            assert!(problems.contains(&said), "{said}\n{problems}");
            assert!(
                !problems.contains("hunter2") && !problems.contains(HASH),
                "{problems}"
            );
        }
    }

    #[test]
    fn every_problem_of_every_client_is_told_at_once_and_no_secret() {
        let problems = read(
            "[[client]]\nname = \"A\"\nredirect_uris = [\"javascript:alert(1)\"]\n\
             [[client]]\nid = \"c_x\"\nname = \"\\u202e\"\nmethod = \"client_secret_basic\"\nsecret_hash = \"hunter2\"\n\
             [[client]]\nid = \"k\"\nname = \"K\"\nredirect_uris = [\"https://k.example/cb\"]\nmethod = \"private_key_jwt\"\njwks = \"{\\\"keys\\\":[]}\"\n\
             [[client]]\nid = \"m\"\nname = \"M\"\nredirect_uris = [\"https://m.example/cb\"]\nmethod = \"magic\"\n\
             [[client]]\nid = \"n\"\nname = \"N\"\nredirect_uris = [\"https://n.example/cb\"]\njwks_uri = \"https://n.example/\"\n\
             [[client]]\nid = \"n\"\nname = \"N\"\nredirect_uris = [\"https://n.example/cb\"]\nmethod = \"client_secret_post\"\n\
             [[client]]\nid = \"n\"\nname = \"N\"\nredirect_uri = \"https://n.example/cb\"\n",
        )
        .unwrap_err();
        for expected in [
            "`client.0.id` is missing",
            "`client.0.redirect_uris` has a scheme that is not accepted",
            "`client.1.id` must not begin like an id that the gateway gives",
            "`client.1.name` has nothing to show",
            "`client.1.redirect_uris` is missing",
            "`client.1.secret_hash` is no SHA-256",
            "`client.2.jwks` has no key for RS256",
            "`client.3.method` must be one of none, client_secret_post",
            "`client.4.jwks_uri` has no use with the method `none`",
            "`client.5.method` `client_secret_post` takes one of secret_hash, secret_file",
            "unknown key `client.6.redirect_uri`; did you mean `client[].redirect_uris`?",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
        assert!(!problems.contains("hunter2"), "{problems}");
        let twice =
            "[[client]]\nid = \"n\"\nname = \"N\"\nredirect_uris = [\"https://n.example/cb\"]\n"
                .repeat(2);
        assert!(
            read(&twice)
                .unwrap_err()
                .contains("`n` is the id of two clients")
        );
    }
}
