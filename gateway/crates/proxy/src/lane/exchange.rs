//! One request on the lane, from its confirmed token to the end of its answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use gateway_lane::{
    self as lane, Admission, Answer, Ending, Events, Failed, Forward, HeadDecision, HeadWriter,
    Outcome, ResponseHead, ResponsePlan, Unfit,
};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Method};

use super::answer::{AnswerState, answer, unfit};
use super::failure::{blameless, failure};
use super::service::{Road, ending};
use crate::account_doubt::{self, AccountDoubt};
use crate::admission::{self, Admitted, ConfirmedRequest};
use crate::context::RequestContext;
use crate::cors::allow_reading;
use crate::event_filter::{EventFilter, HoldError};
use crate::exchange::{self, AnswerForm};
use crate::headers::text;
use crate::in_flight::{FREE, Full, Hold, UNREAD};
use crate::lifetime::End;
use crate::mcp_error::single_id;
use crate::policy_input;
use crate::rejection::{Rejection, rejected_by};
use crate::relay;
use crate::request::{self, RequestHead};
use crate::response_head::{self, Shape, UpstreamAnswer};
use crate::routes::OwnedRoute;
use crate::serve::RefusedRequest;
use crate::streams::Held;
use crate::upstream_head::{self, UpstreamHead};
use gateway_core::access_token::BackendToken;
use gateway_upstream::{Failure, Redirect, redirect};
use mcp_protocol::sse::Boundary;

/// What of a request's head outlives it.
pub(super) struct Request {
    pub(super) method: Method,
    /// Empty once the backend has answered.
    pub(super) headers: HeaderMap,
    pub(super) connection: IpAddr,
    pub(super) route: OwnedRoute,
}

/// How far a request has come.
pub(super) enum Stage {
    /// Its token counts.
    Confirmed(Box<ConfirmedRequest>),
    /// It may go to its backend, which is asked, or answers.
    Admitted(Box<Admitted>),
    /// It is refused, or goes the other road.
    Over,
}

/// One request of the lane's.
pub(crate) struct LaneExchange {
    pub(super) road: Arc<Road>,
    pub(super) request: Request,
    pub(super) context: RequestContext,
    pub(super) stage: Stage,
    /// What tells the backend who calls.
    token: Option<Arc<BackendToken>>,
    /// What was sent to say whose account at the backend it is.
    sent: Option<HeaderValue>,
    /// What the backend said of that account in place of an answer, and how often.
    doubt: Option<AccountDoubt>,
    doubts: u32,
    /// What is held of a body, or for a client that does not read.
    pub(super) hold: Option<Hold>,
    /// Why no more may be.
    pub(super) full: Option<Full>,
    pub(super) answer: Option<AnswerState>,
    /// Keeps a stream in the registry.
    pub(super) held: Option<Held>,
}

impl LaneExchange {
    /// Takes a request whose token was looked at.
    pub(super) fn begin(
        road: &Arc<Road>,
        request: Request,
        context: RequestContext,
        confirmed: Result<ConfirmedRequest, Rejection>,
    ) -> HeadDecision<Box<Self>> {
        let (stage, rejection) = match confirmed {
            Ok(confirmed) => (Stage::Confirmed(Box::new(confirmed)), None),
            Err(rejection) => (Stage::Over, Some(rejection)),
        };
        // Boxed: it is moved from hand to hand, and is large.
        let exchange = Box::new(Self {
            road: Arc::clone(road),
            request,
            context,
            stage,
            token: None,
            sent: None,
            doubt: None,
            doubts: 0,
            hold: None,
            full: None,
            answer: None,
            held: None,
        });
        match rejection {
            None => HeadDecision::Exchange(exchange),
            Some(rejection) => {
                exchange.is_taken();
                HeadDecision::Answer(exchange.refusal(&rejection))
            }
        }
    }

    /// It is answered here, whatever comes of it.
    fn is_taken(&self) {
        self.road.service.state.lane_requests.increment();
    }

