//! The consent page and its answer: what a person is asked before an app gets a code.
//!
//! Consent is asked every time. Nothing is stored for a page that was only looked at; the answer
//! carries the whole authorization request, which is judged anew, and what the page showed of each
//! tool, which is compared with what the backend offers at that moment.

mod answer;
mod denied;
pub(crate) mod tools;

use http::StatusCode;
use rand::rngs::OsRng;

use self::answer::{Answer, Decision, bound, refuse};
pub(super) use self::denied::deny_at_once;
use self::denied::told;
use self::tools::{BoxChange, Offer, ask_backend, in_words, known, members, unfit_tools};
use crate::authorize::next_step::{Consented, NextStep};
use crate::authorize::request::{AuthorizationFlow, AuthorizationRequest, AuthorizeRefusal};
use crate::authorize::validate::validate;
use crate::browser::{self, BrowserName};
use crate::clients::Clients;
use crate::error_page::{self, Refused};
use crate::form_token::{self, Purpose};
use crate::pages::{self, Capabilities, Changed, Consent, Preset, Waiting};
use crate::server::{AuthorizationServer, Settings};
use crate::{clients, device, session};
use gateway_core::browser_session::BrowserSession;
use gateway_core::client::metadata_document::DocumentUrl;
use gateway_core::client::{Change, Client};
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::consented_tools::{self, Choice, NotGranted};
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::{Key, Records, StoreError, Submission};
use gateway_upstream::{Catalogue, ToolListing};

/// What the page has from the time before, where it is not the first.
#[derive(Debug, Default)]
struct PageState<'a> {
    problem: Option<NotGranted>,
    preset: Preset,
    find: Option<&'a str>,
}

/// What the consent page is made of, and what an answer to it is judged by.
#[derive(Clone, Copy)]
pub(super) struct ConsentDesk<'a> {
    settings: &'a Settings,
    records: &'a Records,
    tags: &'a TagKey,
    catalogue: &'a Catalogue,
    clock: Clock,
}

impl AuthorizationServer {
    pub(super) fn consent_desk(&self) -> ConsentDesk<'_> {
        ConsentDesk {
            settings: &self.settings,
            records: &self.records,
            tags: &self.tags,
            catalogue: &self.catalogue,
            clock: self.clock,
        }
    }
}

/// The consent page.
pub(super) async fn page(
    desk: ConsentDesk<'_>,
    request: &Request,
    session: &BrowserSession,
    asked: &AuthorizationRequest,
) -> Response {
    if let Some(answered) = answered(desk.settings, request, asked) {
        return answered;
    }
    let (name, user) = (&asked.mount().name, session.user_name.as_str());
    let found = desk.catalogue.listing_for_page(name, Some(user)).await;
    if let (Ok(None), Some(raw_query)) = (&found, browser::authorization_request(asked.raw_query()))
    {
        return waiting(desk.catalogue, desk.settings, request, name, raw_query);
    }
    let listing = match found {
        Ok(listing) => listing,
        Err(error) => known(Err(error), request, asked.mount()),
    };
    show(desk, request, session, asked, listing.as_deref(), None).await
}

/// The page that is shown while the backend has not answered, and asks for this one again.
fn waiting(
    catalogue: &Catalogue,
    settings: &Settings,
    request: &Request,
    backend: &str,
    raw_query: &str,
) -> Response {
    let longest = pages::in_words(catalogue.longest_start(backend));
    let page = Waiting {
        frame: browser::frame(settings, request),
        backend,
        longest: &longest,
        authorization_request: raw_query,
    }
    .page();
    pages::respond(StatusCode::OK, page, settings.issuer.is_https())
}

