//! What a lenient reader makes of a text: one that ignores case, blanks around it and characters
//! that nobody sees, and takes a compatible character for the plain one. Backends are such readers
//! now and then, so names that are equal here must not be told apart by whoever forbids something.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

/// The text as such a reader compares it. Equal texts have equal forms; two texts of one form may
/// be taken for each other.
pub fn folded(text: &str) -> String {
    fold(text).into_owned()
}

/// The same, borrowed where it is the text itself.
pub fn fold(text: &str) -> Cow<'_, str> {
    if is_folded(text) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        let plain = text.chars().filter(|c| !c.is_control());
        let plain: String = plain.map(|c| c.to_ascii_lowercase()).collect();
        return Cow::Owned(plain.trim().to_owned());
    }
    let seen: String = text
        .nfkd()
        .filter(|&c| !c.is_control() && !is_invisible(c))
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect();
    let folded: String = seen.nfkc().collect();
    Cow::Owned(folded.trim().to_owned())
}

/// Whether folding changes nothing: most names are ASCII in small letters.
fn is_folded(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !byte.is_ascii_uppercase();
    text.bytes().all(is_plain) && !text.starts_with(' ') && !text.ends_with(' ')
}

/// Format characters, fillers and variation selectors: nobody sees them, and some readers drop them.
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a name or a method is one that every reader takes as it is: no control character in it,
/// and no blank or invisible character around it.
pub fn is_plain_name(text: &str) -> bool {
    let is_blank = |c: char| c.is_whitespace() || is_invisible(c);
    !text.chars().any(char::is_control) && !text.starts_with(is_blank) && !text.ends_with(is_blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_lenient_reader_takes_it_for() {
        for other in [
            "Deploy",
            "DEPLOY",
            "deploy\n",
            " deploy",
            "dep\u{200b}loy",
            "ｄｅｐｌｏｙ",
            "de\u{ad}ploy",
            "\u{1d4ed}eploy",
            "deploy\u{feff}",
            "deploy\u{a0}",
        ] {
            assert_eq!(folded(other), "deploy", "{other:?}");
        }
        assert_eq!(folded("e\u{301}"), folded("\u{e9}"));
        assert_eq!(folded("\u{17f}"), "s");
        assert_eq!(folded("\u{212a}"), "k");
        for other in ["deploy2", "de ploy", "de-ploy", "deplоy"] {
            assert_ne!(folded(other), "deploy", "{other:?}");
        }
    }

    #[test]
    fn what_is_folded_is_borrowed_and_stays_as_it_is() {
        for byte in 0..=0x7f_u8 {
            for text in [
                vec![byte],
                vec![b'a', byte],
                vec![byte, b'a'],
                vec![b'a', byte, b'b'],
            ] {
                let text = String::from_utf8(text).unwrap();
                let plain = text.chars().filter(|c| !c.is_control());
                let plain: String = plain.map(|c| c.to_ascii_lowercase()).collect();
                assert_eq!(fold(&text), plain.trim(), "{text:?}");
                assert_eq!(
                    matches!(fold(&text), Cow::Borrowed(_)),
                    plain.trim() == text
                );
            }
        }
    }

    #[test]
    fn a_plain_name_has_nothing_around_it_and_no_control_character() {
        for name in ["deploy", "de ploy", "gmail.send-mail", "名前", "a/b", ""] {
            assert!(is_plain_name(name), "{name:?}");
        }
        for name in [
            "deploy\n",
            "deploy ",
            "\tdeploy",
            "de\0ploy",
            "deploy\u{a0}",
            "\u{feff}deploy",
            "deploy\u{200b}",
            "deploy\u{85}",
            "\u{3000}deploy",
            "de\u{1b}[0mploy",
        ] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
