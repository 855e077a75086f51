//! `[[service]]`: who calls without a person, and what the clients of the configuration may do as one.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::backends::ConfiguredBackend;
use crate::config::clients::{ClientKeys, GrantType};
use crate::config::owner::Owner;
use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::values;
use gateway_core::client::service::ServiceClient;
use gateway_core::client::{Client, ClientAuthentication, ClientId};
use gateway_core::grants::Tools;
use gateway_core::policy::ScopeTable;
use gateway_core::policy::rules::GroupMembers;
use gateway_core::protocol::scope::Scope;

settings! {
    /// `[[service]]`
    pub(super) struct ServiceKeys in "service[]." {
        /// Somebody who can't log in, for programs that call without a person: the policy knows it as
        /// `user`, and `machine(true)` holds.
        name: Option<String>, service_name;
        /// The `[[group]]`s that it is in.
        groups: Vec<String>, values::text;
    }
}

/// The names of the services, each put into its groups.
pub(super) fn services(
    reader: &mut Reader<'_>,
    groups: &mut BTreeMap<String, GroupMembers>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for table in reader.tables("service") {
        let ServiceKeys { name, groups: of } = ServiceKeys::read(reader, &table);
        let key = format!("{table}.name");
        let Some(name) = name else {
            reader.conflict(&key, "is missing");
            continue;
        };
        for group in of {
            match groups.get_mut(&group) {
                Some(members) => drop(members.users.insert(name.clone())),
                None => {
                    let sentence = format!("`{group}` is no [[group]]");
                    reader.wrong(&format!("{table}.groups"), sentence);
                }
            }
        }
        reader.unique(&mut names, &table, &name);
    }
    names
}

/// No person may have the name of a service; of the owner that is known before the start.
pub(super) fn check_owner(reader: &mut Reader<'_>, owner: Option<&Owner>) {
    let Some(owner) = owner else {
        return;
    };
    for table in reader.tables("service") {
        let key = format!("{table}.name");
        let name = reader.text(&key).unwrap_or_default();
        if name.to_lowercase() == owner.name.as_str().to_lowercase() {
            reader.wrong(&key, format!("`{}` is the owner, who is a person", name));
        }
    }
}

/// What the clients may get for themselves. `clients`: what was read of each `[[client]]`, beside its
/// keys.
pub(super) fn of_clients(
    reader: &mut Reader<'_>,
    clients: &[(String, ClientKeys, Client)],
    services: &BTreeSet<String>,
    backends: &[ConfiguredBackend],
    scopes: &ScopeTable,
) -> BTreeMap<ClientId, ServiceClient> {
    let mut found = BTreeMap::new();
    for (table, keys, client) in clients {
        let at = |key: &str| format!("{table}.{key}");
        if !keys.grants.contains(&GrantType::ClientCredentials) {
            for key in ["acts_as", "backends", "tools", "scopes"] {
                if reader.is_written(&at(key)) {
                    let sentence = "has no use without `client_credentials` among grants";
                    reader.wrong(&at(key), sentence);
                }
            }
            continue;
        }
        if client.authentication == ClientAuthentication::None {
            let sentence =
                "must be one with a secret or a key where the client gets tokens for itself";
            reader.wrong(&at("method"), sentence);
        }
        let Some(service) = &keys.acts_as else {
            let sentence = "is missing: the [[service]] that the client acts as";
            reader.wrong(&at("acts_as"), sentence);
            continue;
        };
        if !services.contains(service) {
            reader.wrong(&at("acts_as"), format!("`{service}` is no [[service]]"));
        }
        let is_backend = |name: &String| backends.iter().any(|it| it.name() == name);
        if let Some(unknown) = keys.backends.iter().find(|name| !is_backend(name)) {
            reader.wrong(&at("backends"), format!("`{unknown}` is no [[backend]]"));
        }
        let supported = scopes.supported();
        if let Some(unknown) = keys.scopes.iter().find(|name| !supported.contains(name)) {
            reader.wrong(&at("scopes"), format!("`{unknown}` is no scope"));
        }
        let scope: Scope = keys.scopes.iter().cloned().collect();
        let tools: BTreeSet<String> = keys.tools.iter().cloned().collect();
        let service = ServiceClient {
            service: service.clone(),
            backends: keys.backends.iter().cloned().collect(),
            tools: if tools.is_empty() {
                Tools::All
            } else {
                Tools::Only(tools)
            },
            scope: Some(scope).filter(|scope| !scope.is_empty()),
        };
        found.insert(client.id.clone(), service);
    }
    found
}

