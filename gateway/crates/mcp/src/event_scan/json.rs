//! The data of an event, read as far as it must be: how deep each bracket stands, and the keys of a few
//! objects.

use super::{JUDGED, RELATED_TASK};

/// The longest key that is kept to be compared; no longer one is asked for.
const LONGEST_KEY: usize = 48;

/// How deep values may be nested.
const DEEPEST: u32 = 1000;

/// Follows one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json {
    at: At,
    /// Which object is watched.
    level: Level,
    /// How deep a value stands that is not watched.
    free: u32,
    /// Whether the next character of a text is escaped, as far as that is known.
    is_escaped: bool,
    /// The members of the message that were there.
    members: u8,
    /// Whether the value of the last key is watched, too.
    is_watched: bool,
    key: [u8; LONGEST_KEY],
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Before,
    /// In a watched object, before its first key or its end.
    First,
    /// Before another key.
    Key,
    InKey,
    Colon,
    Value,
    /// In a number or a word that is a member's value.
    Scalar,
    /// In a text.
    Text,
    /// In a container that is not watched, outside of texts.
    Free,
    /// Behind a member.
    Comma,
    Done,
}

/// The watched objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Message,
    Result,
    Meta,
}

/// What ends a look at data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All was used, but for the beginning of a character.
    Bytes,
    /// Here the line ends.
    Line,
    /// It is not surely plain.
    Unclear,
    /// Here stands a character that some take for the end of a line.
    LineBreak(char),
}

impl Default for Json {
    fn default() -> Self {
        Self {
            at: At::Before,
            level: Level::Message,
            free: 0,
            is_escaped: false,
            members: 0,
            is_watched: false,
            key: [0; LONGEST_KEY],
            length: 0,
        }
    }
}

const MEMBERS: [(&[u8], u8); 4] = [(b"jsonrpc", 1), (b"id", 2), (b"result", 4), (b"error", 8)];
const RESULT: u8 = 4;

impl Json {
    /// Whether the message is whole, or there is none.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.at, At::Before | At::Done)
    }

    /// Whether it is an answer whose result has begun.
    pub(super) const fn is_within_result(&self) -> bool {
        self.members & RESULT != 0
            && (matches!(self.level, Level::Result | Level::Meta)
                || matches!(self.at, At::Comma | At::Done))
    }

    /// Looks at the next bytes. All that were used stand within the line.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> (usize, End) {
        let mut used = 0;
        while used < bytes.len() {
            if self.at == At::Text {
                match self.text(&bytes[used..]) {
                    (more, None) => used += more,
                    (more, Some(end)) => return (used + more, end),
                }
                continue;
            }
            let byte = bytes[used];
            match byte {
                b'\n' | b'\r' => return (used, End::Line),
                b' ' | b'\t' if self.at != At::InKey => self.space(),
                _ if self.step(byte) => {}
                _ => return (used, End::Unclear),
            }
            used += 1;
        }
        (used, End::Bytes)
    }

    fn space(&mut self) {
        if self.at == At::Scalar {
            self.at = At::Comma;
        }
    }

    /// Takes a byte outside of texts, or of a key: whether it may stand here.
    fn step(&mut self, byte: u8) -> bool {
        match (self.at, byte) {
            (At::Before, b'{') => self.at = At::First,
            (At::First | At::Key, b'"') => {
                self.length = 0;
                self.at = At::InKey;
            }
            (At::InKey, b'"') => {
                self.at = At::Colon;
                return self.take_key();
            }
            (At::InKey, _) => return self.spell_key(byte),
            (At::Colon, b':') => self.at = At::Value,
            (At::Value, _) => return self.begin_value(byte),
            (At::Scalar | At::Comma, b',') => self.at = At::Key,
            (At::First | At::Scalar | At::Comma, b'}') => self.leave(),
            (At::Scalar, _) => return is_scalar(byte),
            (At::Free, b'"') => self.at = At::Text,
            (At::Free, b'{' | b'[') => {
                self.free += 1;
                return self.free <= DEEPEST;
            }
            (At::Free, b'}' | b']') => {
                self.free -= 1;
                if self.free == 0 {
                    self.at = At::Comma;
                }
            }
            (At::Free, b',' | b':') => {}
            (At::Free, _) => return is_scalar(byte),
            _ => return false,
        }
        true
    }

    fn begin_value(&mut self, byte: u8) -> bool {
        match byte {
            b'{' if self.is_watched => {
                self.level = match self.level {
                    Level::Message => Level::Result,
                    Level::Result | Level::Meta => Level::Meta,
                };
                self.at = At::First;
            }
            // A result of another kind is looked at by others.
            _ if self.is_watched && self.level == Level::Message => return false,
            b'{' | b'[' => (self.at, self.free) = (At::Free, 1),
            b'"' => self.at = At::Text,
            _ => {
                self.at = At::Scalar;
                return is_scalar(byte);
            }
        }
        true
    }

    /// Behind a watched object.
    fn leave(&mut self) {
        (self.level, self.at) = match self.level {
            Level::Message => (Level::Message, At::Done),
            Level::Result => (Level::Message, At::Comma),
            Level::Meta => (Level::Result, At::Comma),
        };
    }

    /// A key is spelled in one way, and is compared in small letters but for those of the message.
    fn spell_key(&mut self, byte: u8) -> bool {
        let is_exact = self.level == Level::Message;
        if let Some(place) = self.key.get_mut(self.length) {
            *place = byte.to_ascii_lowercase();
            self.length += 1;
        } else if is_exact {
            return false;
        }
        let is_plain = (b' '..=b'~').contains(&byte) && byte != b'\\';
        is_plain && !(is_exact && byte.is_ascii_uppercase())
    }

    fn take_key(&mut self) -> bool {
        let key = &self.key[..self.length];
        self.is_watched = false;
        match self.level {
            Level::Message => {
                let member = MEMBERS.iter().find(|(name, _)| *name == key);
                let Some((_, bit)) = member else { return false };
                let is_first = self.members & bit == 0;
                self.members |= bit;
                self.is_watched = *bit == RESULT;
                is_first
            }
            Level::Result => {
                self.is_watched = key == b"_meta";
                let is_judged = JUDGED.contains(&key) || key.starts_with(JUDGED[0]);
                !is_judged
            }
            Level::Meta => key != RELATED_TASK,
        }
    }

    /// Goes on within a text: so many bytes, and what ends there.
    fn text(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let mut used = 0;
        loop {
            let ordinary = &bytes[used..used + ordinary(&bytes[used..])];
            used += ordinary.len();
            self.follow_escapes(ordinary);
            match bytes.get(used) {
                None => return (used, None),
                Some(b'"') if self.is_escaped => {
                    self.is_escaped = false;
                    used += 1;
                }
                Some(b'"') => {
                    self.at = if self.free > 0 { At::Free } else { At::Comma };
                    return (used + 1, None);
                }
                // A text does not end with the line, and nothing else that is odd has an escape.
                Some(b'\n' | b'\r') => return (used, Some(End::Unclear)),
                Some(_) if self.is_escaped => return (used, Some(End::Unclear)),
                Some(byte @ (0xb | 0xc | 0x1c..=0x1e)) => {
                    return (used, Some(End::LineBreak(char::from(*byte))));
                }
                Some(0..0x80) => used += 1,
                Some(_) => match character(&bytes[used..]) {
                    Character::Partial => return (used, Some(End::Bytes)),
                    Character::None => return (used, Some(End::Unclear)),
                    Character::Plain(length) => used += length,
                    Character::LineBreak(c) => return (used, Some(End::LineBreak(c))),
                },
            }
        }
    }

    /// Whether what follows these bytes is escaped: it is where the backslashes before it are odd in
    /// number. Those of a text matter before its quotes alone.
    fn follow_escapes(&mut self, bytes: &[u8]) {
        let before = bytes.iter().rev().take_while(|byte| **byte == b'\\');
        let backslashes = before.count();
        let is_all = backslashes == bytes.len();
        self.is_escaped = (backslashes % 2 == 1) != (is_all && self.is_escaped);
    }
}

