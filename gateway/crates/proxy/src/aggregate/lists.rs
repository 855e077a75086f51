//! Lists of all members as one: each is asked at once, and whoever has not answered in time is left out.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use mcp_protocol::members::{Listed, Page, asked};
use mcp_protocol::{Message, Object, RpcError, code};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Asked, Fault, Unanswered};
use crate::aggregates::Absence;
use crate::call_limits::LIMIT_REACHED;
use crate::compat::NO_ANSWER;
use crate::in_flight::Hold;
use crate::lifetime;
use gateway_upstream::Failure;

/// How long a list waits for a member that did not answer last time.
pub(super) const AWAY: Duration = Duration::from_secs(1);

/// How long a member is waited for that was left out, by nobody's request.
const LOOK: Duration = Duration::from_secs(30);

/// What one member says to a question for all.
pub(super) enum Said {
    /// This, and how many bytes it has.
    Result(Object, usize),
    /// It has nothing of that kind, or nothing for this token.
    Refused(RpcError),
    /// It can't be reached, or does not answer in time: nobody finds it now.
    Away(Absence, String),
    /// It has no answer to this request now, or the gateway has none; and what is said of that. It says
    /// nothing of others.
    Fault(Option<Fault>),
}

/// What one member gave.
pub(super) struct Given {
    pub(super) page: Page,
    /// So many bytes it has.
    pub(super) bytes: usize,
    /// For as long as it is kept.
    pub(super) hold: Option<Hold>,
}

/// What the members answered that were asked.
#[derive(Default)]
pub(super) struct Answers {
    /// What they gave, in order.
    pub(super) given: Vec<Given>,
    /// Whether all that were asked answered.
    pub(super) is_complete: bool,
    /// What one refused it with, if one did.
    refused: Option<RpcError>,
    /// What the first said that has no answer, if one said something.
    fault: Option<Fault>,
    has_answer: bool,
}

impl Answers {
    /// Of nobody who was asked.
    pub(super) fn of_nobody() -> Self {
        Self {
            is_complete: true,
            ..Self::default()
        }
    }

    /// With what others answered.
    pub(super) fn with(mut self, others: Self) -> Self {
        self.given.extend(others.given);
        Self {
            given: self.given,
            is_complete: self.is_complete && others.is_complete,
            refused: self.refused.or(others.refused),
            fault: self.fault.or(others.fault),
            has_answer: self.has_answer || others.has_answer,
        }
    }

    /// The same, unless somebody was asked and nobody answered.
    pub(super) fn of_somebody(self) -> Result<Self, Unanswered> {
        if self.has_answer || self.is_complete {
            Ok(self)
        } else {
            Err(self.fault.into())
        }
    }

    /// The same, if all answered with what they were asked for.
    fn of_all(self) -> Result<Self, Unanswered> {
        match self.refused {
            Some(error) => Err(error.into()),
            None if self.is_complete => Ok(self),
            None => Err(self.fault.into()),
        }
    }
}

impl Asked {
    /// A page of a list.
    pub(super) async fn list(self: Arc<Self>, listed: Listed) -> Result<Message, Unanswered> {
        let cursor = self.message.params().text("cursor");
        let members = self.members();
        let Some(asked) = asked(members, cursor.as_deref()) else {
            let error = RpcError::new(code::INVALID_PARAMS, "The cursor is none of this list");
            return Err(error.into());
        };
        let requests = asked.into_iter().map(|(member, cursor)| {
            let mut request = self.message.clone();
            request.edit_params(|params| match &cursor {
                Some(cursor) => params.set("cursor", cursor),
                None => drop(params.remove("cursor")),
            });
            (member, request)
        });
        let answers = self.pages(requests.collect()).await;
        // Whose page is missing in the middle of a list has no cursor in the next one.
        let answers = match cursor {
            Some(_) => answers.of_all()?,
            None => answers.of_somebody()?,
        };
        let pages = self.kept(answers.given);
        let result = listed.merged(self.members(), &pages, answers.is_complete);
        Ok(Message::result(&self.id, &result))
    }

    /// Pages that are kept until this request is answered.
    pub(super) fn kept(&self, given: Vec<Given>) -> Vec<Page> {
        let mut held = self.held.lock();
        let keep = |given: Given| {
            held.extend(given.hold);
            given.page
        };
        given.into_iter().map(keep).collect()
    }

