//! Which pages of a backend people may open on the gateway's own origin: those below one folder of it
//! that the operator names, and no others.

use crate::text_type::is_alphanumeric_or;

/// The folder of a backend whose pages are published: a plain absolute path that ends in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedFolder(String);

/// Why a text is no such folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a path below `/` of letters, digits, `-`, `_`, `.` and `~`, such as `/documents/`"
)]
pub struct NoFolder;

/// The path of the published pages below the place of their backend.
pub const PAGES: &str = "/pages/";

/// The longest name of a page, in bytes.
const LONGEST: usize = 1024;

impl PublishedFolder {
    /// Takes a path with or without its last slash. Not `/`: the whole of a backend is more than pages.
    pub fn parse(text: &str) -> Result<Self, NoFolder> {
        let bare = text.strip_prefix('/').ok_or(NoFolder)?;
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        if bare.split('/').all(is_plain) {
            Ok(Self(format!("/{bare}/")))
        } else {
            Err(NoFolder)
        }
    }

    /// The folder as it is asked for.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the page of this name is at the backend; `None` for a name that could lead out of the
    /// folder, or be read in two ways.
    pub fn target(&self, name: &str) -> Option<String> {
        let fits = name.len() <= LONGEST && name.split('/').all(is_plain);
        fits.then(|| format!("{}{name}", self.0))
    }
}

/// A segment that means itself: nothing of it is decoded, joined or left out by anybody.
fn is_plain(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && is_alphanumeric_or(segment, b"-_.~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_plain_and_never_the_whole_backend() {
        for (text, folder) in [
            ("/documents/", "/documents/"),
            ("/documents", "/documents/"),
            ("/a/b-c_d.e~", "/a/b-c_d.e~/"),
        ] {
            assert_eq!(PublishedFolder::parse(text).unwrap().as_str(), folder);
        }
        for text in [
            "",
            "/",
            "//",
            "documents/",
            "/a//b",
            "/a/../b",
            "/.",
            "/a b",
            "/a%2fb",
            "/a?b",
        ] {
            assert_eq!(PublishedFolder::parse(text), Err(NoFolder), "{text}");
        }
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = PublishedFolder::parse("/documents/").unwrap();
        assert_eq!(folder.target("0a1b").as_deref(), Some("/documents/0a1b"));
        assert_eq!(
            folder.target("a/b.css").as_deref(),
            Some("/documents/a/b.css")
        );
        let long = "a".repeat(LONGEST + 1);
        for name in [
            "",
            ".",
            "..",
            "../mcp",
            "a/../../mcp",
            "a//b",
            "/mcp",
            "a/",
            "a%2e%2e",
            "a\\b",
            "a?b",
            "a#b",
            "a b",
            "a\r\nb",
            "ä",
            "a;b",
            "a:b",
            &long,
        ] {
            assert_eq!(folder.target(name), None, "{name:?}");
        }
    }
}
