//! Whose a resource is: URIs are passed on as they are, so that what a tool's result names can be read.
//! It is the first member's, in order, that lists the URI; else the first's that has a template for it. An
//! interface is its tool's. Where a list that is not known yet could say otherwise, nobody's is said.

use std::collections::{HashMap, HashSet};

use super::lists::{Listed, Page};

/// So many URIs of one member are known; a URI beyond them is found as one that nobody lists.
const MOST: usize = 10_000;

/// So many bytes of them.
const MOST_BYTES: usize = 1 << 20;

/// What one entry takes beside its text, in bytes.
const ENTRY: usize = 64;

/// What interfaces of tools begin with.
const INTERFACE: &str = "ui://";

/// Whose a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This member's.
    One(usize),
    /// An interface that tools of several members name: whoever shows it can't tell which is meant.
    Several,
    /// An interface that a tool may name beyond those that are looked through: that stays so.
    Undecidable,
    /// Nobody lists it.
    Unknown,
    /// It is said in a list that is not known: of a member that does not answer, or has not yet.
    Unsure,
}

/// The resources that members list. What is remembered of each is bounded.
#[derive(Clone, Debug, Default)]
pub struct Uris {
    listed: HashMap<String, usize>,
    /// `ui://…` by the member whose tool names it; `None` if tools of several do.
    interfaces: HashMap<String, Option<usize>>,
    templates: Vec<(usize, String)>,
    /// How many there are of each member, and how many bytes: interfaces by themselves.
    taken: HashMap<(usize, bool), (usize, usize)>,
    /// The lists of members that are not known to their ends.
    unknown: HashSet<(usize, Listed)>,
    /// Tools beyond those that are known may name interfaces.
    lacks_interfaces: bool,
}

impl Uris {
    /// The lists that say whose a resource is.
    pub const LISTS: [Listed; 3] = [Listed::Resources, Listed::Templates, Listed::Tools];

    /// Of so many members, none of which has said anything yet.
    pub fn of_members(count: usize) -> Self {
        let each = (0..count).flat_map(|member| Self::LISTS.map(|listed| (member, listed)));
        Self {
            unknown: each.collect(),
            ..Self::default()
        }
    }

    /// Takes in a page of resources, of templates, or of tools, which may name their interfaces
    /// (`ui://…`) without listing them. Pages may come in any order.
    pub fn add(&mut self, listed: Listed, page: &Page) {
        for entry in listed.entries(&page.result) {
            let member = page.member;
            match listed {
                Listed::Resources => self.lists(member, entry.text("uri")),
                Listed::Templates => {
                    let template = entry.text("uriTemplate");
                    let template = template.filter(|text| self.has_room((member, false), text));
                    self.templates.extend(template.map(|text| (member, text)));
                }
                Listed::Tools => {
                    let meta = entry.object("_meta").unwrap_or_default();
                    let ui = meta.object("ui").unwrap_or_default();
                    self.names(member, ui.text("resourceUri"));
                    self.names(member, meta.text("ui/resourceUri"));
                    self.names(member, meta.text("openai/outputTemplate"));
                }
                Listed::Prompts => {}
            }
        }
    }

    /// All of a member's list was taken in.
    pub fn ends(&mut self, listed: Listed, member: usize) {
        self.unknown.remove(&(member, listed));
    }

    /// More of a member's list is not looked through, now or later. What it says there counts as not listed;
    /// but whose an interface is can't be said without all tools.
    pub fn is_cut(&mut self, listed: Listed, member: usize) {
        self.lacks_interfaces |= listed == Listed::Tools;
        self.ends(listed, member);
    }

    /// Whether all members said what they list.
    pub fn is_complete(&self) -> bool {
        self.unknown.is_empty()
    }

    fn has_room(&mut self, kind: (usize, bool), text: &str) -> bool {
        let (count, bytes) = self.taken.entry(kind).or_default();
        if *count >= MOST || *bytes + text.len() > MOST_BYTES {
            return false;
        }
        *count += 1;
        *bytes += text.len();
        true
    }

    fn lists(&mut self, member: usize, uri: Option<String>) {
        let Some(uri) = uri else { return };
        if let Some(first) = self.listed.get_mut(&uri) {
            *first = member.min(*first);
        } else if self.has_room((member, false), &uri) {
            self.listed.insert(uri, member);
        }
    }

