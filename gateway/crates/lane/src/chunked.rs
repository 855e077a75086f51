//! The chunks of a backend's answer (RFC 9112 §7.1). Sizes are read by `httparse`; what its reader
//! takes and others read differently is refused here.

use std::ops::Range;

/// A size with its extensions may have so many bytes, and all trailers together.
const LONGEST_SIZE: usize = 256;
const LARGEST_TRAILERS: usize = 4096;
const MOST_TRAILERS: usize = 32;

/// Where a reader of chunks stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// Before a size.
    #[default]
    Size,
    /// Within a chunk that has so many more bytes.
    Data(u64),
    /// Behind the bytes of a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    /// Behind everything.
    Done,
}

/// Content found in bytes that were received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Where the content stands now.
    pub(crate) data: Range<usize>,
    /// How many bytes were used; the others are looked at again when there are more.
    pub(crate) used: usize,
}

impl Chunked {
    /// Takes the chunks out of `raw` and moves what they hold together, within it.
    pub(crate) fn decode(&mut self, raw: &mut [u8]) -> Result<Decoded, &'static str> {
        let mut decoded = Decoded::default();
        loop {
            let rest = &raw[decoded.used..];
            match *self {
                Self::Size => match size(rest)? {
                    None => return Ok(decoded),
                    Some((used, 0)) => {
                        decoded.used += used;
                        *self = Self::Trailers;
                    }
                    Some((used, size)) => {
                        decoded.used += used;
                        *self = Self::Data(size);
                    }
                },
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(missing) => {
                    let here = missing.min(rest.len() as u64);
                    if here == 0 {
                        return Ok(decoded);
                    }
                    let found = decoded.used..decoded.used + here as usize;
                    decoded.used = found.end;
                    if decoded.data.is_empty() {
                        // One chunk alone stays where it is.
                        decoded.data = found;
                    } else {
                        let end = decoded.data.end;
                        raw.copy_within(found, end);
                        decoded.data.end = end + here as usize;
                    }
                    *self = Self::Data(missing - here);
                }
                Self::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        decoded.used += 2;
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(decoded),
                    _ => return Err("a chunk is longer than it says"),
                },
                Self::Trailers => match trailers(rest)? {
                    None => return Ok(decoded),
                    Some(used) => {
                        decoded.used += used;
                        *self = Self::Done;
                    }
                },
                Self::Done => return Ok(decoded),
            }
        }
    }
}

const NO_SIZE: &str = "the size of a chunk is none";

/// The size at the front of `raw`, and how many bytes tell it.
fn size(raw: &[u8]) -> Result<Option<(usize, u64)>, &'static str> {
    // An empty size is zero to httparse.
    if raw.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(NO_SIZE);
    }
    match httparse::parse_chunk_size(raw).map_err(|_| NO_SIZE)? {
        httparse::Status::Partial if raw.len() > LONGEST_SIZE => Err(NO_SIZE),
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete((used, size)) => {
            // Anything may stand in its extensions, a bare line end too.
            let line = raw.get(..used - 2).unwrap_or_default();
            let is_plain = line
                .iter()
                .all(|b| (b' '..=b'~').contains(b) || *b == b'\t');
            if is_plain && used <= LONGEST_SIZE {
                Ok(Some((used, size)))
            } else {
                Err(NO_SIZE)
            }
        }
    }
}

/// The length of the trailers at the front of `raw` with the empty line behind them. They go no further,
/// but they must be some.
fn trailers(raw: &[u8]) -> Result<Option<usize>, &'static str> {
    if raw.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let Some(end) = memchr::memmem::find(raw, b"\r\n\r\n") else {
        return if raw.len() > LARGEST_TRAILERS {
            Err("it has too many trailers")
        } else {
            Ok(None)
        };
    };
    let trailers = &raw[..end + 4];
    let mut headers = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    let line_ends = |byte: u8| memchr::memchr_iter(byte, trailers).count();
    match httparse::parse_headers(trailers, &mut headers) {
        Ok(httparse::Status::Complete((used, headers)))
            if used == trailers.len()
                && used <= LARGEST_TRAILERS
                && line_ends(b'\r') == headers.len() + 1
                && line_ends(b'\n') == headers.len() + 1 =>
        {
            Ok(Some(used))
        }
        _ => Err("its trailers are none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes what comes in pieces of this size; what was found and what is left.
    fn decode(text: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, bool), &'static str> {
        let (mut chunked, mut raw, mut found) = (Chunked::default(), Vec::new(), Vec::new());
        for piece in text.chunks(piece) {
            raw.extend_from_slice(piece);
            let decoded = chunked.decode(&mut raw)?;
            found.extend_from_slice(&raw[decoded.data]);
            raw.drain(..decoded.used);
        }
        Ok((found, raw, chunked == Chunked::Done))
    }

    #[test]
    fn chunks_are_put_together_wherever_they_are_split() {
        let text = b"5\r\nhello\r\n1;a=b\r\n \r\n0006\r\nworld!\r\n0\r\nX: y\r\n\r\nnext";
        for piece in 1..=text.len() {
            let (found, rest, is_done) = decode(text, piece).unwrap();
            assert_eq!(found, b"hello world!", "{piece}");
            assert!(is_done && rest == b"next", "{piece}");
        }
    }

    #[test]
    fn games_with_chunks_are_refused() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(LONGEST_SIZE));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MOST_TRAILERS + 1));
        for text in [
            "\r\n\r\n",
            ";x\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5 5\r\nhello\r\n0\r\n\r\n",
            "g\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\rhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\0\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "11111111111111111\r\n",
            "fffffffffffffffff\r\n",
            "0\r\nX: y\n\r\n\r\n",
            "0\r\n\n\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n folded: y\r\n\r\n",
            "0\r\nX: a\0\r\n\r\n",
            &long,
            &trailers,
        ] {
            for piece in [1, text.len()] {
                assert!(decode(text.as_bytes(), piece).is_err(), "{text:?} {piece}");
            }
        }
        // The largest size that there is does not wrap.
        let mut chunked = Chunked::default();
        let mut raw = b"ffffffffffffffff\r\nabc".to_vec();
        assert_eq!(chunked.decode(&mut raw).unwrap().data, 18..21);
        assert_eq!(chunked, Chunked::Data(u64::MAX - 3));
    }
}
