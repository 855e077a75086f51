//! The form for a new personal token: what it shows, what came back, and what of it can be granted.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;

use super::form::entered;
use super::tokens::{refused, seal};
use crate::authorize::consent::tools::{
    self, BoxChange, Offer, ask_backend, choice, members, unfit_tools,
};
use crate::browser::{self, BrowserName, Cookie, PostedForm};
use crate::error_page::Refused;
use crate::form_token::{self, Purpose, SealError};
use crate::pages::{self, Capabilities, NewTokenForm, NewTokenProblem, Preset};
use crate::server::{AuthorizationServer, Settings};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::grants::Tools;
use gateway_core::grants::consented_tools::{self, Choice, PinnedTool};
use gateway_core::protocol::resource::Mount;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_upstream::Catalogue;

/// The longest name of a token, in characters.
const LONGEST_NAME: usize = 60;

const DAY: u64 = 24 * 3600;

/// The ends that can be chosen, in days, the shortest first; the operator's own ceiling is one where it
/// is lower than the next.
pub(super) fn ends(longest: Duration) -> Vec<u64> {
    let ceiling = longest.as_secs() / DAY;
    let mut ends: Vec<u64> = [30, 90, 365]
        .into_iter()
        .filter(|&days| days < ceiling)
        .collect();
    ends.push(ceiling);
    ends
}

/// What came back with the form.
pub(super) struct NewTokenRequest {
    pub(super) name: String,
    pub(super) days: u64,
    choice: Option<Choice>,
    ticked: BTreeSet<String>,
    /// The tools that the page showed; `None` if it could show none.
    shown: Option<Vec<PinnedTool>>,
    /// Tools are looked for, and nothing is made yet.
    find: Option<(String, BoxChange)>,
    /// Names this one rendering of the form; `None`: it was open for too long.
    nonce: Option<String>,
}

impl NewTokenRequest {
    fn empty(longest: Duration) -> Self {
        Self {
            name: String::new(),
            days: ends(longest)[0],
            choice: None,
            ticked: BTreeSet::new(),
            shown: None,
            find: None,
            nonce: None,
        }
    }

    /// Reads a form of ours, from the person and the browser that it was made for.
    pub(super) fn read(
        server: &AuthorizationServer,
        request: &Request,
        form: &PostedForm,
        session: &BrowserSession,
        mount: &Mount,
        longest: Duration,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let refuse = |reason| refused(&server.settings, request, reason);
        let browser = Cookie::Browser
            .read(&server.settings, request)
            .ok_or_else(|| refuse(Reason::CrossSiteForm))?;
        let shown = form.field("shown");
        let bound = super::form::bound(browser, session, &[&mount.name, shown]);
        let purpose = Purpose::MakeToken;
        let sealed = form.field("seal");
        let nonce = match form_token::unseal(&server.tags, purpose, &bound, sealed, now) {
            Ok(unsealed) => Some(unsealed.nonce),
            Err(SealError::Expired) => None,
            Err(SealError::Broken) => return Err(refuse(Reason::CrossSiteForm)),
        };
        let ticked: BTreeSet<String> = form.all("tool").map(str::to_owned).collect();
        let choice = choice(form, &ticked).ok_or_else(|| refuse(Reason::RequestMalformed))?;
        let ticking = match form.field("decision") {
            // Return was pressed in a field.
            "make" | "" => None,
            "find" => Some(BoxChange::Stays),
            "tick" => Some(BoxChange::On),
            "untick" => Some(BoxChange::Off),
            _ => return Err(refuse(Reason::RequestMalformed)),
        };
        let ends = ends(longest);
        let days = form.field("days").parse().ok();
        Ok(Self {
            name: pages::clean(form.field("name"), LONGEST_NAME),
            days: days.filter(|days| ends.contains(days)).unwrap_or(ends[0]),
            choice,
            ticked,
            shown: consented_tools::read(shown).ok_or_else(|| refuse(Reason::CrossSiteForm))?,
            find: ticking.map(|ticking| (tools::words_to_find(form), ticking)),
            nonce,
        })
    }

    /// What the token is made of: one a form, so that every replica makes the same one of the same press.
    pub(super) fn seed(&self, server: &AuthorizationServer, session: &BrowserSession) -> [u8; 32] {
        let key = server.tags.derive("personal token of a form");
        let nonce = self.nonce.as_deref().unwrap_or_default().as_bytes();
        key.bytes(&[nonce, session.user.as_str().as_bytes()])
    }
}