    /// A tool of a member names its interface.
    fn names(&mut self, member: usize, uri: Option<String>) {
        let Some(uri) = uri else { return };
        if !uri.starts_with(INTERFACE) {
            return self.lists(member, Some(uri));
        }
        if let Some(known) = self.interfaces.get_mut(&uri) {
            *known = known.filter(|known| *known == member);
        } else if self.has_room((member, true), &uri) {
            self.interfaces.insert(uri, Some(member));
        } else {
            self.lacks_interfaces = true;
        }
    }

    /// The member whose resource this is: a URI, or a template as it is listed. An interface is the member's
    /// whose tool names it, whoever lists it; and nobody's where a tool that is not known may name it. All
    /// else is said as soon as no list that is not known yet can say otherwise.
    pub fn find(&self, uri: &str) -> Whose {
        self.found(uri, true)
    }

    /// The same once nobody waits any more for what is not known: it counts as not listed, so that a member
    /// that is away takes nothing from the others. But an interface, which acts in its server's name, is
    /// nobody's still.
    pub fn find_in_known(&self, uri: &str) -> Whose {
        self.found(uri, uri.starts_with(INTERFACE))
    }

    fn found(&self, uri: &str, waits: bool) -> Whose {
        let anybody = usize::MAX;
        if uri.starts_with(INTERFACE) {
            if self.lacks_interfaces && self.is_complete() {
                return Whose::Undecidable;
            }
            if self.lacks_interfaces || self.lacks(Listed::Tools, anybody) {
                return Whose::Unsure;
            }
        }
        if let Some(known) = self.interfaces.get(uri) {
            return known.map_or(Whose::Several, Whose::One);
        }
        let lacks = |listed, before| waits && self.lacks(listed, before);
        let listed = self.listed.get(uri).copied();
        let before = listed.unwrap_or(anybody);
        // Tools may name what is no interface, too.
        if lacks(Listed::Resources, before) || lacks(Listed::Tools, before) {
            return Whose::Unsure;
        }
        if let Some(member) = listed {
            return Whose::One(member);
        }
        let templates = self.templates.iter();
        let found = templates.filter(|(_, template)| template == uri || matches(template, uri));
        let first = found.map(|(member, _)| *member).min();
        if lacks(Listed::Templates, first.unwrap_or(anybody)) {
            return Whose::Unsure;
        }
        first.map_or(Whose::Unknown, Whose::One)
    }

    /// Whether a list of a member before this one is not known.
    fn lacks(&self, listed: Listed, before: usize) -> bool {
        let mut unknown = self.unknown.iter();
        unknown.any(|(member, list)| *list == listed && *member < before)
    }

    /// How much memory it takes, in bytes, about.
    pub fn size(&self) -> usize {
        let each = self.taken.values();
        each.map(|(count, bytes)| count * ENTRY + bytes).sum()
    }
}

