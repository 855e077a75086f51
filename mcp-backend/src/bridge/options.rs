//! The command line of the bridge.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderName;

use crate::bridge::pool::Sharing;
use crate::bridge::pool::process_slots::SlotLimits;
use crate::options::LogFormat;

/// Put an MCP server that speaks on stdin and stdout behind HTTP.
///
/// It answers over Streamable HTTP at /mcp, in the revision that the server speaks: with sessions
/// (2025-03-26 to 2025-11-25) or without (2026-07-28). A gateway in front of it translates for
/// clients of other revisions.
#[derive(Debug, clap::Args)]
pub struct BridgeOptions {
    /// Address to listen on, or unix:PATH; port 0 takes a free one.
    #[arg(
        long,
        value_name = "ADDR",
        env = "MCP_BRIDGE_LISTEN",
        default_value = "127.0.0.1:9000"
    )]
    pub listen: Listen,

    /// The server's name in the log [default: the command's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Who gets a process of its own: each session (and each client without sessions), or all
    /// share one.
    #[arg(long, value_enum, default_value = "session")]
    pub process: Sharing,

    /// A variable for the server's environment, as NAME=VALUE, or NAME to pass ours on; may be
    /// repeated. Besides PATH and HOME it gets no others.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<Variable>,

    /// The folder that the server runs in.
    #[arg(long, value_name = "DIR")]
    pub working_directory: Option<PathBuf>,

    /// Processes at once.
    #[arg(long, value_name = "COUNT", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    pub processes: u16,

    /// Processes at once of one connection of an app [default: half of all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub processes_per_connection: Option<u16>,

    /// Processes at once of one person [default: three quarters of all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub processes_per_person: Option<u16>,

    /// Stop a process that nobody has used for so many seconds; it is started again when needed.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub idle: Duration,

    /// How many seconds a process may take to start and say hello; the first start may take five
    /// times as long.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub start_timeout: Duration,

    /// Start the server once when the bridge starts: what it has to install is there when clients
    /// come, and what is wrong with it is in the log. The process is kept for the gateway's questions
    /// about what the server offers.
    #[arg(long)]
    pub warm_up: bool,

    /// A request is cancelled when the process has said nothing about it for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "900", value_parser = seconds)]
    pub answer_timeout: Duration,

    /// The largest message of a client, in bytes.
    #[arg(long, value_name = "BYTES", default_value = "4194304")]
    pub largest_body: usize,

    /// The longest line of the server, in bytes; one that writes a longer one is stopped.
    #[arg(long, value_name = "BYTES", default_value = "33554432")]
    pub longest_line: usize,

    /// A Host to answer besides the loopback names, as NAME or NAME:PORT; may be repeated.
    #[arg(long, value_name = "HOST")]
    pub allowed_host: Vec<String>,

    /// Believe the headers that name person and client on an address that is not loopback, too: where
    /// the network lets nobody but the gateway reach it.
    #[arg(long)]
    pub trust_identity_headers: bool,

    /// The header that names the person; believed on a loopback address or unix socket, and with
    /// --trust-identity-headers.
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-user")]
    pub user_header: HeaderName,

    /// The header that names the client.
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-client")]
    pub client_header: HeaderName,

    /// The header that names the grant, by which one connection of an app is told from another.
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-grant")]
    pub grant_header: HeaderName,

    /// End when stdin is closed, and so when the parent process ends in whatever way.
    #[arg(long)]
    pub until_stdin_closes: bool,

    /// Form of the log on stderr.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "MCP_BACKEND_LOG_FORMAT",
        default_value = "json"
    )]
    pub log_format: LogFormat,

    /// The server: a program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl BridgeOptions {
    /// How many processes there may be.
    pub fn limits(&self) -> SlotLimits {
        let all = usize::from(self.processes);
        let or = |given: Option<u16>, share: usize| given.map_or(share.max(1), usize::from);
        SlotLimits {
            all,
            user: or(self.processes_per_person, all * 3 / 4),
            grant: or(self.processes_per_connection, all / 2),
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and port.
    Tcp(SocketAddr),
    /// A unix socket, which only programs of the same user can reach.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text.parse().map(Self::Tcp),
        }
    }
}

/// One variable of the server's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    name: String,
    /// `None`: as it is here.
    value: Option<String>,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || name.contains('\0') {
            return Err("a variable is NAME or NAME=VALUE".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// What a server gets without being asked: enough to find programs and to cache packages.
const ALWAYS: [&str; 2] = ["PATH", "HOME"];

/// The environment of the server: what it always gets from `ours`, then what was asked for. Also
/// the names that were asked for and are not set.
pub fn environment(
    asked: &[Variable],
    ours: impl Fn(&str) -> Option<String>,
) -> (Vec<(String, String)>, Vec<String>) {
    let mut environment: Vec<(String, String)> = Vec::new();
    let mut missing = Vec::new();
    for name in ALWAYS {
        environment.extend(ours(name).map(|value| (name.to_owned(), value)));
    }
    for Variable { name, value } in asked {
        match value.clone().or_else(|| ours(name)) {
            Some(value) => {
                environment.retain(|(own, _)| own != name);
                environment.push((name.clone(), value));
            }
            None => missing.push(name.clone()),
        }
    }
    (environment, missing)
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_the_variables_that_it_was_given_and_no_others() {
        let ours = |name: &str| match name {
            "PATH" => Some("/bin".to_owned()),
            "HOME" => Some("/home/a".to_owned()),
            "TOKEN" => Some("t".to_owned()),
            "SECRET" => Some("s".to_owned()),
            _ => None,
        };
        let asked: Vec<Variable> = ["TOKEN", "MODE=a=b", "HOME=/tmp", "NONE"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let (environment, missing) = environment(&asked, ours);
        let expected = [
            ("PATH", "/bin"),
            ("TOKEN", "t"),
            ("MODE", "a=b"),
            ("HOME", "/tmp"),
        ];
        assert_eq!(
            environment,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(missing, ["NONE"]);
        assert!("=x".parse::<Variable>().is_err());
    }

    #[test]
    fn a_place_to_listen_is_an_address_or_a_socket() {
        assert_eq!(
            "unix:/run/a.sock".parse(),
            Ok(Listen::Unix(PathBuf::from("/run/a.sock")))
        );
        assert!("127.0.0.1:0".parse::<Listen>().is_ok());
        assert!("localhost".parse::<Listen>().is_err());
    }
}