/// Of numbers and words.
const fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// Whether a byte may end a text or needs a look: a quote, a control character, and what is not ASCII.
/// With one bit turned over a quote stands right behind the control characters, and a space behind it, so
/// that one comparison of numbers with a sign tells of all.
const fn is_odd(byte: u8) -> bool {
    (byte ^ 2).cast_signed() <= 0x20
}

/// How many bytes stand at the front that are not odd.
fn ordinary(bytes: &[u8]) -> usize {
    const BLOCK: usize = 128;
    let mut ordinary = 0;
    for block in bytes.chunks_exact(BLOCK) {
        // Without a branch in it: many at once.
        let odd = block.iter().fold(false, |odd, byte| odd | is_odd(*byte));
        if odd {
            break;
        }
        ordinary += BLOCK;
    }
    let rest = &bytes[ordinary..];
    let odd = rest.iter().position(|byte| is_odd(*byte));
    ordinary + odd.unwrap_or(rest.len())
}

enum Character {
    /// It is not whole.
    Partial,
    /// It is none.
    None,
    Plain(usize),
    LineBreak(char),
}

/// What stands at the front, which is not ASCII.
fn character(bytes: &[u8]) -> Character {
    let front = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(front) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&front[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) if error.error_len().is_none() => return Character::Partial,
        Err(_) => return Character::None,
    };
    match valid.chars().next() {
        Some(c @ ('\u{85}' | '\u{2028}' | '\u{2029}')) => Character::LineBreak(c),
        Some(c) => Character::Plain(c.len_utf8()),
        None => Character::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_are_quotes_control_characters_and_what_is_not_ascii() {
        for byte in 0..=u8::MAX {
            let is_one = byte < b' ' || !byte.is_ascii() || byte == b'"';
            assert_eq!(is_odd(byte), is_one, "{byte}");
            for at in [0, 1, 127, 128, 129, 300] {
                let mut bytes = [b'a'; 400];
                bytes[at] = byte;
                assert_eq!(
                    ordinary(&bytes),
                    if is_one { at } else { 400 },
                    "{byte} {at}"
                );
            }
        }
    }
}
