//! The commands: one file each. Arguments in, exit code out.

mod audit;
mod backup;
mod check;
mod configuration;
mod doctor;
pub(crate) mod explain;
mod failed;
mod healthcheck;
mod logging;
mod moment;
mod operator;
mod policy;
mod reload;
mod restore;
mod serve;
mod summary;
mod token;
mod upgrade;
mod users;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use self::configuration::Configuration;
use self::failed::Failed;
use gateway_core::reason;

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
    Serve(serve::Arguments),
    /// Have a new process take over from the gateway that serves, without anybody noticing: this binary,
    /// with the configuration as it is now. Exit 0 once it serves; else the old one serves on
    Upgrade(upgrade::Arguments),
    /// Print the resolved configuration and where each value came from; exit 64 with all problems
    Check(Configuration),
    /// Do what ChatGPT and Claude do at an MCP URL, and say what would stop them; exit 0 if all is
    /// well, 1 on warnings, 2 on failures
    Doctor(doctor::Arguments),
    /// Exit 0 if a running gateway is ready to serve (for containers)
    Healthcheck(Configuration),
    /// People who may log in
    #[command(subcommand)]
    Users(users::Command),
    /// What people allowed apps
    #[command(subcommand)]
    Grants(operator::grants::Command),
    /// Apps that are known
    #[command(subcommand)]
    Clients(operator::clients::Command),
    /// People's own accounts at backends
    #[command(subcommand)]
    Accounts(operator::accounts::Command),
    /// Event streams that are held open
    #[command(subcommand)]
    Streams(operator::streams::Command),
    /// Access tokens
    #[command(subcommand)]
    Token(token::Command),
    /// The keys that sign access tokens
    #[command(subcommand)]
    Keys(operator::keys::Command),
    /// Say what would be decided about a call, which check or statement decides, and on which
    /// facts; exit 0 if it would be allowed, 1 if refused, 2 if there is no such question
    Explain(Box<explain::Explain>),
    /// The operator's policy
    #[command(subcommand)]
    Policy(Box<policy::Command>),
    /// The audit log
    #[command(subcommand)]
    Audit(Box<audit::Command>),
    /// Write what the gateway keeps, with its keys, into an encrypted file, while it runs or not
    Backup(backup::Backup),
    /// Put a backup back; the gateway must not run meanwhile
    Restore(restore::Restore),
    /// Print every reason code with its meaning and remedy
    Reasons,
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    // Two TLS providers in one process would be a panic later; ring is the one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ended = match Cli::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Upgrade(arguments) => upgrade::run(&arguments),
        Command::Check(configuration) => check::run(&configuration),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Healthcheck(configuration) => healthcheck::run(&configuration),
        Command::Users(command) => users::run(&command),
        Command::Grants(command) => operator::grants::run(&command),
        Command::Clients(command) => operator::clients::run(&command),
        Command::Accounts(command) => operator::accounts::run(&command),
        Command::Streams(command) => operator::streams::run(&command),
        Command::Token(command) => token::run(&command),
        Command::Keys(command) => operator::keys::run(&command),
        Command::Explain(explain) => explain::run(&explain),
        Command::Policy(command) => policy::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Backup(backup) => backup::run(&backup),
        Command::Restore(restore) => restore::run(&restore),
        Command::Reasons => {
            println!("{}\n{}", reason::troubleshooting(), reason::reference());
            Ok(ExitCode::SUCCESS)
        }
    };
    ended.unwrap_or_else(Failed::tell)
}

/// What a command waits on that asks somebody something.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
