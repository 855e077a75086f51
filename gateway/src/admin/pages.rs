//! The pages at `/admin`: what the owner asks goes through the operator's API, as a command's does, and
//! stands in the audit log as one.
//!
//! Owns: which page a path is, what its buttons ask of the API. Not: who may open it and how forms are
//! protected (`gateway_oauth::owner`), how a page looks (`gateway_oauth::pages::admin`).

mod apps;
mod audit;
mod audit_reader;
mod backends;
mod overview;
mod people;
mod policy;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use tokio::time::sleep;
use url::form_urlencoded;

use self::audit_reader::AuditReader;
use super::api::PageOperator;
use super::failure::Failure;
use super::process::Process;
use super::request::Origin;
use crate::config::Config;
use crate::operator_api::{Limit, PageQuery};
use gateway_core::audit::{Event, Record};
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::Response;
use gateway_core::reason::Reason;
use gateway_oauth::owner::{OwnerPages, OwnerPress, OwnerVisit};
use gateway_oauth::pages::Page;
use gateway_oauth::pages::admin::{AdminFrame, Notice, PressForm, Question, Section};
use gateway_store::RevocationView;
use gateway_upstream::Lookout;

/// Entries of a list on one page.
const ON_A_PAGE: Limit = Limit(50);

/// How often, and how far apart, it is looked for the first press of a form.
const LOOKS: usize = 6;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What the pages answer from, besides the authorization server.
pub struct AdminPages {
    config: Config,
    process: Process,
    revocations: Arc<RevocationView>,
    lookout: Arc<Lookout>,
    audit: Option<AuditReader>,
}

impl AdminPages {
    /// The pages of this configuration, process and backends.
    pub fn new(
        config: Config,
        process: Process,
        revocations: Arc<RevocationView>,
        lookout: Arc<Lookout>,
    ) -> Self {
        Self {
            audit: config.audit.as_ref().map(AuditReader::new),
            config,
            process,
            revocations,
            lookout,
        }
    }
}

#[async_trait]
impl OwnerPages for AdminPages {
    async fn answer(&self, visit: &OwnerVisit<'_>) -> Response {
        let Some(section) = Section::at(&visit.request.path) else {
            return visit.absent();
        };
        let query = visit.request.query.as_deref().unwrap_or_default();
        let Ok(query) = Form::parse(query.as_bytes()) else {
            let status = StatusCode::BAD_REQUEST;
            return visit.refused(status, Reason::RequestMalformed, "the query");
        };
        let desk = Desk {
            pages: self,
            visit,
            section,
            query,
        };
        desk.answer().await.unwrap_or_else(|failure| {
            visit.refused(failure.status(), failure.reason, &failure.sentence)
        })
    }
}

/// One request, and what it is answered from.
struct Desk<'a> {
    pages: &'a AdminPages,
    visit: &'a OwnerVisit<'a>,
    section: Section,
    query: Form,
}

