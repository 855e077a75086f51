//! The keys that there are, as their tables write them (`settings`): the file reader refuses any other,
//! the environment is mapped onto them, `gateway check` prints them, and the reference in the manual is
//! made from them.

/// How a value is written, and what of it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text, a number or `true` and `false`.
    One,
    /// A list of texts.
    List,
    /// A table of texts.
    Map,
    /// Text that is never printed.
    Secret,
    /// A list of texts that are never printed.
    Secrets,
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
    /// How it is written.
    pub kind: Kind,
    /// The default, as one would write it in the environment. Empty: none.
    pub default: &'static str,
    /// What it decides, in a sentence.
    pub about: &'static str,
}

impl Key {
    /// Its last word, as it stands in its table.
    pub fn name(&self) -> &'static str {
        last_word(self.path)
    }
}

fn last_word(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or_default()
}

/// Tables of keys, in the order of the documentation.
#[derive(Debug)]
pub struct Schema(pub &'static [&'static [Key]]);

impl Schema {
    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.0.iter().copied().flatten()
    }

    /// The key at a concrete path such as `backend.0.url`.
    pub fn find(&self, path: &str) -> Option<&'static Key> {
        let general = self.general(path);
        self.keys().find(|key| key.path == general)
    }

    /// Whether a table may stand several times: `[[backend]]`.
    pub fn is_list(&self, table: &str) -> bool {
        self.has_table(table, "[].")
    }

    /// Whether a table may stand several times under names: `[scope.read]`.
    fn is_named(&self, table: &str) -> bool {
        self.has_table(table, ".NAME.")
    }

    fn has_table(&self, table: &str, mark: &str) -> bool {
        let mut tables = self.keys().filter_map(|key| key.path.split_once(mark));
        tables.any(|(name, _)| name == table)
    }

    /// `backend.0.url` and `scope.read.tools` as the documentation writes them: `backend[].url`,
    /// `scope.NAME.tools`.
    fn general(&self, path: &str) -> String {
        let mut parts = path.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(list), Some(index), Some(rest))
                if index.bytes().all(|b| b.is_ascii_digit()) && self.is_list(list) =>
            {
                format!("{list}[].{rest}")
            }
            (Some(table), Some(_), Some(rest)) if self.is_named(table) => {
                format!("{table}.NAME.{rest}")
            }
            (Some(table), Some(_), None) if self.is_named(table) => format!("{table}.NAME"),
            _ => path.to_owned(),
        }
    }

    /// Whether some key lies below a path, so that it is a table and no value.
    pub fn is_table(&self, path: &str) -> bool {
        let below = format!("{}.", self.general(path));
        self.keys().any(|key| key.path.starts_with(&below))
    }

    /// The known key that an unknown one was probably meant to be.
    pub fn suggestion(&self, path: &str) -> Option<&'static str> {
        let general = self.general(path);
        self.keys()
            .map(|key| {
                let whole = strsim::jaro_winkler(key.path, &general);
                // The right word in the wrong table is the most common slip.
                let word = strsim::jaro_winkler(key.name(), last_word(&general)) - 0.05;
                (key.path, whole.max(word))
            })
            .filter(|(_, likeness)| *likeness > 0.8)
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(path, _)| path)
    }

    /// Every key in Markdown, as it stands in the manual.
    pub fn reference(&self) -> String {
        let mut table = String::from("| key | default | meaning |\n|---|---|---|\n");
        for key in self.keys() {
            let default = match key.default {
                "" => String::new(),
                text => format!("`{text}`"),
            };
            table.push_str(&format!("| `{}` | {default} | {} |\n", key.path, key.about));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use crate::config::SCHEMA;

    #[test]
    fn an_unknown_key_gets_the_likely_one_suggested() {
        let suggestion = |path: &str| SCHEMA.suggestion(path);
        assert_eq!(suggestion("pubic_url"), Some("public_url"));
        assert_eq!(suggestion("tokens.acess_ttl"), Some("tokens.access_ttl"));
        assert_eq!(suggestion("backend.2.uri"), Some("backend[].url"));
        assert_eq!(suggestion("access_ttl"), Some("tokens.access_ttl"));
        assert_eq!(suggestion("zzz"), None);
    }

    #[test]
    fn concrete_paths_of_backends_are_known() {
        let find = |path: &str| SCHEMA.find(path);
        let is_table = |path: &str| SCHEMA.is_table(path);
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
