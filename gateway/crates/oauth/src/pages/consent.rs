//! The consent page.

use std::collections::BTreeSet;
use std::time::Duration;

use askama::Template;

use super::page::{Forms, Frame, Page};
use super::text::{ago, clean, in_words};
use gateway_core::client::Registration;
use gateway_core::grants::consented_tools::Choice;
use gateway_core::protocol::redirect_uri::Destination;

/// The longest name of a client that is shown.
pub(super) const LONGEST_NAME: usize = 60;
/// The longest description of a tool that is shown.
pub(super) const LONGEST_DESCRIPTION: usize = 240;
/// Up to this many tools the groups are open.
pub(super) const FEW_TOOLS: usize = 12;
/// Up to this many they are open where single tools are chosen.
const SEVERAL_TOOLS: usize = 60;
/// So many names stand on a group that is closed.
const NAMED: usize = 6;

/// Asks a person whether an app may use a backend.
#[derive(Clone, Debug)]
pub struct Consent<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The name that the client gives itself.
    pub client_name: Option<&'a str>,
    /// How the client is known, which decides how far its name is believed.
    pub registration: Registration,
    /// The host of its metadata document, for a client that has one.
    pub vouched_by: Option<&'a str>,
    /// How long ago it was registered.
    pub registered: Duration,
    /// How it has changed since this person allowed it.
    pub changed: Option<Changed<'a>>,
    /// Names what the client is now; the answer must be about the same.
    pub client_as_shown: &'a str,
    /// The backend.
    pub backend: &'a str,
    /// The scope that would be granted.
    pub scope: &'a str,
    /// What each part of it allows, in the operator's words; none where `mcp` is the only scope.
    pub scopes: Vec<ScopeLine<'a>>,
    /// Whether it covers everything that the backend has.
    pub covers_everything: bool,
    /// Who is asked.
    pub user_name: &'a str,
    /// Where the answer goes.
    pub destination: &'a Destination,
    /// What it could do.
    pub capabilities: Capabilities,
    /// Tools of the backend that can't be offered, each with the reason.
    pub unfit: Vec<String>,
    /// What stands there chosen.
    pub preset: Preset,
    /// The shown tools in a form in which they come back with the answer.
    pub shown: &'a str,
    /// Why the page is shown again.
    pub problem: Option<ConsentProblem>,
    /// What the person looks for among the tools.
    pub find: Option<&'a str>,
    /// How long it could.
    pub lifetime: Duration,
    /// The whole authorization request, undecoded.
    pub authorization_request: &'a str,
    /// Proves that Allow and Deny come from this page.
    pub seal: &'a str,
    /// Proves that the log-out comes from this page.
    pub log_out_seal: &'a str,
}

/// One scope, as a person is told of it.
#[derive(Clone, Copy, Debug)]
pub struct ScopeLine<'a> {
    /// Its token.
    pub name: &'a str,
    /// What it allows.
    pub words: &'a str,
}

/// How a client that is known by its document differs from what the person allowed before.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// How long ago it was allowed.
    pub allowed: Duration,
    /// It had this name then.
    pub name: Option<&'a str>,
    /// Its answers could go elsewhere.
    pub redirect_uris: bool,
    /// It proved itself in another way, or with other keys.
    pub authentication: bool,
}

impl Changed<'_> {
    /// What changed, as the object of a sentence.
    fn what(&self) -> String {
        let name = self.name.map(|_| "its name");
        let uris = self.redirect_uris.then_some("where it may send you");
        let keys = self.authentication.then_some("how it proves who it is");
        let all: Vec<_> = [name, uris, keys].into_iter().flatten().collect();
        match all.as_slice() {
            [before @ .., last] if !before.is_empty() => {
                format!("{} and {last}", before.join(", "))
            }
            _ => all.join(""),
        }
    }
}

/// What stands chosen when the page is opened. Radio buttons and boxes, so that it works without
/// script.
#[derive(Clone, Debug, Default)]
pub struct Preset {
    /// One of the ways to choose; `None`: the person has to take one.
    pub choice: Option<Choice>,
    /// The boxes that are ticked for [`Choice::Chosen`].
    pub ticked: BTreeSet<String>,
}

impl Preset {
    /// What an app is offered at first. One that nobody vouches for starts with reading.
    pub fn first(tools: &[Tool], is_verified: bool) -> Self {
        let reads = |tool: &&Tool| Effect::from_annotations(tool) == Effect::Read;
        let readers = tools.iter().filter(reads).count();
        let choice = match is_verified {
            _ if tools.is_empty() => None,
            true => Some(Choice::Today),
            false if readers > 0 => Some(Choice::ReadOnly),
            false => Some(Choice::Chosen(BTreeSet::new())),
        };
        let ticked = tools.iter().filter(|tool| is_verified || reads(tool));
        Self {
            choice,
            ticked: ticked.map(|tool| tool.name.clone()).collect(),
        }
    }
}

