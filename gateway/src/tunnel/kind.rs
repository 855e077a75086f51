//! What is known of each program: its words as logs of its users show them. The programs themselves need
//! the internet and mostly an account, so the tests start stand-ins that print the same.

use std::path::Path;

use clap::ValueEnum;
use gateway_core::protocol::resource::Issuer;

/// A program that gives this machine a public https URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TunnelKind {
    /// A quick tunnel of Cloudflare's, without an account.
    Cloudflared,
    /// An agent of ngrok's.
    Ngrok,
    /// A funnel of Tailscale's.
    Tailscale,
}

impl TunnelKind {
    /// All, the one that needs no account first.
    const ALL: [Self; 3] = [Self::Cloudflared, Self::Ngrok, Self::Tailscale];

    /// The first of them on the PATH.
    pub fn installed() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let is_there = |kind: &Self| {
            let is_in = |folder: &Path| folder.join(kind.name()).is_file();
            std::env::split_paths(&path).any(|folder| is_in(&folder))
        };
        Self::ALL.into_iter().find(is_there)
    }

    /// The name of the program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cloudflared => "cloudflared",
            Self::Ngrok => "ngrok",
            Self::Tailscale => "tailscale",
        }
    }

    /// How it is started to lead to a port of this machine.
    pub fn arguments(self, port: u16) -> Vec<String> {
        let target = format!("http://127.0.0.1:{port}");
        let words: &[&str] = match self {
            Self::Cloudflared => &["tunnel", "--no-autoupdate", "--url", &target],
            Self::Ngrok => &["http", &target, "--log", "stdout", "--log-format", "logfmt"],
            Self::Tailscale => &["funnel", &target],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// The https origin, if this is the line in which it prints it. The programs print other URLs as
    /// well, such as those of their own servers and of pages for the operator.
    pub fn url_in(self, line: &str) -> Option<String> {
        let (before, rest) = line.split_once("https://")?;
        let end = rest.find(|c: char| c.is_whitespace() || "\"|,\u{1b}".contains(c));
        let word = rest[..end.unwrap_or(rest.len())].trim_end_matches('/');
        let is_it = match self {
            Self::Cloudflared => {
                word.ends_with(".trycloudflare.com") && word != "api.trycloudflare.com"
            }
            Self::Ngrok => before.ends_with("url=") && line.contains("started tunnel"),
            Self::Tailscale => {
                let before = before.trim();
                let is_alone = before.is_empty() || before.ends_with("internet:");
                is_alone && word.ends_with(".ts.net")
            }
        };
        let url = Issuer::parse(&format!("https://{word}")).ok()?;
        is_it.then(|| url.as_str().to_owned())
    }

    /// What it can't do, for people.
    pub const fn limits(self) -> &'static [&'static str] {
        match self {
            Self::Cloudflared => &[
                "its name changes with every start: apps must be connected anew then",
                "Cloudflare holds the events of quick tunnels back, and takes no more than 200 requests at once: \
                 calls work, what a server says by itself may not come. `gateway doctor` shows it",
            ],
            Self::Ngrok => &[
                "without a domain of your own its name may change: apps must be connected anew then",
                "without a paid plan browsers are first shown a page of ngrok's",
            ],
            Self::Tailscale => &["only ports 443, 8443 and 10000 can be public, one gateway each"],
        }
    }

    /// What usually helps where it gives no URL.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Cloudflared => {
                "Look whether this machine reaches the internet (port 7844), and wait a minute: quick tunnels \
                 are limited in number."
            }
            Self::Ngrok => {
                "Run `ngrok config add-authtoken` once, and end other agents of the account."
            }
            Self::Tailscale => {
                "Run `tailscale up` once, and allow funnel for this machine as it says below."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_in_what_each_of_them_prints() {
        for (kind, line, url) in [
            (
                TunnelKind::Cloudflared,
                "2026-11-29T20:00:00Z INF |  https://brave-small-words-here.trycloudflare.com                 |",
                Some("https://brave-small-words-here.trycloudflare.com"),
            ),
            (
                TunnelKind::Cloudflared,
                "2026-11-29T20:00:00Z INF Thank you for trying Cloudflare Tunnel. (https://developers.cloudflare.com/cloudflare-one/connections/connect-apps)",
                None,
            ),
            (
                TunnelKind::Cloudflared,
                "failed to request quick Tunnel: Post \"https://api.trycloudflare.com/tunnel\": dial tcp: lookup",
                None,
            ),
            (
                TunnelKind::Ngrok,
                "t=2026-11-29T20:00:00+0000 lvl=info msg=\"started tunnel\" obj=tunnels name=command_line addr=http://127.0.0.1:8080 url=https://1a2b-3c.ngrok-free.app",
                Some("https://1a2b-3c.ngrok-free.app"),
            ),
            (
                TunnelKind::Ngrok,
                "t=2026-11-29T20:00:00+0000 lvl=info msg=\"open config file\" url=https://ngrok.com/docs",
                None,
            ),
            (
                TunnelKind::Tailscale,
                "https://machine.tail1234.ts.net/",
                Some("https://machine.tail1234.ts.net"),
            ),
            (
                TunnelKind::Tailscale,
                "         https://login.tailscale.com/f/funnel?node=nAbC",
                None,
            ),
        ] {
            assert_eq!(kind.url_in(line).as_deref(), url, "{line}");
        }
    }
}
