//! The page of a person's apps: what each may do, and the buttons that take it back.

mod elsewhere;
mod limits;
mod logins;
mod notice;

use askama::Template;
use http::StatusCode;

use self::elsewhere::ElsewhereLine;
use super::moment::Moment;
use super::page::{Forms, Frame, Page};
use super::passkeys::PasskeysLine;
use super::text::{LONGEST_NAME, ago, clean, exact, in_words, shown_name};
use super::tool_picker::{FEW_TOOLS, LONGEST_DESCRIPTION, Tool};
use gateway_core::clock::Timestamp;

pub use self::elsewhere::{Elsewhere, ElsewhereAccount};
pub use self::limits::{LimitUse, LimitsInUse};
pub use self::logins::{LinkForm, LinkedAccount, Logins, UnlinkForm};
pub use self::notice::AccountNotice;

/// The longest definition that is shown, in bytes. One that is longer can't be approved here.
const LONGEST_DEFINITION: usize = 20_000;

/// Shows a person which apps may act in their name.
#[derive(Clone, Debug)]
pub struct Account<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Whose page it is.
    pub user_name: &'a str,
    /// The time for which "ago" and "in" are said.
    pub now: Timestamp,
    /// What the person has just done, or why it was not done.
    pub notice: Option<AccountNotice>,
    /// The apps, in the order of the page.
    pub apps: Vec<App>,
    /// Whether there is more than the page shows.
    pub is_cut: bool,
    /// Proves that the log-out comes from this page.
    pub log_out_seal: &'a str,
    /// How the person logs in.
    pub logins: Logins<'a>,
    /// Whether people make tokens of their own here.
    pub has_tokens: bool,
    /// The apps that no organisation connects any more.
    pub withheld: Vec<WithheldApp>,
    /// The person's own accounts at backends.
    pub elsewhere: Vec<Elsewhere>,
    /// What the person uses of limits.
    pub limits: LimitsInUse,
}

/// An app that the person took back what an organisation had allowed it.
#[derive(Clone, Debug)]
pub struct WithheldApp {
    /// Its name, or its id.
    pub name: String,
    /// Its id.
    pub client: String,
    /// Proves that the form which lifts it comes from this page.
    pub seal: String,
}

/// An app with everything that it was allowed.
#[derive(Clone, Debug)]
pub struct App {
    /// The name that it gives itself.
    pub name: Option<String>,
    /// Who vouches for it.
    pub known: ClientOrigin,
    /// What it was allowed, newest first.
    pub connections: Vec<Connection>,
    /// Takes all of it back.
    pub revoke: RevokeForm,
}

/// How an app is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOrigin {
    /// It registered itself at this time.
    SelfRegistered(Timestamp),
    /// By this host, which describes it.
    Document(String),
    /// The operator named it in the configuration.
    Operator,
    /// It is the person, or whoever holds their tokens.
    Person,
    /// There is no record of it any more. Its identifier.
    Gone(String),
}

/// The hidden fields of a form that takes access back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevokeForm {
    /// The grants, parted by blanks.
    pub grants: String,
    /// Proves that the form comes from this page.
    pub seal: String,
}

/// What an app was allowed at one time.
#[derive(Clone, Debug)]
pub struct Connection {
    /// What the person calls it, if it is of a personal token.
    pub name: Option<String>,
    /// Where.
    pub place: GrantedResource,
    /// The scope.
    pub scope: String,
    /// What each part of it allows, in the operator's words; none where there are no such words.
    pub scope_words: Vec<String>,
    /// Which tools.
    pub allowed: AllowedTools,
    /// The organisation that allowed it, where the person was not asked.
    pub allowed_by: Option<String>,
    /// When.
    pub since: Timestamp,
    /// When it was used last.
    pub last_used: Option<Timestamp>,
    /// When it ends.
    pub ends: Timestamp,
    /// Whether use puts the end off.
    pub is_renewed: bool,
    /// The tools that are no longer what they were.
    pub changed: Vec<ChangedTool>,
    /// Whether the backend did not say how its tools are.
    pub is_unknown: bool,
    /// Takes this one back.
    pub revoke: RevokeForm,
}

/// Where an app may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantedResource {
    /// At the backend of this name.
    Backend(String),
    /// At a resource that the gateway serves no more.
    Gone(String),
}

/// Which tools an app may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedTools {
    /// All, also later ones.
    Everything,
    /// All that the scope covers, also later ones.
    EverythingOfItsScope,
    /// These, however they are defined.
    Named(Vec<String>),
    /// These, as they were.
    AsTheyWere(Vec<String>),
}

