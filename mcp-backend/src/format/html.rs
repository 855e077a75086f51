//! HTML: the text a browser would show, with its headings; markup, scripts and styles are dropped.
//!
//! Read tag by tag, without a tree: to build one as browsers do costs the square of the nesting and of
//! the attributes, and a page is a stranger's. What is lost is only how browsers move misplaced parts
//! about; which words are there, and in which order, is the same.

mod tags;

use self::tags::{Part, Tags};
use super::Draft;
use crate::outline::Heading;
use crate::text::clean;

pub(super) fn parse(markup: &str) -> Draft {
    let mut reading = Reading::default();
    for part in Tags::new(markup) {
        match part {
            Part::Text(text) => reading.words(&text),
            Part::Start { name, is_whole } => reading.start(&name, is_whole),
            Part::End { name } => reading.end(&name),
        }
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    title: String,
    in_title: bool,
    preformatted: usize,
    text: String,
    headings: Vec<Heading>,
    /// Blocks that are open within the heading that is open.
    in_heading: Option<usize>,
    /// What is not for reading, and how often its name is open within it.
    skipped: Option<(String, usize)>,
    /// Whether a paragraph is open; the next block ends it.
    in_paragraph: bool,
    /// Whether a cell of a table is open; the next cell, row or end of the table ends it.
    in_cell: bool,
}

impl Reading {
    fn start(&mut self, name: &str, is_whole: bool) {
        if let Some((skipped, depth)) = &mut self.skipped {
            *depth += usize::from(skipped == name && !is_whole);
            return;
        }
        match name {
            // Its text is none of these parts, or what is inside is not for reading.
            "noscript" | "template" | "svg" | "math" | "object" if !is_whole => {
                self.skipped = Some((name.to_owned(), 1));
                return;
            }
            "title" => self.in_title = true,
            "pre" | "textarea" => self.preformatted += 1,
            "br" => self.text.push('\n'),
            "td" | "th" | "tr" => self.end_cell(),
            _ => {}
        }
        if is_block(name) {
            self.end_paragraph();
            self.end_line();
            self.in_paragraph = name == "p";
        }
        if let Some(level) = heading_level(name) {
            self.end_heading();
            let start = self.text.len();
            self.headings.push(Heading {
                level,
                text: String::new(),
                range: start..start,
            });
            self.in_heading = Some(0);
        } else if let (Some(blocks), true) = (&mut self.in_heading, is_block(name)) {
            *blocks += 1;
        }
        self.in_cell |= matches!(name, "td" | "th");
    }

    fn end(&mut self, name: &str) {
        if let Some((skipped, depth)) = &mut self.skipped {
            *depth -= usize::from(skipped == name);
            if *depth == 0 {
                self.skipped = None;
            }
            return;
        }
        if matches!(name, "td" | "th" | "tr" | "table") {
            self.end_cell();
        }
        if heading_level(name).is_some() {
            self.end_heading();
        } else if is_block(name) {
            match &mut self.in_heading {
                // What the heading stands in ends, and the heading with it.
                Some(0) => self.end_heading(),
                Some(blocks) => *blocks -= 1,
                None => {}
            }
            self.end_paragraph();
            self.end_line();
        }
        match name {
            "title" => self.in_title = false,
            "pre" | "textarea" => self.preformatted = self.preformatted.saturating_sub(1),
            "ul" | "ol" | "table" => self.text.push('\n'),
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        if std::mem::take(&mut self.in_paragraph) {
            self.end_line();
            self.text.push('\n');
        }
    }

    fn end_cell(&mut self) {
        if std::mem::take(&mut self.in_cell) {
            self.end_paragraph();
            self.text.push('\t');
        }
    }

    fn end_heading(&mut self) {
        if self.in_heading.take().is_none() {
            return;
        }
        self.end_line();
        if let Some(heading) = self.headings.last_mut() {
            heading.range.end = self.text.len();
            heading.text = self.text[heading.range.clone()].trim().to_owned();
        }
    }

    fn words(&mut self, words: &str) {
        if self.skipped.is_some() {
            return;
        }
        let words = clean(words);
        if self.in_title {
            self.title.push_str(&words);
        } else if self.preformatted > 0 && self.in_heading.is_none() {
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

    fn finish(mut self) -> Draft {
        self.end_heading();
        self.end_paragraph();
        self.end_line();
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
    fn paragraphs_cells_and_items_end_where_a_browser_ends_them() {
        for (markup, text) in [
            ("<p>One<p>Two", "One\n\nTwo\n\n"),
            ("<div>a<p>b</div>c", "a\nb\n\nc\n"),
            ("a <b>bold</b>&nbsp;word<br>next", "a bold word\nnext\n"),
            (
                "<table><tr><td>a<td>b<tr><td>c</table>d",
                "a\tb\t\nc\t\n\nd\n",
            ),
            ("<ul><li>a<li>b</ul>", "a\nb\n\n"),
            ("a<!-- x --><!-->b<?php x ?></ x>c", "abc\n"),
            (
                "1 < 2 & 3 &lt; 4 &amp;&#65;&#x42; &xyzzy; &copy",
                "1 < 2 & 3 < 4 &AB &xyzzy; ©\n",
            ),
            ("<a title='</div><p>x' href=\"y>\">link</a>", "link\n"),
            (
                "<script>if (a</b>) '<p>'</script>x<style></p></style>y",
                "xy\n",
            ),
            (
                "<svg><title>no</title><svg></svg>no</svg>yes<template>no</template>",
                "yes\n",
            ),
            ("x<textarea>a\n <b></textarea>", "xa\n <b>\n"),
        ] {
            assert_eq!(document(markup).text, text, "{markup}");
        }
        assert_eq!(document("<title>a &lt;b></title><h1>c").title, "a <b>");
    }

    #[test]
    fn any_page_is_read_in_time_that_grows_with_its_length() {
        let flood = |part: &str| part.repeat(1_000_000 / part.len());
        for part in [
            "<div>",
            "<b>",
            "<table>",
            "<p><b>",
            "<ul><li>",
            "<h1>",
            "<a ",
            "<a b=",
            "<x y='",
            "<!--",
            "<!",
            "</",
            "<svg>",
            "<script>",
            "<title>",
            "<textarea>",
            "<pre>",
            "&#",
            "&",
            "&a;",
            "&ab",
            "<font><p>",
            "<td><tr>",
            "</p>",
            "</b>",
            "<select><option>",
            "<template>",
            "<form><button>",
            "<h1></div>",
        ] {
            for markup in [
                flood(part),
                format!("<a {}>", flood(part)),
                format!("<p>{}</p>", flood(part)),
            ] {
                let started = std::time::Instant::now();
                let read = document(&markup);
                assert!(
                    started.elapsed().as_secs() < 20,
                    "{part}: {:?}",
                    started.elapsed()
                );
                assert!(read.text.len() <= 2 * markup.len() + 16, "{part}");
            }
        }
        let mut attributes = String::from("<a");
        for number in 0..150_000 {
            attributes.push_str(&format!(" a{number}"));
        }
        assert_eq!(document(&(attributes + ">x")).text, "x\n");
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
