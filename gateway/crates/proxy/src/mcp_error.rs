//! How a refused call is answered: within MCP, so that the session goes on and model and person read
//! why.
//!
//! A refused `tools/call` gets a result with `isError`, which models read, and with the challenge in
//! `_meta["mcp/www_authenticate"]`, from which ChatGPT offers to connect again. Any other method
//! gets the JSON-RPC error *method not found*, as from a server that does not have it. Neither is an
//! HTTP error: clients end their session on one, or start a login that would change nothing. Clients
//! that ask for a list before they know whether there is anything to list get an empty one.
//!
//! A notification or an answer that is refused goes no further, and the client is told that it was
//! taken: it waits for nothing, and would end its session on anything else. Only what another scope
//! would cover is 403, from which clients know to ask for more (RFC 6750 §3.1), where that reaches them; and
//! what MCP has no answer for: a method that needs an id and has none.

use http::StatusCode;
use serde_json::{Value, json};

use gateway_core::grants::NotAllowed;
use gateway_core::policy::rules::{Effect, Failure};
use gateway_core::policy::{Permit, Refusal, Refused};
use gateway_core::protocol::scope::Scope;
use mcp_protocol::calls::Call;
use mcp_protocol::{Id, code};

/// The answers to those calls of a request that wait for one: results, and errors. `None` where none does.
pub(super) fn answers<'c>(
    is_batch: bool,
    each: impl Iterator<Item = (&'c Id, Result<Value, Value>)>,
) -> Option<Value> {
    let mut answers = each.map(|(id, outcome)| match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
    });
    if !is_batch {
        return answers.next();
    }
    let answers: Vec<Value> = answers.collect();
    (!answers.is_empty()).then_some(Value::Array(answers))
}

/// Where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It is the body of the response.
    Response,
    /// It is the body of a response, and translated on its way: the client never sees the status.
    Translated,
    /// It was put on the event stream of the legacy transport; the response says no more than that.
    Stream,
    /// It belongs on such a stream, which is not here: the response has to be an error.
    NoStream,
}

/// A refused request, as far as its answer needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedCall {
    pub(super) refused: Refused,
    pub(super) is_batch: bool,
    /// Whether it is of 2026-07-28 or later.
    pub(super) is_stateless: bool,
    pub(super) delivery: Delivery,
}

impl RefusedCall {
    pub(super) fn refusal(&self) -> &Refusal {
        &self.refused.refusal
    }

    /// The scope that would be enough, where that is what is missing.
    pub(super) fn needed_scope(&self) -> Option<&Scope> {
        match self.refusal() {
            Refusal::Scope(scope) => Some(scope),
            _ => None,
        }
    }

    /// The same, where the status of the response says so.
    fn scope_of_status(&self) -> Option<&Scope> {
        self.needed_scope()
            .filter(|_| self.delivery != Delivery::Translated)
    }

