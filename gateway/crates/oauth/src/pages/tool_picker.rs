//! The part of a page in which tools are chosen: radio buttons, boxes and a search within many, so that
//! it works without script.

use std::collections::BTreeSet;

use askama::Template;

use super::text::{LONGEST_NAME, clean};
use gateway_core::grants::consented_tools::{Choice, MemberChoice, NotGranted};

/// The longest description of a tool that is shown.
pub(super) const LONGEST_DESCRIPTION: usize = 240;
/// Up to this many tools the groups are open.
pub(super) const FEW_TOOLS: usize = 12;
/// Up to this many they are open where single tools are chosen.
const SEVERAL_TOOLS: usize = 60;
/// So many names stand on a group that is closed.
const NAMED: usize = 6;

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
        let choice = if tools.is_empty() {
            None
        } else if is_verified {
            Some(Choice::Today)
        } else if readers > 0 {
            Some(Choice::ReadOnly)
        } else {
            Some(Choice::Chosen(BTreeSet::new()))
        };
        let ticked = tools.iter().filter(|tool| is_verified || reads(tool));
        Self {
            choice,
            ticked: ticked.map(|tool| tool.name.clone()).collect(),
        }
    }
}

/// What the backend offers.
#[derive(Clone, Debug)]
pub enum Capabilities {
    /// Its live list of tools, and how many more it has that can't be shown.
    Tools(Vec<Tool>, usize),
    /// It could not be asked.
    Unknown,
}

/// One of several backends that are offered together.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What the names of its tools begin with.
    pub start: String,
    /// How it stands.
    pub status: MemberStatus,
}

/// How one of several backends stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberStatus {
    /// Its tools are listed.
    Listed,
    /// The person has no account there.
    NotConnected,
    /// It does not answer now.
    Away,
}

/// One tool, as its backend describes it.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The backend that it is of, where several are offered together.
    pub of: Option<String>,
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

/// What of a page is about the tools that are chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToolChoice<'a> {
    pub(super) capabilities: &'a Capabilities,
    /// Tools of the backend that can't be offered, each with the reason.
    pub(super) unfit: &'a [String],
    /// The backends that are offered together, if it is several.
    pub(super) members: &'a [Member],
    pub(super) preset: &'a Preset,
    pub(super) problem: Option<&'a NotGranted>,
    /// What the person looks for.
    pub(super) find: Option<&'a str>,
    pub(super) covers_everything: bool,
    /// Whether somebody vouches for whoever gets it, so that it may get what nobody saw.
    pub(super) is_verified: bool,
    /// What did not happen where there is a problem.
    pub(super) undone: &'static str,
    /// How to give up, as the end of a sentence.
    pub(super) way_out: &'static str,
}

/// The same, rendered: a template within that of a page.
#[derive(Template)]
#[template(path = "tool_picker.html")]
pub(super) struct ToolPicker<'a> {
    about: ToolChoice<'a>,
    groups: Vec<Group>,
    is_open: bool,
    pub(super) is_many: bool,
    find: Option<&'a str>,
    found: usize,
    count: usize,
    readers: usize,
    unshown: usize,
    /// Those whose tools are listed.
    members: Vec<MemberLine<'a>>,
    missing: Vec<&'a Member>,
    tools_section: ToolsSection,
}

impl<'a> ToolPicker<'a> {
    pub(super) fn new(about: ToolChoice<'a>) -> Self {
        let (tools, unshown, tools_section) = match about.capabilities {
            Capabilities::Unknown => (&[][..], 0, ToolsSection::Unknown),
            Capabilities::Tools(tools, unshown) if tools.is_empty() => {
                (&[][..], *unshown, ToolsSection::Nothing)
            }
            Capabilities::Tools(tools, unshown) => (&tools[..], *unshown, ToolsSection::Tools),
        };
        let changed = match about.problem {
            Some(NotGranted::Changed(names)) => names.clone(),
            _ => BTreeSet::new(),
        };
        let find = about.find.filter(|words| !words.trim().is_empty());
        let is_found = |tool: &Tool| find.is_none_or(|words| tool.has(words));
        let found = tools.iter().filter(|tool| is_found(tool)).count();
        let groups = group(tools, &about.preset.ticked, &changed, is_found);
        let lines = groups.iter().flat_map(|group| &group.tools);
        Self {
            readers: lines.filter(|tool| tool.reads_only).count(),
            is_open: match find {
                Some(_) => true,
                None if matches!(about.preset.choice, Some(Choice::Chosen(_))) => {
                    tools.len() <= SEVERAL_TOOLS
                }
                None => tools.len() <= FEW_TOOLS,
            },
            is_many: tools.len() > FEW_TOOLS,
            find,
            found: find.map_or(0, |_| found),
            count: tools.len(),
            unshown,
            members: member_lines(about.members, tools, about.preset),
            missing: about
                .members
                .iter()
                .filter(|member| member.status != MemberStatus::Listed)
                .collect(),
            groups,
            tools_section,
            about,
        }
    }

