//! `gateway explain`: what would be decided about one call, by whom, and on which facts. The same
//! code decides as in a running gateway; nothing is sent to a backend but the question which tools
//! it has.
//!
//! Owns: the arguments, and what is printed. Not: gathering what a decision needs (`case`), which of several
//! backends decides (`member`), JSON of arguments (`message`).

mod case;
mod member;
mod message;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::case::Case;
use crate::cli::failed::Failed;
use crate::cli::moment::moment;
use crate::config::Config;
use gateway_core::clock::Timestamp;
use gateway_core::policy::rules::Statement;
use gateway_core::protocol::scope::Scope;
use gateway_core::reason::Reason;
use gateway_oauth::pages::admin::{Explanation, Question};
use mcp_protocol::tool_definition::Labels;

/// It would be refused.
const REFUSED: u8 = 1;
/// The question is none, as for the arguments themselves.
const NO_QUESTION: u8 = 2;

/// The revision that a request names unless something else is said.
const PROTOCOL_VERSION: &str = "2025-11-25";

#[derive(Debug, Default, Args)]
pub(super) struct Explain {
    /// The configuration file
    #[arg(long, short, env = "GATEWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Another policy than that of the configuration
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The backend, by name. Default: the one that the token is for, or the first
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The tool that is called
    #[arg(long, value_name = "NAME", required_unless_present = "method")]
    tool: Option<String>,
    /// Instead of a call of a tool: another method of MCP
    #[arg(long, value_name = "METHOD", conflicts_with = "tool")]
    method: Option<String>,
    /// The prompt or resource that the method names
    #[arg(long, value_name = "NAME", requires = "method")]
    name: Option<String>,
    /// The file that holds the token of the call; `-` for standard input. It is never printed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "client", "scope"])]
    token: Option<PathBuf>,
    /// Without a token: the login name of the person, who is taken to have allowed every tool
    #[arg(long, value_name = "NAME", required_unless_present = "token")]
    user: Option<String>,
    /// The client id of the app. Default: one that registered itself
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// A scope that was granted; give it once for each. Default: the default ones
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// An argument of the call, such as `path=/a` or `filter.tags[0]=x`. What is JSON is taken as
    /// such: `limit=5` is a number, `limit="5"` a text
    #[arg(long, value_name = "PATH=VALUE", conflicts_with = "arguments")]
    argument: Vec<String>,
    /// All arguments of the call, as a JSON object
    #[arg(long, value_name = "JSON")]
    arguments: Option<String>,
    /// When, such as 2030-01-31T15:00:00Z. Default: now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
    /// From where
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The revision of MCP that the request names
    #[arg(long, value_name = "DATE", default_value = PROTOCOL_VERSION)]
    protocol_version: String,
    /// How many calls the person has made today. Default: none
    #[arg(long, value_name = "N")]
    calls_today: Option<u64>,
    /// What the tool says about its effects. Default: the backend is asked
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// Don't ask the backend
    #[arg(long)]
    offline: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What would be decided about a call that a person would make with an app that was allowed every tool, under
/// the policy of `config`, by the code that decides. `labels`: what the tool says of its effects, as far as
/// the running gateway knows. Blocks for as long as the keys are read.
///
/// # Errors
/// The question is none: in a sentence.
pub(crate) fn for_page(
    question: &Question,
    address: Option<IpAddr>,
    labels: Option<Labels>,
    config: Config,
) -> Result<Explanation, String> {
    let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let explain = Explain {
        backend: Some(question.backend.clone()),
        tool: Some(question.tool.clone()),
        user: Some(question.user.clone()),
        client: said(&question.client),
        arguments: said(&question.arguments),
        address,
        protocol_version: PROTOCOL_VERSION.to_owned(),
        offline: true,
        ..Explain::default()
    };
    let case = Case::within(&explain, config)?;
    let case = match labels {
        Some(labels) => case.with_labels(labels),
        None => case,
    };
    let explained = case.decide().map_err(|sentences| sentences.join("; "))?;
    Ok(explained.into_explanation())
}

/// What a tool may say about its effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Label {
    /// It changes nothing
    ReadOnly,
    /// It changes things, and destroys nothing
    Changes,
    /// It may destroy things
    Destructive,
    /// It says nothing
    None,
}