impl Desk<'_> {
    async fn answer(&self) -> Result<Response, Failure> {
        if self.visit.request.method != Method::POST {
            return self.show(None).await;
        }
        let press = match self.visit.pressed() {
            Ok(press) => press,
            Err(refused) => return Ok(*refused),
        };
        if press.is_expired() {
            let words = "The page was open for too long. Here it is as things are now.";
            let (status, reason) = (StatusCode::CONFLICT, Reason::PageExpired);
            self.visit.log_refusal(reason);
            let notice = Notice::refused(status, reason, words.to_owned());
            return self.show(Some(notice)).await;
        }
        if self.section == Section::Policy {
            return self.answer_question(&press).await;
        }
        let notice = self.press(&press).await;
        self.show(Some(notice)).await
    }

    /// The page as things stand. A form that was not taken is answered with its own status.
    async fn show(&self, notice: Option<Notice>) -> Result<Response, Failure> {
        let status = notice.as_ref().map_or(StatusCode::OK, Notice::status);
        let page = match self.section {
            Section::Overview => self.overview(notice).await?,
            Section::People => self.people(notice).await?,
            Section::Apps => self.apps(notice).await?,
            Section::Streams => self.streams(notice).await?,
            Section::Backends => self.backends(notice).await?,
            Section::Audit => self.audit(notice).await?,
            Section::Policy => self.policy(notice, Question::default(), None),
        };
        Ok(self.visit.respond(status, page))
    }

    /// Does what a button is for. One that is pressed twice says the same, also where the first press
    /// is still on its way, here or on another replica.
    async fn press(&self, press: &OwnerPress) -> Notice {
        if let Some(said) = self.visit.said_before(press).await {
            return Notice::done(said);
        }
        let done = match self.section {
            Section::People => self.press_person(press).await,
            Section::Apps => self.press_grants(press).await,
            Section::Streams => self.press_stream(press).await,
            _ => Err(self.no_button()),
        };
        match done {
            Ok(words) => {
                self.visit.note(press, &words).await;
                Notice::done(words)
            }
            Err(failure) => self.said_or(press, &failure).await,
        }
    }

    async fn said_or(&self, press: &OwnerPress, failure: &Failure) -> Notice {
        if failure.reason == Reason::NotFound {
            for _ in 0..LOOKS {
                if let Some(words) = self.visit.said_before(press).await {
                    return Notice::done(words);
                }
                sleep(BETWEEN_LOOKS).await;
            }
        }
        // The page is here; what its form is about is not any more.
        let status = match failure.status() {
            StatusCode::NOT_FOUND => StatusCode::CONFLICT,
            status => status,
        };
        let sentence = failure.sentence.trim_end_matches('.');
        // A remedy of what is not there names a command: here the page itself shows what there is.
        let remedy = match failure.reason {
            Reason::NotFound => "",
            _ => failure.remedy(),
        };
        let words = format!("Not done: {sentence}. {remedy}");
        Notice::refused(status, failure.reason, words.trim_end().to_owned())
    }

    /// A form that no button of this page sends.
    fn no_button(&self) -> Failure {
        self.malformed("this page has no such button")
    }

    /// Why a form is not taken, before the operator's API is asked.
    fn malformed(&self, sentence: &str) -> Failure {
        let failure = Failure::malformed(sentence);
        self.visit.log_refusal(failure.reason);
        failure
    }

    /// Asks the operator's API, and has it change something.
    fn operator(&self) -> PageOperator<'_> {
        PageOperator {
            server: self.visit.server,
            process: &self.pages.process,
            name: self.visit.user_name(),
            origin: self.origin(),
        }
    }

    fn origin(&self) -> Origin {
        Origin {
            peer: self.visit.request.peer,
            request_id: self.visit.request.request_id.clone(),
        }
    }

    /// Writes down that something was looked at for which there is no operation.
    fn note_reading(&self, what: &str) -> Result<(), Failure> {
        let record = Record {
            detail: Some(format!("{what}, by {} at /admin", self.visit.user_name())),
            ..Record::new(Event::Operator)
        };
        let record = self.origin().record(record);
        Ok(self.visit.server.journal.append(&record)?)
    }

    /// A parameter of the query; empty where it is missing, or there twice.
    fn parameter(&self, name: &'static str) -> &str {
        let one = self.query.one(name).ok().flatten();
        one.unwrap_or_default().trim()
    }

    /// Which part of a list is asked for.
    fn part(&self) -> PageQuery {
        PageQuery {
            limit: ON_A_PAGE,
            after: said(self.parameter("after")),
        }
    }

    fn frame(&self, notice: Option<Notice>) -> AdminFrame<'_> {
        let request = self.visit.request;
        AdminFrame {
            user_name: self.visit.user_name(),
            log_out_seal: self.visit.log_out_seal(),
            section: self.section,
            here: match &request.query {
                Some(query) => format!("{}?{query}", request.path),
                None => request.path.clone(),
            },
            notice,
        }
    }

    /// A button of this page.
    fn button(
        &self,
        action: &'static str,
        subject: &str,
        words: &'static str,
        about: &str,
        takes: bool,
    ) -> PressForm {
        PressForm {
            action,
            subject: subject.to_owned(),
            seal: self.visit.seal(action, subject),
            words,
            about: about.to_owned(),
            takes,
        }
    }

    /// The link to where a list goes on, with what else is asked.
    fn next(&self, after: Option<String>, others: &[(&str, &str)]) -> Option<String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let others = others.iter().filter(|(_, value)| !value.is_empty());
        query.extend_pairs(others).append_pair("after", &after?);
        let url = format!("{}?{}", self.section.path(), query.finish());
        Some(url)
    }
}

/// A text that may be empty, which then says nothing.
fn said(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A text as the value of a parameter.
fn in_url(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// `1 grant`, `2 grants`.
fn counted(count: usize, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    }
}

type PageResult = Result<Page, Failure>;
