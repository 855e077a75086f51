//! Whose a resource is: URIs are passed on as they are, so that what a tool's result names can be read.
//! It is the first member's, in order, that lists the URI; else the first's that has a template for it.

use std::collections::HashMap;

use super::lists::{Listed, Page};

/// The resources that members list.
#[derive(Clone, Debug, Default)]
pub struct Uris {
    listed: HashMap<String, usize>,
    templates: Vec<(usize, String)>,
}

impl Uris {
    /// Takes in a page of resources, of templates, or of tools, which may name their interfaces
    /// (`ui://…`) without listing them.
    pub fn add(&mut self, listed: Listed, page: &Page) {
        for entry in listed.entries(&page.result) {
            let member = page.member;
            match listed {
                Listed::Resources => self.lists(member, entry.text("uri")),
                Listed::Templates => {
                    let template = entry.text("uriTemplate");
                    self.templates.extend(template.map(|text| (member, text)));
                }
                Listed::Tools => {
                    let meta = entry.object("_meta").unwrap_or_default();
                    let ui = meta.object("ui").unwrap_or_default();
                    self.lists(member, ui.text("resourceUri"));
                    self.lists(member, meta.text("ui/resourceUri"));
                    self.lists(member, meta.text("openai/outputTemplate"));
                }
                Listed::Prompts => {}
            }
        }
    }

    fn lists(&mut self, member: usize, uri: Option<String>) {
        if let Some(uri) = uri {
            let first = self.listed.entry(uri).or_insert(member);
            *first = member.min(*first);
        }
    }

    /// The member whose resource this is, as far as their lists say: a URI, or a template as it is listed.
    pub fn find(&self, uri: &str) -> Option<usize> {
        if let Some(member) = self.listed.get(uri) {
            return Some(*member);
        }
        let mut templates = self.templates.iter();
        let found = templates.find(|(_, template)| template == uri || matches(template, uri));
        found.map(|(member, _)| *member)
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
        assert_eq!(uris.find("a:1"), Some(0));
        assert_eq!(uris.find("file:///x"), Some(1));
        assert_eq!(uris.find("file:///y"), Some(0));
        assert_eq!(uris.find("file:///{path}"), Some(0));
        assert_eq!(uris.find("ui://t/w"), Some(1));
        assert_eq!(uris.find("b:1"), None);
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
