//! How much of a text a record keeps. Apps and strangers choose methods, names and addresses, up to
//! the size of a whole body; a record that took them as they are would let a few requests push
//! everything else out of a log of bounded size.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// So many bytes of a text are written.
pub const FIELD: usize = 256;
/// So many of what a person or the operator decided, which names all chosen tools.
pub(super) const DETAIL: usize = 4096;
/// So many of arguments that the operator wants as they are.
pub(super) const ARGUMENTS: usize = 4096;
/// So many approvals of a token are listed.
pub(super) const APPROVALS: usize = 16;

/// What stands between what was kept and its length and hash.
const CUT: &str = "… [";

/// A text that is longer than may be written, as its beginning, its length and its SHA-256; any
/// other text as it is. What takes more room in JSON counts as that much.
pub fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    // Nearly every text: it takes as many bytes as it has.
    if text.len() <= most && is_written_as_it_is(text) {
        return Cow::Borrowed(text);
    }
    let mut room = most;
    let end = text.char_indices().find_map(|(at, character)| {
        let taken = match character {
            '"' | '\\' => 2,
            _ if character.is_control() => 6,
            _ => character.len_utf8(),
        };
        match room.checked_sub(taken) {
            Some(left) => {
                room = left;
                None
            }
            None => Some(at),
        }
    });
    let Some(end) = end else {
        return Cow::Borrowed(text);
    };
    let hash = Sha256::digest(text.as_bytes());
    let (kept, length) = (&text[..end], text.len());
    Cow::Owned(format!("{kept}{CUT}{length} bytes, sha256 {hash:x}]"))
}

/// Whether no character of a text takes more room in JSON than it has bytes. Without an early end, so that
/// many bytes are looked at together; 0xc2 begins the controls beyond ASCII, and some others.
fn is_written_as_it_is(text: &str) -> bool {
    let is_odd = |byte: u8| {
        (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte == 0x7f) | (byte == 0xc2)
    };
    !text.bytes().fold(false, |odd, byte| odd | is_odd(byte))
}

/// Whether a text of a record is the beginning of one, and not the whole.
pub fn is_cut(text: &str) -> bool {
    const HASH: usize = 64;
    let Some((_, end)) = text.rsplit_once(CUT) else {
        return false;
    };
    let hash = end
        .split_once(" bytes, sha256 ")
        .and_then(|(_, hash)| hash.strip_suffix(']'));
    hash.is_some_and(|hash| hash.len() == HASH && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Arguments, Event, Facts, Record};

    #[test]
    fn a_text_that_is_short_enough_stays_and_any_other_keeps_length_and_hash() {
        for text in ["", "search", &"x".repeat(FIELD), &"ä".repeat(FIELD / 2)] {
            assert_eq!(bounded(text, FIELD), *text);
            assert!(!is_cut(text));
        }
        let mut tried = 0;
        for unit in ["x", "ä", "😀", "\u{1}", "\"", "\\", "\n", "… [", "a\u{0}é"] {
            for length in [FIELD + 1, 1_000, 70_000] {
                let text = unit.repeat(length);
                let short = bounded(&text, FIELD);
                let written = serde_json::to_string(&short).unwrap();
                assert!(written.len() < FIELD + 120, "{unit:?}: {written}");
                assert!(is_cut(&short), "{short}");
                assert!(short.contains(&format!("[{} bytes, sha256 ", text.len())));
                assert_ne!(short, bounded(&format!("{text}x"), FIELD));
                tried += 1;
            }
        }
        assert_eq!(tried, 27);
    }

    #[test]
    fn no_member_of_a_record_is_longer_than_it_may_be() {
        let long = || "\u{1}".repeat(100_000);
        let some = || Some(long());
        let record = Record {
            user: some(),
            client: some(),
            grant: some(),
            token: some(),
            backend: some(),
            method: some(),
            name: some(),
            arguments: Some(Arguments::Full(long())),
            detail: some(),
            facts: Some(Facts {
                user_name: long(),
                scope: long(),
                protocol_version: some(),
                approved: Some(vec![(long(), long()); APPROVALS]),
                ..Facts::default()
            }),
            request_id: some(),
            ..Record::new(Event::Call)
        };
        let encoded = record.encode();
        assert!(encoded.members().len() < 32 * 1024);
        let approved = |count| Record {
            facts: Some(Facts {
                approved: Some(vec![("a", "b"); count]),
                ..Facts::default()
            }),
            ..Record::new(Event::Call)
        };
        let has = |count| {
            let members = approved(count).encode().members().to_vec();
            String::from_utf8(members).unwrap().contains("approved")
        };
        assert!(has(APPROVALS) && !has(APPROVALS + 1));
    }
}
