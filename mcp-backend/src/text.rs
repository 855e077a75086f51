//! Text as it may leave this server: cleaned, on one line, cut at a length.
//!
//! Documents are written by others and read by a language model, so characters that a person
//! cannot see but a model can read are removed here, once, before anything is stored.

/// The text without what a reader cannot see.
///
/// Line ends become `\n`; control characters other than tab and newline, bidirectional overrides,
/// the byte order mark and the invisible "tag" letters of Unicode are dropped.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                characters.next_if_eq(&'\n');
                cleaned.push('\n');
            }
            '\u{2028}' | '\u{2029}' => cleaned.push('\n'),
            '\n' | '\t' => cleaned.push(character),
            _ if is_invisible(character) => {}
            _ => cleaned.push(character),
        }
    }
    cleaned
}

/// The text on one line: runs of white space become one space, and what is longer than
/// `limit` characters is cut at a word where possible and ends in `…`.
pub fn one_line(text: &str, limit: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let space = usize::from(!line.is_empty());
        let word_length = word.chars().count();
        if length + space + word_length > limit {
            return cut_line(line, length, word, limit);
        }
        if space == 1 {
            line.push(' ');
        }
        line.push_str(word);
        length += space + word_length;
    }
    line
}

/// The largest index that is not beyond `index` and lies between two characters.
pub fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

fn cut_line(mut line: String, length: usize, next_word: &str, limit: usize) -> String {
    if line.is_empty() {
        line.extend(next_word.chars().take(limit.saturating_sub(1)));
    } else if length >= limit {
        line.pop();
    }
    line.push('…');
    line
}

fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_removed_and_line_ends_agree() {
        let text = "\u{FEFF}a\0b\u{1b}[31m\r\nc\rd\te\u{202E}f\u{E0041}g\u{85}\u{2028}h";
        assert_eq!(clean(text), "ab[31m\nc\nd\tefg\nh");
    }

    #[test]
    fn ordinary_text_of_any_script_stays_as_it_is() {
        let text = "Grüße, مرحبا, 你好, 👩‍🍳 — naïve\n";
        assert_eq!(clean(text), text);
    }

    #[test]
    fn a_line_is_cut_between_words_and_never_longer_than_asked() {
        assert_eq!(one_line("  one \n two  ", 20), "one two");
        assert_eq!(one_line("one two three", 10), "one two…");
        assert_eq!(one_line("abcdefghij", 5), "abcd…");
        assert_eq!(one_line("abcde fg", 5), "abcd…");
        for limit in 1..20 {
            assert!(one_line("äöü ßß ééééééééé x y z", limit).chars().count() <= limit);
        }
    }

    #[test]
    fn a_boundary_is_found_inside_a_character() {
        assert_eq!(floor_boundary("aé", 2), 1);
        assert_eq!(floor_boundary("aé", 99), 3);
    }
}
