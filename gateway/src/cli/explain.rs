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
use crate::cli::token::moment;
use crate::config::Config;
use gateway_core::clock::Timestamp;
use gateway_core::policy::rules::Statement;
use gateway_core::protocol::scope::Scope;
use gateway_core::reason::Reason;
use mcp_protocol::tool_definition::Labels;

/// It would be refused.
const REFUSED: u8 = 1;
/// The question is none, as for the arguments themselves.
const NO_QUESTION: u8 = 2;

/// The revision that a request names unless something else is said.
const PROTOCOL_VERSION: &str = "2025-11-25";

#[derive(Debug, Args)]
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

/// A question of a page's about a call that a person would make with an app that was allowed every tool.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageQuestion {
    /// The login name.
    pub(crate) user: String,
    /// The client id; `None`: one that registered itself.
    pub(crate) client: Option<String>,
    /// The backend, by name.
    pub(crate) backend: String,
    /// The tool.
    pub(crate) tool: String,
    /// The arguments, as a JSON object.
    pub(crate) arguments: Option<String>,
    /// From where.
    pub(crate) address: Option<IpAddr>,
    /// What the tool says of its effects, as far as the running gateway knows.
    pub(crate) labels: Option<Labels>,
}

/// What the page says to it.
#[derive(Clone, Debug)]
pub(crate) struct PageAnswer {
    /// Why not, in named parts; empty: it would be let through.
    pub(crate) refusal: Vec<(&'static str, String)>,
    /// The statement that decided.
    pub(crate) rule: Option<String>,
    /// What was known.
    pub(crate) facts: Vec<String>,
    /// What was taken to be so.
    pub(crate) assumed: Vec<String>,
}

/// What would be decided under the policy of `config`, by the code that decides. Blocks for as long as
/// the keys are read.
///
/// # Errors
/// The question is none: in a sentence.
pub(crate) fn for_page(question: &PageQuestion, config: Config) -> Result<PageAnswer, String> {
    let explain = Explain {
        config: None,
        policy: None,
        backend: Some(question.backend.clone()),
        tool: Some(question.tool.clone()),
        method: None,
        name: None,
        token: None,
        user: Some(question.user.clone()),
        client: question.client.clone(),
        scope: Vec::new(),
        argument: Vec::new(),
        arguments: question.arguments.clone(),
        at: None,
        address: question.address,
        protocol_version: PROTOCOL_VERSION.to_owned(),
        calls_today: None,
        label: None,
        offline: true,
        json: false,
    };
    let case = Case::within(&explain, config)?;
    let case = match question.labels {
        Some(labels) => case.with_labels(labels),
        None => case,
    };
    let explained = case.decide().map_err(|sentences| sentences.join("; "))?;
    Ok(explained.into_page_answer())
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

impl Explained {
    fn into_page_answer(self) -> PageAnswer {
        let placed = |statement: &Statement| format!("{statement}  {}", statement.text());
        let mut refusal = Vec::new();
        if let Some(why) = &self.refused {
            refusal.push((
                "Reason",
                format!("{}: {}", why.reason, why.reason.sentence()),
            ));
            refusal.push(("Check", why.check.clone()));
            let scope = why.needs.as_ref();
            refusal.extend(scope.map(|scope| ("Needs", format!("scope {scope}"))));
            let unmet = why.failed.iter();
            refusal.extend(unmet.map(|statement| ("Unmet", placed(statement))));
            refusal.push(("To do", why.reason.remedy().to_owned()));
        }
        PageAnswer {
            refusal,
            rule: self.rule.as_ref().map(placed),
            facts: self.facts,
            assumed: self.assumed,
        }
    }

    fn print(&self) {
        match &self.refused {
            None => println!("ALLOWED"),
            Some(why) => {
                println!("REFUSED  {}: {}", why.reason, why.reason.sentence());
                println!("  check  {}", why.check);
                if let Some(scope) = &why.needs {
                    println!("  needs  scope {scope}");
                }
                for statement in &why.failed {
                    println!("  unmet  {statement}  {}", statement.text());
                }
                println!("  to do  {}", why.reason.remedy());
            }
        }
        if let Some(rule) = &self.rule {
            println!("  rule   {rule}  {}", rule.text());
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
