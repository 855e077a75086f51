//! Frames of HTTP/2 that ask for work and no answer: settings, pings, resets, priorities, pieces of heads.
//! A client needs a few of them; one that sends them without end is let go.
//!
//! Owns: their count. Not: what they mean, which is the library's: of a frame its type and its length are
//! looked at (RFC 9113 §4.1).

use std::time::Duration;

use tokio::time::Instant;

/// How many may come at once.
const BURST: u32 = 1000;

/// How many more may come in a second.
const A_SECOND: u32 = 100;

/// The head of a frame: a length of three bytes, its type, its flags, its stream.
const HEAD: usize = 9;

/// The types that are counted. Data, heads and windows go with what is sent and received.
const COUNTED: [u8; 5] = [
    2, // PRIORITY
    3, // RST_STREAM
    4, // SETTINGS
    6, // PING
    9, // CONTINUATION
];

/// Counts them on one connection, from behind its preface.
#[derive(Debug)]
pub(super) struct ControlFrames {
    /// What is left of the preface, or of the frame that comes.
    skip: usize,
    head: [u8; HEAD],
    /// How much of the head is there.
    read: usize,
    left: u32,
    filled: Instant,
}

impl ControlFrames {
    /// For a connection of which nothing was read, `preface` included.
    pub(super) fn new(preface: usize, now: Instant) -> Self {
        Self {
            skip: preface,
            head: [0; HEAD],
            read: 0,
            left: BURST,
            filled: now,
        }
    }

    /// Looks at the next bytes; `false` once there were too many.
    pub(super) fn allow(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        self.fill(now);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.read).min(bytes.len());
            self.head[self.read..self.read + taken].copy_from_slice(&bytes[..taken]);
            self.read += taken;
            bytes = &bytes[taken..];
            if self.read < HEAD {
                break;
            }
            self.read = 0;
            let [high, middle, low, kind, ..] = self.head;
            self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if COUNTED.contains(&kind) {
                match self.left.checked_sub(1) {
                    Some(left) => self.left = left,
                    None => return false,
                }
            }
        }
        true
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.duration_since(self.filled).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds)
                .unwrap_or(BURST)
                .saturating_mul(A_SECOND);
            self.left = self.left.saturating_add(more).min(BURST);
            self.filled += Duration::from_secs(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, 0, 0, 0, 0, 0]);
        bytes.extend(std::iter::repeat_n(4, payload));
        bytes
    }

    #[test]
    fn however_they_are_cut_all_are_counted_and_nothing_else() {
        let now = Instant::now();
        let mut bytes = vec![4; 24];
        for _ in 0..BURST {
            bytes.extend(frame(6, 8));
            bytes.extend(frame(0, 70_000 % 300));
            bytes.extend(frame(1, 20));
            bytes.extend(frame(8, 4));
        }
        for piece in [1, 7, 9, 1000, bytes.len()] {
            let mut frames = ControlFrames::new(24, now);
            assert!(
                bytes.chunks(piece).all(|piece| frames.allow(piece, now)),
                "{piece}"
            );
            assert!(frames.allow(&frame(0, 5), now));
            assert!(!frames.allow(&frame(4, 0), now), "{piece}");
        }
    }

    #[test]
    fn a_few_in_a_second_go_on_for_ever() {
        let begun = Instant::now();
        let mut frames = ControlFrames::new(0, begun);
        for second in 0..100 {
            let now = begun + Duration::from_secs(second);
            for _ in 0..A_SECOND {
                assert!(frames.allow(&frame(3, 4), now));
            }
        }
        let now = begun + Duration::from_secs(100);
        let sent = (0..)
            .take_while(|_| frames.allow(&frame(3, 4), now))
            .count();
        assert!((900..=1000).contains(&sent), "{sent}");
    }
}
