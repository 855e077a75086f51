//! Words for durations, and a stranger's text made fit to be shown.

use std::time::Duration;

/// Makes a stranger's text one harmless line of at most `longest` characters: no control
/// characters, no characters that are invisible or change the direction of their neighbours, no
/// marks that look like ours, no towers of accents; runs of blanks become one. Cut text ends in
/// `…`, so that nobody takes a part for the whole. Escaping is the template's task.
pub fn clean(text: &str, longest: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    let mut accents = 0;
    for c in text.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        if is_unfit(c) || (c == ' ' && (line.is_empty() || line.ends_with(' '))) {
            continue;
        }
        accents = if is_combining(c) { accents + 1 } else { 0 };
        if accents > 2 {
            continue;
        }
        if length == longest {
            line.pop();
            line.truncate(line.trim_end().len());
            line.push('…');
            return line;
        }
        line.push(c);
        length += 1;
    }
    line.truncate(line.trim_end().len());
    line
}

/// The longest name that is shown, of a tool or an app.
pub(super) const LONGEST_NAME: usize = 60;

/// The name that somebody gives itself, if anything of it can be shown.
pub(super) fn shown_name(name: Option<&str>) -> Option<String> {
    let name = clean(name?, LONGEST_NAME);
    (!name.is_empty()).then_some(name)
}

/// A stranger's text as it is: what nobody would see stands there as an escape, so that a person
/// sees what a model reads. `None` if that is longer than `longest` bytes: a part of it would not be
/// what it is.
pub(super) fn exact(text: &str, longest: usize) -> Option<String> {
    let mut shown = String::with_capacity(text.len().min(longest));
    for c in text.chars() {
        match c {
            '\n' | ' ' => shown.push(c),
            _ if is_unfit(c) || c.is_whitespace() => shown.extend(c.escape_unicode()),
            _ => shown.push(c),
        }
        if shown.len() > longest {
            return None;
        }
    }
    Some(shown)
}

/// How long ago something was, rounded down: `4 minutes ago`.
pub fn ago(duration: Duration) -> String {
    match duration.as_secs() {
        0..MINUTE => "less than a minute ago".to_owned(),
        seconds => format!("{} ago", words(seconds, |seconds, unit| seconds / unit)),
    }
}

/// A duration in its largest fitting unit, rounded up, so that nobody who waits that long comes
/// too early: `24 hours`, `1 minute`, `30 days`.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_millis().div_ceil(1000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    words(seconds, u64::div_ceil)
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn words(seconds: u64, divide: impl Fn(u64, u64) -> u64) -> String {
    let (unit, name) = match seconds {
        0..MINUTE => (1, "second"),
        MINUTE..HOUR => (MINUTE, "minute"),
        // A lifetime of 24 hours is called so, and so is one of 36.
        _ if seconds < 2 * DAY => (HOUR, "hour"),
        _ => (DAY, "day"),
    };
    let count = divide(seconds, unit);
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// Characters that have no business in a name: general categories Cc and Cf, line separators,
/// blanks that are no blanks to Unicode, variation selectors, private use, and what could be
/// taken for a mark of verification.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{0600}'..='\u{0605}' | '\u{061C}' | '\u{06DD}'
            | '\u{070F}' | '\u{0890}' | '\u{0891}' | '\u{08E2}' | '\u{115F}' | '\u{1160}'
            | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
            | '\u{E000}'..='\u{F8FF}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFD}' | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1345F}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{10FFFF}')
        || matches!(c,
            '\u{221A}' | '\u{2610}'..='\u{2612}' | '\u{2705}' | '\u{2713}'..='\u{2718}'
            | '\u{2BBD}'..='\u{2BBF}' | '\u{1F50F}'..='\u{1F513}' | '\u{1F5F8}'..='\u{1F5F9}'
            | '\u{1F6E1}' | '\u{1FBB1}')
}

/// The blocks of combining diacritical marks.
fn is_combining(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}' | '\u{0483}'..='\u{0489}' | '\u{1AB0}'..='\u{1AFF}'
        | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_turn_hide_or_fake_its_surroundings() {
        assert_eq!(clean("Chat\u{202E}TPG\u{202C}", 60), "ChatTPG");
        assert_eq!(clean("a\u{200B}b\u{2066}c\u{E0041}d", 60), "abcd");
        assert_eq!(clean("ChatGPT ✓ verified ✅", 60), "ChatGPT verified");
        assert_eq!(clean("  two\r\n\tlines\u{2028}", 60), "two lines");
        assert_eq!(clean("\u{0}\u{1b}[31mred", 60), "[31mred");
        assert_eq!(clean("\u{3164}\u{2800} ", 60), "");
        assert_eq!(
            clean(&format!("e{}", "\u{301}".repeat(500)), 60),
            "e\u{301}\u{301}"
        );
        assert_eq!(clean("Zoë の メモ", 60), "Zoë の メモ");
    }

    #[test]
    fn what_is_hidden_in_a_definition_is_brought_to_light() {
        assert_eq!(exact("a\n  b é", 60).as_deref(), Some("a\n  b é"));
        assert_eq!(
            exact("\u{202E}x\u{200B}\u{E0041}\t", 60).as_deref(),
            Some("\\u{202e}x\\u{200b}\\u{e0041}\\u{9}")
        );
        assert_eq!(exact("abcdef", 5), None, "a part is not the whole");
        assert_eq!(exact("\u{202E}", 5), None);
    }

    #[test]
    fn cut_text_says_so_and_is_never_longer_than_asked() {
        assert_eq!(clean("abcdef", 6), "abcdef");
        assert_eq!(clean("abcdefg", 6), "abcde…");
        assert_eq!(clean("abcd  fgh", 6), "abcd…");
        assert_eq!(clean(&"x".repeat(10_000), 60).chars().count(), 60);
    }

    #[test]
    fn durations_are_said_in_their_largest_fitting_unit() {
        let words = |secs| in_words(Duration::from_secs(secs));
        assert_eq!(words(0), "1 second");
        assert_eq!(words(59), "59 seconds");
        assert_eq!(words(60), "1 minute");
        assert_eq!(words(61), "2 minutes");
        assert_eq!(words(3_600), "1 hour");
        assert_eq!(words(86_400), "24 hours");
        assert_eq!(words(30 * 86_400), "30 days");
        assert_eq!(ago(Duration::from_secs(3)), "less than a minute ago");
        assert_eq!(ago(Duration::from_secs(299)), "4 minutes ago");
    }
}
