//! The clients that the operator registers: `[[client]]`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::config::reader::Reader;
use gateway_core::client::keys::{KeySet, KeySource};
use gateway_core::client::{Client, ClientAuthentication, ClientId, Registration, registration};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::redirect_uri::{PrivateUseSchemes, RedirectUri};
use gateway_core::secret::{Secret, SecretHash};

/// A secret that is guessed once in 2^128 tries has no fewer characters than this.
const SHORTEST_SECRET: usize = 32;

impl Reader<'_> {
    pub(super) fn clients(&mut self, schemes: &[String]) -> Vec<Client> {
        let schemes = PrivateUseSchemes::new(schemes.to_vec());
        let count = self.layers.count("client");
        let mut ids = HashSet::new();
        let mut clients = Vec::new();
        for index in 0..count {
            let Some(client) = self.client(index, &schemes) else {
                continue;
            };
            if !ids.insert(client.id.clone()) {
                let sentence = format!("`{}` is the id of two clients", client.id);
                self.wrong(&format!("client.{index}.id"), &sentence);
            }
            clients.push(client);
        }
        clients
    }

    /// Every problem of it, and the client if there is none.
    fn client(&mut self, index: usize, schemes: &PrivateUseSchemes) -> Option<Client> {
        let at = |key: &str| format!("client.{index}.{key}");
        let id = match self.text(&at("id")) {
            Some(_) => self.parsed(&at("id"), client_id),
            None => {
                self.wrong(&at("id"), "is missing");
                None
            }
        };
        let name = match self.text(&at("name")) {
            Some(_) => self.parsed(&at("name"), |text| {
                registration::displayable(text).ok_or_else(|| "has nothing to show".to_owned())
            }),
            None => {
                self.wrong(&at("name"), "is missing: the consent page shows it");
                None
            }
        };
        let redirect_uris = self.list(&at("redirect_uris"), |text| {
            RedirectUri::parse(text, schemes)
                .map(|uri| uri.as_str().to_owned())
                .map_err(|error| error.to_string())
        });
        if redirect_uris.is_empty() && self.layers.value(&at("redirect_uris")).is_none() {
            self.wrong(&at("redirect_uris"), "is missing");
        }
        let authentication = self.authentication(index);
        Some(Client {
            id: id?,
            name: Some(name?),
            redirect_uris,
            authentication: authentication?,
            registration: Registration::PreRegistered,
            registered: Timestamp::from_secs(0),
            may_refresh: true,
            echoed: Map::new(),
        })
    }

    fn authentication(&mut self, index: usize) -> Option<ClientAuthentication> {
        let at = |key: &str| format!("client.{index}.{key}");
        let method = self.text(&at("method"))?;
        let has_secret = ["secret_hash", "secret_file"];
        let has_keys = ["jwks", "jwks_file", "jwks_uri"];
        let (wanted, unwanted): (&[&str], Vec<&str>) = match method.as_str() {
            "none" => (&[], [&has_secret[..], &has_keys[..]].concat()),
            "client_secret_basic" | "client_secret_post" => (&has_secret, has_keys.to_vec()),
            "private_key_jwt" => (&has_keys, has_secret.to_vec()),
            _ => {
                let sentence = format!(
                    "must be one of {}; it is `{method}`",
                    registration::METHODS.join(", ")
                );
                self.wrong(&at("method"), &sentence);
                return None;
            }
        };
        for key in unwanted {
            if self.text(&at(key)).is_some() {
                self.wrong(&at(key), &format!("has no use with the method `{method}`"));
            }
        }
        let given = wanted
            .iter()
            .filter(|key| self.text(&at(key)).is_some())
            .count();
        if !wanted.is_empty() && given != 1 {
            let sentence = format!("`{method}` takes one of {}", wanted.join(", "));
            self.wrong(&at("method"), &sentence);
            return None;
        }
        match method.as_str() {
            "client_secret_basic" => {
                let secret = self.client_secret(index)?;
                Some(ClientAuthentication::ClientSecretBasic { secret })
            }
            "client_secret_post" => {
                let secret = self.client_secret(index)?;
                Some(ClientAuthentication::ClientSecretPost { secret })
            }
            "private_key_jwt" => {
                let keys = self.client_keys(index)?;
                Some(ClientAuthentication::PrivateKeyJwt { keys })
            }
            _ => Some(ClientAuthentication::None),
        }
    }

    fn client_secret(&mut self, index: usize) -> Option<SecretHash> {
        let (hash, file) = (
            format!("client.{index}.secret_hash"),
            format!("client.{index}.secret_file"),
        );
        // What is wrong with a secret is told without it.
        if let Some(text) = self.text(&hash) {
            let read = SecretHash::from_hex(&text);
            if read.is_none() {
                self.wrong(&hash, "is no SHA-256 in 64 hexadecimal digits");
            }
            return read;
        }
        let secret = self.secret("", &file)?;
        if secret.len() < SHORTEST_SECRET {
            let sentence = format!("holds fewer than {SHORTEST_SECRET} characters");
            self.wrong(&file, &sentence);
            return None;
        }
        Some(Secret::presented(secret).hash())
    }

    fn client_keys(&mut self, index: usize) -> Option<KeySource> {
        let at = |key: &str| format!("client.{index}.{key}");
        if self.text(&at("jwks_uri")).is_some() {
            return self.parsed(&at("jwks_uri"), |text| {
                registration::keys_at(text).map_err(|_| "is no https URL".to_owned())
            });
        }
        let key = if self.text(&at("jwks")).is_some() {
            at("jwks")
        } else {
            at("jwks_file")
        };
        let text = self.secret(&at("jwks"), &at("jwks_file"))?;
        let read = serde_json::from_str::<Value>(&text)
            .map_err(|error| format!("is no JSON: {error}"))
            .and_then(|set| KeySet::parse(&set).map_err(|error| error.to_string()));
        match read {
            Ok(keys) => Some(KeySource::Jwks(keys)),
            Err(sentence) => {
                self.wrong(&key, &sentence);
                None
            }
        }
    }
}

/// An id that can be typed into an app, and that nobody else can have: those of clients that
/// register themselves begin with `c_`, those of people with `u_`, of documents with `https:`.
fn client_id(text: &str) -> Result<ClientId, String> {
    let plain = text.len() <= 100
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
    if !plain {
        return Err("must have at most 100 letters, digits, `-`, `_`, `.` and `~`".to_owned());
    }
    if text.starts_with("c_") || text.starts_with("u_") || text.starts_with("g_") {
        return Err("must not begin like an id that the gateway gives (c_, u_, g_)".to_owned());
    }
    Ok(ClientId::new(text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::layers::Layers;
    use crate::config::{Config, resolve};

    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn read(clients: &str) -> Result<Config, String> {
        let mut layers = Layers::default();
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
        let ClientAuthentication::ClientSecretBasic { secret } = &clients[1].authentication else {
            panic!("{:?}", clients[1]);
        };
        assert!(secret.matches(&Secret::presented("secret")));
        let ClientAuthentication::ClientSecretPost { secret } = &clients[2].authentication else {
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
