//! The few words of a text that show why it was found, pure.

use crate::words::for_each_word;

/// Characters of a snippet at most, marks of omission included.
pub const LONGEST: usize = 300;
/// Characters shown before the first matched word, where there is room.
const LEAD: usize = 60;

/// The stretch of `text` with the most of the `wanted` words in it, on one line.
///
/// `wanted` holds words as [`crate::words`] makes them; a word that starts with one also counts.
/// Without a match it is the beginning of the text.
pub fn snippet(text: &str, wanted: &[String]) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let matches = matches(&line, wanted);
    let (first, last) = best_stretch(&line, &matches);

    let mut start = back(&line, first, LEAD);
    // Marks and the room of the matched words themselves come off the lead first.
    if line[start..last].chars().count() > LONGEST - 2 {
        start = first;
    }
    start = if start == 0 {
        0
    } else {
        word_start(&line, start, first)
    };
    let before = if start == 0 { "" } else { "…" };

    let room = LONGEST - before.chars().count();
    if line[start..].chars().count() <= room {
        return format!("{before}{}", &line[start..]);
    }
    let end = word_end(&line, forward(&line, start, room - 1), last.max(start));
    format!("{before}{}…", line[start..end].trim_end())
}

/// How many different words of `wanted` the text has.
pub fn matched(text: &str, wanted: &[String]) -> usize {
    let mut seen = vec![false; wanted.len()];
    for_each_word(text, |word, _| {
        if let Some(index) = which(word, wanted) {
            seen[index] = true;
        }
    });
    seen.into_iter().filter(|seen| *seen).count()
}

struct Match {
    word: usize,
    start: usize,
    end: usize,
}

fn matches(line: &str, wanted: &[String]) -> Vec<Match> {
    let mut found = Vec::new();
    for_each_word(line, |word, range| {
        if let Some(word) = which(word, wanted) {
            found.push(Match {
                word,
                start: range.start,
                end: range.end,
            });
        }
    });
    found
}

fn which(word: &str, wanted: &[String]) -> Option<usize> {
    let exact = wanted.iter().position(|wanted| wanted == word);
    exact.or_else(|| {
        wanted
            .iter()
            .position(|wanted| wanted.chars().count() >= 3 && word.starts_with(wanted.as_str()))
    })
}

/// The bytes from the first to the last match of the best window; `(0, 0)` without a match.
fn best_stretch(line: &str, matches: &[Match]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut best_score = 0;
    for (index, first) in matches.iter().enumerate() {
        let limit = forward(line, first.start, LONGEST - 2);
        let window = &matches[index..];
        let window = &window[..window.iter().take_while(|m| m.end <= limit).count()];
        let mut different: Vec<usize> = window.iter().map(|m| m.word).collect();
        different.sort_unstable();
        different.dedup();
        let score = different.len() * 1_000 + window.len().min(999);
        if let (true, Some(last)) = (score > best_score, window.last()) {
            best_score = score;
            best = (first.start, last.end);
        }
    }
    best
}

/// The index `characters` before `from`.
fn back(line: &str, from: usize, characters: usize) -> usize {
    line[..from]
        .char_indices()
        .rev()
        .take(characters)
        .last()
        .map_or(from, |(index, _)| index)
}

/// The index `characters` after `from`.
fn forward(line: &str, from: usize, characters: usize) -> usize {
    line[from..]
        .char_indices()
        .nth(characters)
        .map_or(line.len(), |(index, _)| from + index)
}

/// The start of a word at or after `at`, but not after `limit`.
fn word_start(line: &str, at: usize, limit: usize) -> usize {
    if line[..at].ends_with(' ') {
        return at;
    }
    line[at..limit].find(' ').map_or(at, |space| at + space + 1)
}

/// The end of a word at or before `at`, but not before `limit`.
fn word_end(line: &str, at: usize, limit: usize) -> usize {
    if line[at..].starts_with(' ') || limit >= at {
        return at;
    }
    line[limit..at].rfind(' ').map_or(at, |space| limit + space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_short_text_is_shown_whole_on_one_line() {
        assert_eq!(snippet("One\n two.", &wanted(&["two"])), "One two.");
        assert_eq!(snippet("", &wanted(&["two"])), "");
    }

    #[test]
    fn the_stretch_with_most_of_the_words_is_shown() {
        let filler = "lorem ipsum ".repeat(60);
        let text = format!("token {filler} the token was revoked by its owner {filler} token");
        let shown = snippet(&text, &wanted(&["token", "revoked"]));
        assert!(shown.contains("the token was revoked"), "{shown}");
        assert!(shown.starts_with('…') && shown.ends_with('…'), "{shown}");
        assert!(shown.chars().count() <= LONGEST);
    }

    #[test]
    fn a_word_that_goes_on_is_a_match_too() {
        let text = format!("{} revocation comes last", "x ".repeat(400));
        assert!(snippet(&text, &wanted(&["revoc"])).contains("revocation"));
    }

    #[test]
    fn without_a_match_it_is_the_beginning() {
        let shown = snippet(&"alpha beta ".repeat(100), &wanted(&["gamma"]));
        assert!(shown.starts_with("alpha beta") && shown.ends_with('…'));
    }

    #[test]
    fn it_is_never_too_long_and_never_cuts_a_character() {
        let texts = [
            "é".repeat(1_000),
            "你好世界".repeat(300),
            "👩‍🍳 cake ".repeat(100),
            format!("{} cake", "z".repeat(500)),
            format!("cake {}", "z".repeat(500)),
        ];
        for text in texts {
            for words in [&["cake"][..], &["你", "界"], &["z"], &[]] {
                assert!(snippet(&text, &wanted(words)).chars().count() <= LONGEST);
            }
        }
    }

    #[test]
    fn different_words_are_counted_once() {
        assert_eq!(
            matched("cake cake tea", &wanted(&["cake", "tea", "milk"])),
            2
        );
    }
}
