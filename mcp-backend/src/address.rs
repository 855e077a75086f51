//! The `url` of a document: what a person opens from a citation.

use std::str::FromStr;

use url::Url;

use crate::document::DocumentId;
use crate::entry::Entry;
use crate::outline;

/// Makes the address of a document from where it stands.
///
/// Either a base such as `https://docs.example.com`, under which this server's viewer is reached at
/// `/documents/{id}`, or a template with `{id}`, `{path}` (below the folder, with extension) and
/// `{section}` (the heading as an anchor).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressTemplate(String);

/// Where people open documents: what the operator says, else what the gateway in front says of a call,
/// else this server's own viewer.
#[derive(Debug, Clone)]
pub struct Addresses {
    configured: Option<AddressTemplate>,
    own: AddressTemplate,
}

/// What a gateway in front of this server tells with a call: the URL of the folder under which people
/// open its documents.
pub const PAGES_HEADER: &str = "x-forwarded-pages";

/// The longest such URL that is taken, in bytes.
const LONGEST_PAGES: usize = 2048;

impl Addresses {
    /// `configured`: what counts whatever else is said. `own`: this server's viewer.
    pub const fn new(configured: Option<AddressTemplate>, own: AddressTemplate) -> Self {
        Self { configured, own }
    }

    /// Those for one call. `told`: what the gateway in front says with it. It concerns nobody but who
    /// asks, so it is believed of everybody; what is no URL of a folder is left out of account.
    pub fn for_call(&self, told: Option<&str>) -> AddressTemplate {
        let told = || AddressTemplate::from_folder(told?);
        let configured = self.configured.clone();
        configured.or_else(told).unwrap_or_else(|| self.own.clone())
    }
}

/// The text is not a base address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It cannot be an address for a browser.
    #[error("the base URL must be absolute and start with http:// or https://")]
    NotWeb,
    /// A placeholder stands where the host is, or is not one of ours.
    #[error("the base URL may hold {{id}}, {{path}} and {{section}}, after the host")]
    Placeholder,
}

impl FromStr for AddressTemplate {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let filled = fill(text, "x", "x", "x");
        if filled.contains(['{', '}']) {
            return Err(AddressError::Placeholder);
        }
        let url = Url::parse(&filled).map_err(|_| AddressError::NotWeb)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(AddressError::NotWeb);
        }
        if filled == text {
            return Ok(Self(format!(
                "{}/documents/{{id}}",
                text.trim_end_matches('/')
            )));
        }
        let other =
            Url::parse(&fill(text, "y", "y", "y")).map_err(|_| AddressError::Placeholder)?;
        if other.origin() != url.origin() {
            return Err(AddressError::Placeholder);
        }
        Ok(Self(text.to_owned()))
    }
}

impl AddressTemplate {
    /// Addresses below a folder, whose URL ends in `/`.
    fn from_folder(folder: &str) -> Option<Self> {
        let is_folder = folder.len() <= LONGEST_PAGES
            && folder.ends_with('/')
            && !folder.contains(['{', '}', '?', '#'])
            && folder.bytes().all(|b| b.is_ascii_graphic());
        let url = Url::parse(folder).ok().filter(|_| is_folder)?;
        let is_web = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none();
        is_web.then(|| Self(format!("{folder}{{id}}")))
    }

    /// The document's own address, else one made from the template.
    pub fn address(&self, id: &DocumentId, entry: &Entry) -> String {
        let document = entry.document();
        if let Some(url) = &document.url {
            return url.to_string();
        }
        let heading = entry.section().and_then(|section| section.headings.last());
        let section = heading.map(|heading| outline::slug(heading));
        let (path, section) = (&document.source, section.unwrap_or_default());
        let address = fill(&self.0, id.as_str(), &encoded(path), &encoded(&section));
        address.trim_end_matches('#').to_owned()
    }
}

fn fill(template: &str, id: &str, path: &str, section: &str) -> String {
    template
        .replace("{id}", id)
        .replace("{section}", section)
        .replace("{path}", path)
}

