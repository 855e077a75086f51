//! Whether a text stays below a prefix that it starts with, whoever reads it: a parser of URLs, a
//! resolver of paths of either kind, and their lenient cousins, which decode first, decode twice,
//! take a look-alike for a dot or a slash, or drop what nobody sees.
//!
//! A prefix is that of a folder or an address. A text leaves it where some reader would find a step
//! up or aside after it, or another host than that of the prefix. What can't leave for any of them
//! is taken as it is.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use super::lenient::{self, is_invisible};

/// So often the query of an address is decoded to see what it hides.
const DECODINGS: usize = 4;

/// Whether a text that starts with a prefix is below it for every reader.
pub fn stays_below(text: &str, prefix: &str) -> bool {
    if text.chars().any(char::is_control) || !has_whole_host(text, prefix) {
        return false;
    }
    let folded = look_alikes(text);
    let is_same = matches!(folded, Cow::Borrowed(_));
    is_straight(text) && (is_same || is_straight(&folded)) && has_no_dot_step(&backslashes(&folded))
}

/// Whether some reader could take a text for one that starts with a prefix which it does not start
/// with: because case, encoding or look-alikes are all that differs.
pub fn resembles(text: &str, prefix: &str) -> bool {
    if text.starts_with(prefix) {
        return false;
    }
    // Of plain ASCII nothing but its case is read in another way.
    let is_plain = |text: &str| text.is_ascii() && !text.contains(['\\', '%']);
    if is_plain(text) && is_plain(prefix) {
        return lenient::fold(text).starts_with(&*lenient::fold(prefix));
    }
    let plain = |text: &str| {
        let plain = backslashes(&look_alikes(text)).replace('\\', "/");
        lenient::folded(&look_alikes(&decoded(&plain)))
    };
    plain(text).starts_with(&plain(prefix))
}

/// A prefix that names a host names it to its end: what follows begins a path, a query or a
/// fragment, and no longer name, port or user.
fn has_whole_host(text: &str, prefix: &str) -> bool {
    let Some((scheme, rest)) = split_scheme(prefix) else {
        return true;
    };
    let host_is_over = scheme.is_empty() || rest.contains(['/', '\\', '?', '#']);
    let next = text
        .get(prefix.len()..)
        .and_then(|rest| rest.chars().next());
    host_is_over || matches!(next, None | Some('/' | '?' | '#'))
}

/// Scheme and what follows `://`.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'));
    is_scheme.then_some((scheme, rest))
}

