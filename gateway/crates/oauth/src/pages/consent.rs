//! The consent page.

use std::net::IpAddr;
use std::time::Duration;

use askama::Template;

use super::page::{Forms, Frame, Page};
use super::text::{LONGEST_NAME, ago, clean, in_words, shown_name};
use super::tool_picker::{Capabilities, Member, Preset, ToolChoice, ToolPicker};
use gateway_core::client::Registration;
use gateway_core::grants::consented_tools::NotGranted;
use gateway_core::protocol::redirect_uri::Destination;

/// Asks a person whether an app may use a backend.
#[derive(Clone, Debug)]
pub struct Consent<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The name that the client gives itself.
    pub client_name: Option<&'a str>,
    /// How the client is known, which decides how far its name is believed.
    pub registration: Registration,
    /// Whether it is proved that it is the client that somebody vouches for.
    pub is_proved: bool,
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
    pub flow: AuthorizationFlow<'a>,
    /// What it could do.
    pub capabilities: Capabilities,
    /// Tools of the backend that can't be offered, each with the reason.
    pub unfit: Vec<String>,
    /// The backends that are offered together, if it is several.
    pub members: Vec<Member>,
    /// What stands there chosen.
    pub preset: Preset,
    /// The shown tools in a form in which they come back with the answer.
    pub shown: &'a str,
    /// Why the page is shown again.
    pub problem: Option<NotGranted>,
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

/// How an app asks.
#[derive(Clone, Debug)]
pub enum AuthorizationFlow<'a> {
    /// It sent the browser, which goes back to there.
    Browser(&'a Destination),
    /// From another machine, with a code that it shows.
    Device {
        /// Where it asked from.
        address: IpAddr,
        /// How long ago, in words.
        asked: String,
        /// The code.
        code: String,
    },
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

impl Consent<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let picker = ToolPicker::new(ToolChoice {
            capabilities: &self.capabilities,
            unfit: &self.unfit,
            members: &self.members,
            preset: &self.preset,
            problem: self.problem.as_ref(),
            find: self.find,
            covers_everything: self.covers_everything,
            is_verified: self.is_proved,
            undone: "Nothing was allowed",
            way_out: "press Deny",
        });
        let template = ConsentTemplate {
            frame: self.frame,
            page: self,
            client_name: shown_name(self.client_name),
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
            picker,
            lifetime: in_words(self.lifetime),
        };
        Page::render(&template, Forms::Beyond)
    }
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentTemplate<'a> {
    frame: Frame<'a>,
    page: &'a Consent<'a>,
    client_name: Option<String>,
    self_registered: bool,
    vouched_by: Option<&'a str>,
    registered: String,
    changed: Option<ChangedLine>,
    picker: ToolPicker<'a>,
    lifetime: String,
}

struct ChangedLine {
    allowed: String,
    name: Option<String>,
    what: String,
}
