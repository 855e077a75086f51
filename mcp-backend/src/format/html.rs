//! HTML: the text a browser would show, with its headings; markup, scripts and styles are dropped.

use scraper::Html;
use scraper::node::Node;

use super::Draft;
use crate::outline::Heading;
use crate::text::clean;

pub(super) fn parse(markup: &str) -> Draft {
    let page = Html::parse_document(markup);
    let mut reading = Reading::default();

    // By hand rather than by recursion: a page may nest deeper than the stack is.
    let mut node = page.tree.root();
    loop {
        let enters = reading.open(node.value());
        if let Some(child) = node.first_child().filter(|_| enters) {
            node = child;
            continue;
        }
        loop {
            reading.close(node.value());
            if let Some(sibling) = node.next_sibling() {
                node = sibling;
                break;
            }
            match node.parent() {
                Some(parent) => node = parent,
                None => return reading.finish(),
            }
        }
    }
}

#[derive(Default)]
struct Reading {
    title: String,
    in_title: bool,
    preformatted: usize,
    text: String,
    headings: Vec<Heading>,
    in_heading: bool,
}

impl Reading {
    /// Takes the start of a node; `false` if what is inside is not for reading.
    fn open(&mut self, node: &Node) -> bool {
        match node {
            Node::Text(text) => {
                self.words(text);
                true
            }
            Node::Element(element) => {
                let name = element.name();
                match name {
                    "script" | "style" | "noscript" | "template" | "svg" | "math" | "iframe"
                    | "object" => return false,
                    "title" => self.in_title = true,
                    "pre" | "textarea" => self.preformatted += 1,
                    "br" => self.text.push('\n'),
                    _ => {}
                }
                if is_block(name) {
                    self.end_line();
                }
                if let Some(level) = heading_level(name) {
                    let start = self.text.len();
                    self.headings.push(Heading {
                        level,
                        text: String::new(),
                        range: start..start,
                    });
                    self.in_heading = true;
                }
                true
            }
            Node::Document | Node::Fragment => true,
            _ => false,
        }
    }

    fn close(&mut self, node: &Node) {
        let Node::Element(element) = node else { return };
        let name = element.name();
        if heading_level(name).is_some() {
            self.in_heading = false;
            self.end_line();
            if let Some(heading) = self.headings.last_mut() {
                heading.range.end = self.text.len();
                heading.text = self.text[heading.range.clone()].trim().to_owned();
            }
        } else if is_block(name) {
            self.end_line();
        }
        match name {
            "title" => self.in_title = false,
            "pre" | "textarea" => self.preformatted = self.preformatted.saturating_sub(1),
            "p" | "ul" | "ol" | "table" => self.text.push('\n'),
            "td" | "th" => self.text.push('\t'),
            _ => {}
        }
    }

    fn words(&mut self, words: &str) {
        let words = clean(words);
        if self.in_title {
            self.title.push_str(&words);
        } else if self.preformatted > 0 && !self.in_heading {
            self.text.push_str(&words);
        } else {
            self.flow(&words);
        }
    }

    /// Appends words as a browser flows them: white space of any kind is one space.
    fn flow(&mut self, words: &str) {
        for character in words.chars() {
            if !character.is_whitespace() {
                self.text.push(character);
            } else if !self.text.is_empty() && !self.text.ends_with([' ', '\n', '\t']) {
                self.text.push(' ');
            }
        }
    }

    fn end_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn finish(self) -> Draft {
        let title = Some(self.title.trim().to_owned()).filter(|title| !title.is_empty());
        let headings = self
            .headings
            .into_iter()
            .filter(|heading| !heading.text.is_empty())
            .collect();
        Draft {
            title,
            text: self.text,
            headings,
            ..Draft::default()
        }
    }
}

fn heading_level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', digit @ b'1'..=b'6'] => Some(digit - b'0'),
        _ => None,
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "dd"
            | "details"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "header"
            | "hr"
            | "li"
            | "main"
            | "nav"
            | "ol"
            | "p"
            | "pre"
            | "section"
            | "summary"
            | "table"
            | "tr"
            | "ul"
    )
}

#[cfg(test)]
mod tests {
    use crate::document::Document;
    use crate::format::Format;

    fn document(markup: &str) -> Document {
        let parsed = Format::Html.parse("a.html", markup.as_bytes()).unwrap();
        parsed.documents.into_iter().next().unwrap()
    }

    #[test]
    fn the_text_is_kept_and_scripts_are_not() {
        let document = document(
            "<!doctype html><title>Cake &amp; tea</title><style>p{}</style><h1>Cakes</h1>\
             <p>One\n   <b>two</b></p><script>alert(1)</script><!-- hidden --><h2>Icing</h2><ul><li>sugar<li>butter</ul>",
        );
        assert_eq!(document.title, "Cake & tea");
        assert_eq!(document.text, "Cakes\nOne two\n\nIcing\nsugar\nbutter\n\n");
        let slugs: Vec<_> = document.sections.iter().map(|s| s.slug.as_str()).collect();
        assert_eq!(slugs, ["cakes", "cakes/icing"]);
        assert_eq!(
            document.plain_of(&document.sections[1]).trim(),
            "sugar\nbutter"
        );
    }

    #[test]
    fn preformatted_text_keeps_its_lines() {
        assert_eq!(document("<pre>a\n  b</pre>").text, "a\n  b\n");
    }

    #[test]
    fn invisible_characters_written_as_entities_are_removed_too() {
        assert_eq!(document("<p>a&#x202E;b&#x1b;c</p>").text.trim(), "abc");
    }

    #[test]
    fn nesting_deeper_than_the_stack_is_read() {
        let depth = 20_000;
        let document = document(&format!(
            "{}deep{}",
            "<div>".repeat(depth),
            "</div>".repeat(depth)
        ));
        assert!(document.text.contains("deep"));
    }

    #[test]
    fn headings_inside_headings_and_broken_markup_do_no_harm() {
        for markup in [
            "<h1><h2>a</h1>b",
            "<h1>",
            "</h1>x",
            "<table><h1>a<td>b",
            "<pre><h2>a\nb</h2>c",
            "<svg><title>x</title></svg>",
        ] {
            let document = document(markup);
            let covered: usize = document.sections.iter().map(|s| s.range.len()).sum();
            assert_eq!(covered, document.text.len(), "{markup}");
        }
    }
}
