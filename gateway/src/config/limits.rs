//! `[limits]`: what may be held at once.

use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::{units, values};
use gateway_proxy::{InFlight, memory};

/// Browsers and clients with a token and a few cookies fit in it.
const LEAST_HEADER: usize = 4 * 1024;

settings! {
    /// `[limits]`, sizes in bytes.
    #[derive(Debug)]
    pub struct Limits in "limits." {
        /// The largest message that is passed to a backend.
        pub request_body: usize = "4MiB", units::size;
        /// The largest header of a request.
        pub request_header: usize = "32KiB", header_size;
        /// How much of unfinished requests (messages above 16 KiB, headers above 8 KiB) and answers
        /// (lists and events that are looked into, answers that are translated, 128 KiB for each that
        /// its client does not read) is held in memory at once; what is more is answered 503, or its
        /// answer is cut. Never less than one message of limits.request_body, nor than one answer that
        /// is translated.
        in_flight: usize = "128MiB", units::size;
        /// The same from one address; what is more is answered 429.
        in_flight_per_address: usize = "24MiB", units::size;
        /// The same with the tokens of one grant.
        in_flight_per_grant: usize = "16MiB", units::size;
        /// How much memory connections and what they hold may take in all: no more are let in than it
        /// is enough for, at 64 KiB each, beside limits.in_flight and 64 MiB for the gateway itself.
        pub memory: usize = "512MiB", units::size;
        /// Connections at once. For more, raise limits.memory, too.
        pub connections: usize = "5000", values::at_least_one;
        /// Connections at once from one address.
        pub connections_per_address: usize = "2000", values::at_least_one;
        /// Client registrations from one address in an hour.
        pub registrations_per_hour: u64 = "60", values::count;
    }
}

fn header_size(text: &str) -> Result<usize, String> {
    match units::size(text)? {
        small if small < LEAST_HEADER => Err("must be at least 4KiB".to_owned()),
        size => Ok(size),
    }
}

impl Limits {
    /// How much is held of what is not finished.
    pub const fn in_flight(&self) -> InFlight {
        InFlight {
            all: self.in_flight,
            per_address: self.in_flight_per_address,
            per_grant: self.in_flight_per_grant,
        }
    }

    /// Memory must be left for connections.
    pub(super) fn check(&self, reader: &mut Reader<'_>) {
        let in_flight = if reader.is_wrong("limits.in_flight") {
            0
        } else {
            self.in_flight
        };
        if memory::connections(self.memory, in_flight) == 0 {
            let text = reader.text("limits.memory").unwrap_or_default();
            let sentence =
                format!("must be more than 64MiB and limits.in_flight together; it is `{text}`");
            reader.conflict("limits.memory", sentence);
        }
    }
}