/// Why the page is shown again after Allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsentProblem {
    /// These tools changed meanwhile.
    Changed(BTreeSet<String>),
    /// Nothing was chosen.
    Nothing,
    /// More was chosen than a token can carry.
    TooMany,
    /// The backend could not be asked.
    Unknown,
}

/// What the backend offers.
#[derive(Clone, Debug)]
pub enum Capabilities {
    /// Its live list of tools, and how many more it has that can't be shown.
    Tools(Vec<Tool>, usize),
    /// It could not be asked.
    Unknown,
}

/// One tool, as its backend describes it.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it says of itself.
    pub description: Option<String>,
    /// Whether it says that it changes nothing.
    pub read_only: Option<bool>,
    /// Whether it says that it may destroy something.
    pub destructive: Option<bool>,
}

impl Tool {
    /// Whether each word stands somewhere in its names or its description, in any case.
    pub fn has(&self, words: &str) -> bool {
        let texts = [
            Some(&self.name),
            self.title.as_ref(),
            self.description.as_ref(),
        ];
        let texts: Vec<String> = texts
            .into_iter()
            .flatten()
            .map(|text| text.to_lowercase())
            .collect();
        let has = |word: &str| texts.iter().any(|text| text.contains(word));
        words.to_lowercase().split_whitespace().all(has)
    }
}

impl Consent<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let (tools, unshown, tools_section) = match &self.capabilities {
            Capabilities::Unknown => (&[][..], 0, ToolsSection::Unknown),
            Capabilities::Tools(tools, unshown) if tools.is_empty() => {
                (&[][..], *unshown, ToolsSection::Nothing)
            }
            Capabilities::Tools(tools, unshown) => (&tools[..], *unshown, ToolsSection::Tools),
        };
        let changed = match &self.problem {
            Some(ConsentProblem::Changed(names)) => names.clone(),
            _ => BTreeSet::new(),
        };
        let find = self.find.filter(|words| !words.trim().is_empty());
        let is_found = |tool: &Tool| find.is_none_or(|words| tool.has(words));
        let found = tools.iter().filter(|tool| is_found(tool)).count();
        let groups = group(tools, &self.preset.ticked, &changed, is_found);
        let is_verified = self.registration != Registration::SelfRegistered;
        let readers = groups
            .iter()
            .flat_map(|group| &group.tools)
            .filter(|tool| tool.reads_only)
            .count();
        let template = ConsentTemplate {
            frame: self.frame,
            client_name: self
                .client_name
                .map(|name| clean(name, LONGEST_NAME))
                .filter(|name| !name.is_empty()),
            self_registered: self.registration == Registration::SelfRegistered,
            vouched_by: self
                .vouched_by
                .filter(|_| self.registration == Registration::MetadataDocument),
            registered: ago(self.registered),
            changed: self.changed.map(|changed| ChangedLine {
                allowed: ago(changed.allowed),
                name: changed.name.map(|name| clean(name, LONGEST_NAME)),
                what: changed.what(),
            }),
            client_as_shown: self.client_as_shown,
            backend: self.backend,
            scope: self.scope,
            scopes: &self.scopes,
            covers_everything: self.covers_everything,
            user_name: self.user_name,
            destination: self.destination,
            is_open: match find {
                Some(_) => true,
                None if self.preset.is_chosen() => tools.len() <= SEVERAL_TOOLS,
                None => tools.len() <= FEW_TOOLS,
            },
            is_many: tools.len() > FEW_TOOLS,
            find,
            found: find.map_or(0, |_| found),
            count: tools.len(),
            readers,
            unshown,
            unfit: &self.unfit,
            groups,
            tools_section,
            is_verified,
            preset: &self.preset,
            shown: self.shown,
            problem: self.problem.as_ref(),
            lifetime: in_words(self.lifetime),
            authorization_request: self.authorization_request,
            seal: self.seal,
            log_out_seal: self.log_out_seal,
        };
        Page::render(&template, Forms::Beyond)
    }
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentTemplate<'a> {
    frame: Frame<'a>,
    client_name: Option<String>,
    self_registered: bool,
    vouched_by: Option<&'a str>,
    registered: String,
    changed: Option<ChangedLine>,
    client_as_shown: &'a str,
    backend: &'a str,
    scope: &'a str,
    scopes: &'a [ScopeLine<'a>],
    covers_everything: bool,
    user_name: &'a str,
    destination: &'a Destination,
    groups: Vec<Group>,
    is_open: bool,
    is_many: bool,
    find: Option<&'a str>,
    found: usize,
    count: usize,
    readers: usize,
    unshown: usize,
    unfit: &'a [String],
    tools_section: ToolsSection,
    is_verified: bool,
    preset: &'a Preset,
    shown: &'a str,
    problem: Option<&'a ConsentProblem>,
    lifetime: String,
    authorization_request: &'a str,
    seal: &'a str,
    log_out_seal: &'a str,
}

