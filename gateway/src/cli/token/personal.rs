//! `gateway token create`, `ls`, `rm` and `find`: personal tokens, at the running gateway.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::failed::{Failed, UNKNOWN};
use crate::cli::operator::{Gateway, Printed, Table, counted};
use crate::operator_api::{
    CreateToken, GrantView, GrantedTools, GrantsQuery, GrantsToRevoke, IdQuery, ListGrants,
    PageQuery, RevokeGrants, ShowGrant, TokenToCreate, ToolsToGrant,
};
use gateway_core::client::ClientId;
use gateway_core::grants::personal::PersonalToken;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("tools").required(true).multiple(true))]
pub(in crate::cli) struct Create {
    /// In whose name it is used: a login name
    #[arg(long, value_name = "NAME")]
    user: String,
    /// What it is for, so that you know later what to revoke
    #[arg(long, value_name = "WORDS")]
    name: String,
    /// The backend that it is good for; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// How long it counts, in whole days; the configuration has a ceiling (tokens.personal_max)
    #[arg(long = "for", value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// A tool that it may use, as the backend defines it now; give it once for each
    #[arg(long, value_name = "NAME", group = "tools")]
    tool: Vec<String>,
    /// The tools that say that they change nothing, as they are now
    #[arg(long, group = "tools", conflicts_with = "tool")]
    read_only: bool,
    /// All tools, as they are now
    #[arg(long, group = "tools", conflicts_with_all = ["tool", "read_only"])]
    all_tools: bool,
    /// Everything that the backend has or will have, however it changes
    #[arg(long, group = "tools", conflicts_with_all = ["tool", "read_only", "all_tools"])]
    everything: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    /// Of this person: a login name or an id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    page: PageQuery,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rm {
    /// The grants of the tokens, as `gateway token ls` prints them
    #[arg(value_name = "GRANT", required = true, num_args = 1..=100)]
    ids: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Find {
    /// Files to look through; standard input where there is none
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn create(gateway: &Gateway, asked: &Create) -> Result<Printed, Failed> {
    let tools = match (asked.read_only, asked.all_tools, asked.everything) {
        (true, _, _) => ToolsToGrant::ReadOnly,
        (_, true, _) => ToolsToGrant::Today,
        (_, _, true) => ToolsToGrant::Everything,
        _ => ToolsToGrant::Named(asked.tool.clone()),
    };
    let done = gateway.post::<CreateToken>(&TokenToCreate {
        user: asked.user.clone(),
        name: asked.name.clone(),
        backend: asked.backend.clone(),
        tools,
        seconds: asked.lasts.as_secs(),
    })?;
    let grant = &done.answer.grant;
    eprintln!(
        "in the name of {}, at {}, {}, until {}; grant {}. It is not shown again",
        grant.user_name,
        grant.resource,
        tools_in_words(grant),
        grant.expires,
        grant.id
    );
    Ok(Printed::sentence(done.body, done.answer.token))
}

pub(super) fn list(gateway: &Gateway, asked: &Ls) -> Result<Printed, Failed> {
    let page = gateway.get::<ListGrants>(&GrantsQuery {
        user: asked.user.clone(),
        client: Some(ClientId::PERSONAL_TOKEN.to_owned()),
        page: asked.page.clone(),
    })?;
    Ok(Printed::list(
        page.body,
        &page.answer.grants,
        &[
            ("GRANT", |grant| grant.id.clone()),
            ("NAME", |grant| grant.token_name.clone().unwrap_or_default()),
            ("PERSON", |grant| grant.user_name.clone()),
            ("RESOURCE", |grant| grant.resource.clone()),
            ("TOOLS", tools_in_words),
            ("SINCE", |grant| grant.created.clone()),
            ("LAST USED", |grant| {
                grant.last_used.clone().unwrap_or_default()
            }),
            ("UNTIL", |grant| grant.expires.clone()),
        ],
    ))
}

pub(super) fn remove(gateway: &Gateway, asked: &Rm) -> Result<Printed, Failed> {
    let done = gateway.post::<RevokeGrants>(&GrantsToRevoke::Grants(asked.ids.clone()))?;
    let revoked = counted(done.answer.revoked, "token")?;
    Ok(Printed::sentence(done.body, format!("revoked {revoked}")))
}

/// The gateway is asked by the grant that a token names: the token itself stays here.
pub(super) fn find(gateway: &Gateway, asked: &Find) -> Result<Printed, Failed> {
    let text = asked.text().map_err(Failed::usage)?;
    let grants = PersonalToken::find_in(&text).map(|token| token.grant().as_str().to_owned());
    let grants: BTreeSet<String> = grants.collect();
    let mut table = Table::new(["GRANT", "NAME", "PERSON", "UNTIL"]);
    for id in &grants {
        let query = IdQuery { id: id.clone() };
        let [name, person, until] = match gateway.get::<ShowGrant>(&query) {
            Ok(found) => {
                let grant = found.answer.grant;
                let name = grant.token_name.unwrap_or_default();
                [name, grant.user_name, grant.expires]
            }
            Err(failed) if failed.code == UNKNOWN => {
                let over = "does not count: ended, revoked, or another gateway's".to_owned();
                [String::new(), String::new(), over]
            }
            Err(failed) => return Err(failed),
        };
        table.row([id.clone(), name, person, until]);
    }
    if grants.is_empty() {
        return Err(Failed::unknown("there is no personal token in it"));
    }
    let body = serde_json::json!({ "grants": grants });
    Ok(Printed::table(body, &table))
}

impl Find {
    fn text(&self) -> Result<String, String> {
        if self.files.is_empty() {
            return super::standard_input();
        }
        let mut all = String::new();
        for path in &self.files {
            let bytes =
                std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            all.push_str(&String::from_utf8_lossy(&bytes));
            all.push('\n');
        }
        Ok(all)
    }
}

fn tools_in_words(grant: &GrantView) -> String {
    match &grant.tools {
        GrantedTools::All => "everything".to_owned(),
        GrantedTools::Named(tools) if tools.len() == 1 => "1 tool".to_owned(),
        GrantedTools::Named(tools) => format!("{} tools", tools.len()),
    }
}