/// Whether no reader of these letters finds a step up or aside.
fn is_straight(text: &str) -> bool {
    let rest = split_scheme(text).map_or(text, |(_, rest)| rest);
    let (path, tail) = match rest.find(['?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    has_plain_steps(path) && !hides_something(path) && is_straight_tail(tail)
}

fn has_plain_steps(path: &str) -> bool {
    let last = path.matches(['/', '\\']).count();
    path.split(['/', '\\']).enumerate().all(|(at, step)| {
        if step.is_empty() {
            at == 0 || at == last
        } else {
            !is_dots(step) && !step.starts_with(';')
        }
    })
}

/// Whether readers drop a step, or go up by it: nothing but dots and blanks, before parameters.
fn is_dots(step: &str) -> bool {
    let name = step.split([';', '?', '#']).next().unwrap_or_default();
    let is_dropped = |c: char| c == '.' || c.is_whitespace() || is_invisible(c);
    !name.is_empty() && name.chars().all(is_dropped)
}

/// What is encoded in a path must be nothing that a path is made of: neither a dot, a slash, a
/// control character, nor a percent sign before something else, in no form that decoders take.
fn hides_something(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut at = 0;
    let mut encoded = Vec::new();
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'%') {
        at += found + 1;
        match bytes.get(at..at + 2).and_then(hex) {
            Some(byte) => {
                let is_part_of_paths = matches!(byte, 0..0x20 | 0x7f | b'.' | b'/' | b'\\' | b'%');
                if is_part_of_paths {
                    return true;
                }
                encoded.push(byte);
                at += 2;
            }
            // `%u002e`.
            None if bytes.get(at).is_some_and(|b| b.eq_ignore_ascii_case(&b'u')) => return true,
            None => {}
        }
    }
    if encoded.is_empty() {
        return false;
    }
    if is_overlong(&encoded) {
        return true;
    }
    let plain = decoded(path);
    let folded = look_alikes(&plain);
    plain.chars().any(char::is_control)
        || !has_plain_steps(&folded)
        || !has_no_dot_step(&backslashes(&folded))
}

/// UTF-8 that writes a character in more bytes than it needs.
fn is_overlong(bytes: &[u8]) -> bool {
    let pairs = bytes
        .windows(2)
        .any(|two| matches!(two, [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]));
    pairs
        || bytes
            .iter()
            .any(|byte| matches!(byte, 0xc0 | 0xc1 | 0xf8..=0xfd))
}

/// Query and fragment are no path for who knows addresses; for others each slash in them is one.
fn is_straight_tail(tail: &str) -> bool {
    let mut text = Cow::Borrowed(tail);
    for _ in 0..DECODINGS {
        if !has_no_dot_step(&backslashes(&look_alikes(&text))) {
            return false;
        }
        match decoded(&text) {
            more if more == text => return true,
            more => text = Cow::Owned(more.into_owned()),
        }
    }
    false
}

/// Whether no step but the first is made of dots.
fn has_no_dot_step(text: &str) -> bool {
    let rest = split_scheme(text).map_or(text, |(_, rest)| rest);
    rest.split(['/', '\\']).skip(1).all(|step| !is_dots(step))
}

/// The text as readers see it that take a look-alike for a dot, a slash or a percent sign, and drop
/// what nobody sees.
fn look_alikes(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let seen = text.nfkc().filter(|c| !is_invisible(*c));
    let plain = seen.map(|c| match c {
        '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{2571}' => '/',
        '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{2572}' => '\\',
        '\u{3002}' | '\u{2024}' | '\u{ff61}' => '.',
        '\u{66a}' => '%',
        other => other,
    });
    Cow::Owned(plain.collect())
}

/// With the signs that stand where a `\` does in some countries.
fn backslashes(text: &str) -> Cow<'_, str> {
    if text.contains(['\u{a5}', '\u{20a9}']) {
        Cow::Owned(text.replace(['\u{a5}', '\u{20a9}'], "\\"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Percent-decoded once; what is no UTF-8 then is shown as such.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).and_then(hex);
        let wide = bytes.get(at + 1..at + 6).and_then(wide);
        match (byte, code, wide) {
            (b'%', Some(code), _) => {
                plain.push(code);
                at += 3;
            }
            (b'%', None, Some(character)) => {
                plain.extend(character.encode_utf8(&mut [0; 4]).bytes());
                at += 6;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

/// `uXXXX`, as some servers take it after a percent sign.
fn wide(five: &[u8]) -> Option<char> {
    let (first, digits) = five.split_first()?;
    let (high, low) = (hex(digits)?, hex(digits.get(2..)?)?);
    let code = u32::from(high) << 8 | u32::from(low);
    char::from_u32(code).filter(|_| first.eq_ignore_ascii_case(&b'u'))
}

fn hex(two: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*two.first()?)? * 16 + digit(*two.get(1)?)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_means_something_only_for_a_text_that_stays_below_it() {
        for text in [
            "/public/",
            "/public/a",
            "/public/a/b.txt",
            "/public/..a",
            "/public/a..b",
            "/public/.hidden",
            "/public/a b/c (1).md",
            "/public/100%.txt",
            "/public/caf%C3%A9",
            "/public/日本語。txt",
            "/public/½ cup.txt",
            "/public/Wait….txt",
            "/public/¥100",
            "/public/👩\u{200d}👩\u{200d}👧.png",
            "/public/what?.md",
            "/public/a;v=1/b",
            "notes/a",
            "https://example.com/docs/a?q=1",
            "https://example.com/docs/?q=1",
            "https://example.com/docs/a?next=%2Fx%2Fy&q=100%25#top",
            "https://example.com/docs/a?to=https://example.org/b",
            "https://example.com/docs/a?range=1..2",
            "git+https://example.com/docs/a",
            "",
            "plain words, and a dot.",
        ] {
            assert!(stays_below(text, ""), "{text}");
        }
        for text in [
            "/public/../secret",
            "/public/..",
            "/public/./x",
            "/public//etc/passwd",
            "/public/..\\secret",
            "/public\\..\\secret",
            "/public/.. /secret",
            "/public/.../secret",
            "/public/..;/secret",
            "/public/%2e%2e/secret",
            "/public/%2E./secret",
            "/public/a%2fb",
            "/public/%252e%252e/secret",
            "/public/a\0.txt",
            "/public/a\n",
            "/public/..?x",
            "/public/..#x",
            "/public/..%3fx",
            "/public/a?/../../secret",
            "/public/a?%2f..%2f..%2fsecret",
            "/public/a?%252f..%252f..%252fsecret",
            "/public/%c0%ae%c0%ae/secret",
            "/public/%e0%80%ae./secret",
            "/public/..%c0%afsecret",
            "/public/%u002e%u002e/secret",
            "/public/a#/%u002e%u002e?/secret",
            "/public/．．/secret",
            "/public/‥/secret",
            "/public/..∕secret",
            "/public/..／secret",
            "/public/..¥secret",
            "/public/.\u{200b}./secret",
            "/public/%EF%BC%8E%EF%BC%8E/secret",
            "/public/％2e％2e/secret",
            "/public/。。/secret",
            "/public/..\u{a0}/secret",
            "https://example.com/docs/../x",
            "https://example.com/docs/public/..?delete=all",
            "https://example.com//evil",
            "https://example.com/docs/..\\..\\x",
        ] {
            assert!(!stays_below(text, ""), "{text}");
        }
    }

    #[test]
    fn a_host_in_a_prefix_ends_with_it() {
        for (text, prefix, stays) in [
            ("https://example.com/a", "https://example.com", true),
            ("https://example.com", "https://example.com", true),
            ("https://example.com?q", "https://example.com", true),
            (
                "https://example.com.evil.example/a",
                "https://example.com",
                false,
            ),
            (
                "https://example.com@evil.example/a",
                "https://example.com",
                false,
            ),
            (
                "https://example.com:pw@evil.example/",
                "https://example.com",
                false,
            ),
            ("https://example.com:8443/", "https://example.com", false),
            (
                "https://example.com\\@evil.example/",
                "https://example.com",
                false,
            ),
            ("https://example.com/@evil", "https://example.com/", true),
            ("docs/a", "docs", true),
        ] {
            assert_eq!(stays_below(text, prefix), stays, "{text} {prefix}");
        }
    }

    #[test]
    fn what_differs_from_a_prefix_in_writing_only_resembles_it() {
        for text in [
            "/SECRET/a",
            "/s%65cret/a",
            "\\secret\\a",
            "/ｓecret/a",
            "／secret/a",
            "/sec\u{ad}ret/a",
        ] {
            assert!(resembles(text, "/secret/"), "{text}");
        }
        for text in ["/secret/a", "/public/a", "/secrets/a", ""] {
            assert!(!resembles(text, "/secret/"), "{text}");
        }
    }
}
