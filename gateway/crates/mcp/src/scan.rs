//! Where the parts of a JSON text stand, for whoever passes them on or reads them one by one: a part
//! that can't be read costs itself only.

use std::ops::Range;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde_json::{Deserializer, Error};

/// Finds where the parts of a JSON text begin and end. The parsing is `serde_json`'s.
pub struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// From byte `at` of `text` on.
    pub const fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The next byte that is no white space.
    pub fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().take_while(|byte| space(byte)).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space is this one.
    pub fn take(&mut self, byte: u8) -> Result<(), Error> {
        if self.take_if(byte) {
            Ok(())
        } else {
            Err(Error::custom("another character was expected"))
        }
    }

    /// Takes the next byte that is no white space if it is this one, and says whether it was.
    pub fn take_if(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Nothing but white space is left.
    pub fn end(&mut self) -> Result<(), Error> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Error::custom("more than one value")),
        }
    }

    /// The next value, which must be one of this kind.
    pub fn read<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut values = Deserializer::from_str(&self.text[self.at..]).into_iter::<T>();
        let value = values
            .next()
            .unwrap_or_else(|| Err(Error::custom("no value")))?;
        self.at += values.byte_offset();
        Ok(value)
    }

    /// Where the next value stands. Its form is looked at and nothing else: numbers may be of any
    /// size, texts may hold half of a surrogate pair, and containers may be nested as deep as they are.
    pub fn value(&mut self) -> Result<Range<usize>, Error> {
        self.peek();
        let start = self.at;
        self.read::<IgnoredAny>()?;
        Ok(start..self.at)
    }

    /// Where the elements of the array that begins here stand.
    pub fn elements(&mut self) -> Result<Vec<Range<usize>>, Error> {
        let mut elements = Vec::new();
        self.take(b'[')?;
        self.each_to(b']', |scan| {
            elements.push(scan.value()?);
            Ok(())
        })?;
        Ok(elements)
    }

    /// The keys of the object that begins here, and where their values stand.
    pub fn members(&mut self) -> Result<Vec<(String, Range<usize>)>, Error> {
        let mut members = Vec::new();
        self.take(b'{')?;
        self.each_to(b'}', |scan| {
            scan.peek();
            let key = scan.read::<String>()?;
            scan.take(b':')?;
            members.push((key, scan.value()?));
            Ok(())
        })?;
        Ok(members)
    }

    /// Reads what stands between commas up to this end.
    fn each_to(
        &mut self,
        end: u8,
        mut read: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.take_if(end) {
            return Ok(());
        }
        loop {
            read(self)?;
            if !self.take_if(b',') {
                return self.take(end);
            }
        }
    }
}

/// A text as far as it can be shown: half of a surrogate pair becomes U+FFFD. `None` for another
/// value.
pub fn shown_text(json: &str) -> Option<String> {
    let bytes: Vec<u8> = json.starts_with('"').then(|| bytes_of(json).ok())??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a text says, as WTF-8: half of a surrogate pair keeps its place in it.
pub(super) fn bytes_of(json: &str) -> Result<Vec<u8>, Error> {
    struct Bytes;

    impl serde::de::Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }

    let mut text = Deserializer::from_str(json);
    let bytes = serde::Deserializer::deserialize_bytes(&mut text, Bytes)?;
    text.end().map(|()| bytes)
}
