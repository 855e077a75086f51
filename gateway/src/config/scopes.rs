//! `[scope.NAME]`: what a client may ask for, and what that covers.

use std::collections::BTreeSet;

use crate::config::ConfiguredBackend;
use crate::config::reader::Reader;
use gateway_core::client::registration;
use gateway_core::policy::{Pattern, ScopeRule, ScopeTable, ScopedTools};
use gateway_core::protocol::scope::{MCP, OFFLINE_ACCESS};

impl Reader<'_> {
    pub(super) fn scopes(&mut self, backends: &[ConfiguredBackend]) -> ScopeTable {
        let backends: Vec<&str> = backends
            .iter()
            .map(|configured| configured.backend.mount.name.as_str())
            .collect();
        let names = self.layers.names("scope");
        let rules: Vec<ScopeRule> = names
            .iter()
            .filter_map(|name| self.scope(name, &backends))
            .collect();
        if rules.len() < names.len() {
            // What is wrong with one has been said; another may include it.
            return ScopeTable::default();
        }
        match ScopeTable::new(&rules, backends) {
            Ok(table) => table,
            Err(faults) => {
                for fault in faults {
                    let path = format!("scope.{}.includes", fault.scope());
                    self.wrong(&path, &fault.to_string());
                }
                ScopeTable::default()
            }
        }
    }

    /// One table; `None` if it can't be used, which is noted.
    fn scope(&mut self, name: &str, backends: &[&str]) -> Option<ScopeRule> {
        let before = self.problems.len();
        let at = |key: &str| format!("scope.{name}.{key}");
        if let Err(sentence) = scope_name(name) {
            let written = self.layers.iter().map(|(path, ..)| path);
            let within = format!("scope.{name}.");
            let first = written.into_iter().find(|path| path.starts_with(&within));
            let first = first.map_or_else(|| at("words"), str::to_owned);
            self.wrong(&first, &sentence);
        }
        let words = match self.text(&at("words")) {
            Some(_) => self.parsed(&at("words"), |text| {
                registration::displayable(text).ok_or_else(|| "has nothing to show".to_owned())
            }),
            None => {
                let sentence = "is missing: the consent page says with it what the scope allows";
                self.wrong(&at("words"), sentence);
                None
            }
        };
        let tools = self.patterns(&at("tools"));
        let reads_only = self.flag(&at("read_only")).unwrap_or_default();
        if reads_only && !tools.is_empty() {
            let sentence =
                "stands beside `tools`; make two scopes, one of which includes the other";
            self.wrong(&at("read_only"), sentence);
        }
        let methods = self.patterns(&at("methods"));
        let includes: BTreeSet<String> = self
            .list(&at("includes"), |text| Ok(text.to_owned()))
            .into_iter()
            .collect();
        let covers = reads_only || !tools.is_empty() || !methods.is_empty();
        if name == MCP && covers {
            self.wrong(
                &at("words"),
                "is all that `mcp` takes: it covers everything",
            );
        }
        if name != MCP && !covers && includes.is_empty() {
            let sentence = "must be given, or read_only, methods or includes: it covers nothing";
            self.wrong(&at("tools"), sentence);
        }
        let rule = ScopeRule {
            name: name.to_owned(),
            words: words.unwrap_or_default(),
            tools: match (reads_only, tools.is_empty()) {
                (true, _) => ScopedTools::ReadOnly,
                (false, true) => ScopedTools::None,
                (false, false) => ScopedTools::Named(tools),
            },
            methods,
            includes,
            is_default: self.flag(&at("default")).unwrap_or_default(),
            backends: self
                .list(&at("backends"), |text| match backends.contains(&text) {
                    true => Ok(text.to_owned()),
                    false => Err("is the name of no backend".to_owned()),
                })
                .into_iter()
                .collect(),
        };
        (self.problems.len() == before).then_some(rule)
    }

    fn patterns(&mut self, path: &str) -> Vec<Pattern> {
        self.list(path, |text| {
            Pattern::parse(text).ok_or_else(|| "is no name and no pattern".to_owned())
        })
    }
}

/// Fewer characters than RFC 6749 §3.3 takes: those that need no quoting in a URL, a header, a
/// configuration file or an environment variable.
fn scope_name(name: &str) -> Result<(), String> {
    if name == OFFLINE_ACCESS {
        return Err("belongs to `offline_access`, which is about refresh tokens alone".to_owned());
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:/".contains(&byte);
    match (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(format!(
            "belongs to `{name}`, which is no scope of at most 64 letters, digits, `-`, `_`, `:` and `/`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::layers::Layers;
    use crate::config::{Config, resolve};
    use gateway_core::policy::{Coverage, Operation};
    use gateway_core::protocol::scope::Scope;

    fn read(scopes: &str) -> Result<Config, String> {
        let mut layers = Layers::default();
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
