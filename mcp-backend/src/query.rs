//! What a person asked for, read leniently: any text is a query, none is an error. Pure.

use crate::words::for_each_word;

/// Words of a query that are looked at.
const MOST_WORDS: usize = 32;
/// Bytes of a query that are looked at.
const LONGEST_QUERY: usize = 4_096;

/// Words that say nothing about a subject; they count only when there are no others.
const STOP_WORDS: [&str; 44] = [
    "a", "about", "an", "and", "are", "at", "be", "by", "can", "could", "did", "do", "does", "for",
    "from", "how", "i", "if", "in", "is", "it", "me", "my", "of", "on", "or", "our", "should",
    "that", "the", "there", "this", "to", "was", "we", "what", "when", "where", "which", "who",
    "why", "will", "with", "you",
];

/// The words of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    words: Vec<String>,
}

impl Query {
    /// Reads the words of any text; operators and quotes have no meaning.
    pub fn parse(text: &str) -> Self {
        let text = &text[..crate::text::floor_boundary(text, LONGEST_QUERY)];
        let mut words: Vec<String> = Vec::new();
        for_each_word(text, |word, _| {
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        });
        if words.iter().any(|word| !is_stop_word(word)) {
            words.retain(|word| !is_stop_word(word));
        }
        words.truncate(MOST_WORDS);
        Self { words }
    }

    /// The different words, in the order they were asked.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_is_just_text() {
        let query = Query::parse("title:\"Cake\" AND (tea OR -milk) [a TO b} ~2 \\ ^ * field:");
        assert_eq!(
            query.words(),
            ["title", "cake", "tea", "milk", "b", "2", "field"]
        );
    }

    #[test]
    fn stop_words_count_only_alone() {
        assert_eq!(
            Query::parse("How do I revoke the token?").words(),
            ["revoke", "token"]
        );
        assert_eq!(Query::parse("what is this").words(), ["what", "is", "this"]);
    }

    #[test]
    fn the_stop_words_are_sorted_for_the_search() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn nothing_to_look_for_is_empty() {
        for text in ["", "   \n", "!?…", "\0"] {
            assert!(Query::parse(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_flood_of_words_is_bounded() {
        let flood: String = (0..10_000).map(|number| format!("w{number} ")).collect();
        assert_eq!(Query::parse(&flood).words().len(), MOST_WORDS);
    }
}
