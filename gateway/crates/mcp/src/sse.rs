//! Server-sent events as bytes on their way: where one event ends and what it is called (HTML
//! Living Standard, 9.2.6). Lines end with LF, CR or CRLF, and chunks split anywhere.

/// What the keep-alive is: a comment, which every reader skips.
pub const KEEP_ALIVE: &[u8] = b": keepalive\n\n";

/// Follows a stream of events and knows whether it stands between two of them: only there may
/// something be put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// At the start, or after an empty line.
    #[default]
    BetweenEvents,
    /// As before, but the last byte was CR: an LF belongs to the same line end.
    BetweenEventsAfterCr,
    /// Within a line.
    InLine,
    /// After a line that was not empty.
    LineStart,
    /// As before, but the last byte was CR.
    LineStartAfterCr,
}

impl Boundary {
    /// Takes the next bytes of the stream.
    pub fn advance(&mut self, bytes: &[u8]) {
        // Whatever came before, any byte that is no line end leaves the stream within a line.
        let line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let tail = match bytes.iter().rposition(|byte| !line_end(byte)) {
            Some(last) => {
                self.at = At::InLine;
                &bytes[last + 1..]
            }
            None => bytes,
        };
        for byte in tail {
            self.at = self.at.after(*byte);
        }
    }

    /// Whether the stream stands between two events. Right after a CR it may: were an LF to
    /// follow, it would end an empty line, which does nothing.
    pub fn is_between_events(&self) -> bool {
        matches!(self.at, At::BetweenEvents | At::BetweenEventsAfterCr)
    }
}

impl At {
    const fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::BetweenEventsAfterCr, b'\n') => Self::BetweenEvents,
            (Self::LineStartAfterCr, b'\n') => Self::LineStart,
            (Self::InLine, b'\n') => Self::LineStart,
            (Self::InLine, b'\r') => Self::LineStartAfterCr,
            (_, b'\n') => Self::BetweenEvents,
            (_, b'\r') => Self::BetweenEventsAfterCr,
            _ => Self::InLine,
        }
    }
}

/// Cuts a stream into whole events. What it hands out, put together, is what it was given.
#[derive(Debug, Default)]
pub struct Splitter {
    held: Vec<u8>,
    boundary: Boundary,
}

/// An event did not end within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than the limit")]
pub struct EventTooLarge;

impl Splitter {
    /// Takes the next bytes and gives the events that end in them. At most `limit` bytes of an
    /// unfinished event are held.
    pub fn split(&mut self, bytes: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, EventTooLarge> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            // Nothing but the end of a line ends an event.
            let end = memchr::memchr2(b'\n', b'\r', rest).map_or(rest.len(), |at| at + 1);
            let (line, behind) = rest.split_at(end);
            self.boundary.advance(line);
            // The LF of a CRLF that ended an event goes out by itself; readers skip it.
            self.held.extend_from_slice(line);
            if self.boundary.is_between_events() {
                events.push(std::mem::take(&mut self.held));
            } else if self.held.len() > limit {
                return Err(EventTooLarge);
            }
            rest = behind;
        }
        Ok(events)
    }

    /// How many bytes of an unfinished event are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// What is left when the stream ends within an event.
    pub fn rest(self) -> Vec<u8> {
        self.held
    }
}

/// The name and the data of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; `message` where it is absent or empty.
    pub name: String,
    /// The `data` fields, joined by LF.
    pub data: String,
}

impl Event {
    /// Reads the bytes of one event. `None` for one that readers dispatch nothing for: comments,
    /// an event without data, bytes that are not UTF-8.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (mut name, mut data) = ("", None::<String>);
        for line in lines(text) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value,
                "data" => {
                    let data = data.get_or_insert_default();
                    data.push_str(value);
                    data.push('\n');
                }
                _ => {}
            }
        }
        let mut data = data?;
        data.pop();
        Some(Self {
            name: if name.is_empty() { "message" } else { name }.to_owned(),
            data,
        })
    }
}

/// The lines of an event that are not empty.
pub fn lines(event: &str) -> impl Iterator<Item = &str> {
    let ends = memchr::memchr2_iter(b'\n', b'\r', event.as_bytes());
    let mut start = 0;
    ends.chain([event.len()]).filter_map(move |end| {
        let line = &event[std::mem::replace(&mut start, end + 1)..end];
        (!line.is_empty()).then_some(line)
    })
}