    /// What the members answer to these requests, on account of whoever keeps it.
    pub(super) async fn pages(self: &Arc<Self>, requests: Vec<(usize, Message)>) -> Answers {
        let mut asking = JoinSet::new();
        for (member, request) in requests {
            if self.leaves(member) {
                let asked = Arc::clone(self);
                // How a member takes a client's cursor says nothing of the member.
                let is_first = !request.params().has("cursor");
                let said = async move {
                    let method = request.method().to_owned();
                    let noted = is_first.then_some(method);
                    (member, noted, asked.say(member, request).await)
                };
                asking.spawn(said);
            }
        }
        let mut answers = Answers::of_nobody();
        while let Some(said) = asking.join_next().await {
            let Ok((member, noted, (said, hold))) = said else {
                answers.is_complete = false;
                continue;
            };
            if let Some(method) = noted {
                self.note_said(member, &method, &said);
            }
            match said {
                Said::Result(result, bytes) => {
                    answers.has_answer = true;
                    let page = Page { member, result };
                    answers.given.push(Given { page, bytes, hold });
                }
                Said::Refused(error) => {
                    answers.has_answer = true;
                    answers.refused = Some(error);
                }
                Said::Away(..) => answers.is_complete = false,
                Said::Fault(fault) => {
                    answers.is_complete = false;
                    answers.fault = answers.fault.or(fault);
                }
            }
        }
        answers.given.sort_by_key(|given| given.page.member);
        answers
    }

    /// Takes note of whether a member answers, as far as what it said tells.
    fn note_said(&self, member: usize, method: &str, said: &Said) {
        match said {
            Said::Result(..) | Said::Refused(_) => self.note(member, method, None),
            Said::Away(absence, why) => self.note(member, method, Some((*absence, why))),
            Said::Fault(_) => {}
        }
    }

    /// What a member says, in the time that a list has for it: less for one that did not answer last time.
    /// And what is held for it.
    async fn say(self: Arc<Self>, member: usize, request: Message) -> (Said, Option<Hold>) {
        let name = &self.members().names()[member];
        let aggregates = &self.service.state.aggregates;
        let is_away = aggregates.is_away(self.name(), name, request.method());
        let longest = self.aggregate.list_timeout;
        let patience = if is_away { longest.min(AWAY) } else { longest };
        match timeout(patience, self.answer_of(member, &request)).await {
            Ok(said) => said,
            Err(_) => {
                Arc::clone(&self).look_again(member, request);
                let why = Failure::TimedOut("its list").to_string();
                (Said::Away(Absence::Late, why), None)
            }
        }
    }

    /// Waits for a member that was left out because it is slow: the next list waits for it again, if it
    /// answers at all.
    fn look_again(self: Arc<Self>, member: usize, request: Message) {
        let name = &self.members().names()[member];
        let aggregates = &self.service.state.aggregates;
        let Some(looking) = aggregates.begin_look(self.name(), name, request.method()) else {
            return;
        };
        tokio::spawn(async move {
            let draining = &self.service.state.draining;
            let answer = tokio::select! {
                _ = lifetime::shutdown(draining, true) => return,
                answer = timeout(LOOK, self.answer_of(member, &request)) => answer,
            };
            // Nobody gets it, so nothing is held for it.
            if matches!(answer, Ok((Said::Result(..) | Said::Refused(_), _))) {
                self.note(member, request.method(), None);
            }
            drop(looking);
        });
    }

    /// What a member says, however long it takes; and what is held for it, which is for whoever keeps it.
    pub(super) async fn answer_of(&self, member: usize, request: &Message) -> (Said, Option<Hold>) {
        let Ok(reply) = self.ask_among_all(member, request).await else {
            // The walk at that member always answers, so it is the walk that failed.
            return (Said::Fault(None), None);
        };
        let (status, retry_after) = (reply.status, reply.retry_after.clone());
        let (response, hold) = reply.response().await;
        let said = match response {
            Ok(response) => match (response.outcome(), response.failure()) {
                (Some(result), _) => Said::Result(result, response.text().len()),
                (None, Some(error)) => refused(status, retry_after, error),
                (None, None) => Said::Fault(None),
            },
            Err(failure) => without_response(status, retry_after, &failure),
        };
        (said, Some(hold))
    }
}

