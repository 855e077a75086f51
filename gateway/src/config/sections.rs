//! Tables of which each key stands for itself.

use std::time::Duration;

use http::HeaderName;

use crate::config::settings::settings;
use crate::config::{units, values};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

settings! {
    /// `[log]`
    #[derive(Debug)]
    pub struct Log in "log." {
        /// `json` or `pretty`.
        pub format: LogFormat = "json", format;
        /// `error`, `warn`, `info`, `debug` or `trace`.
        pub level: log::LevelFilter = "info", level;
    }
}

settings! {
    /// `[identity]`
    pub(super) struct Identity in "identity." {
        /// The header that tells a backend the user's name.
        pub(super) user_header: HeaderName = "X-Forwarded-User", values::free_header;
        /// The header that tells it the client id.
        pub(super) client_header: HeaderName = "X-Forwarded-Client", values::free_header;
        /// The header that tells it the grant id.
        pub(super) grant_header: HeaderName = "X-Forwarded-Grant", values::free_header;
    }
}

settings! {
    /// `[timeouts]`
    #[derive(Debug)]
    pub struct Timeouts in "timeouts." {
        /// From the first byte of a request to the end of its header.
        pub header: Duration = "15s", units::duration;
        /// For a whole request body.
        pub body: Duration = "30s", units::duration;
        /// Silence on an event stream after which a comment is sent.
        pub keepalive: Duration = "15s", units::duration;
        /// From SIGTERM until anything is ended: meanwhile everything is served as before, and /readyz answers
        /// 503, so that a balancer sends nobody here any more.
        pub unready: Duration = "0s", units::duration;
        /// From then until open requests are cut.
        pub shutdown: Duration = "10s", units::duration;
        /// From when another process has taken over (`gateway upgrade`) until the streams of this one end.
        pub upgrade: Duration = "1h", units::duration;
    }
}

settings! {
    /// `[discovery]`
    #[derive(Debug)]
    pub struct Discovery in "discovery." {
        /// The token for /.well-known/openai-apps-challenge.
        pub apps_challenge: Option<String>, values::text;
        /// The Contact of /.well-known/security.txt: a mailto: or https: URI.
        pub security_contact: Option<String>, values::contact;
    }
}

fn format(text: &str) -> Result<LogFormat, String> {
    use LogFormat::{Json, Pretty};
    values::one_of(text, &[("json", Json), ("pretty", Pretty)])
}

fn level(text: &str) -> Result<log::LevelFilter, String> {
    text.parse()
        .map_err(|_| "must be error, warn, info, debug or trace".to_owned())
}
