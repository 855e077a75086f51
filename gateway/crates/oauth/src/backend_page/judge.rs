//! Whether a person may read a page: as the owner, or because an app of theirs could fetch it now.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;

use crate::endpoint::Subject;
use crate::error_page::Refused;
use crate::kept_tools::with_kept_tools;
use crate::provider::membership;
use crate::server::AuthorizationServer;
use gateway_accounts::Person;
use gateway_core::access_token;
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, ToolState};
use gateway_core::policy::rules::{RequestedAction, Rules, Surroundings};
use gateway_core::policy::{self, AccessToken, Audience, DecisionInput, Question, TokenRejection};
use gateway_core::protocol::resource::Resource;
use gateway_core::reason::Reason;
use gateway_store::GrantsOf;
use gateway_upstream::{Backend, Caller};
use mcp_protocol::calls::Call;
use mcp_protocol::jsonrpc::{self, Keep};

/// The tool whose answer a page is, for people: that of OpenAI's contract for cited documents.
const FETCH: &str = "fetch";
/// Grants that are looked at in one reading of the store.
const AT_A_TIME: usize = 100;

/// By what a page is read.
pub(super) enum Reading {
    /// By nobody's leave.
    Owner,
    /// By what an app was allowed.
    Grant(Box<Grant>),
}

impl Reading {
    pub(super) fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Owner => None,
            Self::Grant(grant) => Some(grant),
        }
    }
}

/// By what the person of `session` may read a page; `None`: they may not.
pub(super) async fn reading(
    server: &AuthorizationServer,
    subject: &Subject,
    address: IpAddr,
    session: &BrowserSession,
    now: Timestamp,
) -> Result<Option<Reading>, Refused> {
    let Some(user) = server.records.user(&session.user_name, now).await? else {
        return Ok(None);
    };
    if user.is_owner() {
        return Ok(Some(Reading::Owner));
    }
    let backend = server.pages.publisher(&subject.mount.name, &subject.path);
    let (Some(backend), Ok(standing)) = (backend, membership(server.ways_in(), &user, now)) else {
        return Ok(None);
    };
    let question = PageQuestion {
        server,
        backend,
        resource: subject.mount.resource(&server.settings.issuer),
        call: match fetches(&subject.path) {
            Some(call) => call,
            None => return Ok(None),
        },
        groups: standing.groups,
        address,
        rules: server.policy.current(),
        now,
    };
    let of = GrantsOf {
        user: Some(&user.id),
        client: None,
    };
    let mut after = None;
    loop {
        let page = server.records.grants(of, after.as_deref(), AT_A_TIME, now);
        let page = page.await?;
        for grant in page.entries {
            if question.is_allowed_by(&grant).await? {
                return Ok(Some(Reading::Grant(Box::new(grant))));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(None),
        }
    }
}

/// The call whose answer a page is.
fn fetches(page: &str) -> Option<Call> {
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": FETCH, "arguments": { "id": page } },
    });
    let message = message.to_string().into();
    let mut judged = jsonrpc::judge_and_keep(&message, false, Keep::Arguments).ok()?;
    let message = judged.messages_mut().first_mut()?;
    Some(Call::from_message(message))
}

/// The call, and all that is decided about it from.
struct PageQuestion<'a> {
    server: &'a AuthorizationServer,
    backend: &'a Arc<Backend>,
    resource: Resource,
    call: Call,
    groups: Vec<String>,
    address: IpAddr,
    rules: Option<Arc<Rules>>,
    now: Timestamp,
}

