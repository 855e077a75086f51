//! What bounds a connection, whoever its client and whatever its backend is.

use std::time::Duration;

/// The bounds of a lane. What is beyond one that concerns the form of a request (`head`, `body`) goes
/// the other road; what is beyond any other ends.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest head of a request, in bytes.
    pub head: usize,
    /// The largest body of a request, in bytes.
    pub body: usize,
    /// How many requests one connection may carry.
    pub requests: u32,
    /// How much of the next request is read while one is answered, in bytes.
    pub read_ahead: usize,
    /// From the start of a connection to the end of its first head, and from the first byte of any
    /// later head to its end.
    pub head_time: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the whole body of a request.
    pub body_time: Duration,
    /// For one write to a client.
    pub write_time: Duration,
    /// How long a client may take for one write before [`Exchange::hold`](crate::Exchange::hold) is
    /// asked.
    pub stall: Duration,
    /// How long a connection that is closed after its answer is read on, so that its client can read
    /// the answer before the connection is reset.
    pub linger: Duration,
    /// The largest head of a backend's answer, in bytes.
    pub response_head: usize,
    /// How many idle connections to backends are kept in all, those beside a client's connection aside.
    pub kept: usize,
    /// How long a connection to a backend is kept after its last answer, wherever it is kept.
    pub kept_for: Duration,
    /// How much of that it stays with an idle client, before anybody may have it.
    pub pinned_for: Duration,
    /// The silence on a stream of events after which it is left to a small task.
    pub quiet: Duration,
    /// The comment that fills silence on a stream of events.
    pub comment: &'static [u8],
    /// How many unused buffers of 16 KiB are kept.
    pub buffers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 16 * 1024,
            body: 64 * 1024,
            requests: 100_000,
            read_ahead: 8 * 1024,
            head_time: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(30),
            stall: Duration::from_millis(100),
            linger: Duration::from_secs(2),
            response_head: 32 * 1024,
            kept: 64,
            kept_for: Duration::from_secs(30),
            pinned_for: Duration::from_secs(5),
            quiet: Duration::from_millis(250),
            comment: b": keepalive\n\n",
            buffers: 64,
        }
    }
}
