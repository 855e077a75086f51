//! The pages of a person's own tokens: what there are, the form for a new one, and the one page that
//! shows it.

use std::net::IpAddr;
use std::time::Duration;

use askama::Template;
use url::form_urlencoded;

use super::account::{
    AccountNotice, Connection, ConnectionLine, GrantedResource, NoticeLine, Numbers,
};
use super::page::{Forms, Frame, Page};
use super::text::{LONGEST_NAME, clean, in_words};
use super::tool_picker::{Capabilities, Member, Preset, ToolChoice, ToolPicker};
use gateway_core::clock::Timestamp;
use gateway_core::grants::consented_tools::NotGranted;
use gateway_core::reason::Reason;

/// Shows a person their tokens.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Whose page it is.
    pub user_name: &'a str,
    /// The time for which "ago" and "in" are said.
    pub now: Timestamp,
    /// What the person has just done, or why it was not done.
    pub notice: Option<AccountNotice>,
    /// The tokens, newest first.
    pub tokens: Vec<OwnToken>,
    /// The backends that a token can be made for; none where tokens are switched off.
    pub backends: Vec<&'a str>,
    /// Proves that the log-out comes from this page.
    pub log_out_seal: &'a str,
}

/// One of a person's tokens.
#[derive(Clone, Debug)]
pub struct OwnToken {
    /// What it is called.
    pub name: String,
    /// Where it was used from last.
    pub from: Option<IpAddr>,
    /// What it may do, and its times.
    pub connection: Connection,
}

impl Tokens<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let mut numbers = Numbers::default();
        let tokens = self.tokens.iter().map(|token| TokenLine {
            name: clean(&token.name, LONGEST_NAME),
            from: token.from,
            line: ConnectionLine::new(&token.connection, self.now, &mut numbers),
        });
        let template = TokensTemplate {
            frame: self.frame,
            page: self,
            notice: self.notice.as_ref().map(NoticeLine::new),
            tokens: tokens.collect(),
            backends: self
                .backends
                .iter()
                .map(|name| BackendLink::new(name))
                .collect(),
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensTemplate<'a> {
    frame: Frame<'a>,
    page: &'a Tokens<'a>,
    notice: Option<NoticeLine>,
    tokens: Vec<TokenLine<'a>>,
    backends: Vec<BackendLink<'a>>,
}

struct BackendLink<'a> {
    name: &'a str,
    query: String,
}

impl<'a> BackendLink<'a> {
    fn new(name: &'a str) -> Self {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("backend", name);
        Self {
            name,
            query: query.finish(),
        }
    }
}

struct TokenLine<'a> {
    name: String,
    from: Option<IpAddr>,
    line: ConnectionLine<'a>,
}

/// Asks what a new token is to be.
#[derive(Clone, Debug)]
pub struct NewTokenForm<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// In whose name it will be used.
    pub user_name: &'a str,
    /// Where.
    pub backend: &'a str,
    /// What was typed as its name.
    pub name: &'a str,
    /// The ends that can be chosen, in days.
    pub ends: &'a [u64],
    /// The one that is chosen.
    pub days: u64,
    /// Whether identity providers say who people are, for a time.
    pub needs_logins: bool,
    /// What it could do.
    pub capabilities: Capabilities,
    /// Tools of the backend that can't be offered, each with the reason.
    pub unfit: Vec<String>,
    /// The backends that are offered together, if it is several.
    pub members: Vec<Member>,
    /// What stands there chosen.
    pub preset: Preset,
    /// Whether the default scope covers everything that the backend has.
    pub covers_everything: bool,
    /// What the person looks for among the tools.
    pub find: Option<&'a str>,
    /// Why the page is shown again.
    pub problem: Option<NewTokenProblem>,
    /// The shown tools in a form in which they come back with the answer.
    pub shown: &'a str,
    /// Proves that the answer comes from this page.
    pub seal: &'a str,
}

/// Why no token was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewTokenProblem {
    /// It has no name.
    Nameless,
    /// The person has as many as one may have.
    TooMany,
    /// The page was open for too long, or a token was made with it that counts no more or is another one.
    PageExpired,
    /// What was chosen can't be granted.
    Tools(NotGranted),
}

impl NewTokenProblem {
    /// Why it is refused; `None` where the person has to say something else.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::TooMany => Some(Reason::PersonalTokensTooMany),
            Self::PageExpired => Some(Reason::PageExpired),
            Self::Nameless | Self::Tools(_) => None,
        }
    }
}

impl NewTokenForm<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let tools = match &self.problem {
            Some(NewTokenProblem::Tools(problem)) => Some(problem),
            _ => None,
        };
        let alert = match &self.problem {
            Some(NewTokenProblem::Nameless) => Some("No token was made: give it a name."),
            Some(NewTokenProblem::TooMany) => Some(
                "No token was made: you have 100, which is as many as one person may have. Revoke some first.",
            ),
            Some(NewTokenProblem::PageExpired) => Some(
                "No token was made: this page was used before, or was open for too long. Press the button again.",
            ),
            Some(NewTokenProblem::Tools(_)) | None => None,
        };
        let template = NewTokenTemplate {
            frame: self.frame,
            page: self,
            alert,
            is_nameless: self.problem == Some(NewTokenProblem::Nameless),
            ends: self
                .ends
                .iter()
                .map(|&days| EndLine {
                    days,
                    words: in_words(Duration::from_secs(days * 24 * 3600)),
                    is_chosen: days == self.days,
                })
                .collect(),
            picker: ToolPicker::new(ToolChoice {
                capabilities: &self.capabilities,
                unfit: &self.unfit,
                members: &self.members,
                preset: &self.preset,
                problem: tools,
                find: self.find,
                covers_everything: self.covers_everything,
                is_verified: true,
                undone: "No token was made",
                way_out: "go back",
            }),
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "new_token.html")]
struct NewTokenTemplate<'a> {
    frame: Frame<'a>,
    page: &'a NewTokenForm<'a>,
    alert: Option<&'static str>,
    is_nameless: bool,
    ends: Vec<EndLine>,
    picker: ToolPicker<'a>,
}

struct EndLine {
    days: u64,
    words: String,
    is_chosen: bool,
}

/// Shows a new token, once.
#[derive(Clone, Copy, Debug)]
pub struct MadeToken<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// In whose name it is used.
    pub user_name: &'a str,
    /// What it is called.
    pub name: &'a str,
    /// The token itself; `None`: it was shown before.
    pub token: Option<&'a str>,
    /// How long it lasts.
    pub lasts: Duration,
    /// The backend that it is for.
    pub backend: &'a str,
    /// The backend's MCP URL.
    pub mcp: &'a str,
}

impl MadeToken<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let template = MadeTokenTemplate {
            frame: self.frame,
            page: self,
            name: clean(self.name, LONGEST_NAME),
            lasts: in_words(self.lasts),
        };
        Page::render(&template, Forms::None)
    }
}

#[derive(Template)]
#[template(path = "made_token.html")]
struct MadeTokenTemplate<'a> {
    frame: Frame<'a>,
    page: &'a MadeToken<'a>,
    name: String,
    lasts: String,
}