/// A tool that is no longer what was allowed.
#[derive(Clone, Debug)]
pub struct ChangedTool {
    /// Its name.
    pub name: String,
    /// What it is now; `None` if the backend does not offer it any more.
    pub now: Option<NewDefinition>,
}

/// What a tool says of itself now, and the form that approves exactly that.
#[derive(Clone, Debug)]
pub struct NewDefinition {
    /// What people are shown first.
    pub tool: Tool,
    /// All of it, as JSON; `None` if it is too long to be kept.
    pub whole: Option<String>,
    /// The grant that would allow it.
    pub grant: String,
    /// Stands for the definition.
    pub pin: String,
    /// Proves that the form comes from this page.
    pub seal: String,
}

impl Account<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let now = self.now;
        let mut lines = Numbers::default();
        let template = AccountTemplate {
            frame: self.frame,
            page: self,
            notice: self.notice.as_ref().map(NoticeLine::new),
            apps: self
                .apps
                .iter()
                .map(|app| AppCard::new(app, now, &mut lines))
                .collect(),
            elsewhere: self
                .elsewhere
                .iter()
                .map(|it| ElsewhereLine::new(it, now))
                .collect(),
            limits: self.limits.shown(),
        };
        // A provider's button leads away.
        let forms = if self.logins.links.is_empty() {
            Forms::Here
        } else {
            Forms::Beyond
        };
        Page::render(&template, forms)
    }
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountTemplate<'a> {
    frame: Frame<'a>,
    page: &'a Account<'a>,
    notice: Option<NoticeLine>,
    apps: Vec<AppCard<'a>>,
    elsewhere: Vec<ElsewhereLine<'a>>,
    limits: LimitsInUse,
}

pub(super) struct NoticeLine {
    pub(super) is_done: bool,
    pub(super) is_problem: bool,
    pub(super) words: String,
}

impl NoticeLine {
    pub(super) fn new(notice: &AccountNotice) -> Self {
        Self {
            is_done: notice.is_done(),
            is_problem: notice.status() != StatusCode::OK,
            words: notice.words(),
        }
    }
}

/// Tells parts of the document apart.
#[derive(Default)]
pub(super) struct Numbers(usize);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 += 1;
        self.0
    }
}

struct AppCard<'a> {
    number: usize,
    name: Option<String>,
    known: OriginLine<'a>,
    connections: Vec<ConnectionLine<'a>>,
    revoke: &'a RevokeForm,
}

enum OriginLine<'a> {
    SelfRegistered(String),
    Document(&'a str),
    Operator,
    Person,
    Gone(String),
}

pub(super) struct ConnectionLine<'a> {
    pub(super) number: usize,
    pub(super) name: Option<String>,
    pub(super) place: &'a GrantedResource,
    pub(super) scope: &'a str,
    pub(super) scope_words: &'a [String],
    pub(super) allowed: AllowedLine,
    pub(super) allowed_by: Option<&'a str>,
    pub(super) since: Moment,
    pub(super) last_used: Option<Moment>,
    pub(super) ends: Moment,
    pub(super) is_renewed: bool,
    pub(super) changed: Vec<ChangedLine<'a>>,
    pub(super) is_unknown: bool,
    pub(super) revoke: &'a RevokeForm,
}

/// What is allowed in words, and the names of the tools where it is not everything.
#[derive(Template)]
#[template(path = "allowed.html")]
pub(super) struct AllowedLine {
    words: String,
    tools: Vec<String>,
}

impl AllowedLine {
    fn new(allowed: &AllowedTools) -> Self {
        let (tools, one, several) = match allowed {
            AllowedTools::Everything => return Self::all("Everything, also what comes later"),
            AllowedTools::EverythingOfItsScope => {
                return Self::all("Everything that is covered above, also what comes later");
            }
            AllowedTools::Named(tools) => (
                tools,
                "This one, however the backend changes it",
                "however the backend changes them",
            ),
            AllowedTools::AsTheyWere(tools) => (
                tools,
                "This one, as it was when you allowed it",
                "as they were when you allowed them",
            ),
        };
        Self {
            words: match tools.len() {
                0 => "None".to_owned(),
                1 => one.to_owned(),
                count => format!("These {count}, {several}"),
            },
            tools: tools.iter().map(|name| clean(name, LONGEST_NAME)).collect(),
        }
    }

    fn all(words: &str) -> Self {
        Self {
            words: words.to_owned(),
            tools: Vec::new(),
        }
    }