fn flow_on_page(flow: &AuthorizationFlow, now: Timestamp) -> pages::AuthorizationFlow<'_> {
    match flow {
        AuthorizationFlow::Browser(callback, _) => {
            pages::AuthorizationFlow::Browser(callback.redirect_uri().destination())
        }
        AuthorizationFlow::Device(kept) => pages::AuthorizationFlow::Device {
            address: kept.asked.address,
            asked: pages::ago(now.since(kept.asked.asked)),
            code: kept.asked.user_code.shown(),
        },
    }
}

/// The page after the answer to an app on another machine, if there is one: it is answered once.
fn answered(
    settings: &Settings,
    request: &Request,
    asked: &AuthorizationRequest,
) -> Option<Response> {
    match asked.flow() {
        AuthorizationFlow::Device(kept) if kept.asked.answer.is_some() => {
            Some(device::done(settings, request, asked, &kept.asked))
        }
        AuthorizationFlow::Browser(..) | AuthorizationFlow::Device(_) => None,
    }
}

/// Renders the page over what the backend offers; `again` says why, where it is not the first time.
async fn show(
    desk: ConsentDesk<'_>,
    request: &Request,
    session: &BrowserSession,
    asked: &AuthorizationRequest,
    listing: Option<&ToolListing>,
    again: Option<PageState<'_>>,
) -> Response {
    let (settings, now) = (desk.settings, desk.clock.now());
    let Some(raw_query) = browser::authorization_request(asked.raw_query()) else {
        let (status, reason) = (StatusCode::BAD_REQUEST, Reason::RequestMalformed);
        let detail = "the authorization request is too long or not plain ASCII";
        return error_page::page(settings, request, status, reason, Some(detail));
    };
    let (client, mount, scope) = (asked.client(), asked.mount(), asked.scope());
    let scopes = settings.scopes.at(&mount.name);
    let browser = BrowserName::from_request(settings, request);
    let changed = change(desk.records, settings, session, client, now);
    let change = match changed.await {
        Ok(change) => change,
        Err(error) => return Refused::from(error).page(desk.settings, request),
    };
    let as_shown = as_shown(client);
    let offer = listing.map(|listing| Offer::new(listing, settings, mount, scope));
    let shown = Offer::spelled(offer.as_ref());
    let bound = bound(&browser.value, session, raw_query, [&as_shown, &shown]);
    let address = DocumentUrl::parse(&client.id).and_then(Result::ok);
    let capabilities = Offer::on_page(offer.as_ref());
    let again = again.unwrap_or_default();
    let page = Consent {
        frame: browser::frame(settings, request),
        client_name: client.name.as_deref(),
        registration: client.registration,
        is_proved: asked.is_proved(),
        vouched_by: address.as_ref().map(DocumentUrl::host),
        registered: now.since(client.registered),
        changed: change.as_ref().map(|change| Changed {
            allowed: now.since(change.allowed),
            name: change.name.as_deref(),
            redirect_uris: change.redirect_uris,
            authentication: change.authentication,
        }),
        client_as_shown: &as_shown,
        backend: &mount.name,
        scope: &scope.to_string(),
        scopes: in_words(scopes, scope),
        covers_everything: scopes.is_everything(scope),
        user_name: &session.user_name,
        flow: flow_on_page(asked.flow(), now),
        unfit: listing.map_or_else(Vec::new, unfit_tools),
        members: members(desk.catalogue, mount, listing),
        preset: again.preset(&capabilities, asked.is_proved()),
        capabilities,
        shown: &shown,
        problem: again.problem,
        find: again.find,
        lifetime: settings.longest_grant(client),
        authorization_request: raw_query,
        seal: &form_token::seal(desk.tags, Purpose::Consent, &bound, now, &mut OsRng),
        log_out_seal: &session::log_out_seal(desk.tags, &browser, session, now),
    }
    .page();
    browser.respond(settings, StatusCode::OK, page)
}

impl PageState<'_> {
    /// What is chosen and ticked at first, where nobody has chosen yet.
    fn preset(&self, capabilities: &Capabilities, is_proved: bool) -> Preset {
        match capabilities {
            _ if self.preset.choice.is_some() => self.preset.clone(),
            Capabilities::Tools(tools, _) => Preset::first(tools, is_proved),
            Capabilities::Unknown => Preset::default(),
        }
    }
}

