//! The server of the operator's API (`crate::operator_api`), for commands and for the pages of `/admin`.
//! Owns: the phases that all operations pass: who asks, the body, the audit log. Not: what an operation does (`grants`, `clients`, `users`,
//! `streams`, `tokens`, `backups`).

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, StatusCode};
use pingora::protocols::http::ServerSession;
use serde::Serialize;
use serde_json::Value;

use super::failure::Failure;
use super::outcome::Done;
use super::process::Process;
use super::request::{Origin, Request};
use super::{
    accounts, backups, clients, grants, guard, keys, passkeys, personal_tokens, streams, tokens,
    users,
};
use crate::operator_api::{Effect, Endpoint, Operation, Query};
use gateway_core::audit::{Event, Record};
use gateway_core::protocol::web::{self, Response};
use gateway_core::reason::Reason;
use gateway_oauth::AuthorizationServer;
use gateway_oauth::identity::LoginName;
use gateway_store::journal::Journal;

/// Says who types the command, as far as the command knows. A note for the log and no proof.
const OPERATOR: &str = "operator";

/// Answers a request under `/v1/`.
pub(super) async fn answer(
    server: &AuthorizationServer,
    process: &Process,
    session: &mut ServerSession,
) -> Response {
    // A body that was refused unread must not be taken for the next request.
    session.set_keepalive(None);
    let origin = Origin {
        peer: peer(session),
        request_id: format!("{:016x}", rand::random::<u64>()),
    };
    let headers = session.req_header().headers.clone();
    if let Err(reason) = guard::check(&headers, process.keys.admin_token().as_ref()) {
        let failure = Failure::from(reason);
        log_refusal(&failure, "", &origin);
        let refused = Record::refused(Event::Operator, reason, false);
        server.journal.append_anonymous(&origin.record(refused));
        return failure.to_response();
    }
    let path = session.req_header().uri.path().to_owned();
    let Some(operation) = Operation::at(&path) else {
        return Failure::from(Reason::NotFound).to_response();
    };
    let attempt = Attempt {
        operation,
        operator: operator(&headers),
        origin: origin.clone(),
    };
    let (effect, now) = (operation.effect(), server.clock.now());
    let done = match Request::read(session, effect, now, origin).await {
        Ok(request) => attempt.carry_out(server, process, &request).await,
        Err(failure) => Err(attempt.refuse(&server.journal, failure)),
    };
    match done {
        Ok(body) => web::json(StatusCode::OK, &body),
        Err(failure) => failure.to_response(),
    }
}

/// Somebody at a page, for whom operations are carried out as for a command: with the same checks,
/// answers and records.
pub(super) struct PageOperator<'a> {
    pub(super) server: &'a AuthorizationServer,
    pub(super) process: &'a Process,
    /// The login name.
    pub(super) name: &'a str,
    pub(super) origin: Origin,
}

impl PageOperator<'_> {
    /// Asks something.
    pub(super) async fn read<E: Endpoint<Request: Query>>(
        &self,
        query: &E::Request,
    ) -> Result<E::Answer, Failure> {
        let now = self.server.clock.now();
        self.carry_out::<E>(Request::asking(query, now, self.origin.clone())?)
            .await
    }

    /// Changes something.
    pub(super) async fn change<E: Endpoint<Request: Serialize>>(
        &self,
        body: &E::Request,
    ) -> Result<E::Answer, Failure> {
        let now = self.server.clock.now();
        self.carry_out::<E>(Request::changing(body, now, self.origin.clone()))
            .await
    }

    async fn carry_out<E: Endpoint>(&self, request: Request) -> Result<E::Answer, Failure> {
        let attempt = Attempt {
            operation: E::OPERATION,
            operator: format!("{} at /admin", self.name),
            origin: self.origin.clone(),
        };
        // Boxed: the futures of all operations are one, and a page holds several.
        let done = Box::pin(attempt.carry_out(self.server, self.process, &request)).await?;
        serde_json::from_value(done)
            .map_err(|error| Failure::new(Reason::Internal, error.to_string()))
    }
}

async fn run(
    server: &AuthorizationServer,
    process: &Process,
    operation: Operation,
    request: &Request,
) -> Result<Done, Failure> {
    let AuthorizationServer {
        settings,
        records,
        last_use,
        journal,
        accounts,
        passwords,
        keys,
        tags,
        catalogue,
        ..
    } = server;
    let clock = server.clock;
    match operation {
        Operation::ListGrants => grants::list(settings, records, last_use, request).await,
        Operation::ShowGrant => grants::show(settings, records, last_use, request).await,
        Operation::RevokeGrants => grants::revoke(settings, records, journal, request).await,
        Operation::ListAccounts => accounts::list(accounts, records, request).await,
        Operation::RemoveAccount => accounts::remove(settings, records, accounts, request).await,
        Operation::ListClients => clients::list(settings, records, request).await,
        Operation::ShowClient => clients::show(settings, records, request).await,
        Operation::RemoveClient => clients::remove(settings, records, clock, request).await,
        Operation::ListUsers => users::list(records, request).await,
        Operation::ShowUser => users::show(records, request).await,
        Operation::AddUser => users::add(settings, records, passwords, request).await,
        Operation::LinkUser => passkeys::link(settings, records, server.ways_in(), request).await,
        Operation::RemoveUser => users::remove(settings, records, accounts, clock, request).await,
        Operation::RemovePasskey => passkeys::remove(records, request).await,
        Operation::DisableUser => users::disable(settings, records, accounts, request).await,
        Operation::EnableUser => users::enable(settings, records, request).await,
        Operation::PromoteUser => users::promote(records, request).await,
        Operation::DemoteUser => users::demote(records, request).await,
        Operation::SetPassword => users::password(records, passwords, request).await,
        Operation::UnlinkUser => users::unlink(server.ways_in(), records, request).await,
        Operation::ReadmitApp => users::readmit(records, request).await,
        Operation::ListStreams => {
            streams::list(settings, records, clock, &process.streams, request).await
        }
        Operation::CloseStreams => {
            streams::close(settings, records, clock, &process.streams, request).await
        }
        // Boxed: a backend is asked on the way, and the futures of all operations are one.
        Operation::CreateToken => {
            let memberships = server.memberships();
            let creating =
                personal_tokens::create(settings, records, catalogue, memberships, request);
            Box::pin(creating).await
        }
        Operation::RevokeToken => tokens::revoke(settings, records, keys, tags, request).await,
        Operation::BeginBackup => backups::begin(records, clock, &process.backups, request).await,
        Operation::ReadBackup => backups::page(&process.backups, request).await,
        Operation::ListKeys => Ok(keys::list(&process.keys)),
        Operation::MakeKey => keys::make(&process.keys).await,
        Operation::RevokeKeys => keys::revoke(&process.keys, request).await,
        Operation::ChangeAdminToken => keys::change_admin_token(&process.keys).await,
    }
}

