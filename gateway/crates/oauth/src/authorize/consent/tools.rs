//! The tools and scopes that a person is shown: what the backend offers now, what of it the scope covers,
//! and how it travels with the form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::browser::PostedForm;
use crate::pages::{self, Capabilities, Preset, ScopeLine};
use crate::server::Settings;
use gateway_core::browser_session::BrowserSession;
use gateway_core::grants::Tools;
use gateway_core::grants::consented_tools::{self, Choice, MemberChoice, NotGranted, PinnedTool};
use gateway_core::policy::{Coverage, Operation, Scopes};
use gateway_core::protocol::resource::Mount;
use gateway_core::protocol::scope::{OFFLINE_ACCESS, Scope};
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_upstream::{Catalogue, CatalogueError, NoAccount, Tool, ToolListing};
use mcp_protocol::members::LONGEST_NAME;
use mcp_protocol::tool_definition::Labels;

/// The most that the names of the shown tools may take, in bytes: they come back with the answer,
/// ticked or not. The most tools are as many as a grant can name.
const MOST_NAMES: usize = 96 * 1024;

/// The longest text that tools are looked for by, in characters.
const LONGEST_FIND: usize = 100;

/// What the backend offers at this moment.
pub(crate) async fn ask_backend(
    catalogue: &Catalogue,
    request: &Request,
    mount: &Mount,
    session: &BrowserSession,
) -> Option<Arc<ToolListing>> {
    let user = Some(session.user_name.as_str());
    let listing = catalogue.refresh_or_wait(&mount.name, user).await;
    known(listing, request, mount)
}

/// What the backend offers, if it said so; the log says why it did not.
pub(super) fn known(
    listing: Result<Arc<ToolListing>, CatalogueError>,
    request: &Request,
    mount: &Mount,
) -> Option<Arc<ToolListing>> {
    listing
        .inspect_err(|error| {
            let reason = Reason::ToolsUnknown;
            log::warn!(
                event = "tools_unknown", reason, hint = reason.remedy(),
                backend = mount.name.as_str(), error:% = error, request_id = request.request_id.as_str(); "{}", reason.sentence()
            );
        })
        .ok()
}

/// What of a backend's tools a person is offered.
pub(crate) struct Offer<'a> {
    /// Those that a page shows, each name once, in the order of the backend. One whose name is no name
    /// (control characters, or longer than MCP allows) can't be granted by itself.
    pub(crate) shown: Vec<&'a Tool>,
    /// How many more the scope covers.
    unshown: usize,
}

impl<'a> Offer<'a> {
    /// The tools that the scope covers: no other is offered.
    pub(crate) fn new(
        listing: &'a ToolListing,
        settings: &Settings,
        mount: &Mount,
        scope: &Scope,
    ) -> Self {
        let covered = covered_tools(listing, settings, mount, scope);
        let mut names = BTreeSet::new();
        let mut room = MOST_NAMES;
        let fits = |tool: &&Tool| {
            let name = tool.name.as_str();
            let is_name =
                (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control);
            if !is_name || name.len() > room || !names.insert(name.to_owned()) {
                return false;
            }
            room -= name.len();
            true
        };
        let shown = covered.iter().copied().filter(fits);
        let shown: Vec<_> = shown.take(Tools::MOST).collect();
        Self {
            unshown: covered.len() - shown.len(),
            shown,
        }
    }

    /// As they are now.
    pub(crate) fn pinned(&self) -> Vec<PinnedTool> {
        let pinned = |tool: &&Tool| PinnedTool {
            name: tool.name.clone(),
            pin: tool.pin,
            reads_only: tool.annotations.read_only_hint == Some(true),
        };
        self.shown.iter().map(pinned).collect()
    }

    /// As a page shows it, which says so where the backend could not be asked.
    pub(crate) fn on_page(offer: Option<&Self>) -> Capabilities {
        offer.map_or(Capabilities::Unknown, |offer| {
            let shown = offer.shown.iter().map(|tool| described(tool));
            Capabilities::Tools(shown.collect(), offer.unshown)
        })
    }

    /// As it travels with the form.
    pub(crate) fn spelled(offer: Option<&Self>) -> String {
        consented_tools::spell(offer.map(Self::pinned).as_deref())
    }
}

/// The tools that a scope covers.
fn covered_tools<'a>(
    listing: &'a ToolListing,
    settings: &Settings,
    mount: &Mount,
    scope: &Scope,
) -> Vec<&'a Tool> {
    let table = &settings.scopes;
    let is_covered = |tool: &&Tool| {
        let (scopes, name) = match &tool.of {
            Some(of) => (table.at_member(&mount.name, &of.member), &of.name),
            None => (table.at(&mount.name), &tool.name),
        };
        let operation = Operation::Tool {
            name,
            reads_only: listing.labels(&tool.name).is_some_and(Labels::reads_only),
        };
        scopes.coverage(scope, operation) == Coverage::Covered
    };
    listing.tools.iter().filter(is_covered).collect()
}

