//! Looking at every byte of heads, in ways that the compiler turns into few instructions: a call's head
//! has a thousand bytes, and each is looked at on the way in and on the way out.

/// What a header name may be made of (RFC 9110 §5.6.2).
pub(crate) const TOKEN: Set = Set::new(b"!#$%&'*+-.^_`|~");

/// Names that nobody reads for another one.
pub(crate) const PLAIN_NAME: Set = Set::new(b"-_");

/// What a path may be made of without percent-encoding, without what would need it.
pub(crate) const PLAIN_PATH: Set = Set::new(b"-._~!$&'()*+,=:/");

/// Letters, digits and some other bytes.
pub(crate) struct Set([bool; 256]);

impl Set {
    const fn new(others: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            set[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < others.len() {
            set[others[at] as usize] = true;
            at += 1;
        }
        Self(set)
    }

    /// Whether `bytes` has no other ones.
    pub(crate) fn has_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.0[usize::from(*byte)])
    }
}

/// Whether a value keeps to its line (RFC 9110 §5.5). Without an early end, so that many bytes are
/// looked at together.
pub(crate) fn is_value(value: &[u8]) -> bool {
    let is_odd = |byte: u8| (byte < b' ' && byte != b'\t') | (byte == 0x7f);
    !value.iter().fold(false, |odd, byte| odd | is_odd(*byte))
}

/// Whether `text` is printable ASCII without spaces.
pub(crate) fn is_graphic(text: &[u8]) -> bool {
    let is_odd = |byte: u8| !(b'!'..=b'~').contains(&byte);
    !text.iter().fold(false, |odd, byte| odd | is_odd(*byte))
}

/// Whether `name` is one of `names`, which are in small letters, in whatever letters.
pub(crate) fn is_one_of(name: &str, names: &[&str]) -> bool {
    let first = name.as_bytes().first().map_or(0, u8::to_ascii_lowercase);
    names.iter().any(|other| {
        other.len() == name.len()
            && other.as_bytes()[0] == first
            && other.eq_ignore_ascii_case(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told() {
        for byte in 0..=u8::MAX {
            let (one, within) = ([byte], [b'a', byte, b'b']);
            let is_value_byte = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(is_value(&one), is_value_byte, "{byte}");
            assert_eq!(is_value(&within), is_value_byte, "{byte}");
            assert_eq!(is_graphic(&within), byte.is_ascii_graphic(), "{byte}");
            let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(TOKEN.has_all(&within), is_token, "{byte}");
            let is_plain = byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert_eq!(PLAIN_NAME.has_all(&within), is_plain, "{byte}");
        }
        assert!(is_one_of("Content-LENGTH", &["te", "content-length"]));
        for name in ["", "content-lengt", "content-lengths", "kontent-length"] {
            assert!(!is_one_of(name, &["te", "content-length"]), "{name}");
        }
    }
}