/// An operation that somebody asked for.
struct Attempt {
    operation: Operation,
    operator: String,
    origin: Origin,
}

impl Attempt {
    /// The answer, once it was done and written down.
    async fn carry_out(
        &self,
        server: &AuthorizationServer,
        process: &Process,
        request: &Request,
    ) -> Result<Value, Failure> {
        let journal = &server.journal;
        let done = async {
            self.announce(journal, request).await?;
            run(server, process, self.operation, request).await
        };
        match done.await {
            Ok(done) => self.finish(journal, done).await,
            Err(failure) => Err(self.refuse(journal, failure)),
        }
    }

    /// For the logs.
    fn describe(&self, what: &str) -> String {
        let (command, operator) = (self.operation.command(), &self.operator);
        match what {
            "" => format!("{command}, by {operator}"),
            what => format!("{command} {what}, by {operator}"),
        }
    }

    /// Writes down what is about to be given. Durable when this returns, or it is not given.
    async fn announce(&self, journal: &Journal, request: &Request) -> Result<(), Failure> {
        if self.operation.effect() != Effect::Gives {
            return Ok(());
        }
        let subject = users::meant(request);
        let record = Record {
            detail: Some(format!("about to: {}", self.describe(&subject.what))),
            ..Record::new(Event::Operator)
        };
        let written = journal.append_durable(self.origin.record(record)).await;
        written.map_err(Failure::of(&subject))
    }

    /// Writes down what was done, and gives the answer.
    async fn finish(&self, journal: &Journal, done: Done) -> Result<Value, Failure> {
        if self.operation.is_written_down_before() {
            return Ok(done.body);
        }
        let subject = done.subject;
        let detail = self.describe(&subject.what);
        log::info!(
            event = "operator", command = self.operation.command(),
            operator = self.operator.as_str(), user = subject.user.as_deref(),
            client = subject.client.as_deref(), grant = subject.grant.as_deref(),
            token = subject.token.as_deref(), request_id = self.origin.request_id.as_str();
            "{detail}"
        );
        let record = Record {
            detail: Some(detail),
            ..subject.record(Record::new(Event::Operator))
        };
        let record = self.origin.record(record);
        match write(journal, self.operation.effect(), record).await {
            Ok(()) => Ok(done.body),
            Err(failure) => {
                log_refusal(&failure, self.operation.command(), &self.origin);
                Err(failure)
            }
        }
    }

    /// Writes down what was not done, and why.
    fn refuse(&self, journal: &Journal, failure: Failure) -> Failure {
        log_refusal(&failure, self.operation.command(), &self.origin);
        let subject = failure.concerned();
        let record = Record {
            detail: Some(self.describe(&subject.what)),
            ..subject.record(Record::refused(
                Event::Operator,
                failure.reason,
                failure.is_fault(),
            ))
        };
        // It was refused or failed already: a log that can't be written changes nothing.
        let _ = journal.append(&self.origin.record(record));
        failure
    }
}

async fn write(journal: &Journal, effect: Effect, record: Record) -> Result<(), Failure> {
    match effect {
        Effect::Reads => Ok(journal.append(&record)?),
        Effect::Gives => journal.append_durable(record).await.map_err(|_| {
            let sentence =
                "it was done, but the audit log has only that it was about to be: the log can't be written";
            Failure::new(Reason::AuditUnavailable, sentence)
        }),
        Effect::Takes => {
            // Taking access back never waits for the log; its state is told elsewhere.
            let _ = journal.append_durable(record).await;
            Ok(())
        }
    }
}

fn operator(headers: &HeaderMap) -> String {
    let said = headers
        .get(OPERATOR)
        .and_then(|value| value.to_str().ok())
        .and_then(LoginName::parse);
    said.map_or_else(|| "somebody".to_owned(), |name| name.as_str().to_owned())
}

fn peer(session: &ServerSession) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip())
}

fn log_refusal(failure: &Failure, command: &str, origin: &Origin) {
    log::warn!(
        event = "operator_refused", reason = failure.reason, hint = failure.remedy(),
        command = command, peer:% = origin.peer, request_id = origin.request_id.as_str();
        "{}", failure.sentence
    );
}