/// `POST /consent`: what comes after the person's answer.
pub(super) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<NextStep, Refused> {
    let form = browser::posted_form(&server.settings, request)?;
    let Some((_, session)) =
        session::current_session(server.ways_in(), &server.records, request, now).await?
    else {
        let raw_query = browser::authorization_request(form.field("request"));
        return Ok(NextStep::LoginAgain(raw_query.map(str::to_owned)));
    };
    let answer = Answer::read(&server.settings, &server.tags, request, &form, session, now)?;
    judge(
        server.consent_desk(),
        server.clients(),
        request,
        answer,
        now,
    )
    .await
}

/// The request is judged anew: the client may be gone, the configuration another, and the tools no
/// longer those that the page showed.
async fn judge(
    desk: ConsentDesk<'_>,
    clients: Clients<'_>,
    request: &Request,
    answer: Answer,
    now: Timestamp,
) -> Result<NextStep, Refused> {
    let asked = match validate(clients, desk.tags, request, &answer.raw_query, now).await {
        Ok(asked) => asked,
        Err(AuthorizeRefusal::Page(reason, detail)) => {
            let (status, detail) = (StatusCode::BAD_REQUEST, Some(detail.as_str()));
            return Ok(error_page::page(desk.settings, request, status, reason, detail).into());
        }
        Err(AuthorizeRefusal::Redirect(callback, error)) => {
            return Ok(callback.refused(&error).into());
        }
        Err(AuthorizeRefusal::TypeCode) => return Ok(device::type_code().into()),
        Err(AuthorizeRefusal::Fault(error)) => return Err(error.into()),
        Err(AuthorizeRefusal::NotNow(reason)) => return Err(Refused::Unknown(reason)),
    };
    // What was allowed is the client that the page showed, and no other under its id.
    if as_shown(asked.client()) != answer.client_as_shown {
        let query = Some(asked.raw_query());
        return Err(refuse(desk.settings, request, Reason::ClientChanged, query));
    }
    if let Some(answered) = answered(desk.settings, request, &asked) {
        return Ok(answered.into());
    }
    match &answer.decision {
        Decision::Find(ticking, choice) => {
            let (ticking, choice) = (*ticking, choice.clone());
            let page = find(desk, request, &answer, &asked, ticking, choice).await;
            Ok(page.into())
        }
        Decision::Deny => deny(desk.settings, desk.records, request, &answer, &asked, now).await,
        Decision::Allow(choice) => {
            let choice = choice.clone();
            allow(desk, request, answer, asked, choice, now).await
        }
    }
}

async fn deny(
    settings: &Settings,
    records: &Records,
    request: &Request,
    answer: &Answer,
    asked: &AuthorizationRequest,
    now: Timestamp,
) -> Result<NextStep, Refused> {
    let pressed = answer.use_up(settings, records, request, now).await?;
    let (denied, counts) = match asked.flow() {
        AuthorizationFlow::Browser(callback, _) => (callback.denied(), true),
        AuthorizationFlow::Device(kept) => {
            device::deny(records, settings, request, asked, kept, now).await?
        }
    };
    if pressed == Submission::Again || !counts {
        return Ok(denied.into());
    }
    Ok(told(request, &answer.session, asked, denied).into())
}