/// Percent-encodes all but what RFC 3986 calls unreserved, and `/`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::format::Format;

    fn entries(source: &str, text: &str) -> Vec<(DocumentId, Entry)> {
        let parsed = Format::from_name(source)
            .unwrap()
            .parse(source, text.as_bytes())
            .unwrap();
        parsed
            .documents
            .into_iter()
            .flat_map(|document| Entry::all(&Arc::new(document)))
            .collect()
    }

    fn template(text: &str) -> AddressTemplate {
        text.parse().unwrap()
    }

    #[test]
    fn a_plain_base_leads_to_the_viewer() {
        let (id, entry) = entries("a.md", "# A\n").remove(0);
        for base in ["https://example.com/notes", "https://example.com/notes/"] {
            assert_eq!(
                template(base).address(&id, &entry),
                format!("https://example.com/notes/documents/{id}")
            );
        }
    }

    #[test]
    fn a_template_is_filled_and_nothing_in_a_path_can_break_out() {
        let entries = entries("a b/ü?x#y{id}.md", "# A\n\ntext\n\n## Was? Ja\n\nmore\n");
        let template = template("https://example.com/{path}#{section}");
        let path = "a%20b/%C3%BC%3Fx%23y%7Bid%7D.md";
        assert_eq!(
            template.address(&entries[0].0, &entries[0].1),
            format!("https://example.com/{path}")
        );
        assert_eq!(
            template.address(&entries[2].0, &entries[2].1),
            format!("https://example.com/{path}#was-ja")
        );
    }

    #[test]
    fn a_record_keeps_its_own_address() {
        let (id, entry) = entries(
            "r.json",
            r#"[{"id":"1","title":"t","text":"x","url":"https://example.org/1"}]"#,
        )
        .remove(0);
        assert_eq!(
            template("https://example.com").address(&id, &entry),
            "https://example.org/1"
        );
    }

    #[test]
    fn the_gateway_in_front_is_believed_where_the_operator_says_nothing() {
        let (id, entry) = entries("a.md", "# A\n").remove(0);
        let own = template("http://127.0.0.1:9000");
        let told = Some("https://mcp.example.com/notes/pages/");
        let address = |addresses: &Addresses, told| addresses.for_call(told).address(&id, &entry);
        let unsaid = Addresses::new(None, own.clone());
        assert_eq!(
            address(&unsaid, told),
            format!("https://mcp.example.com/notes/pages/{id}")
        );
        assert_eq!(
            address(&unsaid, None),
            format!("http://127.0.0.1:9000/documents/{id}")
        );
        let said = Addresses::new(Some(template("https://docs.example.com/{path}")), own);
        assert_eq!(address(&said, told), "https://docs.example.com/a.md");
        for odd in [
            "",
            "x",
            "https://mcp.example.com/pages",
            "javascript:alert(1)/",
            "file:///pages/",
            "https://user@mcp.example.com/",
            "https://mcp.example.com/{path}/",
            "https://a.example/?x/",
            "https://a.example/ b/",
            &format!("https://a.example/{}/", "a".repeat(LONGEST_PAGES)),
        ] {
            assert_eq!(address(&unsaid, Some(odd)), address(&unsaid, None), "{odd}");
        }
    }

    #[test]
    fn what_no_browser_opens_is_refused() {
        for text in [
            "",
            "example.com",
            "/documents",
            "file:///tmp/{path}",
            "javascript:alert(1)",
        ] {
            assert_eq!(
                text.parse::<AddressTemplate>(),
                Err(AddressError::NotWeb),
                "{text}"
            );
        }
        for text in [
            "https://example.com/{file}",
            "https://{id}/x",
            "https://{path}.example.com/",
        ] {
            assert_eq!(
                text.parse::<AddressTemplate>(),
                Err(AddressError::Placeholder),
                "{text}"
            );
        }
    }
}
