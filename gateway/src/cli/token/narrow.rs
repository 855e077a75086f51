//! `gateway token narrow`

use std::collections::BTreeSet;

use clap::Args;

use super::{End, Source};
use gateway_core::access_token::{self, BudgetKind, Check, Constant, Match};
use gateway_core::grants::personal::PersonalToken;

#[derive(Debug, Args)]
pub(in crate::cli) struct Narrow {
    #[command(flatten)]
    source: Source,
    /// A tool that stays allowed; give it once for each. Others are not
    #[arg(long, value_name = "NAME")]
    tool: Vec<String>,
    /// A backend that it stays good for; give it once for each
    #[arg(long, value_name = "NAME")]
    backend: Vec<String>,
    #[command(flatten)]
    end: End,
    /// An argument and how it must start, such as path=/public/
    #[arg(long, value_name = "PATH=PREFIX", value_parser = pair)]
    argument: Vec<(String, String)>,
    /// An argument and what it must be, such as dry_run=true: a text, an integer, true or false
    #[arg(long, value_name = "PATH=VALUE", value_parser = pair)]
    argument_is: Vec<(String, String)>,
    /// Only tools that say that they change nothing
    #[arg(long)]
    read_only: bool,
    /// How many calls it may make in all, together with every token that is made from it
    #[arg(long, value_name = "N")]
    calls: Option<u64>,
    /// The same for each day of UTC
    #[arg(long, value_name = "N")]
    calls_per_day: Option<u64>,
    /// Nobody can narrow it further, nor have it approved
    #[arg(long)]
    seal: bool,
}

impl Narrow {
    pub(super) fn run(&self) -> Result<String, String> {
        let checks = self.checks();
        if checks.is_empty() && !self.seal {
            return Err(
                "nothing to narrow: give --tool, --backend, --for, --until, --argument, \
                 --argument-is, --read-only, --calls, --calls-per-day or --seal"
                    .to_owned(),
            );
        }
        for (path, prefix) in &self.argument {
            if !prefix.ends_with('/') {
                eprintln!(
                    "note: {path}={prefix} also allows {prefix}…; end it with / to stay in a folder"
                );
            }
        }
        let token = self.source.read()?;
        if PersonalToken::is_meant(token.as_str()) {
            return Err(
                "a personal token holds no conditions: exchange it at /token for an access token \
                 first, and narrow that (RFC 8693; the manual's page on tokens has the request)"
                    .to_owned(),
            );
        }
        access_token::attenuate(&token, &checks, self.seal).map_err(|error| error.to_string())
    }

    fn checks(&self) -> Vec<Check> {
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let mut checks = Vec::new();
        if !self.tool.is_empty() {
            checks.push(Check::Tool(set(&self.tool)));
        }
        if !self.backend.is_empty() {
            checks.push(Check::Backend(set(&self.backend)));
        }
        if let Some(end) = self.end.at() {
            checks.push(Check::Before(end.secs()));
        }
        if self.read_only {
            checks.push(Check::ReadOnly);
        }
        let budgets = [
            (BudgetKind::InAll, self.calls),
            (BudgetKind::Daily, self.calls_per_day),
        ];
        for (kind, calls) in budgets {
            checks.extend(calls.map(|calls| Check::Limit(kind, calls)));
        }
        let begins = self.argument.iter();
        let begins = begins.map(|(path, prefix)| (path, Match::StartsWith(prefix.clone())));
        let exact = self.argument_is.iter();
        let exact = exact.map(|(path, value)| (path, Match::OneOf([constant(value)].into())));
        checks.extend(begins.chain(exact).map(|(path, is)| Check::Argument {
            path: path.clone(),
            is,
        }));
        checks
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value.to_owned())),
        _ => Err("is no PATH=VALUE".to_owned()),
    }
}

fn constant(text: &str) -> Constant {
    match (text, text.parse()) {
        ("true", _) => Constant::Bool(true),
        ("false", _) => Constant::Bool(false),
        (_, Ok(number)) => Constant::Integer(number),
        _ => Constant::Text(text.to_owned()),
    }
}
