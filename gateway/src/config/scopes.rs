//! `[scope.NAME]`: what a client may ask for, and what that covers.

use crate::config::backends::ConfiguredBackend;
use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::values;
use gateway_core::policy::{Pattern, ScopeRule, ScopeTable, ScopedTools};
use gateway_core::protocol::scope::{MCP, OFFLINE_ACCESS};

settings! {
    /// `[scope.NAME]`
    pub(super) struct ScopeKeys in "scope.NAME." {
        /// What the consent page says that this scope allows, such as `Read your notes`. Where no scope
        /// is configured, `mcp` is the only one and covers everything.
        words: Option<String>, values::displayable;
        /// The tools that it covers: names, in which `*` stands for any characters.
        tools: Vec<Pattern>, values::pattern;
        /// Instead of `tools`: all tools that the backend calls read-only.
        read_only: bool = "false", values::flag;
        /// The methods of MCP beside tools that it covers, such as `resources/*`.
        methods: Vec<Pattern>, values::pattern;
        /// Other scopes that it covers along.
        includes: Vec<String>, values::text;
        /// Whether an app gets it that asks for no scope, and is told so at its first visit. If no
        /// scope is a default, all are.
        default: bool = "false", values::flag;
        /// The backends that have it, by name. Default: all.
        backends: Vec<String>, values::text;
    }
}

pub(super) fn scopes(reader: &mut Reader<'_>, backends: &[ConfiguredBackend]) -> ScopeTable {
    let with_members = backends.iter().map(|it| (it.name(), it.backend.members()));
    let backends: Vec<&str> = backends.iter().map(ConfiguredBackend::name).collect();
    let names = reader.layers.names("scope");
    let rules: Vec<ScopeRule> = names
        .iter()
        .filter_map(|name| scope(reader, name, &backends))
        .collect();
    if rules.len() < names.len() {
        // What is wrong with one has been said; another may include it.
        return ScopeTable::default();
    }
    ScopeTable::with_members(&rules, with_members).unwrap_or_else(|faults| {
        for fault in faults {
            let path = format!("scope.{}.includes", fault.scope());
            reader.wrong(&path, fault);
        }
        ScopeTable::default()
    })
}

/// One table; `None` if it can't be used, which is noted.
fn scope(reader: &mut Reader<'_>, name: &str, backends: &[&str]) -> Option<ScopeRule> {
    let before = reader.problems.len();
    let table = format!("scope.{name}");
    let at = |key: &str| format!("{table}.{key}");
    if let Err(sentence) = scope_name(name) {
        let written = reader.layers.iter().map(|(path, ..)| path);
        let within = format!("{table}.");
        let first = written.into_iter().find(|path| path.starts_with(&within));
        let first = first.map_or_else(|| at("words"), str::to_owned);
        reader.wrong(&first, sentence);
    }
    let keys = ScopeKeys::read(reader, &table);
    let sentence = "is missing: the consent page says with it what the scope allows";
    reader.require(&at("words"), sentence);
    if keys.read_only && !keys.tools.is_empty() {
        let sentence = "stands beside `tools`; make two scopes, one of which includes the other";
        reader.wrong(&at("read_only"), sentence);
    }
    let covers = keys.read_only || !keys.tools.is_empty() || !keys.methods.is_empty();
    if name == MCP && covers {
        let sentence = "is all that `mcp` takes: it covers everything";
        reader.wrong(&at("words"), sentence);
    }
    if name != MCP && !covers && keys.includes.is_empty() {
        let sentence = "must be given, or read_only, methods or includes: it covers nothing";
        reader.wrong(&at("tools"), sentence);
    }
    for other in &keys.backends {
        if !backends.contains(&other.as_str()) {
            let sentence = format!("is the name of no backend; it is `{other}`");
            reader.wrong(&at("backends"), sentence);
        }
    }
    let rule = ScopeRule {
        name: name.to_owned(),
        words: keys.words.unwrap_or_default(),
        tools: match (keys.read_only, keys.tools.is_empty()) {
            (true, _) => ScopedTools::ReadOnly,
            (false, true) => ScopedTools::None,
            (false, false) => ScopedTools::Named(keys.tools),
        },
        methods: keys.methods,
        includes: keys.includes.into_iter().collect(),
        is_default: keys.default,
        backends: keys.backends.into_iter().collect(),
    };
    (reader.problems.len() == before).then_some(rule)
}

