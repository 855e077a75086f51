//! The answer to the consent page: read once, from our page and from the person it was shown to.
//!
//! Not: what comes of it (`consent`).

use std::collections::BTreeSet;

use http::StatusCode;

use super::tools::{BoxChange, choice, words_to_find};
use crate::browser::{self, Cookie, PostedForm};
use crate::error_page::{self, Refused};
use crate::form_token::{self, Purpose, SealError, Unsealed};
use crate::server::Settings;
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::grants::consented_tools::{self, Choice, PinnedTool};
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, TagKey};
use gateway_store::{FormPage, Key, Records, StoreError, Submission};

/// An answer that came from our page, from the person it was shown to.
pub(super) struct Answer {
    pub(super) session: BrowserSession,
    pub(super) raw_query: String,
    pub(super) client_as_shown: String,
    pub(super) decision: Decision,
    /// The tools that the page showed; `None` if it could show none.
    pub(super) shown: Option<Vec<PinnedTool>>,
    pub(super) ticked: BTreeSet<String>,
    /// Stands for the whole decision.
    said: String,
    /// What is looked for.
    pub(super) find: String,
    unsealed: Unsealed,
}

pub(super) enum Decision {
    Allow(Choice),
    Deny,
    /// Not decided yet: tools are looked for.
    Find(BoxChange, Option<Choice>),
}

impl Answer {
    /// Reads the answer that the person of `session` gave.
    pub(super) fn read(
        settings: &Settings,
        tags: &TagKey,
        request: &Request,
        form: &PostedForm,
        session: BrowserSession,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let raw_query = browser::authorization_request(form.field("request"));
        let refuse = |reason: Reason| refuse(settings, request, reason, raw_query);
        let browser = Cookie::Browser.read(settings, request);
        let (Some(raw_query), Some(browser)) = (raw_query, browser) else {
            return Err(refuse(Reason::CrossSiteForm));
        };
        let as_shown = form.field("client");
        let shown = form.field("shown");
        let bound = bound(browser, &session, raw_query, [as_shown, shown]);
        let unsealed = form_token::unseal(tags, Purpose::Consent, &bound, form.field("seal"), now)
            .map_err(|error| match error {
                SealError::Broken => refuse(Reason::CrossSiteForm),
                SealError::Expired => refuse(Reason::PageExpired),
            })?;
        let ticked: BTreeSet<String> = form.all("tool").map(str::to_owned).collect();
        let choice = choice(form, &ticked).ok_or_else(|| refuse(Reason::RequestMalformed))?;
        let decision = match form.field("decision") {
            "deny" => Decision::Deny,
            // No tool is chosen then.
            "allow" => Decision::Allow(choice.unwrap_or(Choice::Chosen(BTreeSet::new()))),
            "find" => Decision::Find(BoxChange::Stays, choice),
            "tick" => Decision::Find(BoxChange::On, choice),
            "untick" => Decision::Find(BoxChange::Off, choice),
            _ => return Err(refuse(Reason::RequestMalformed)),
        };
        let pressed = [form.field("decision"), form.field("tools")];
        let pressed: Vec<&str> = pressed.into_iter().chain(form.all("member")).collect();
        let said = said(tags, &pressed, &ticked);
        let shown = consented_tools::read(shown).ok_or_else(|| refuse(Reason::CrossSiteForm))?;
        Ok(Self {
            session,
            raw_query: raw_query.to_owned(),
            client_as_shown: as_shown.to_owned(),
            decision,
            shown,
            ticked,
            said,
            find: words_to_find(form),
            unsealed,
        })
    }

    /// An answer counts once; one that led to another page did not count. Within a minute the same
    /// one may come again: it is answered as the first.
    pub(super) async fn use_up(
        &self,
        settings: &Settings,
        records: &Records,
        request: &Request,
        now: Timestamp,
    ) -> Result<Submission, Refused> {
        let (form, expires) = (self.form(), self.unsealed.expires);
        match records.press(&form, &self.said, expires, now).await? {
            Submission::Before => Err(refuse(
                settings,
                request,
                Reason::PageExpired,
                Some(&self.raw_query),
            )),
            pressed => Ok(pressed),
        }
    }

    pub(super) async fn is_repeated(
        &self,
        records: &Records,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let lately = records.pressed_lately(&self.form(), now).await?;
        Ok(lately.is_some_and(|said| said == self.said))
    }

    /// Names this one rendering of the page.
    fn form(&self) -> Key {
        Key::form_answer(FormPage::Consent, &self.unsealed.nonce)
    }

    /// The code that Allow gives: one a page, so that every replica gives the same one for the same
    /// press, without keeping it. Nobody without the key can derive it.
    pub(super) fn code(&self, tags: &TagKey) -> Secret {
        let key = tags.derive("authorization code");
        let user = self.session.user.as_str().as_bytes();
        key.secret(&[self.unsealed.nonce.as_bytes(), user])
    }
}

/// The page that says why an answer is not taken, with a link to ask anew; logged.
pub(super) fn refuse(
    settings: &Settings,
    request: &Request,
    reason: Reason,
    raw_query: Option<&str>,
) -> Refused {
    error_page::log("consent_refused", request, reason);
    let status = StatusCode::FORBIDDEN;
    Refused::from(error_page::explained(
        settings, request, status, reason, None, raw_query,
    ))
}

/// A short text that stands for what was pressed and ticked.
fn said(tags: &TagKey, pressed: &[&str], ticked: &BTreeSet<String>) -> String {
    let ticked = ticked.iter().map(String::as_str);
    let parts = pressed.iter().copied().chain(ticked);
    let parts: Vec<&[u8]> = parts.map(str::as_bytes).collect();
    tags.derive("consent answer").tag(&parts)
}

/// What must be the same when the answer comes back: what was shown, too. The person and the
/// browser, not the session: somebody who logs in again in a second tab can still answer in the
/// first.
pub(super) fn bound<'a>(
    browser: &'a str,
    session: &'a BrowserSession,
    raw_query: &'a str,
    [client, tools]: [&'a str; 2],
) -> [&'a [u8]; 5] {
    [
        browser.as_bytes(),
        session.user.as_str().as_bytes(),
        raw_query.as_bytes(),
        client.as_bytes(),
        tools.as_bytes(),
    ]
}
