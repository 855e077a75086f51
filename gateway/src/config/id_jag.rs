//! `id_jag` of a `[[login]]`: the apps that the provider's word connects.

use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::values;
use gateway_core::client::ClientId;
use gateway_core::policy::ScopeTable;
use gateway_oauth::provider::IdJagRules;

settings! {
    /// `id_jag` of a `[[login]]`
    pub(super) struct IdJagKeys in "login[].id_jag." {
        /// The apps that this provider's word connects without a consent page (ID-JAG, the
        /// enterprise-managed authorization of MCP), by their `client_id` here; each authenticates with
        /// a secret or a key. Off by default.
        clients: Vec<String>, values::text;
        /// The most that such an app gets: what it asks for and the provider's assertion names counts as
        /// far as it is among these.
        scopes: Vec<String>, values::text;
    }
}

/// Off where nothing of it is written; else it says for whom and for what.
pub(super) fn rules(reader: &mut Reader<'_>, table: &str, is_github: bool) -> Option<IdJagRules> {
    let at = |key: &str| format!("{table}.id_jag.{key}");
    let is_written = ["clients", "scopes"].map(|key| reader.is_written(&at(key)));
    if !is_written.contains(&true) {
        return None;
    }
    let written = IdJagKeys::read(reader, &format!("{table}.id_jag"));
    if written.clients.is_empty() {
        reader.conflict(&at("clients"), "is missing: the apps by their client_id");
    }
    if written.scopes.is_empty() {
        reader.conflict(&at("scopes"), "is missing: the most that such an app gets");
    }
    if is_github {
        reader.conflict(&at("clients"), "is nothing that GitHub has");
    }
    Some(IdJagRules {
        clients: written.clients.into_iter().map(ClientId::new).collect(),
        scopes: written.scopes.into_iter().collect(),
    })
}

/// Reports scopes that are written in an `id_jag` and that no backend has. Apps are not looked for: one may
/// have registered itself, or be named by the address of its description.
pub(super) fn check(reader: &mut Reader<'_>, scopes: &ScopeTable) {
    let supported = scopes.supported();
    for table in reader.tables("login") {
        let path = format!("{table}.id_jag.scopes");
        let written = reader.list(&path, values::text);
        if let Some(unknown) = written.iter().find(|name| !supported.contains(name)) {
            reader.wrong(&path, format!("`{unknown}` is no scope"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::layers::Layers;
    use crate::config::{Config, SCHEMA, resolve};

    fn read(lines: &str) -> Result<Config, String> {
        let mut layers = Layers::new(&SCHEMA);
        let text = format!(
            "[[login]]\nname = \"corp\"\nissuer = \"https://a.example\"\nclient_id = \"c\"\n\
             client_secret = \"s\"\n{lines}\n[[backend]]\nurl = \"http://127.0.0.1:9000\"\n"
        );
        layers.file(Path::new("gateway.toml"), &text);
        resolve(&layers).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn apps_are_connected_by_a_providers_word_only_where_it_is_written_for_whom_and_for_what() {
        let of = |lines: &str| {
            let config = read(lines);
            config.map(|config| config.providers[0].id_jag.clone())
        };
        assert!(of("").unwrap().is_none());
        let rules = of("id_jag = { clients = [\"a\", \"b\"], scopes = [\"mcp\"] }");
        let rules = rules.unwrap().unwrap();
        assert_eq!(
            (rules.clients.len(), rules.scopes.to_string()),
            (2, "mcp".to_owned())
        );
        for (lines, expected) in [
            (
                "id_jag = { scopes = [\"mcp\"] }",
                "`login.0.id_jag.clients` is missing",
            ),
            (
                "id_jag = { clients = [\"a\"] }",
                "`login.0.id_jag.scopes` is missing",
            ),
            (
                "id_jag = { clients = [], scopes = [] }",
                "`login.0.id_jag.clients` is missing",
            ),
            (
                "id_jag = { clients = [\"https://a.example\"], scopes = [\"mpc\"] }",
                "`login.0.id_jag.scopes` `mpc` is no scope",
            ),
            (
                "id_jag = { client = [\"a\"] }",
                "unknown key `login.0.id_jag.client`",
            ),
        ] {
            let problems = of(lines).expect_err(lines);
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}