    pub(super) fn status(&self) -> StatusCode {
        match (self.refusal(), self.delivery) {
            _ if self.scope_of_status().is_some() => StatusCode::FORBIDDEN,
            _ if self.is_swallowed() => StatusCode::ACCEPTED,
            (_, Delivery::Stream) => StatusCode::ACCEPTED,
            (Refusal::Tool(_, NotAllowed::Unknown), _) => StatusCode::SERVICE_UNAVAILABLE,
            (Refusal::Policy(_, decision), _)
                if matches!(decision.effect, Effect::Failed(Failure::Limit(_))) =>
            {
                StatusCode::SERVICE_UNAVAILABLE
            }
            (_, Delivery::Response | Delivery::Translated) if self.is_answerable() => {
                StatusCode::OK
            }
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// Whether nobody waits for an answer.
    pub(super) fn is_swallowed(&self) -> bool {
        let calls = &self.refused.calls;
        let is_scope = self.scope_of_status().is_some();
        !is_scope && !calls.is_empty() && calls.iter().all(Call::is_unanswered)
    }

    /// The answer to a list that is refused because of what is listed.
    fn empty_list(&self, call: &Call) -> Option<Value> {
        let is_denied = match self.refusal() {
            Refusal::Method(method) => *method == call.method,
            Refusal::Policy(method, decision) => {
                *method == call.method && decision.effect == Effect::Denied
            }
            Refusal::Narrowed(_) => !self.is_batch,
            _ => false,
        };
        let listed = match call.method.as_str() {
            "prompts/list" => "prompts",
            "resources/list" => "resources",
            "resources/templates/list" => "resourceTemplates",
            "tasks/list" => "tasks",
            _ => return None,
        };
        let mut result = json!({listed: []});
        if self.is_stateless {
            result["resultType"] = json!("complete");
            result["ttlMs"] = json!(0);
            result["cacheScope"] = json!("private");
        }
        is_denied.then_some(result)
    }

    fn is_answerable(&self) -> bool {
        self.refused.calls.iter().any(|call| call.id.is_some())
    }

    /// The answer within MCP; `None` where there is none to give.
    pub(super) fn answer(
        &self,
        words: &str,
        challenge: Option<&str>,
        request_id: &str,
    ) -> Option<Value> {
        if self.scope_of_status().is_some() || !self.is_answerable() {
            return None;
        }
        let reason = self.refusal().reason().code();
        let outcome = |call: &Call| {
            if call.tool().is_some() {
                let mut meta = json!({"reason": reason, "request_id": request_id});
                if let Some(challenge) = challenge {
                    meta["mcp/www_authenticate"] = json!([challenge]);
                }
                let content = json!([{"type": "text", "text": words}]);
                let mut result = json!({"content": content, "isError": true, "_meta": meta});
                if self.is_stateless {
                    // Clients of 2026-07-28 take no result without it.
                    result["resultType"] = json!("complete");
                }
                return Ok(result);
            }
            if let Some(result) = self.empty_list(call) {
                return Ok(result);
            }
            let code = match self.refusal() {
                Refusal::Method(method) | Refusal::Policy(method, _) if *method == call.method => {
                    code::METHOD_NOT_FOUND
                }
                _ => code::INVALID_REQUEST,
            };
            let data = json!({"reason": reason, "request_id": request_id});
            Err(json!({"code": code, "message": words, "data": data}))
        };
        let calls = self.refused.calls.iter();
        let waiting = calls.filter_map(|call| Some((call.id.as_ref()?, outcome(call))));
        answers(self.is_batch, waiting)
    }
}

/// The one call of a request, if it is one alone.
pub(super) const fn only(calls: &[Call]) -> Option<&Call> {
    match calls {
        [call] => Some(call),
        _ => None,
    }
}

/// The id of the one request that waits for the answer, if it is one.
pub(super) fn single_id(permit: &Permit) -> Option<Id> {
    only(permit.calls())?.id.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, name: Option<&str>, id: Option<Id>) -> Call {
        Call {
            method: method.to_owned(),
            name: name.map(str::to_owned),
            id,
            arguments: None,
            carries_result: false,
            belongs_to: None,
            resources: Vec::new(),
        }
    }

    fn refused(refusal: Refusal, calls: &[Call], is_batch: bool) -> RefusedCall {
        RefusedCall {
            refused: Refused {
                refusal,
                calls: calls.to_vec(),
            },
            is_batch,
            is_stateless: false,
            delivery: Delivery::Response,
        }
    }

    #[test]
    fn a_refused_call_of_2026_07_28_says_that_its_result_is_complete() {
        let refusal = Refusal::Tool("erase".to_owned(), NotAllowed::Never);
        let asked = call("tools/call", Some("erase"), Some(Id::number(7)));
        for is_stateless in [false, true] {
            let refused = RefusedCall {
                is_stateless,
                ..refused(refusal.clone(), std::slice::from_ref(&asked), false)
            };
            let answer = refused.answer("no", None, "r").unwrap();
            let expected = is_stateless.then_some("complete");
            assert_eq!(answer["result"]["resultType"].as_str(), expected);
        }
    }

    #[test]
    fn a_refused_call_is_a_result_that_a_model_can_read() {
        let refusal = Refusal::Tool("erase".to_owned(), NotAllowed::Never);
        let asked = call("tools/call", Some("erase"), Some(Id::Text("7".to_owned())));
        let refused = refused(refusal, &[asked], false);
        assert_eq!(refused.status(), StatusCode::OK);
        assert_eq!(
            refused
                .answer("No.", Some("Bearer error=\"x\""), "r1")
                .unwrap(),
            json!({"jsonrpc": "2.0", "id": "7", "result": {
                "content": [{"type": "text", "text": "No."}],
                "isError": true,
                "_meta": {"reason": "tool_not_allowed", "request_id": "r1", "mcp/www_authenticate": ["Bearer error=\"x\""]},
            }})
        );
    }

    #[test]
    fn a_refused_method_is_one_that_is_not_there() {
        let refusal = Refusal::Method("resources/read".to_owned());
        let asked = call("resources/read", None, Some(Id::Number(7)));
        let answer = refused(refusal, &[asked], false).answer("No.", None, "r1");
        let answer = answer.unwrap();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(7), &json!(-32601))
        );
    }

    #[test]
    fn a_refused_list_is_an_empty_one() {
        let refusal = Refusal::Method("prompts/list".to_owned());
        let asked = call("prompts/list", None, Some(Id::Number(7)));
        let refused = refused(refusal, &[asked], false);
        let answer = refused.answer("No.", None, "r1").unwrap();
        assert_eq!(answer["result"], json!({"prompts": []}));
        let refused = RefusedCall {
            is_stateless: true,
            ..refused
        };
        let answer = refused.answer("No.", None, "r1").unwrap();
        assert_eq!(answer["result"]["resultType"], json!("complete"));
    }

    #[test]
    fn every_request_of_a_refused_batch_is_answered() {
        let refusal = Refusal::Tool("erase".to_owned(), NotAllowed::Never);
        let calls = [
            call("tools/list", None, Some(Id::Number(1))),
            call("notifications/initialized", None, None),
            call("tools/call", Some("erase"), Some(Id::Number(2))),
        ];
        let answer = refused(refusal, &calls, true).answer("No.", None, "r1");
        let answer = answer.unwrap();
        assert_eq!(answer.as_array().unwrap().len(), 2);
        assert_eq!(answer[0]["error"]["code"], json!(-32600));
        assert_eq!(answer[1]["result"]["isError"], json!(true));
    }

    #[test]
    fn what_cannot_be_answered_within_mcp_is_403_or_503() {
        let method = Refusal::Method(String::new());
        for unanswered in ["", "notifications/initialized", "notifications/x"] {
            let swallowed = refused(method.clone(), &[call(unanswered, None, None)], false);
            assert_eq!(swallowed.status(), StatusCode::ACCEPTED);
            assert_eq!(swallowed.answer("No.", None, "r1"), None);
        }
        let unanswerable = refused(method.clone(), &[call("prompts/get", None, None)], false);
        assert_eq!(unanswerable.status(), StatusCode::FORBIDDEN);
        assert_eq!(unanswerable.answer("No.", None, "r1"), None);
        let asked = [call("x", None, Some(Id::Number(1)))];
        let scope = refused(Refusal::Scope(Scope::parse("mcp")), &asked, false);
        assert_eq!(scope.status(), StatusCode::FORBIDDEN);
        assert_eq!(scope.answer("No.", None, "r1"), None);
        let translated = RefusedCall {
            delivery: Delivery::Translated,
            ..scope
        };
        assert_eq!(translated.status(), StatusCode::OK);
        assert!(translated.answer("No.", None, "r1").is_some());
        let unknown = Refusal::Tool("a".to_owned(), NotAllowed::Unknown);
        let status = |delivery| {
            RefusedCall {
                delivery,
                ..refused(unknown.clone(), &asked, false)
            }
            .status()
        };
        assert_eq!(status(Delivery::Response), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(Delivery::Stream), StatusCode::ACCEPTED);
        let gone = RefusedCall {
            delivery: Delivery::NoStream,
            ..refused(method, &asked, false)
        };
        assert_eq!(gone.status(), StatusCode::FORBIDDEN);
    }
}