/// A login name that no person can have whom an identity provider brings: theirs have an `@` or a `+`.
fn service_name(text: &str) -> Result<String, String> {
    let name = values::login_name(text)?;
    if name.contains(['@', '+']) {
        Err("must have no `@` and no `+`, which names of people have".to_owned())
    } else {
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::layers::Layers;
    use crate::config::{Config, SCHEMA, resolve};

    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn read(text: &str) -> Result<Config, String> {
        let mut layers = Layers::new(&SCHEMA);
        let text =
            format!("[[backend]]\nname = \"documents\"\nurl = \"http://127.0.0.1:9000\"\n{text}");
        layers.file(Path::new("gateway.toml"), &text);
        resolve(&layers).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn a_client_of_a_service_needs_no_name_and_no_redirect_uri() {
        let config = read(&format!(
            "[[group]]\nname = \"robots\"\n\
             [[service]]\nname = \"CI\"\ngroups = [\"robots\"]\n\
             [[client]]\nid = \"nightly\"\nacts_as = \"ci\"\ngrants = [\"client_credentials\"]\n\
             method = \"client_secret_basic\"\nsecret_hash = \"{HASH}\"\n\
             backends = [\"documents\"]\ntools = [\"search\", \"fetch\"]\nscopes = [\"mcp\"]\n"
        ));
        let config = config.unwrap();
        let service = &config.services[&ClientId::new("nightly")];
        assert_eq!(service.service, "ci");
        assert_eq!(service.backends, ["documents".to_owned()].into());
        assert_eq!(service.tools.names(), ["fetch", "search"]);
        assert_eq!(service.scope, Some(Scope::parse("mcp")));
        assert!(config.clients[0].redirect_uris.is_empty());
    }

    #[test]
    fn only_a_client_that_says_so_asks_people_from_elsewhere() {
        let config = read(&format!(
            "[[service]]\nname = \"ci\"\n\
             [[client]]\nid = \"web\"\nname = \"W\"\nredirect_uris = [\"https://w.example/cb\"]\n\
             [[client]]\nid = \"shell\"\nname = \"S\"\ngrants = [\"device_code\"]\n\
             [[client]]\nid = \"nightly\"\nacts_as = \"ci\"\ngrants = [\"client_credentials\"]\n\
             method = \"client_secret_basic\"\nsecret_hash = \"{HASH}\"\n"
        ));
        let clients = config.unwrap().clients;
        let may: Vec<_> = clients
            .iter()
            .map(|client| (client.may_ask_from_elsewhere, client.may_refresh))
            .collect();
        assert_eq!(may, [(false, true), (true, true), (false, false)]);
        let nameless = read("[[client]]\nid = \"shell\"\ngrants = [\"device_code\"]\n");
        assert!(nameless.unwrap_err().contains("`client.0.name` is missing"));
    }

    #[test]
    fn the_name_of_a_service_is_kept_also_where_no_client_acts_as_it() {
        let config = read("[[service]]\nname = \"CI\"\n").unwrap();
        assert!(config.services.is_empty());
        assert_eq!(config.service_names, ["ci".to_owned()].into());
    }

    #[test]
    fn every_problem_is_told() {
        let problems = read(
            "[owner]\nname = \"bob\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g\"\n\
             [[service]]\nname = \"ci@x\"\n\
             [[service]]\nname = \"bot\"\ngroups = [\"nobody\"]\n\
             [[service]]\nname = \"bot\"\n\
             [[service]]\nname = \"bob\"\n\
             [[service]]\ngroups = []\n\
             [[client]]\nid = \"a\"\nacts_as = \"other\"\ngrants = [\"client_credentials\"]\nbackends = [\"x\"]\nscopes = [\"y\"]\n\
             [[client]]\nid = \"b\"\ngrants = [\"client_credentials\", \"password\"]\n\
             [[client]]\nid = \"c\"\nname = \"C\"\nredirect_uris = [\"https://c.example/cb\"]\nacts_as = \"bot\"\ntools = [\"z\"]\n\
             [[client]]\nid = \"personal_token\"\nname = \"D\"\nredirect_uris = [\"https://c.example/cb\"]\n",
        )
        .unwrap_err();
        for expected in [
            "`service.0.name` must have no `@`",
            "`service.1.groups` `nobody` is no [[group]]",
            "`service.2.name` `bot` is the name of two",
            "`service.3.name` `bob` is the owner",
            "`service.4.name` is missing",
            "`client.0.acts_as` `other` is no [[service]]",
            "`client.0.backends` `x` is no [[backend]]",
            "`client.0.scopes` `y` is no scope",
            "`client.0.method` must be one with a secret or a key",
            "`client.1.grants` must be `authorization_code`, `device_code` or `client_credentials`",
            "`client.2.acts_as` has no use without `client_credentials`",
            "`client.2.tools` has no use without `client_credentials`",
            "`client.3.id` is the id of personal tokens",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}