    /// Whether anything can be chosen.
    pub(super) fn can_choose(&self) -> bool {
        self.tools_section != ToolsSection::Unknown || self.about.is_verified
    }
}

#[derive(PartialEq, Eq)]
enum ToolsSection {
    Tools,
    Nothing,
    Unknown,
}

/// One of several backends, with what can be chosen of it.
struct MemberLine<'a> {
    name: &'a str,
    start: &'a str,
    count: usize,
    readers: usize,
    chosen: MemberChoice,
}

impl MemberLine<'_> {
    fn takes(&self, choice: &str) -> bool {
        self.chosen.as_str() == choice
    }
}

fn member_lines<'a>(members: &'a [Member], tools: &[Tool], preset: &Preset) -> Vec<MemberLine<'a>> {
    let line = |member: &'a Member| {
        let own = |tool: &&Tool| tool.of.as_deref() == Some(&member.name);
        let reads = |tool: &&Tool| own(tool) && Effect::from_annotations(tool) == Effect::Read;
        let count = tools.iter().filter(own).count();
        let readers = tools.iter().filter(reads).count();
        let first = match (&preset.choice, readers) {
            (Some(Choice::Today), _) => MemberChoice::Today,
            (_, 0) => MemberChoice::Nothing,
            _ => MemberChoice::ReadOnly,
        };
        let chosen = match &preset.choice {
            Some(Choice::ByMember(chosen)) => chosen.get(&member.start).copied(),
            _ => None,
        };
        MemberLine {
            name: &member.name,
            start: &member.start,
            count,
            readers,
            chosen: chosen.unwrap_or(first),
        }
    };
    members
        .iter()
        .map(line)
        .filter(|line| line.count > 0)
        .collect()
}

/// Tools of one effect, or those of any that were not looked for.
struct Group {
    /// The backend that they are of, where several are offered together.
    of: Option<String>,
    effect: Effect,
    is_found: bool,
    tools: Vec<ToolLine>,
}

impl Group {
    const fn heading(&self) -> &'static str {
        if self.is_found {
            self.effect.heading()
        } else {
            "Not what you look for"
        }
    }

    const fn note(&self) -> &'static str {
        if self.is_found {
            self.effect.note()
        } else {
            "All other tools. What is ticked here counts, too."
        }
    }

    const fn class(&self) -> &'static str {
        if self.is_found {
            self.effect.class()
        } else {
            "others"
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
    let mut backends: Vec<&Option<String>> = Vec::new();
    for tool in tools {
        if !backends.contains(&&tool.of) {
            backends.push(&tool.of);
        }
    }
    let effects = [Effect::Read, Effect::Change, Effect::Unlabelled];
    let of_effect = |of: &Option<String>, effect| Group {
        of: of.as_deref().map(|name| clean(name, LONGEST_NAME)),
        effect,
        is_found: true,
        tools: lines(&|tool| {
            tool.of == *of && Effect::from_annotations(tool) == effect && is_found(tool)
        }),
    };
    let others = Group {
        of: None,
        effect: Effect::Unlabelled,
        is_found: false,
        tools: lines(&|tool| !is_found(tool)),
    };
    backends
        .into_iter()
        .flat_map(|of| effects.map(|effect| of_effect(of, effect)))
        .chain([others])
        .filter(|group| !group.tools.is_empty())
        .collect()
}

impl Preset {
    /// Whether this way to choose stands chosen, as forms call it.
    fn takes(&self, choice: &str) -> bool {
        self.choice.as_ref().map(Choice::as_str) == Some(choice)
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