    /// Whether the names are folded away.
    const fn is_long(&self) -> bool {
        self.tools.len() > FEW_TOOLS
    }
}

pub(super) struct ChangedLine<'a> {
    number: usize,
    name: String,
    now: Option<DefinitionLine<'a>>,
}

struct DefinitionLine<'a> {
    /// The name as calls spell it.
    value: &'a str,
    title: Option<String>,
    description: Option<String>,
    reads_only: bool,
    is_destructive: bool,
    whole: Option<String>,
    form: &'a NewDefinition,
}

impl<'a> AppCard<'a> {
    fn new(app: &'a App, now: Timestamp, numbers: &mut Numbers) -> Self {
        Self {
            number: numbers.next(),
            name: shown_name(app.name.as_deref()),
            known: match &app.known {
                ClientOrigin::SelfRegistered(at) => OriginLine::SelfRegistered(ago(now.since(*at))),
                ClientOrigin::Document(host) => OriginLine::Document(host),
                ClientOrigin::Operator => OriginLine::Operator,
                ClientOrigin::Person => OriginLine::Person,
                ClientOrigin::Gone(id) => OriginLine::Gone(clean(id, LONGEST_DESCRIPTION)),
            },
            connections: app
                .connections
                .iter()
                .map(|connection| ConnectionLine::new(connection, now, numbers))
                .collect(),
            revoke: &app.revoke,
        }
    }
}

impl<'a> ConnectionLine<'a> {
    pub(super) fn new(connection: &'a Connection, now: Timestamp, numbers: &mut Numbers) -> Self {
        Self {
            number: numbers.next(),
            name: connection
                .name
                .as_deref()
                .map(|name| clean(name, LONGEST_NAME)),
            place: &connection.place,
            scope: &connection.scope,
            scope_words: &connection.scope_words,
            allowed: AllowedLine::new(&connection.allowed),
            allowed_by: connection.allowed_by.as_deref(),
            since: Moment::before(connection.since, now),
            last_used: connection.last_used.map(|at| Moment::before(at, now)),
            ends: Moment {
                words: in_words(connection.ends.since(now)),
                exactly: connection.ends,
            },
            is_renewed: connection.is_renewed,
            changed: connection
                .changed
                .iter()
                .map(|tool| ChangedLine {
                    number: numbers.next(),
                    name: clean(&tool.name, LONGEST_NAME),
                    now: tool.now.as_ref().map(DefinitionLine::new),
                })
                .collect(),
            is_unknown: connection.is_unknown,
            revoke: &connection.revoke,
        }
    }
}

impl<'a> DefinitionLine<'a> {
    fn new(new: &'a NewDefinition) -> Self {
        let tool = &new.tool;
        let name = clean(&tool.name, LONGEST_NAME);
        let shown = |text: &Option<String>, longest| {
            let text = text.as_deref().map(|text| clean(text, longest));
            text.filter(|text| !text.is_empty() && *text != name)
        };
        Self {
            value: &tool.name,
            title: shown(&tool.title, LONGEST_NAME),
            description: shown(&tool.description, 4 * LONGEST_DESCRIPTION),
            reads_only: tool.read_only == Some(true),
            is_destructive: tool.destructive == Some(true) && tool.read_only != Some(true),
            whole: new.whole.as_deref().and_then(whole),
            form: new,
        }
    }
}

/// A definition to be read: laid out where there is room for that, else as it came.
fn whole(json: &str) -> Option<String> {
    let laid_out = || {
        let value: serde_json::Value = serde_json::from_str(json).ok()?;
        exact(
            &serde_json::to_string_pretty(&value).ok()?,
            LONGEST_DEFINITION,
        )
    };
    laid_out().or_else(|| exact(json, LONGEST_DEFINITION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_shown_to_its_end_or_not_at_all() {
        let nested = format!("{}0{}", "[".repeat(60), "]".repeat(60));
        let zeros = vec!["0"; 170].join(",");
        let padded = format!(
            r#"{{"_meta":{nested_zeros},"description":"{}the end"}}"#,
            "x".repeat(2000),
            nested_zeros = nested.replace('0', &zeros)
        );
        let shown = whole(&padded).unwrap();
        assert!(shown.contains("the end"), "{shown}");
        assert_eq!(whole(&format!("[{}]", vec!["0"; 10_001].join(","))), None);
        assert_eq!(whole(r#"{"a":1}"#).unwrap(), "{\n  \"a\": 1\n}");
    }
}
