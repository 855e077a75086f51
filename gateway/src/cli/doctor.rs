//! `gateway doctor URL`: what a client would meet there, check by check.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::failed::Failed;
use crate::cli::operator::passwords::first_line;
use crate::cli::runtime;
use gateway_core::secret::Secret;
use gateway_doctor::{Check, Login, Options, Target, examine};

/// How long the operator may take to log in.
const LOGIN_PATIENCE: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The MCP URL as people type it, such as https://mcp.example.com/mcp
    #[arg(required_unless_present = "list")]
    url: Option<String>,
    /// Print the report as JSON, with why, evidence and next step of every check
    #[arg(long)]
    json: bool,
    /// Print why, evidence and next step of what is not well
    #[arg(long)]
    explain: bool,
    /// Log in unattended as this person, by the gateway's own forms
    #[arg(long, value_name = "NAME", requires = "password_file")]
    login: Option<String>,
    /// The file with that person's password
    #[arg(long, value_name = "FILE", requires = "login")]
    password_file: Option<PathBuf>,
    /// Use this token instead of logging in, such as one of /account/tokens. Others on this machine can
    /// see it: better a file
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["login", "no_browser", "wait"])]
    token: Option<String>,
    /// The file that holds the token
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "login", "no_browser", "wait"])]
    token_file: Option<PathBuf>,
    /// Ask nobody to log in; what is behind the login is skipped
    #[arg(long, conflicts_with = "login")]
    no_browser: bool,
    /// How long to wait for the login in the browser, 5m at a terminal; without one nobody is asked
    /// unless this is given
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["login", "no_browser"], value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Certificates to trust beside those of this machine, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long one answer may take; Claude waits 10s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Leave out the minute of watching a quiet stream
    #[arg(long)]
    quick: bool,
    /// Print the table of checks and exit
    #[arg(long)]
    list: bool,
}

/// Exit code 0: all is well; 1: warnings; 2: failures.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    if arguments.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let options = arguments.options()?;
    let runtime = runtime().map_err(Failed::unavailable)?;
    let examining = examine(&options, &|line| eprintln!("{line}"));
    let report = runtime.block_on(examining).map_err(Failed::unavailable)?;
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text(arguments.explain));
    }
    Ok(ExitCode::from(report.exit_code()))
}

fn list() {
    let width = Check::ALL.iter().map(|check| check.id().len());
    let width = width.max().unwrap_or(0);
    for check in Check::ALL {
        println!("{check:width$}  {}", check.why());
    }
}

impl Arguments {
    fn options(&self) -> Result<Options, Failed> {
        let url = self.url.as_deref().unwrap_or_default();
        let target =
            Target::parse(url).map_err(|error| Failed::usage(format!("{url}: {error}")))?;
        Ok(Options {
            target,
            login: self.login()?,
            ca_file: self.ca_file.clone(),
            timeout: self.timeout,
            quick: self.quick,
        })
    }

    /// Without a terminal nobody would see the URL to open, unless something waits for it.
    fn login(&self) -> Result<Login, Failed> {
        if let (Some(name), Some(path)) = (&self.login, &self.password_file) {
            return Ok(Login::Unattended {
                name: name.clone(),
                password: password(path)?,
            });
        }
        if let Some(token) = &self.token {
            return Ok(Login::Token(Secret::presented(token.trim())));
        }
        if let Some(path) = &self.token_file {
            return Ok(Login::Token(Secret::presented(
                password(path)?.reveal().trim(),
            )));
        }
        if self.no_browser || (self.wait.is_none() && !std::io::stderr().is_terminal()) {
            return Ok(Login::Nobody);
        }
        Ok(Login::Operator {
            patience: self.wait.unwrap_or(LOGIN_PATIENCE),
        })
    }
}

/// The first line of the file.
fn password(path: &Path) -> Result<Secret, Failed> {
    let line = first_line(path)?;
    if line.is_empty() {
        let sentence = format!("{}: the first line is empty", path.display());
        return Err(Failed::usage(sentence));
    }
    Ok(Secret::presented(line))
}