/// What can be granted of what was asked; or why nothing is, `None` where nothing is wrong.
pub(super) async fn judge(
    catalogue: &Catalogue,
    settings: &Settings,
    request: &Request,
    session: &BrowserSession,
    mount: &Mount,
    asked: &NewTokenRequest,
) -> Result<Tools, Option<NewTokenProblem>> {
    if asked.find.is_some() {
        return Err(None);
    }
    if asked.nonce.is_none() {
        return Err(Some(NewTokenProblem::PageExpired));
    }
    if asked.name.is_empty() {
        return Err(Some(NewTokenProblem::Nameless));
    }
    let listing = ask_backend(catalogue, request, mount, session).await;
    let scopes = settings.scopes.at(&mount.name);
    let scope = scopes.defaults();
    let live = listing
        .as_deref()
        .map(|listing| Offer::new(listing, settings, mount, &scope).pinned());
    // No tool is chosen where a browser sends no choice.
    let nothing = Choice::Chosen(BTreeSet::new());
    let choice = asked.choice.as_ref().unwrap_or(&nothing);
    consented_tools::grant(choice, asked.shown.as_deref(), live.as_deref(), true)
        .map_err(|problem| Some(NewTokenProblem::Tools(problem)))
}

/// The form, opened for the first time.
pub(super) async fn first(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    mount: &Mount,
    longest: Duration,
) -> Response {
    let asked = NewTokenRequest::empty(longest);
    show(server, request, session, mount, longest, asked, None).await
}

/// The form, with what was typed and chosen if it is not the first time.
pub(super) async fn show(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    mount: &Mount,
    longest: Duration,
    asked: NewTokenRequest,
    problem: Option<NewTokenProblem>,
) -> Response {
    let listing = ask_backend(&server.catalogue, request, mount, session).await;
    let scopes = server.settings.scopes.at(&mount.name);
    let scope = scopes.defaults();
    let offer = listing
        .as_deref()
        .map(|listing| Offer::new(listing, &server.settings, mount, &scope));
    let shown = Offer::spelled(offer.as_ref());
    let mut preset = Preset {
        choice: asked.choice,
        ticked: asked.ticked,
    };
    if let (Some((words, ticking)), Some(offer)) = (&asked.find, &offer) {
        preset = tools::ticked(&offer.shown, words, *ticking, preset);
    }
    let capabilities = Offer::on_page(offer.as_ref());
    if let (None, Capabilities::Tools(tools, _)) = (&preset.choice, &capabilities) {
        preset = Preset::first(tools, false);
    }
    let refused = problem.as_ref().and_then(NewTokenProblem::reason);
    let browser = BrowserName::from_request(&server.settings, request);
    let page = NewTokenForm {
        frame: browser::frame(&server.settings, request),
        user_name: &session.user_name,
        backend: &mount.name,
        name: &asked.name,
        ends: &ends(longest),
        days: asked.days,
        needs_logins: server
            .providers
            .all()
            .iter()
            .any(|provider| provider.max_age.is_some()),
        capabilities,
        unfit: listing.as_deref().map_or_else(Vec::new, unfit_tools),
        members: members(&server.catalogue, mount, listing.as_deref()),
        preset,
        covers_everything: scopes.is_everything(&scope),
        find: asked.find.as_ref().map(|(words, _)| words.as_str()),
        problem,
        shown: &shown,
        seal: &seal(
            &server.tags,
            &browser.value,
            session,
            [&mount.name, &shown],
            server.clock.now(),
        ),
    }
    .page();
    let response = browser.respond(&server.settings, StatusCode::OK, page);
    entered(request, session, response, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_those_that_people_know_up_to_the_ceiling() {
        let days = |days: u64| Duration::from_secs(days * DAY);
        for (ceiling, expected) in [
            (365, vec![30, 90, 365]),
            (90, vec![30, 90]),
            (60, vec![30, 60]),
            (30, vec![30]),
            (7, vec![7]),
            (100, vec![30, 90, 100]),
        ] {
            assert_eq!(ends(days(ceiling)), expected, "{ceiling}");
        }
    }
}
