//! What a JSON text may hold and `serde_json` does not read: half of a surrogate pair (RFC 8259 §8.2)
//! and numbers that no float holds (§6). Both are passed on where nobody decides by them. For judging,
//! a copy of the same length stands in, with U+FFFD for the one and a fraction for the other.

use serde::de::IgnoredAny;

/// Stands for half of a pair in the copy.
pub(super) const HALF: char = '\u{fffd}';

/// The copy; `None` if nothing has to be replaced.
pub(super) fn stand_in(text: &str) -> Option<String> {
    let mut copy = String::with_capacity(text.len());
    let mut changed = false;
    let mut rest = text;
    let mut in_text = false;
    while let Some(next) = rest.bytes().next() {
        let length = match (in_text, next) {
            (_, b'"') => {
                in_text = !in_text;
                1
            }
            (true, b'\\') => match pair(rest) {
                Escape::Half => {
                    changed = true;
                    copy.push_str("\\ufffd");
                    rest = &rest[6..];
                    continue;
                }
                Escape::Whole(length) => length,
            },
            (false, b'-' | b'0'..=b'9') => {
                let length = rest.bytes().take_while(|byte| is_numeric(*byte)).count();
                if is_beyond_floats(&rest[..length]) {
                    changed = true;
                    // No integer, whatever its length.
                    copy.push_str("5e-");
                    copy.extend(std::iter::repeat_n('0', length - 4));
                    copy.push('1');
                    rest = &rest[length..];
                    continue;
                }
                length
            }
            (true, _) => rest
                .bytes()
                .take_while(|b| !matches!(b, b'"' | b'\\'))
                .count(),
            (false, _) => rest
                .bytes()
                .take_while(|b| !matches!(b, b'"' | b'-' | b'0'..=b'9'))
                .count(),
        };
        // What is no JSON may end anywhere.
        let length = (length..=rest.len()).find(|at| rest.is_char_boundary(*at));
        let (taken, after) = rest.split_at(length.unwrap_or(rest.len()));
        copy.push_str(taken);
        rest = after;
    }
    changed.then_some(copy)
}

enum Escape {
    /// One that stands for half of a pair.
    Half,
    /// So many bytes that stand for whole characters.
    Whole(usize),
}

/// Reads the escape that begins here, with the one that belongs to it.
fn pair(rest: &str) -> Escape {
    match unit(rest) {
        Some(0xd800..0xdc00) => match rest.get(6..).and_then(unit) {
            Some(0xdc00..0xe000) => Escape::Whole(12),
            _ => Escape::Half,
        },
        Some(0xdc00..0xe000) => Escape::Half,
        Some(_) => Escape::Whole(6),
        None => Escape::Whole(2),
    }
}

/// The UTF-16 unit that `\uXXXX` writes.
fn unit(rest: &str) -> Option<u32> {
    let digits = rest.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(digits, 16).ok())?
}

const fn is_numeric(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Whether a text is a number of JSON's that is larger than every float. It has five bytes then.
fn is_beyond_floats(text: &str) -> bool {
    text.len() >= 5
        && text.parse().is_ok_and(f64::is_infinite)
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_and_numbers_beyond_floats_are_replaced_and_the_length_stays() {
        for (text, copy) in [
            (r#"{"a":"\ud800"}"#, r#"{"a":"\ufffd"}"#),
            (
                r#"["\uDC00\ud83d\ude00\ud83d"]"#,
                r#"["\ufffd\ud83d\ude00\ufffd"]"#,
            ),
            (r#"["\ud800\ud800\udc00"]"#, r#"["\ufffd\ud800\udc00"]"#),
            (r#"[1e999,-1e999,1]"#, r#"[5e-01,5e-001,1]"#),
            (r#"["1e999",1E+400]"#, r#"["1e999",5e-001]"#),
        ] {
            assert_eq!(stand_in(text).as_deref(), Some(copy), "{text}");
            assert_eq!(text.len(), copy.len());
        }
        let digits = "9".repeat(400);
        assert_eq!(stand_in(&digits).map(|copy| copy.len()), Some(400));
        for same in [
            r#"{"a":"\\ud800","b":"\ud83d\ude00","c":[1e308,-0.5,12345678901234567890123]}"#,
            "",
            "\\ud800",
            "\"é\\é\u{fffd}",
            "[1e999.5, 01e999]",
            "\"\\u",
            "-",
        ] {
            assert_eq!(stand_in(same), None, "{same}");
        }
    }

    #[test]
    fn no_text_makes_it_fail() {
        let parts = [
            "\"",
            "\\",
            "\\u",
            "d800",
            "é",
            "1",
            "e999",
            "-",
            "{",
            "\u{10ffff}",
            "\\ud800",
            "\\udc00",
        ];
        for seed in 0..20_000_usize {
            let mut at = seed;
            let mut text = String::new();
            while at > 0 {
                text.push_str(parts[at % parts.len()]);
                at /= parts.len();
            }
            if let Some(copy) = stand_in(&text) {
                assert_eq!(copy.len(), text.len(), "{text}");
                assert_eq!(stand_in(&copy), None, "{text}");
            }
        }
    }
}