impl PageQuestion<'_> {
    /// Whether the app of a grant could make the call now.
    async fn is_allowed_by(&self, grant: &Grant) -> Result<bool, Refused> {
        let are_personal_off = self.server.settings.personal.is_none();
        if grant.resource != self.resource || (grant.personal.is_some() && are_personal_off) {
            return Ok(false);
        }
        match self.token(grant).await {
            Ok(token) => self.decide(token).await,
            Err(TokenRejection::Invalid(_)) => Ok(false),
            Err(TokenRejection::Unknown(reason)) => Err(Refused::Unknown(reason)),
        }
    }

    /// The token that the app would have.
    async fn token(&self, grant: &Grant) -> Result<AccessToken, TokenRejection> {
        let (server, now) = (self.server, self.now);
        let unknown = TokenRejection::Unknown(Reason::StoreUnavailable);
        let revocations = server.records.view().ok_or(unknown)?;
        if revocations.revokes_grant(grant) {
            return Err(TokenRejection::Invalid(Reason::GrantRevoked));
        }
        let dated = server.records.dated(now);
        let token = access_token::as_its_app(grant, self.groups.clone(), dated);
        let status = revocations.status(&token, now);
        let audience = Audience {
            resource: &self.resource,
            backend: &self.backend.mount.name,
            members: &[],
            scopes: server.settings.scopes.at(&self.backend.mount.name),
        };
        let amended = revocations.amended(&grant.id);
        let token = AccessToken::confirm(Arc::new(token), audience, status, now)?.amended(amended);
        with_kept_tools(&server.records, token, now).await
    }

    /// What would be decided about the call, told all that it may depend on.
    async fn decide(&self, token: AccessToken) -> Result<bool, Refused> {
        let (name, user) = (&self.backend.mount.name, token.claims().user_name.clone());
        let catalogue = &self.server.catalogue;
        let person = Person {
            id: &token.claims().user,
            name: &user,
        };
        let account = self.server.accounts.credential(name, person);
        let account = match Box::pin(account).await {
            Ok(account) => account,
            // Whether the app may is another question than whether it can.
            Err(error) if error.is_for_person() => None,
            Err(error) => return Err(Refused::Unknown(error.reason())),
        };
        let caller = Caller {
            user: &user,
            account: account.as_ref().map(|account| account.id()),
        };
        let rules = self.rules.as_deref();
        let matters = token.asks_for_effects() || rules.is_some_and(Rules::asks_for_labels);
        let labels = if matters {
            match Box::pin(catalogue.cached(name, caller)).await {
                Ok(listing) => Some(vec![(
                    FETCH.to_owned(),
                    listing.labels(FETCH).unwrap_or_default(),
                )]),
                Err(_) => None,
            }
        } else {
            Some(Vec::new())
        };
        let current = match token.pin(FETCH) {
            Some(_) => Box::pin(catalogue.current(name, caller, FETCH)).await,
            None => ToolState::Unknown,
        };
        let read_only = labels.as_ref().map(|labels| {
            let reading = labels.iter().filter(|(_, said)| said.reads_only());
            reading
                .map(|(tool, _)| tool.clone())
                .collect::<BTreeSet<_>>()
        });
        let doubled = catalogue.doubled(name, caller);
        let scopes = token.scopes();
        let claims = token.claims();
        let calls_today = if rules.is_some_and(Rules::asks_for_calls_today) {
            let shares = self.server.limits.shares();
            Box::pin(shares.calls_today(&claims.user, 0)).await.ok()
        } else {
            None
        };
        let around = Surroundings {
            user: &claims.user_name,
            is_service: claims.user.is_service(),
            groups: &claims.groups,
            client: claims.client.as_str(),
            grant: claims.grant.as_str(),
            scopes: &scopes,
            backend: name,
            resource: claims.resource.as_str(),
            approvals: token.approvals(),
            address: Some(self.address),
            protocol_version: None,
            calls_today,
            now: self.now,
        };
        let input = DecisionInput {
            now: self.now,
            approval_required: &self.backend.approval_required,
            read_only_tools: read_only.as_ref(),
            tool_states: &[(FETCH.to_owned(), current)],
            doubled: doubled.as_ref().map(|listing| &listing.doubled),
            policy: rules.map(|rules| Question {
                rules,
                around,
                labels: labels.as_deref(),
                without_message: RequestedAction::stream(),
            }),
        };
        Ok(policy::decide(token.clone(), vec![self.call.clone()], input).is_ok())
    }
}