/// What a scope allows, in the operator's words; nothing where there are none.
pub(crate) fn in_words<'a>(scopes: &'a Scopes, scope: &'a Scope) -> Vec<ScopeLine<'a>> {
    if !scopes.are_configured() {
        return Vec::new();
    }
    let line = |name| {
        let words = scopes.words(name)?;
        Some(ScopeLine { name, words })
    };
    let stays = ScopeLine {
        name: OFFLINE_ACCESS,
        words: "Stay connected for as long as is said below",
    };
    let stays = Some(stays).filter(|line| scope.contains(line.name));
    scope.iter().filter_map(line).chain(stays).collect()
}

/// Why there are no tools of today.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotToday {
    /// The backend could not be asked.
    #[error(transparent)]
    Unknown(#[from] CatalogueError),
    /// None that the scope covers, or more than a grant can name.
    #[error(transparent)]
    NotGranted(#[from] NotGranted),
}

/// The tools that the backend offers at this moment and the scope covers, as they are: what a person
/// gets with "all of today", where nobody is asked.
pub(crate) async fn today(
    catalogue: &Catalogue,
    settings: &Settings,
    mount: &Mount,
    scope: &Scope,
    user_name: &str,
) -> Result<Tools, NotToday> {
    let listing = catalogue.refresh_or_wait(&mount.name, Some(user_name));
    let listing = listing.await?;
    let today = Offer::new(&listing, settings, mount, scope).pinned();
    let today = Some(today.as_slice());
    Ok(consented_tools::grant(&Choice::Today, today, today, true)?)
}

/// What people are shown of a tool.
pub(crate) fn described(tool: &Tool) -> pages::Tool {
    pages::Tool {
        name: tool.name.clone(),
        of: tool.of.as_ref().map(|of| of.member.clone()),
        title: Some(tool.display_name().to_owned()),
        description: tool.description.clone(),
        read_only: tool.annotations.read_only_hint,
        destructive: tool.annotations.destructive_hint,
    }
}

/// The backends that are offered together, if it is several, each with how it stands.
pub(crate) fn members(
    catalogue: &Catalogue,
    mount: &Mount,
    listing: Option<&ToolListing>,
) -> Vec<pages::Member> {
    let Some(aggregate) = catalogue.aggregate(&mount.name) else {
        return Vec::new();
    };
    let names = aggregate.members.names().iter().enumerate();
    let member = |(at, name): (usize, &String)| {
        let missing = listing.map_or(&[][..], |listing| &listing.missing);
        let missing = missing.iter().find(|missing| missing.member == *name);
        pages::Member {
            name: name.clone(),
            start: aggregate.members.shown(at, ""),
            status: match missing.map(|missing| &missing.why) {
                None => pages::MemberStatus::Listed,
                Some(CatalogueError::NoAccount(NoAccount::Missing(..))) => {
                    pages::MemberStatus::NotConnected
                }
                Some(_) => pages::MemberStatus::Away,
            },
        }
    };
    names.map(member).collect()
}

/// What the backend lists and no call gets, with the reason.
pub(crate) fn unfit_tools(listing: &ToolListing) -> Vec<String> {
    let doubled = listing.doubled.iter().map(|name| {
        format!("{name}: two tools have this name, and a call could run either; no call of it is let through")
    });
    let unfit = listing.unfit.iter().map(ToString::to_string);
    doubled.chain(unfit).collect()
}

/// What becomes of the boxes of the tools that are found.
#[derive(Clone, Copy)]
pub(crate) enum BoxChange {
    Stays,
    On,
    Off,
}

/// What is chosen and ticked after the boxes of what is looked for were dealt with so. Nothing is
/// decided by it.
pub(crate) fn ticked(shown: &[&Tool], words: &str, ticking: BoxChange, preset: Preset) -> Preset {
    let Preset { choice, mut ticked } = preset;
    for tool in shown.iter().filter(|tool| described(tool).has(words)) {
        match ticking {
            BoxChange::Stays => {}
            BoxChange::On => {
                ticked.insert(tool.name.clone());
            }
            BoxChange::Off => {
                ticked.remove(&tool.name);
            }
        }
    }
    let choice = match ticking {
        BoxChange::Stays => choice,
        BoxChange::On | BoxChange::Off => Some(Choice::Chosen(ticked.clone())),
    };
    Preset { choice, ticked }
}

/// The way to choose that a form says; nothing where a browser that does not insist on a choice sends
/// none. `None` for what no form of ours says.
pub(crate) fn choice(form: &PostedForm, ticked: &BTreeSet<String>) -> Option<Option<Choice>> {
    Some(match form.field("tools") {
        "members" => Some(Choice::ByMember(by_member(form)?)),
        "read" => Some(Choice::ReadOnly),
        "today" => Some(Choice::Today),
        "all" => Some(Choice::Everything),
        "chosen" => Some(Choice::Chosen(ticked.clone())),
        "" => None,
        _ => return None,
    })
}

/// What is chosen of each of several backends.
fn by_member(form: &PostedForm) -> Option<BTreeMap<String, MemberChoice>> {
    let read = |said: &str| {
        let (start, choice) = said.split_once(' ')?;
        Some((start.to_owned(), MemberChoice::named(choice)?))
    };
    form.all("member").map(read).collect()
}

/// What a person looks for among the tools.
pub(crate) fn words_to_find(form: &PostedForm) -> String {
    let words = form.field("find").trim().chars();
    words.take(LONGEST_FIND).collect()
}