struct ChangedLine {
    allowed: String,
    name: Option<String>,
    what: String,
}

#[derive(PartialEq, Eq)]
enum ToolsSection {
    Tools,
    Nothing,
    Unknown,
}

/// Tools of one effect, or those of any that were not looked for.
struct Group {
    effect: Effect,
    is_found: bool,
    tools: Vec<ToolLine>,
}

impl Group {
    const fn heading(&self) -> &'static str {
        match self.is_found {
            true => self.effect.heading(),
            false => "Not what you look for",
        }
    }

    const fn note(&self) -> &'static str {
        match self.is_found {
            true => self.effect.note(),
            false => "All other tools. What is ticked here counts, too.",
        }
    }

    const fn class(&self) -> &'static str {
        match self.is_found {
            true => self.effect.class(),
            false => "others",
        }
    }

    fn first(&self) -> &[ToolLine] {
        self.tools.get(..NAMED).unwrap_or(&self.tools)
    }

    fn more(&self) -> usize {
        self.tools.len().saturating_sub(NAMED)
    }
}

struct ToolLine {
    /// Tells lines apart in the document.
    number: usize,
    /// The name as calls spell it.
    value: String,
    is_ticked: bool,
    is_changed: bool,
    name: String,
    title: Option<String>,
    description: Option<String>,
    destructive: bool,
    reads_only: bool,
}

/// What calling a tool does, as far as its annotations say. The order is that of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Read,
    Change,
    Unlabelled,
}

impl Effect {
    fn from_annotations(tool: &Tool) -> Self {
        match (tool.read_only, tool.destructive) {
            (Some(true), _) => Self::Read,
            (Some(false), _) | (None, Some(_)) => Self::Change,
            (None, None) => Self::Unlabelled,
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Change => "Change things",
            Self::Unlabelled => "Not labelled: may change things",
        }
    }

    const fn note(self) -> &'static str {
        match self {
            Self::Read => "The backend says that these change nothing.",
            Self::Change => "These may add, alter or send something.",
            Self::Unlabelled => "The backend does not say whether these change anything.",
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change | Self::Unlabelled => "change",
        }
    }
}

fn group(
    tools: &[Tool],
    ticked: &BTreeSet<String>,
    changed: &BTreeSet<String>,
    is_found: impl Fn(&Tool) -> bool,
) -> Vec<Group> {
    let lines = |is_in: &dyn Fn(&Tool) -> bool| -> Vec<ToolLine> {
        let numbered = tools.iter().enumerate();
        let line = |(number, tool): (usize, &Tool)| ToolLine {
            number,
            is_ticked: ticked.contains(&tool.name) && !changed.contains(&tool.name),
            is_changed: changed.contains(&tool.name),
            ..ToolLine::new(tool)
        };
        numbered.filter(|(_, tool)| is_in(tool)).map(line).collect()
    };
    let of_effect = |effect| Group {
        effect,
        is_found: true,
        tools: lines(&|tool| Effect::from_annotations(tool) == effect && is_found(tool)),
    };
    let others = Group {
        effect: Effect::Unlabelled,
        is_found: false,
        tools: lines(&|tool| !is_found(tool)),
    };
    [Effect::Read, Effect::Change, Effect::Unlabelled]
        .map(of_effect)
        .into_iter()
        .chain([others])
        .filter(|group| !group.tools.is_empty())
        .collect()
}

impl Preset {
    fn is_read_only(&self) -> bool {
        self.choice == Some(Choice::ReadOnly)
    }

    fn is_today(&self) -> bool {
        self.choice == Some(Choice::Today)
    }

    fn is_chosen(&self) -> bool {
        matches!(self.choice, Some(Choice::Chosen(_)))
    }

    fn is_everything(&self) -> bool {
        self.choice == Some(Choice::Everything)
    }
}

impl ToolLine {
    fn new(tool: &Tool) -> Self {
        let name = clean(&tool.name, LONGEST_NAME);
        let shown = |text: &Option<String>, longest| {
            text.as_deref()
                .map(|text| clean(text, longest))
                .filter(|text| !text.is_empty() && *text != name)
        };
        Self {
            number: 0,
            value: tool.name.clone(),
            is_ticked: false,
            is_changed: false,
            title: shown(&tool.title, LONGEST_NAME),
            description: shown(&tool.description, LONGEST_DESCRIPTION),
            destructive: tool.destructive == Some(true) && tool.read_only != Some(true),
            reads_only: Effect::from_annotations(tool) == Effect::Read,
            name,
        }
    }
}