/// Fewer characters than RFC 6749 §3.3 takes: those that need no quoting in a URL, a header, a
/// configuration file or an environment variable.
fn scope_name(name: &str) -> Result<(), String> {
    if name == OFFLINE_ACCESS {
        return Err("belongs to `offline_access`, which is about refresh tokens alone".to_owned());
    }
    if (1..=64).contains(&name.len()) && values::is_plain(name, b"-_:/") {
        Ok(())
    } else {
        Err(format!(
            "belongs to `{name}`, which is no scope of at most 64 letters, digits, `-`, `_`, `:` and `/`"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::layers::Layers;
    use crate::config::{Config, SCHEMA, resolve};
    use gateway_core::policy::{Coverage, Operation};
    use gateway_core::protocol::scope::Scope;

    fn read(scopes: &str) -> Result<Config, String> {
        let mut layers = Layers::new(&SCHEMA);
        let text = format!("[[backend]]\nurl = \"http://127.0.0.1:9000\"\n{scopes}");
        layers.file(Path::new("gateway.toml"), &text);
        resolve(&layers).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn a_table_is_a_scope() {
        let config = read(
            "[scope.read]\nwords = \"Read\"\nread_only = true\ndefault = true\n\
             [scope.\"notes:write\"]\nwords = \"Write\"\ntools = [\"create_*\"]\nincludes = [\"read\"]\n",
        )
        .unwrap();
        let scopes = config.scopes.at("backend");
        assert_eq!(scopes.supported().to_string(), "notes:write read");
        assert_eq!(scopes.defaults().to_string(), "read");
        let create = Operation::Tool {
            name: "create_note",
            reads_only: false,
        };
        let covered = |scope: &str| scopes.coverage(&Scope::parse(scope), create);
        assert_eq!(covered("notes:write"), Coverage::Covered);
        assert!(matches!(covered("read"), Coverage::Needs(_)));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_its_line() {
        for (scopes, expected) in [
            ("[scope.a]\ntools = [\"x\"]\n", "`scope.a.words` is missing"),
            (
                "[scope.a]\nwords = \"A\"\n",
                "`scope.a.tools` must be given",
            ),
            (
                "[scope.a]\nwords = \"A\"\ntools = [\"\"]\n",
                "gateway.toml:5: `scope.a.tools` is no name",
            ),
            (
                "[scope.a]\nwords = \"A\"\ntools = [\"x\"]\nread_only = true\n",
                "gateway.toml:6: `scope.a.read_only` stands beside `tools`",
            ),
            (
                "[scope.a]\nwords = \"A\"\nincludes = [\"b\"]\n",
                "gateway.toml:5: `scope.a.includes` includes `b`, which is no scope",
            ),
            (
                "[scope.a]\nwords = \"A\"\nincludes = [\"b\"]\n[scope.b]\nwords = \"B\"\nincludes = [\"a\"]\n",
                "gateway.toml:5: `scope.a.includes` includes itself through `b`",
            ),
            (
                "[scope.a]\nwords = \"A\"\ntools = [\"x\"]\nbackends = [\"other\"]\n",
                "`scope.a.backends` is the name of no backend; it is `other`",
            ),
            (
                "[scope.offline_access]\nwords = \"A\"\ntools = [\"x\"]\n",
                "which is about refresh tokens alone",
            ),
            (
                "[scope.\"a b\"]\nwords = \"A\"\ntools = [\"x\"]\n",
                "which is no scope of at most",
            ),
            (
                "[scope.mcp]\nwords = \"A\"\ntools = [\"x\"]\n",
                "`scope.mcp.words` is all that `mcp` takes",
            ),
            (
                "[scope.a]\nwords = \"A\"\ntool = [\"x\"]\n",
                "unknown key `scope.a.tool`; did you mean `scope.NAME.tools`?",
            ),
        ] {
            let problems = read(scopes).unwrap_err();
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}
