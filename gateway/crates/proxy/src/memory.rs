//! How much memory the connections of clients may take, and so how many there may be; and giving it
//! back once they are gone.

/// What the gateway takes for itself, beside connections and what they hold on the budget: about
/// 24 MiB when nobody asks anything, and its caches.
pub const OWN: usize = 64 << 20;

/// What one connection takes at most beside the budget: its own state and its request's, and what
/// each request may hold without being counted. `tests/bench/run floods` measures it.
pub const EACH: usize = 64 << 10;

/// How many connections `memory` bytes are enough for, of which requests in flight take a part.
pub const fn connections(memory: usize, in_flight: usize) -> usize {
    memory.saturating_sub(OWN).saturating_sub(in_flight) / EACH
}

/// What a connection takes that waits, as a stream or for its next request.
const WAITING: usize = 8 << 10;

/// Less than this is not worth giving back.
const WORTH: usize = 4 << 20;

/// What connections hold, looked at now and then, so that it is known when much of it was let go.
#[derive(Debug, Default)]
pub(super) struct PeakUsage {
    high: usize,
    last: usize,
}

impl PeakUsage {
    /// Looks at how many connections there are now, and at the bytes that they have on the budget:
    /// whether much was let go of and no more is.
    pub(super) fn has_fallen(&mut self, connections: usize, in_flight: usize) -> bool {
        let held = connections
            .saturating_mul(WAITING)
            .saturating_add(in_flight);
        let is_falling = held < self.last;
        self.last = held;
        self.high = self.high.max(held);
        let has_fallen = !is_falling && self.high - held >= WORTH;
        if has_fallen {
            self.high = held;
        }
        has_fallen
    }
}

/// Gives back to the system what nobody uses. glibc keeps what is free but for the end of its heap, where
/// something small that stays is nearly always: of what five thousand streams took, all. It takes
/// milliseconds, some dozens of them after the largest floods.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the one call into the C library that does it")]
pub(super) fn give_back() {
    // SAFETY: it takes a number and may be called from any thread (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do it themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_is_given_back_once_and_when_no_more_is() {
        let mut peak = PeakUsage::default();
        for (connections, in_flight, expected) in [
            (10, 0, false),
            (5000, 0, false),
            // They are closing.
            (3000, 0, false),
            (10, 0, false),
            (10, 0, true),
            (10, 0, false),
            // Little comes and goes.
            (200, 0, false),
            (10, 0, false),
            (10, 0, false),
            // Large messages on few connections.
            (20, 64 << 20, false),
            (20, 0, false),
            (30, 0, true),
            (30, 0, false),
        ] {
            let has_fallen = peak.has_fallen(connections, in_flight);
            assert_eq!(has_fallen, expected, "{connections} {in_flight}");
        }
    }

    #[test]
    fn connections_and_budget_share_the_memory() {
        assert_eq!(connections(512 << 20, 128 << 20), 5120);
        assert_eq!(connections(1024 << 20, 128 << 20), 13_312);
        assert_eq!(connections(128 << 20, 128 << 20), 0);
    }
}