/// Whether a URI may be of a template (RFC 6570): what stands between its expressions stands in the URI in
/// this order. What an expression may expand to is the server's affair.
fn matches(template: &str, uri: &str) -> bool {
    let mut literals = Vec::new();
    let mut rest = template;
    while let Some((literal, expression)) = rest.split_once('{') {
        let Some((_, after)) = expression.split_once('}') else {
            return false;
        };
        literals.push(literal);
        rest = after;
    }
    let (Some((first, between)), last) = (literals.split_first(), rest) else {
        return template == uri;
    };
    let Some(mut uri) = uri.strip_prefix(first) else {
        return false;
    };
    for literal in between {
        match uri.find(literal) {
            Some(at) => uri = &uri[at + literal.len()..],
            None => return false,
        }
    }
    uri.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;

    fn page(member: usize, result: &str) -> Page {
        let result = Object::parse(result).unwrap();
        Page { member, result }
    }

    #[test]
    fn a_uri_is_the_first_members_that_lists_it_and_then_that_has_a_template() {
        let mut uris = Uris::default();
        let second = page(1, r#"{"resources":[{"uri":"a:1"},{"uri":"file:///x"}]}"#);
        uris.add(Listed::Resources, &second);
        uris.add(
            Listed::Resources,
            &page(0, r#"{"resources":[{"uri":"a:1"}]}"#),
        );
        let templates = page(
            0,
            r#"{"resourceTemplates":[{"uriTemplate":"file:///{path}"}]}"#,
        );
        uris.add(Listed::Templates, &templates);
        let tools = r#"{"tools":[{"name":"t","_meta":{"ui":{"resourceUri":"ui://t/w"}}}]}"#;
        uris.add(Listed::Tools, &page(1, tools));
        assert_eq!(uris.find("a:1"), Whose::One(0));
        assert_eq!(uris.find("file:///x"), Whose::One(1));
        assert_eq!(uris.find("file:///y"), Whose::One(0));
        assert_eq!(uris.find("file:///{path}"), Whose::One(0));
        assert_eq!(uris.find("ui://t/w"), Whose::One(1));
        assert_eq!(uris.find("b:1"), Whose::Unknown);
    }

    #[test]
    fn an_interface_is_the_members_whose_tool_names_it_and_nobodys_if_tools_of_two_do() {
        let tools = |uri: &str| {
            format!(r#"{{"tools":[{{"name":"t","_meta":{{"ui":{{"resourceUri":"{uri}"}}}}}}]}}"#)
        };
        let mut uris = Uris::default();
        let claimed = page(0, r#"{"resources":[{"uri":"ui://mail/w"}]}"#);
        uris.add(Listed::Resources, &claimed);
        uris.add(Listed::Tools, &page(1, &tools("ui://mail/w")));
        assert_eq!(uris.find("ui://mail/w"), Whose::One(1));
        uris.add(Listed::Tools, &page(1, &tools("ui://mail/w")));
        assert_eq!(uris.find("ui://mail/w"), Whose::One(1));
        for member in [2, 1] {
            uris.add(Listed::Tools, &page(member, &tools("ui://mail/w")));
            assert_eq!(uris.find("ui://mail/w"), Whose::Several);
        }
    }

    #[test]
    fn whose_an_interface_is_is_not_said_while_not_all_tools_are_known() {
        let mut uris = Uris::of_members(2);
        let claimed = r#"{"resources":[{"uri":"ui://mail/w"},{"uri":"a:1"}]}"#;
        uris.add(Listed::Resources, &page(0, claimed));
        let template = r#"{"resourceTemplates":[{"uriTemplate":"ui://{+all}"}]}"#;
        uris.add(Listed::Templates, &page(0, template));
        let tools = r#"{"tools":[{"name":"t","_meta":{"ui":{"resourceUri":"ui://notes/w"}}}]}"#;
        uris.add(Listed::Tools, &page(0, tools));
        for listed in Uris::LISTS {
            uris.ends(listed, 0);
        }
        let interfaces = ["ui://mail/w", "ui://notes/w", "ui://x"];
        for interface in interfaces {
            assert_eq!(uris.find(interface), Whose::Unsure, "{interface}");
        }
        assert_eq!(uris.find("a:1"), Whose::One(0));
        let mut cut = uris.clone();
        uris.ends(Listed::Tools, 1);
        for (interface, expected) in interfaces.into_iter().zip([
            // It may list it by itself still, after the first.
            Whose::One(0),
            Whose::One(0),
            Whose::Unsure,
        ]) {
            assert_eq!(uris.find(interface), expected, "{interface}");
        }
        cut.is_cut(Listed::Tools, 1);
        cut.ends(Listed::Resources, 1);
        for interface in interfaces {
            assert_eq!(cut.find(interface), Whose::Unsure, "{interface}");
        }
        // Nothing more is looked through, so nobody is told to come again.
        cut.ends(Listed::Templates, 1);
        assert!(cut.is_complete());
        for interface in interfaces {
            assert_eq!(cut.find(interface), Whose::Undecidable, "{interface}");
            assert_eq!(cut.find_in_known(interface), Whose::Undecidable);
        }
    }

    /// What the first lists is its own whatever the others say; what a later one lists may be an earlier
    /// one's that has not said so.
    #[test]
    fn a_resource_is_nobodys_while_an_earlier_member_may_list_it() {
        let uris = |page: &Page, listed: Listed| {
            let mut uris = Uris::of_members(3);
            uris.add(listed, page);
            uris
        };
        let page = |member: usize| {
            page(
                member,
                r#"{"resources":[{"uri":"a:1"}],"resourceTemplates":[{"uriTemplate":"a:{id}"}]}"#,
            )
        };
        let first = uris(&page(0), Listed::Resources);
        assert_eq!(first.find("a:1"), Whose::One(0));
        let mut second = uris(&page(1), Listed::Resources);
        assert_eq!(second.find("a:1"), Whose::Unsure);
        // Unless nobody waits any more for what it may list.
        assert_eq!(second.find_in_known("a:1"), Whose::One(1));
        assert_eq!(second.find_in_known("b:1"), Whose::Unknown);
        assert_eq!(second.find_in_known("ui://b"), Whose::Unsure);
        second.ends(Listed::Resources, 2);
        assert_eq!(second.find("a:1"), Whose::Unsure);
        second.ends(Listed::Resources, 0);
        assert_eq!(second.find("a:1"), Whose::Unsure);
        second.is_cut(Listed::Tools, 0);
        assert_eq!(second.find("a:1"), Whose::One(1));

        // A template counts where nobody at all lists it.
        let mut second = uris(&page(1), Listed::Templates);
        for (listed, member, expected) in [
            (Listed::Templates, 0, Whose::Unsure),
            (Listed::Resources, 0, Whose::Unsure),
            (Listed::Resources, 1, Whose::Unsure),
            (Listed::Resources, 2, Whose::Unsure),
            (Listed::Tools, 0, Whose::Unsure),
            (Listed::Tools, 1, Whose::Unsure),
            (Listed::Tools, 2, Whose::One(1)),
        ] {
            second.ends(listed, member);
            assert_eq!(second.find("a:1"), expected, "{listed:?} of {member}");
        }
        assert_eq!(second.find("b:1"), Whose::Unsure);
        second.is_cut(Listed::Templates, 1);
        second.ends(Listed::Templates, 2);
        assert_eq!(second.find("b:1"), Whose::Unknown);
    }

    /// Resources of a member leave room for what its tools name; and tools that name more are not known.
    #[test]
    fn interfaces_that_have_no_room_are_tools_that_are_not_known() {
        let mut uris = Uris::default();
        let many = |array: &str, entry: &dyn Fn(usize) -> String| {
            let entries: Vec<String> = (0..=MOST).map(entry).collect();
            page(0, &format!(r#"{{"{array}":[{}]}}"#, entries.join(",")))
        };
        let resources = many("resources", &|at| format!(r#"{{"uri":"a:{at}"}}"#));
        uris.add(Listed::Resources, &resources);
        let tools = r#"{"tools":[{"name":"t","_meta":{"ui":{"resourceUri":"ui://w"}}}]}"#;
        uris.add(Listed::Tools, &page(0, tools));
        assert_eq!(uris.find("ui://w"), Whose::One(0));
        let tools = many("tools", &|at| {
            format!(r#"{{"name":"t","_meta":{{"ui":{{"resourceUri":"ui://{at}"}}}}}}"#)
        });
        uris.add(Listed::Tools, &tools);
        assert_eq!(uris.find("ui://w"), Whose::Undecidable);
    }

    #[test]
    fn what_is_known_of_one_member_is_bounded_and_takes_nothing_of_anothers() {
        let mut uris = Uris::default();
        let many = |start: &str, length: usize| {
            let entry = |at| format!(r#"{{"uri":"{start}{at}:{}"}}"#, "x".repeat(length));
            let entries: Vec<String> = (0..MOST + 10).map(entry).collect();
            format!(r#"{{"resources":[{}]}}"#, entries.join(","))
        };
        uris.add(Listed::Resources, &page(0, &many("a", 0)));
        assert_eq!(uris.listed.len(), MOST);
        uris.add(Listed::Resources, &page(1, &many("b", 1000)));
        assert!(
            uris.size() < 2 * (MOST_BYTES + MOST * ENTRY),
            "{}",
            uris.size()
        );
        uris.add(
            Listed::Resources,
            &page(2, r#"{"resources":[{"uri":"c:1"}]}"#),
        );
        assert_eq!(uris.find("c:1"), Whose::One(2));
    }

    #[test]
    fn templates_are_matched_by_what_stands_between_their_expressions() {
        for (template, uri, expected) in [
            ("notes://{id}", "notes://7", true),
            ("notes://{id}/text", "notes://7/text", true),
            ("notes://{id}/text", "notes://7/html", false),
            ("notes://{a}/{b}", "notes://7", false),
            ("db://{+path}{?q,r}", "db://a/b?q=1", true),
            ("notes://all", "notes://all", true),
            ("notes://{", "notes://{", false),
        ] {
            assert_eq!(matches(template, uri), expected, "{template} {uri}");
        }
    }
}