async fn allow(
    desk: ConsentDesk<'_>,
    request: &Request,
    answer: Answer,
    asked: AuthorizationRequest,
    choice: Choice,
    now: Timestamp,
) -> Result<NextStep, Refused> {
    // The same press again leads to the same place, whatever the backend says by now.
    let code = answer.code(desk.tags);
    if let AuthorizationFlow::Browser(callback, _) = asked.flow()
        && answer.is_repeated(desk.records, now).await?
        && desk.records.code(&code.hash(), now).await?.is_some()
    {
        return Ok(callback.granted(&code).into());
    }
    let listing = ask_backend(desk.catalogue, request, asked.mount(), &answer.session).await;
    let listing = listing.as_deref();
    let (mount, scope) = (asked.mount(), asked.scope());
    let offer = listing.map(|listing| Offer::new(listing, desk.settings, mount, scope));
    let live = offer.map(|offer| offer.pinned());
    let shown = answer.shown.as_deref();
    match consented_tools::grant(&choice, shown, live.as_deref(), asked.is_proved()) {
        Ok(tools) => {
            answer
                .use_up(desk.settings, desk.records, request, now)
                .await?;
            Ok(NextStep::IssueCode(Box::new(Consented {
                session: answer.session,
                asked,
                tools,
                code,
            })))
        }
        Err(problem) => {
            log_problem(request, &answer, asked.client(), &problem);
            let again = PageState {
                problem: Some(problem),
                preset: Preset {
                    choice: Some(choice).filter(|_| answer.shown.is_some()),
                    ticked: answer.ticked,
                },
                find: None,
            };
            let session = &answer.session;
            let page = show(desk, request, session, &asked, listing, Some(again)).await;
            Ok(page.into())
        }
    }
}

/// Looks for tools: the page again, with the tools that were found first, and what was chosen and
/// ticked as it was. Nothing is decided by it.
async fn find(
    desk: ConsentDesk<'_>,
    request: &Request,
    answer: &Answer,
    asked: &AuthorizationRequest,
    ticking: BoxChange,
    choice: Option<Choice>,
) -> Response {
    let (session, mount) = (&answer.session, asked.mount());
    let listing = ask_backend(desk.catalogue, request, mount, session).await;
    let offer = listing
        .as_deref()
        .map(|listing| Offer::new(listing, desk.settings, mount, asked.scope()));
    let shown = offer.map(|offer| offer.shown).unwrap_or_default();
    let ticked = answer.ticked.clone();
    let preset = tools::ticked(&shown, &answer.find, ticking, Preset { choice, ticked });
    let again = PageState {
        problem: None,
        preset,
        find: Some(&answer.find),
    };
    show(
        desk,
        request,
        session,
        asked,
        listing.as_deref(),
        Some(again),
    )
    .await
}

/// What the person did wrong is no event; what the backend did is.
fn log_problem(request: &Request, answer: &Answer, client: &Client, problem: &NotGranted) {
    let reason = match problem {
        NotGranted::Changed(_) => Reason::ToolsChangedMeanwhile,
        NotGranted::Unknown => Reason::ToolsUnknown,
        NotGranted::Nothing | NotGranted::TooMany => return,
    };
    log::warn!(
        event = "consent_asked_again", reason, hint = reason.remedy(),
        client = client.id.as_str(), user = answer.session.user.as_str(),
        request_id = request.request_id.as_str(); "{}", reason.sentence()
    );
}

/// What the client is on the page, where its document may change before the answer.
fn as_shown(client: &Client) -> String {
    let fingerprint = client.fingerprint();
    fingerprint.map_or_else(String::new, |fingerprint| fingerprint.to_text())
}

/// How the client has changed since this person allowed it.
async fn change(
    records: &Records,
    settings: &Settings,
    session: &BrowserSession,
    client: &Client,
    now: Timestamp,
) -> Result<Option<Change>, StoreError> {
    let Some(Ok(address)) = DocumentUrl::parse(&client.id) else {
        return Ok(None);
    };
    let allowed = records.allowed(&session.user, &client.id, now).await;
    // One that can't be read is written anew by this consent.
    let key = Key::allowed(&session.user, &client.id);
    let allowed = records.unless_unreadable(&key, allowed)?;
    let built_in = clients::built_in(settings, &address, now);
    Ok(allowed.and_then(|allowed| allowed.change(client, built_in.as_ref())))
}