/// What an answer says that is no response of MCP.
fn without_response(status: u16, retry_after: Option<HeaderValue>, failure: &Failure) -> Said {
    let sentence = format!("The server refused it with status {status}");
    match status {
        502 | 504 => Said::Away(Absence::Unreachable, failure.to_string()),
        429 => fault(status, retry_after, RpcError::new(LIMIT_REACHED, &sentence)),
        400..500 => Said::Refused(RpcError::new(code::INVALID_REQUEST, &sentence)),
        _ => Said::Fault(None),
    }
}

/// What an error says: that nobody reaches the member is told by the status; and, where it is asked over a
/// session, within the answer.
fn refused(status: u16, retry_after: Option<HeaderValue>, error: RpcError) -> Said {
    let is_internal = error.code() == code::INTERNAL;
    match status {
        502 | 504 => Said::Away(Absence::Unreachable, error.message()),
        429 | 500.. => fault(status, retry_after, error),
        _ if is_internal && error.message() == NO_ANSWER => {
            Said::Away(Absence::Unreachable, error.message())
        }
        _ if is_internal => fault(status, retry_after, error),
        _ => Said::Refused(error),
    }
}

fn fault(status: u16, retry_after: Option<HeaderValue>, error: RpcError) -> Said {
    let status = StatusCode::from_u16(status).ok();
    Said::Fault(status.map(|status| Fault {
        status,
        retry_after,
        error,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what everybody would meet counts as away: faults of ours, limits, and what a server makes of
    /// one request do not.
    #[test]
    fn a_member_is_away_only_if_it_can_not_be_reached_or_is_too_late() {
        let error = |code: i64, words: &str| RpcError::new(code, words);
        for (status, code, words, expected) in [
            (502, code::INTERNAL, "x", "away"),
            (504, code::INTERNAL, "x", "away"),
            (200, code::INTERNAL, NO_ANSWER, "away"),
            (200, code::INTERNAL, "my own trouble", "fault"),
            (500, code::INTERNAL, "x", "fault"),
            (503, code::INTERNAL, NO_ANSWER, "fault"),
            (429, -32000, "x", "fault"),
            (200, code::INVALID_PARAMS, "x", "refused"),
            (404, code::METHOD_NOT_FOUND, "x", "refused"),
        ] {
            let said = refused(status, None, error(code, words));
            assert_eq!(kind(&said), expected, "{status} {code} {words}");
        }
        let broken = Failure::Broken(String::new());
        for (status, expected) in [
            (200, "fault"),
            (401, "refused"),
            (429, "fault"),
            (502, "away"),
            (503, "fault"),
        ] {
            let said = without_response(status, None, &broken);
            assert_eq!(kind(&said), expected, "{status}");
        }
    }

    #[test]
    fn nobodys_answer_is_no_empty_list_and_a_cursor_is_answered_by_all_or_refused() {
        let answers = |is_complete: bool, has_answer: bool, refused: Option<RpcError>| Answers {
            is_complete,
            has_answer,
            refused,
            ..Answers::default()
        };
        let nobody =
            |answered: Result<Answers, Unanswered>| matches!(answered, Err(Unanswered::Nobody));
        assert!(nobody(answers(false, false, None).of_somebody()));
        assert!(answers(false, true, None).of_somebody().is_ok());
        // Nobody is left to be asked.
        assert!(answers(true, false, None).of_somebody().is_ok());
        assert!(nobody(answers(false, true, None).of_all()));
        // What one of them says of it says more than that nobody answered.
        let full = Answers {
            fault: Some(Fault {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after: None,
                error: RpcError::new(code::INTERNAL, "Too many at once"),
            }),
            ..answers(false, false, None)
        };
        let Err(Unanswered::Fault(fault)) = full.of_somebody() else {
            panic!("it was said");
        };
        assert_eq!(fault.error.message(), "Too many at once");
        let error = RpcError::new(code::INVALID_PARAMS, "That cursor has run out");
        let refused = answers(false, true, Some(error)).of_all();
        let Err(Unanswered::Error(error)) = refused else {
            panic!("it is the client's to know");
        };
        assert_eq!(error.message(), "That cursor has run out");
    }

    fn kind(said: &Said) -> &'static str {
        match said {
            Said::Result(..) => "result",
            Said::Refused(_) => "refused",
            Said::Away(..) => "away",
            Said::Fault(_) => "fault",
        }
    }
}