impl Label {
    const fn labels(self) -> Labels {
        let (read_only, destructive) = match self {
            Self::ReadOnly => (Some(true), None),
            Self::Changes => (Some(false), Some(false)),
            Self::Destructive => (Some(false), Some(true)),
            Self::None => (None, None),
        };
        Labels {
            read_only,
            destructive,
        }
    }
}

/// A decision, and what it rests on.
struct Explained {
    /// Why not; `None`: it would be allowed.
    refused: Option<RejectionCause>,
    /// The statement of the policy that decided.
    rule: Option<Statement>,
    /// What was known about token, call and circumstances.
    facts: Vec<String>,
    /// What was not known, and taken to be so.
    assumed: Vec<String>,
}

struct RejectionCause {
    reason: Reason,
    /// The check that failed.
    check: String,
    /// The scope that would be enough.
    needs: Option<Scope>,
    /// The checks of the policy that do not hold.
    failed: Vec<Statement>,
}

pub(super) fn run(explain: &Explain) -> Result<ExitCode, Failed> {
    let explained = Case::from_arguments(explain).and_then(Case::decide);
    let explained = explained.map_err(|sentences| Failed {
        code: NO_QUESTION,
        sentences,
    })?;
    if explain.json {
        println!("{}", explained.to_json())
    } else {
        explained.print()
    }
    Ok(match explained.refused {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(REFUSED),
    })
}

/// A statement and where it stands.
fn placed(statement: &Statement) -> String {
    format!("{statement}  {}", statement.text())
}

impl RejectionCause {
    /// What there is to say of it, by name; its reason first. A page shows the names, the command writes them
    /// small and has a word of its own for the first.
    fn parts(&self) -> Vec<(&'static str, String)> {
        let reason = format!("{}: {}", self.reason, self.reason.sentence());
        let mut parts = vec![("Reason", reason), ("Check", self.check.clone())];
        let scope = self.needs.iter();
        parts.extend(scope.map(|scope| ("Needs", format!("scope {scope}"))));
        let unmet = self.failed.iter();
        parts.extend(unmet.map(|statement| ("Unmet", placed(statement))));
        parts.push(("To do", self.reason.remedy().to_owned()));
        parts
    }
}

impl Explained {
    fn into_explanation(self) -> Explanation {
        Explanation {
            is_allowed: self.refused.is_none(),
            refusal: self
                .refused
                .iter()
                .flat_map(RejectionCause::parts)
                .collect(),
            rule: self.rule.as_ref().map(placed),
            facts: self.facts,
            assumed: self.assumed,
        }
    }

    fn print(&self) {
        if self.refused.is_none() {
            println!("ALLOWED");
        }
        for (name, words) in self.refused.iter().flat_map(RejectionCause::parts) {
            match name {
                "Reason" => println!("REFUSED  {words}"),
                name => println!("  {}  {words}", name.to_lowercase()),
            }
        }
        if let Some(rule) = &self.rule {
            println!("  rule   {}", placed(rule));
        }
        for fact in &self.facts {
            println!("  fact   {fact}");
        }
        for assumed in &self.assumed {
            println!("  taken  {assumed}");
        }
    }

    fn to_json(&self) -> Value {
        let placed =
            |statement: &Statement| json!({"at": statement.to_string(), "text": statement.text()});
        let mut all = json!({
            "decision": match self.refused {
                None => "allowed",
                Some(_) => "refused",
            },
            "facts": self.facts,
            "assumed": self.assumed,
        });
        if let Some(rule) = &self.rule {
            all["rule"] = placed(rule);
        }
        if let Some(why) = &self.refused {
            all["reason"] = why.reason.code().into();
            all["sentence"] = why.reason.sentence().into();
            all["remedy"] = why.reason.remedy().into();
            all["check"] = why.check.as_str().into();
            all["unmet"] = why.failed.iter().map(placed).collect();
            if let Some(scope) = &why.needs {
                all["needed_scope"] = scope.to_string().into();
            }
        }
        all
    }
}