    /// From a whole body to the request for the backend; nothing, if it goes the other road.
    async fn admitted(&mut self, body: &Bytes) -> Result<Option<Forward>, Rejection> {
        let Stage::Confirmed(confirmed) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(None);
        };
        let road = Arc::clone(&self.road);
        let state = &road.service.state;
        let lifetime = confirmed.lifetime().clone();
        let hold = self.hold.take();
        let body = confirmed.has_body().then(|| match hold {
            Some(hold) => hold.over(body.clone()),
            None => body.clone(),
        });
        let head = RequestHead {
            method: &self.request.method,
            headers: &self.request.headers,
            authority: None,
            connection: Some(self.request.connection),
        };
        let admitting = admission::admit(state, &mut self.context, head, *confirmed, body);
        let mut admitted = tokio::select! {
            biased;
            admitted = admitting => match admitted {
                // Its person is waited for there, and what it is translated into is not known yet.
                Err(Rejection::AccountAwaited) => return Ok(None),
                admitted => admitted?,
            },
            end = lifetime.overstayed() => return Err(rejected_by(end)),
        };
        // The backend is told of it in its own way.
        if admitted.refused.is_some() {
            return Ok(None);
        }
        let (mounted, now) = (&self.request.route.mounted, state.clock.now());
        state.note_use(admitted.permit.token(), self.context.peer);
        // That it passes as it is was decided by its head; this notes what its client does.
        let _ = road.service.translator.plan(mounted, &admitted);
        if let Some(name) = admitted.mirrored_name.take() {
            self.request.headers.insert(request::NAME, name);
        }
        self.token = state.backend_tokens.get(mounted, &admitted.permit, now)?;
        let (draining, waits) = (state.draining.clone(), admitted.waits_for_events);
        let mut ending: Ending = Box::pin(ending(lifetime, draining, waits));
        let backend = tokio::select! {
            biased;
            end = &mut ending => return Err(rejected_by(End::named(end.cause))),
            backend = road.backends.get(&mounted.backend, &state.connections) => backend,
        };
        let backend = backend
            .map_err(|failure| Rejection::Upstream(failure, single_id(&admitted.permit)))
            .inspect_err(|rejection| exchange::distrust(&state.catalogue, mounted, rejection))?;
        let forward = Forward {
            backend,
            apart: admitted.account.as_ref().map(|account| account.number()),
            target: admitted.target.clone(),
            body: admitted.request.bytes().cloned(),
            is_repeatable: admitted.permit.is_read_only(),
            ending: Some(ending),
        };
        self.stage = Stage::Admitted(Box::new(admitted));
        Ok(Some(forward))
    }

    /// Writes the headers of the request to the backend; `None` where none is admitted.
    fn write_request_headers(&self, out: &mut HeadWriter<'_>) -> Option<()> {
        let Stage::Admitted(admitted) = &self.stage else {
            return None;
        };
        let trace = self.context.propagated();
        let head = UpstreamHead {
            method: &self.request.method,
            target: &admitted.target,
            client_headers: &self.request.headers,
            session: admitted.session.as_deref(),
            body_length: None,
            backend: &self.request.route.mounted.backend,
            identity: &self.road.service.state.settings.identity_headers,
            claims: admitted.permit.token().claims(),
            token: self.token.as_deref().map(BackendToken::as_str),
            account: self.sent.as_ref(),
            trace: trace.as_ref(),
        };
        upstream_head::each(&head, |name, value| out.header(name.as_str(), value));
        Some(())
    }

    /// What becomes of the backend's answer, by its head.
    fn plan(
        &mut self,
        head: &ResponseHead<'_>,
        out: &mut HeadWriter<'_>,
    ) -> Result<ResponsePlan, Rejection> {
        let state = &self.road.service.state;
        let Stage::Admitted(admitted) = &mut self.stage else {
            return Err(Rejection::Unspeakable);
        };
        let route = self.request.route.route();
        let headers = head.to_header_map();
        let location = text(&headers, LOCATION);
        let backend = &route.mounted.backend;
        match redirect(backend, &admitted.target, head.status(), location) {
            Redirect::No => {}
            Redirect::Within(target) => {
                admitted.target.clone_from(&target);
                return Ok(ResponsePlan::Resend(target));
            }
            Redirect::Elsewhere => return Err(Rejection::UpstreamRedirects),
        }
        if backend.account.is_some()
            && let Some(doubt) = AccountDoubt::of(head.status().as_u16(), &headers)
        {
            self.doubt = Some(doubt);
            return Ok(ResponsePlan::Ask);
        }
        self.context.answered(Some(head.status().as_u16()));
        let token = admitted.permit.token();
        let is_restricted =
            policy_input::cuts_lists(&state.policy, &state.catalogue, token, route.mounted);
        let upstream = UpstreamAnswer {
            status: head.status(),
            headers: &headers,
        };
        let method = &self.request.method;
        let form = AnswerForm::new(upstream, method, route, admitted, is_restricted)?;
        let conversation = exchange::conversation(admitted, upstream);
        let bound = exchange::bound_session(&state.sessions, &headers, route.mounted, admitted);
        response_head::each(&headers, form.shape, bound, |name, value| {
            out.header(name.as_str(), value.as_bytes());
        });
        if let Some(origin) = &self.context.allowed_origin {
            let mut more = HeaderMap::new();
            allow_reading(&mut more, origin);
            for (name, value) in &more {
                out.header(name.as_str(), value.as_bytes());
            }
        }
        // It is sent and asked about no more. An answer may last for hours.
        admitted.request.body = None;
        self.request.headers = HeaderMap::new();
        (self.token, self.sent) = (None, None);
        let filter = form
            .is_filtered
            .then(|| EventFilter::new(self.context.hold(&state.budget)));
        self.answer = Some(AnswerState {
            status: head.status().as_u16(),
            conversation,
            filter,
            boundary: Boundary::default(),
        });
        let plan = match (form.list, form.shape) {
            (Some(limit), _) => ResponsePlan::Collect(limit),
            (None, Shape::Events) => ResponsePlan::Events(Events {
                keep_alive: state.settings.keep_alive,
                is_filtered: form.is_filtered,
                waits: admitted.waits_for_events,
            }),
            (None, Shape::Bytes(_) | Shape::Nothing) => ResponsePlan::Pass,
        };
        // Before its client can know of it, so that streams are listed in the order of their heads.
        if let ResponsePlan::Events(Events { waits: true, .. }) = &plan {
            self.enter();
        }
        Ok(plan)
    }

    /// Settles what the backend doubts of the account in whose name it was called: whether the request is
    /// sent once more.
    async fn settle(&mut self) -> Result<(), Rejection> {
        let (Stage::Admitted(admitted), Some(doubt)) = (&self.stage, self.doubt.take()) else {
            return Err(Rejection::Unspeakable);
        };
        let (state, mounted) = (&self.road.service.state, &self.request.route.mounted);
        let (sent, is_second) = (self.sent.as_ref(), self.doubts > 0);
        self.doubts += 1;
        exchange::settle(state, mounted, admitted, &doubt, sent, is_second).await
    }

    /// The answer to a refusal, told as it is made.
    fn refusal(&self, rejection: &Rejection) -> Answer {
        let route = self.request.route.route();
        let refused = RefusedRequest {
            method: &self.request.method,
            target: route.target.path.as_bytes(),
            peer: self.context.peer.unwrap_or(self.request.connection),
        };
        let state = &self.road.service.state;
        answer(refused.answer(state, &self.context, rejection, Some(route)))
    }

    /// Why the exchange has no answer of the backend's.
    fn rejection(&self, why: &Failed) -> Rejection {
        if let Some(failure) = failure(why) {
            let id = match &self.stage {
                Stage::Admitted(admitted) => single_id(&admitted.permit),
                Stage::Confirmed(_) | Stage::Over => None,
            };
            return Rejection::Upstream(failure, id);
        }
        match (blameless(why, self.full), &self.stage) {
            (Rejection::AccountEnded, Stage::Admitted(admitted)) => {
                let (state, mounted) = (&self.road.service.state, &self.request.route.mounted);
                account_doubt::ended(account_doubt::asked(state, mounted, admitted))
            }
            (rejection, _) => rejection,
        }
    }
}

