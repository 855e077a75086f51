//! The commands: one file each. Arguments in, exit code out.

mod audit;
mod check;
mod doctor;
mod explain;
mod healthcheck;
mod logging;
mod operator;
mod policy;
mod reasons;
mod reload;
mod serve;
mod summary;
mod token;
mod users;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::layers::{Layers, Problem};
use crate::config::{self, Config, SCHEMA};

/// The configuration is wrong (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;
/// Something that the gateway needs is not there (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;

/// An OAuth 2.1 authorization server and reverse proxy in front of MCP servers.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(Configuration),
    /// Print the resolved configuration and where each value came from; exit 64 with all problems
    Check(Configuration),
    /// Do what ChatGPT and Claude do at an MCP URL, and say what would stop them; exit 0 if all is
    /// well, 1 on warnings, 2 on failures
    Doctor(doctor::Arguments),
    /// Exit 0 if a running gateway is ready to serve (for containers)
    Healthcheck(Configuration),
    /// People who may log in
    Users {
        #[command(subcommand)]
        command: users::Command,
    },
    /// What people allowed apps
    Grants {
        #[command(subcommand)]
        command: operator::grants::Command,
    },
    /// Apps that are known
    Clients {
        #[command(subcommand)]
        command: operator::clients::Command,
    },
    /// Event streams that are held open
    Streams {
        #[command(subcommand)]
        command: operator::streams::Command,
    },
    /// Access tokens
    Token {
        #[command(subcommand)]
        command: token::Command,
    },
    /// Say what would be decided about a call, which check or statement decides, and on which
    /// facts; exit 0 if it would be allowed, 1 if refused, 2 if there is no such question
    Explain(Box<explain::Explain>),
    /// The operator's policy
    Policy {
        #[command(subcommand)]
        command: Box<policy::Command>,
    },
    /// The audit log
    Audit {
        #[command(subcommand)]
        command: Box<audit::Command>,
    },
    /// Print every reason code with its meaning and remedy
    Reasons,
}

/// Where the configuration comes from. A flag wins over the environment, that over the file.
#[derive(Clone, Debug, Default, Args)]
struct Configuration {
    /// The configuration file
    #[arg(long, short, env = "GATEWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The origin that clients and browsers use, such as https://mcp.example.com
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Where clients and browsers are served
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where health, metrics and the operator's commands are served
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// file:DIR, redis://…, rediss://… or memory:
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The backend, where there is one and no file names it
    #[arg(long, value_name = "URL", conflicts_with = "stdio")]
    backend: Option<String>,
    /// json or pretty
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// A server that speaks on stdin and stdout, to stand in front of: a program and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    stdio: Vec<String>,
}

/// The layers of a configuration with another policy in it, if one is given.
fn policy_of(configuration: &Configuration, policy: Option<&Path>) -> Layers {
    let mut layers = configuration.layers();
    if let Some(path) = policy {
        layers.flag("policy.file", "--policy", &path.display().to_string());
    }
    layers
}

impl Configuration {
    /// One that is all in a file, and in the environment.
    fn of_file(config: Option<PathBuf>) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// All layers. A file that can't be read is a problem, too.
    fn layers(&self) -> Layers {
        let mut layers = Layers::new(&SCHEMA);
        if let Some(path) = &self.config {
            match config::read_text(path) {
                Ok(text) => layers.file(path, &text),
                Err(sentence) => {
                    layers.unread("--config", format!("{} {sentence}", path.display()));
                }
            }
        }
        layers.environment(std::env::vars());
        let flags = [
            ("public_url", "--public-url", &self.public_url),
            ("listen", "--listen", &self.listen),
            ("admin_listen", "--admin-listen", &self.admin_listen),
            ("store.url", "--store", &self.store),
            ("backend.0.url", "--backend", &self.backend),
            ("log.format", "--log-format", &self.log_format),
        ];
        for (path, name, value) in flags {
            if let Some(value) = value {
                layers.flag(path, name, value);
            }
        }
        if !self.stdio.is_empty() {
            let instead_of = ["backend.0.url", "backend.0.command"];
            layers.words("backend.0.stdio", &self.stdio, &instead_of);
        }
        layers
    }

    /// The configuration, or all problems on stderr and the exit code for them.
    fn resolve(&self) -> Result<Config, ExitCode> {
        config::resolve(&self.layers()).map_err(|problems| report(&problems))
    }

    /// The same for a command that asks no backend: a gateway whose backend was given on its command
    /// line has none in its configuration.
    fn resolve_without_backend(&self) -> Result<Config, ExitCode> {
        let mut layers = self.layers();
        if layers.backends() == 0 {
            layers.flag("backend.0.url", "--backend", "http://127.0.0.1:9");
        }
        config::resolve(&layers).map_err(|problems| report(&problems))
    }
}

fn report(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    ExitCode::from(USAGE)
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    // Two TLS providers in one process would be a panic later; ring is the one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Cli::parse().command {
        Command::Serve(configuration) => serve::run(&configuration),
        Command::Check(configuration) => check::run(&configuration),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Healthcheck(configuration) => healthcheck::run(&configuration),
        Command::Users { command } => users::run(&command),
        Command::Grants { command } => operator::grants::run(&command),
        Command::Clients { command } => operator::clients::run(&command),
        Command::Streams { command } => operator::streams::run(&command),
        Command::Token { command } => token::run(&command),
        Command::Explain(explain) => explain::run(&explain),
        Command::Policy { command } => policy::run(&command),
        Command::Audit { command } => audit::run(&command),
        Command::Reasons => reasons::run(),
    }
}
