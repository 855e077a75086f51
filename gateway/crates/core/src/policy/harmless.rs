//! Methods that need no tool to be allowed.

use mcp_protocol::calls::{Belonging, Call};

/// What a token for chosen tools may do beside calling them: what a session needs, and nothing that
/// reads or runs anything else. Everything else is refused, also what is not known here:
///
/// | allowed | refused |
/// |---|---|
/// | `initialize`, `server/discover` (both answered without what is refused), `ping`, `tools/list` (cut to the chosen tools), `logging/setLevel` | `resources/*`, `prompts/*`, `completion/complete`, `tasks/*`, any other method; lists among them are answered empty |
/// | `subscriptions/listen` for changes of the list of tools | for anything else |
/// | `tasks/*` and `resources/read` for the task or the user interface of a chosen tool ([`Belonging`]) | |
/// | `notifications/initialized`, `…/cancelled`, `…/progress`, `…/roots/list_changed` | any other notification: it is taken and goes no further |
/// | a response to what the backend asked in this session | any other response: it is taken and goes no further |
/// | the event stream (GET) and the end of a session (DELETE) | |
pub(super) fn is_harmless(call: &Call) -> bool {
    match call.method.as_str() {
        "" => call.is_asked_for() || !call.carries_result,
        "subscriptions/listen" => call.belongs_to == Some(Belonging::ToolChanges),
        method => matches!(
            method,
            "initialize"
                | "logging/setLevel"
                | "notifications/cancelled"
                | "notifications/initialized"
                | "notifications/progress"
                | "notifications/roots/list_changed"
                | "ping"
                | "server/discover"
                | "tools/list"
        ),
    }
}
