//! The lists of several members as one, page by page: a page has a page of each member that has more, and
//! its cursor those of all of them. Nothing is kept between two pages.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use super::Members;
use crate::object::Object;

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listed {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
}

/// A page of one member: which, and the result that it gave.
#[derive(Clone, Debug)]
pub struct Page {
    /// The member's place.
    pub member: usize,
    /// The result of the list.
    pub result: Object,
}

impl Listed {
    /// What the method `method` lists; `None` if that is no list.
    pub fn by(method: &str) -> Option<Self> {
        let all = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];
        all.into_iter().find(|listed| listed.method() == method)
    }

    /// The method that lists it.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of a result that is the list.
    pub const fn array(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// What tells its entries apart.
    const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// What each entry of a result says that can be read; the others are left out.
    pub fn entries(self, result: &Object) -> Vec<Object> {
        let entries: Vec<Box<RawValue>> = result.read(self.array()).unwrap_or_default();
        let read = |entry: Box<RawValue>| Object::parse(entry.get());
        entries.into_iter().filter_map(read).collect()
    }

    /// The entry of `member` as all see it: tools and prompts under the member's name.
    fn shown(self, members: &Members, member: usize, mut entry: Object) -> Option<Object> {
        if matches!(self, Self::Tools | Self::Prompts) {
            let shown = members.shown_if_fits(member, &entry.text("name")?)?;
            entry.set("name", &shown);
        }
        Some(entry)
    }

    /// The pages of the members as one. Of two resources under one URI that of the first member counts,
    /// as it does where one is read.
    pub fn merged(self, members: &Members, pages: &[Page], is_complete: bool) -> Object {
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        for page in pages {
            for entry in self.entries(&page.result) {
                let shown = self.shown(members, page.member, entry);
                let key = shown.as_ref().and_then(|shown| shown.text(self.key()));
                if let (Some(shown), Some(key)) = (shown, key)
                    && seen.insert(key)
                {
                    entries.push(shown);
                }
            }
        }
        let mut result = Object::new()
            .with("resultType", "complete")
            .with(self.array(), &entries)
            .with("ttlMs", &if is_complete { lifetime(pages) } else { 0 })
            .with("cacheScope", "private");
        if let Some(cursor) = cursor(members, pages) {
            result.set("nextCursor", &cursor);
        }
        result
    }
}

/// How long all of them are good for, in milliseconds.
fn lifetime(pages: &[Page]) -> u64 {
    let each = pages.iter();
    let each = each.map(|page| page.result.read("ttlMs").unwrap_or_default());
    each.min().unwrap_or_default()
}

/// What leads to the next page: the members that have one, each with its own cursor.
fn cursor(members: &Members, pages: &[Page]) -> Option<String> {
    let mut cursors = Object::new();
    for page in pages {
        if let Some(cursor) = page.result.text("nextCursor") {
            cursors.set(&members.names()[page.member], &cursor);
        }
    }
    (!cursors.is_empty()).then(|| URL_SAFE_NO_PAD.encode(cursors.to_string()))
}

/// Which members are asked for a page, each with its own cursor. `None` for a cursor that is none of ours.
pub fn asked(members: &Members, cursor: Option<&str>) -> Option<Vec<(usize, Option<String>)>> {
    let Some(cursor) = cursor else {
        return Some((0..members.names().len()).map(|at| (at, None)).collect());
    };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let cursors = Object::parse(std::str::from_utf8(&bytes).ok()?)?;
    let each = cursors.iter().map(|(name, _)| {
        let cursor = cursors.text(name)?;
        Some((members.position(name)?, Some(cursor)))
    });
    let asked: Vec<_> = each.collect::<Option<_>>()?;
    (!asked.is_empty()).then_some(asked)
}

#[cfg(test)]
mod tests {
    use super::super::LONGEST_NAME;
    use super::*;

    fn members() -> Members {
        Members::new(vec!["notes".to_owned(), "mail".to_owned()], "_").unwrap()
    }

    fn page(member: usize, result: &str) -> Page {
        let result = Object::parse(result).unwrap();
        Page { member, result }
    }

    #[test]
    fn tools_stand_under_their_members_and_keep_what_they_say() {
        let long = "x".repeat(LONGEST_NAME);
        let pages = [
            page(
                0,
                r#"{"tools":[{"name":"search","inputSchema":{"a":1.0}},7,{"title":"nameless"}],"ttlMs":500}"#,
            ),
            page(
                1,
                &format!(
                    r#"{{"tools":[{{"name":"search"}},{{"name":"{long}"}}],"nextCursor":"m2","ttlMs":90}}"#
                ),
            ),
        ];
        let merged = Listed::Tools.merged(&members(), &pages, true);
        assert_eq!(
            merged.raw("tools").unwrap().get(),
            r#"[{"name":"notes_search","inputSchema":{"a":1.0}},{"name":"mail_search"}]"#
        );
        assert_eq!(merged.read::<u64>("ttlMs"), Some(90));
        assert_eq!(merged.text("cacheScope").as_deref(), Some("private"));
        let cursor = merged.text("nextCursor").unwrap();
        let next = asked(&members(), Some(&cursor)).unwrap();
        assert_eq!(next, [(1, Some("m2".to_owned()))]);
        let missing = Listed::Tools.merged(&members(), &pages[..1], false);
        assert_eq!(missing.read::<u64>("ttlMs"), Some(0));
        assert!(!missing.has("nextCursor"));
    }

    #[test]
    fn of_two_resources_under_one_uri_the_first_members_counts() {
        let pages = [
            page(0, r#"{"resources":[{"uri":"a:1","name":"first"}]}"#),
            page(
                1,
                r#"{"resources":[{"uri":"a:1","name":"second"},{"uri":"a:2"}]}"#,
            ),
        ];
        let merged = Listed::Resources.merged(&members(), &pages, true);
        assert_eq!(
            merged.raw("resources").unwrap().get(),
            r#"[{"uri":"a:1","name":"first"},{"uri":"a:2"}]"#
        );
    }

    #[test]
    fn a_cursor_is_one_of_ours_or_none() {
        assert_eq!(asked(&members(), None), Some(vec![(0, None), (1, None)]));
        for foreign in [
            "",
            "x",
            "e30",
            "e30=",
            "eyJvdGhlciI6ImEifQ",
            "eyJub3RlcyI6MX0",
        ] {
            assert_eq!(asked(&members(), Some(foreign)), None, "{foreign}");
        }
    }
}