impl lane::Exchange for Box<LaneExchange> {
    async fn admit(&mut self, body: &Bytes) -> Admission {
        let admission = match self.admitted(body).await {
            Ok(Some(forward)) => Admission::Forward(forward),
            Ok(None) => return Admission::OtherRoad,
            Err(rejection) => Admission::Answer(self.refusal(&rejection)),
        };
        self.is_taken();
        admission
    }

    fn write_request(&mut self, out: &mut HeadWriter<'_>) {
        if let Stage::Admitted(admitted) = &self.stage {
            let account = admitted.account.as_ref();
            self.sent = account.map(|account| account.value());
        }
        if self.write_request_headers(out).is_none() {
            // No name: the head is not sent.
            out.header("", b"");
        }
    }

    fn respond(&mut self, head: &ResponseHead<'_>, out: &mut HeadWriter<'_>) -> ResponsePlan {
        match self.plan(head, out) {
            Ok(plan) => plan,
            Err(rejection) => ResponsePlan::Answer(self.refusal(&rejection)),
        }
    }

    async fn resend(&mut self) -> Result<(), Answer> {
        // Boxed: it happens seldom.
        let settled = Box::pin(self.settle()).await;
        settled.map_err(|rejection| self.refusal(&rejection))
    }

    async fn judge(&mut self, body: Bytes) -> Result<Bytes, Answer> {
        let (Stage::Admitted(admitted), Some(answer)) = (&self.stage, &self.answer) else {
            return Err(self.refusal(&Rejection::Unspeakable));
        };
        let (state, mounted) = (&self.road.service.state, &self.request.route.mounted);
        let (context, conversation) = (&self.context, &answer.conversation);
        let filter = exchange::list_filter(state, mounted, context, admitted, conversation);
        let is_lenient = !(200..300).contains(&answer.status);
        let judged = filter.judge_body(Vec::from(body), is_lenient).await;
        let judged = judged.map_err(|unreadable| {
            let failure = Failure::Broken(unreadable.to_string());
            Rejection::Upstream(failure, single_id(&admitted.permit))
        });
        match (judged, self.hold.take()) {
            (Ok(list), Some(hold)) => Ok(hold.over(list)),
            (Ok(list), None) => Ok(list),
            (Err(rejection), _) => Err(self.refusal(&rejection)),
        }
    }

