//! What counts as a word: the one definition shared by the index, the query and the snippet.
//!
//! A word is a run of letters and digits, lower-cased, without accents, and with an English plural
//! ending taken off. Scripts that write no spaces are cut into single characters.

use tantivy::tokenizer::{
    AsciiFoldingFilter, RemoveLongFilter, TextAnalyzer, Token, TokenStream, Tokenizer,
};

/// Name under which the analyzer is registered in the index.
pub const ANALYZER: &str = "words";

/// Longer runs, such as encoded keys, are not indexed (bytes).
const LONGEST_WORD: usize = 64;

/// The analyzer that turns text into words.
pub fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(WordTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(AsciiFoldingFilter)
        .build()
}

/// Calls `visit` with each word of `text` and the bytes it was read from.
pub fn for_each_word(text: &str, mut visit: impl FnMut(&str, std::ops::Range<usize>)) {
    let mut analyzer = analyzer();
    let mut stream = analyzer.token_stream(text);
    while let Some(token) = stream.next() {
        visit(&token.text, token.offset_from..token.offset_to);
    }
}

#[derive(Clone, Default)]
struct WordTokenizer {
    token: Token,
}

impl Tokenizer for WordTokenizer {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream {
            text,
            next: 0,
            token: &mut self.token,
        }
    }
}

struct WordStream<'a> {
    text: &'a str,
    next: usize,
    token: &'a mut Token,
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let rest = &self.text[self.next..];
        let Some(start) = rest.find(char::is_alphanumeric) else {
            return false;
        };
        let length = word_length(&rest[start..]);
        let word = &rest[start..start + length];

        self.token.text.clear();
        self.token
            .text
            .extend(word.chars().flat_map(char::to_lowercase));
        take_off_plural(&mut self.token.text);
        self.token.offset_from = self.next + start;
        self.token.offset_to = self.next + start + length;
        self.token.position = self.token.position.wrapping_add(1);
        self.next += start + length;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// Length in bytes of the word at the start of `text`, which starts with a letter or digit.
fn word_length(text: &str) -> usize {
    let mut characters = text.char_indices();
    let Some((_, first)) = characters.next() else {
        return 0;
    };
    if is_written_without_spaces(first) {
        return first.len_utf8();
    }
    characters
        .find(|&(_, c)| !c.is_alphanumeric() || is_written_without_spaces(c))
        .map_or(text.len(), |(index, _)| index)
}

/// Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar: a run of these is a sentence.
fn is_written_without_spaces(character: char) -> bool {
    matches!(character,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// The "S" stemmer: three rules for English plurals, harmless to most other words.
fn take_off_plural(word: &mut String) {
    if word.len() < 4 || word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") {
        return;
    }
    if word.ends_with("ies") && !word.ends_with("eies") && !word.ends_with("aies") {
        word.truncate(word.len() - 3);
        word.push('y');
    } else if word.ends_with('s') {
        word.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for_each_word(text, |word, _| found.push(word.to_owned()));
        found
    }

    #[test]
    fn words_are_folded_lower_cased_and_singular() {
        assert_eq!(
            words("Cafés, TOKENS & policies!"),
            ["cafe", "token", "policy"]
        );
        assert_eq!(
            words("access status redis this bus"),
            ["access", "status", "redis", "this", "bus"]
        );
        assert_eq!(words("invalid_grant"), ["invalid", "grant"]);
    }

    #[test]
    fn a_sentence_without_spaces_is_searchable_by_character() {
        assert_eq!(
            words("你好 gateway网关"),
            ["你", "好", "gateway", "网", "关"]
        );
    }

    #[test]
    fn ranges_name_the_bytes_of_the_word() {
        let text = "— Äpfel und Grüße";
        let mut seen = Vec::new();
        for_each_word(text, |_, range| seen.push(&text[range]));
        assert_eq!(seen, ["Äpfel", "und", "Grüße"]);
    }

    #[test]
    fn overlong_runs_are_not_words() {
        assert_eq!(words(&format!("a {} b", "x".repeat(65))), ["a", "b"]);
    }
}