/// Whether a text has characters in it that some readers of event streams take for the end of a line,
/// though the standard does not (Python's `splitlines`): they could hide an event within another.
pub fn has_line_breaks(text: &str) -> bool {
    let bytes = text.as_bytes();
    // U+0085, U+2028 and U+2029 begin so.
    let mut others = memchr::memchr2_iter(0xc2, 0xe2, bytes);
    memchr::memchr3(0xb, 0xc, 0x1c, bytes).is_some()
        || memchr::memchr2(0x1d, 0x1e, bytes).is_some()
        || others.any(|at| {
            matches!(
                bytes[at..],
                [0xc2, 0x85, ..] | [0xe2, 0x80, 0xa8 | 0xa9, ..]
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: &[&str] = &[
        "event: endpoint\ndata: /messages?x=1\n\ndata: a\n\n: c\n\n",
        "event: endpoint\r\ndata: /messages?x=1\r\n\r\ndata: a\r\n\r\n: c\r\n\r\n",
        "event: endpoint\rdata: /messages?x=1\r\rdata: a\r\r: c\r\r",
        "id: 1\nevent: endpoint\r\ndata: /messages?x=1\r\r\ndata: a\n\r\n: c\n\n",
    ];

    fn parsed(events: &[Vec<u8>]) -> Vec<Event> {
        events
            .iter()
            .filter_map(|event| Event::parse(event))
            .collect()
    }

    #[test]
    fn events_are_the_same_wherever_chunks_are_split() {
        for stream in STREAMS {
            let bytes = stream.as_bytes();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let mut splitter = Splitter::default();
                    let mut events = Vec::new();
                    for chunk in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                        events.extend(splitter.split(chunk, 1000).unwrap());
                    }
                    let names = parsed(&events);
                    assert_eq!(names.len(), 2, "{stream:?} {first} {second}");
                    assert_eq!(
                        (names[0].name.as_str(), names[0].data.as_str()),
                        ("endpoint", "/messages?x=1")
                    );
                    assert_eq!(
                        (names[1].name.as_str(), names[1].data.as_str()),
                        ("message", "a")
                    );
                    let mut whole = events.concat();
                    whole.extend(splitter.rest());
                    assert_eq!(whole, bytes);
                }
            }
        }
    }

    #[test]
    fn a_comment_put_in_at_a_boundary_changes_no_event() {
        for stream in STREAMS {
            let expected = {
                let mut splitter = Splitter::default();
                parsed(&splitter.split(stream.as_bytes(), 1000).unwrap())
            };
            let mut boundaries = 0;
            for cut in 0..=stream.len() {
                let (before, after) = stream.as_bytes().split_at(cut);
                let mut boundary = Boundary::default();
                boundary.advance(before);
                if !boundary.is_between_events() {
                    continue;
                }
                boundaries += 1;
                let mut splitter = Splitter::default();
                let with = [before, KEEP_ALIVE, after].concat();
                assert_eq!(
                    parsed(&splitter.split(&with, 1000).unwrap()),
                    expected,
                    "{stream:?} {cut}"
                );
            }
            assert!(boundaries >= 4, "{stream:?}");
        }
    }

    #[test]
    fn within_an_event_there_is_no_boundary() {
        for part in [
            "d",
            "data: a",
            "data: a\n",
            "data: a\r",
            "data: a\r\n",
            "\n\ndata: a\ndata: b\n",
            ":",
        ] {
            let mut boundary = Boundary::default();
            boundary.advance(part.as_bytes());
            assert!(!boundary.is_between_events(), "{part:?}");
        }
        for part in [
            "",
            "\n",
            "data: a\n\n",
            "data: a\r\r",
            "data: a\r\n\r\n",
            "data: a\r\n\r",
            "data: a\n\r",
        ] {
            let mut boundary = Boundary::default();
            boundary.advance(part.as_bytes());
            assert!(boundary.is_between_events(), "{part:?}");
        }
    }

    #[test]
    fn an_event_that_does_not_end_is_given_up() {
        let mut splitter = Splitter::default();
        assert!(splitter.split(&[b'x'; 100], 100).is_ok());
        assert_eq!(splitter.split(b"x", 100), Err(EventTooLarge));
    }

    #[test]
    fn what_some_take_for_the_end_of_a_line_is_found() {
        for c in '\0'..='\u{2100}' {
            let is_one = matches!(
                c,
                '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
            );
            for text in [format!("a{c}b"), format!("{c}"), format!("é{c}\u{2027}")] {
                assert_eq!(has_line_breaks(&text), is_one, "{text:?}");
            }
        }
        assert_eq!(
            lines("a\r\nb\n\nc\r\rd").collect::<Vec<_>>(),
            ["a", "b", "c", "d"]
        );
        assert_eq!(lines("\n").count() + lines("").count(), 0);
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        let event =
            Event::parse(b"data:a\ndata\ndata:  b\nevent:x\nevent:y\nid: 3\nretry: 1\nwhat: z\n\n")
                .unwrap();
        assert_eq!(
            event,
            Event {
                name: "y".into(),
                data: "a\n\n b".into()
            }
        );
        assert_eq!(Event::parse(b"event: x\n\n"), None);
        assert_eq!(Event::parse(b": data: x\n\n"), None);
        assert_eq!(Event::parse(b"data: \xff\n\n"), None);
        assert_eq!(Event::parse(b"\xef\xbb\xbfdata: x\n\n").unwrap().data, "x");
    }
}
