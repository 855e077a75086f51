//! Tables of a run in the manual: each section stands between two marks, as the manual's other generated
//! tables do, and is written anew by the run that measures it.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A section by its name, and its text.
pub(crate) type Section = (&'static str, String);

/// Writes sections into a page; those that say nothing were not measured and stay.
pub(crate) fn write(page: &Path, sections: &[Section]) -> Result<()> {
    let shown = page.display();
    let text = std::fs::read_to_string(page).with_context(|| format!("read {shown}"))?;
    let text = replaced(text, sections).with_context(|| format!("{shown}"))?;
    std::fs::write(page, text).with_context(|| format!("write {shown}"))
}

fn replaced(mut text: String, sections: &[Section]) -> Result<String> {
    for (name, section) in sections {
        if section.is_empty() {
            continue;
        }
        let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
        let begin = text.find(&open).map(|at| at + open.len());
        let (begin, end) = begin
            .zip(text.find(&close))
            .with_context(|| format!("there is no section {name}"))?;
        ensure!(begin <= end, "the marks of {name} are the wrong way round");
        text.replace_range(begin..end, &format!("{}\n", section.trim_end()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# It\n\n<!-- a -->\nold\n<!-- /a -->\n\nwords\n\n<!-- b -->\n<!-- /b -->\n";

    #[test]
    fn what_was_measured_is_written_between_its_marks_and_all_else_stays() {
        let written = |sections: &[Section]| replaced(PAGE.to_owned(), sections);
        let one = written(&[("a", "| new |\n\n".to_owned())]).unwrap();
        assert_eq!(one, PAGE.replace("old", "| new |"));
        let other = written(&[("a", String::new()), ("b", "new".to_owned())]).unwrap();
        assert_eq!(other, PAGE.replace("<!-- b -->\n", "<!-- b -->\nnew\n"));
        assert!(written(&[("c", "new".to_owned())]).is_err());
    }

    #[test]
    fn the_manual_has_a_section_for_each_mode() {
        let page = ::tests::program::workspace().join("conf/documents/speed.md");
        let page = std::fs::read_to_string(page).unwrap();
        let names = crate::report::SECTIONS.into_iter().chain(crate::MODES);
        let sections: Vec<Section> = names.map(|name| (name, "x".to_owned())).collect();
        replaced(page, &sections).unwrap();
    }
}