    async fn filter(&mut self, events: Bytes, is_end: bool) -> Result<Bytes, Unfit> {
        let (Stage::Admitted(admitted), Some(answer)) = (&self.stage, &mut self.answer) else {
            return Err(unfit(&"it is over"));
        };
        let mut events_filter = answer.take_filter()?;
        let (state, mounted) = (&self.road.service.state, &self.request.route.mounted);
        let (context, conversation) = (&self.context, &answer.conversation);
        let lists = exchange::list_filter(state, mounted, context, admitted, conversation);
        let mut passed = match events_filter.pass(&events, lists).await {
            Ok(passed) => passed,
            Err(HoldError::Unreadable(unreadable)) => return Err(unfit(&unreadable)),
            Err(HoldError::Full(full)) => {
                let last = relay::last_event(full, &admitted.permit, &self.context);
                self.cut(full);
                return Err(Unfit {
                    what: "an event can't be held".to_owned(),
                    last: Some(last),
                });
            }
        };
        if is_end {
            let rest = events_filter.rest(lists).await;
            let rest = rest.map_err(|unreadable| unfit(&unreadable))?;
            if !rest.is_empty() {
                passed = Bytes::from([passed, rest].concat());
            }
        } else {
            answer.filter = Some(events_filter);
        }
        Ok(passed)
    }

    fn advance(&mut self, written: &[u8]) -> bool {
        let Some(answer) = &mut self.answer else {
            return false;
        };
        answer.boundary.advance(written);
        answer.boundary.is_between_events()
    }

    fn refuse(&mut self, why: &Failed) -> Answer {
        // While its body is read; afterwards it was counted when it was admitted.
        if matches!(self.stage, Stage::Confirmed(_)) {
            self.is_taken();
        }
        let rejection = self.rejection(why);
        if self.answer.is_none() {
            let state = &self.road.service.state;
            let mounted = &self.request.route.mounted;
            exchange::distrust(&state.catalogue, mounted, &rejection);
        }
        self.refusal(&rejection)
    }

    fn hold(&mut self, bytes: usize) -> bool {
        if bytes == 0 {
            self.hold = None;
            return true;
        }
        let may = self.grow(|hold| hold.grow_to(UNREAD));
        if let (false, Some(full)) = (may, self.full) {
            self.cut(full);
        }
        may
    }

    fn collect(&mut self, bytes: usize) -> bool {
        bytes <= FREE || self.grow(|hold| hold.grow_beyond_free(bytes))
    }

    fn sent(&mut self, bytes: usize) {
        self.context.sent(bytes);
    }

    fn becomes_stream(&mut self) {
        if let Stage::Admitted(admitted) = &self.stage
            && admitted.waits_for_events
        {
            self.enter();
        }
    }

    fn kept_alive(&mut self) {
        self.enter();
    }

    fn finished(&mut self, outcome: &Outcome) {
        let (Stage::Admitted(admitted), Some(answer)) = (&self.stage, &self.answer) else {
            return;
        };
        let log = self.log(admitted, answer);
        match outcome {
            Outcome::Done => log.ended("done"),
            Outcome::ClientGone => log.ended("client_gone"),
            Outcome::Ended(cause) => log.ended(cause),
            // Told when it was met.
            Outcome::Failed(_) if self.full.is_some() => {}
            Outcome::Failed(why) => {
                let other = || Failure::Broken(why.to_string());
                log.failed(&failure(why).unwrap_or_else(other));
            }
            // The refusal was told, or is by the other road.
            Outcome::Answered(_) | Outcome::OtherRoad => {}
        }
    }
}
