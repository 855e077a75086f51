//! What is asked of a confirmed request by its body: read once, with the backend's own names put into it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use super::ConfirmedRequest;
use crate::client_names::Names;
use crate::destination::Destination;
use crate::holder::Holder;
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::routes::{BackendRoute, McpEndpoint};
use crate::sessions::Sessions;
use crate::state::ProxyState;
use crate::tool_states;
use gateway_core::policy::rules::Rules;
use gateway_core::policy::{AccessToken, SUBSCRIBE};
use mcp_protocol::arguments::Paths;
use mcp_protocol::calls::{self, Call};
use mcp_protocol::jsonrpc::{Body, Keep};

/// What of a body's arguments is kept for policy and attenuation. `paths` holds what is asked of them in
/// all.
fn keep<'k>(token: &AccessToken, rules: Option<&'k Rules>, paths: &'k mut Paths) -> Keep<'k> {
    let ruled = rules.map_or(Keep::Nothing, Rules::keep);
    match (token.attenuation().asks_for_arguments(), ruled) {
        (false, ruled) => ruled,
        (true, Keep::Arguments) => Keep::Arguments,
        (true, Keep::Nothing) => Keep::At(paths),
        (true, Keep::At(asked)) => {
            *paths = paths.and(asked);
            Keep::At(paths)
        }
    }
}

/// The names that the client uses for what the backend named.
pub(super) fn names<'n>(
    sessions: &'n Sessions,
    destination: &'n Destination,
    token: &'n AccessToken,
    route: BackendRoute<'n>,
) -> Names<'n> {
    let conversation = match (&destination.own, route.endpoint) {
        (Some(own), _) => own.text(),
        (None, McpEndpoint::Messages) => destination.target.as_str(),
        (None, _) => destination.session.as_deref().unwrap_or_default(),
    };
    Names {
        sessions,
        holder: Holder::new(token, &route.mounted.backend.mount),
        conversation,
    }
}

/// Reads the body into the request, puts the backend's own names into it, and tells what it calls, and the
/// header that mirrors a name which was put.
pub(super) async fn read_calls(
    state: &ProxyState,
    head: RequestHead<'_>,
    confirmed: &mut ConfirmedRequest,
    body: Bytes,
) -> Result<(Vec<Call>, Option<HeaderValue>), Rejection> {
    let ConfirmedRequest {
        route,
        request,
        token,
        destination,
        rules,
        ..
    } = confirmed;
    let mut paths = token.attenuation().argument_paths();
    let keep = keep(token, rules.as_deref(), &mut paths);
    let is_stateless = request.is_stateless;
    let body = request.read_body(head, body, keep)?;
    let mut calls = body.calls();
    if route.mounted.backend.aggregate.is_some() {
        // Each member has names of its own.
        return Ok((calls, None));
    }
    let names = names(&state.sessions, destination, token, route.route());
    names.restore(body, &mut calls);
    if let [call] = calls.as_mut_slice()
        && call.listens()
        && !token.may_use(&call.method)
    {
        names.listen_to_tools(body, call, token);
    }
    let asks_for_resources = |rules: &Arc<Rules>| rules.asks_for_resources();
    if calls.iter().any(Call::listens)
        && (rules.as_ref().is_some_and(asks_for_resources) || !token.is_good_for(SUBSCRIBE))
    {
        name_resources(&mut calls, &body.messages)?;
    }
    let mirrored_name = is_stateless
        .then(|| names.restored_header(head.mirror().name))
        .flatten();
    let mounted = &route.mounted;
    tool_states::find_interfaces(&state.catalogue, token, mounted, &mut calls).await;
    Ok((calls, mirrored_name))
}

/// Writes down what a subscription names, for a policy or token to which that matters.
fn name_resources(calls: &mut [Call], messages: &Body) -> Result<(), Rejection> {
    for (call, message) in calls.iter_mut().zip(messages.messages()) {
        let named = calls::resources_of(message);
        call.resources = named.map_err(|what| Rejection::BadMessage(what.to_owned()))?;
    }
    Ok(())
}
