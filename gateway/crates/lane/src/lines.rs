//! The header lines of one head, by where they stand in it.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A line's name and value within a head. No head is larger than what 16 bits count.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: Span,
    value: Span,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u16,
    end: u16,
}

impl Span {
    const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }

    pub(crate) fn of_text(self, whole: &str) -> &str {
        whole.get(self.range()).unwrap_or_default()
    }

    /// Where `part`, which lies within `whole`, begins and ends. `None` if 16 bits don't count it.
    pub(crate) fn within(whole: &[u8], part: &[u8]) -> Option<Self> {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        Some(Self {
            start: u16::try_from(start).ok()?,
            end: u16::try_from(start + part.len()).ok()?,
        })
    }

    /// All of `whole` from where it begins.
    pub(crate) fn onwards(self, whole: &[u8]) -> &[u8] {
        whole.get(usize::from(self.start)..).unwrap_or_default()
    }

    pub(crate) fn of(self, whole: &[u8]) -> &[u8] {
        whole.get(self.range()).unwrap_or_default()
    }
}

/// All lines, in order.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// Takes down where `headers`, which were parsed from `whole`, stand.
    pub(crate) fn fill(&mut self, whole: &[u8], headers: &[httparse::Header<'_>]) -> Option<()> {
        self.0.clear();
        for header in headers {
            self.0.push(Line {
                name: Span::within(whole, header.name.as_bytes())?,
                value: Span::within(whole, header.value)?,
            });
        }
        Some(())
    }

    /// Joins the lines of each folded value by one space, where they stand in `whole` (RFC 9112 §5.2).
    pub(crate) fn unfold(&mut self, whole: &mut [u8]) {
        for line in &mut self.0 {
            let value = line.value.of(whole);
            if !value.contains(&b'\n') {
                continue;
            }
            let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
            let joined = lines.join(&b' ');
            let start = usize::from(line.value.start);
            // It is no longer than it was.
            if let Some(place) = whole.get_mut(start..start + joined.len()) {
                place.copy_from_slice(&joined);
                line.value.end = line.value.start + joined.len() as u16;
            }
        }
    }

    /// All lines of a head that is text.
    pub(crate) fn texts<'a>(&'a self, whole: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().map(move |line| {
            let value = line.value.of(whole.as_bytes());
            (line.name.of_text(whole), value)
        })
    }

    /// All lines.
    pub(crate) fn iter<'a>(&'a self, whole: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().map(move |line| {
            let name = std::str::from_utf8(line.name.of(whole)).unwrap_or_default();
            (name, line.value.of(whole))
        })
    }

    /// The value of the first line of this name, in whatever letters.
    pub(crate) fn get<'a>(&'a self, whole: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let name = name.as_bytes();
        let is_same = |one: &[u8], other| one.eq_ignore_ascii_case(other);
        let line = self
            .0
            .iter()
            .find(|line| line.name.len() == name.len() && is_same(line.name.of(whole), name));
        line.map(|line| line.value.of(whole))
    }

    /// The lines as a map. The head is copied once: each value is a part of that copy, and keeps all of it.
    pub(crate) fn to_header_map(&self, whole: &[u8]) -> HeaderMap {
        let copy = Bytes::copy_from_slice(whole);
        let mut map = HeaderMap::with_capacity(self.0.len());
        for line in &self.0 {
            let value = copy.slice(line.value.range());
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(line.name.of(whole)),
                HeaderValue::from_maybe_shared(value),
            ) {
                map.append(name, value);
            }
        }
        map
    }
}

/// The length that a Content-Length gives: digits alone, so that no two readers differ (RFC 9110 §8.6
/// has nothing else).
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    let is_plain = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let text = is_plain.then(|| std::str::from_utf8(value).ok())??;
    text.parse().ok()
}
