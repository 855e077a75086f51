//! How much memory the connections of clients may take, and so how many there may be.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_budget_share_the_memory() {
        assert_eq!(connections(512 << 20, 128 << 20), 5120);
        assert_eq!(connections(1024 << 20, 128 << 20), 13_312);
        assert_eq!(connections(128 << 20, 128 << 20), 0);
    }
}
