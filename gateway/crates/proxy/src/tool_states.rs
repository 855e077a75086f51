//! What a backend is known to offer, as far as a decision about calls needs it: how pinned tools stand,
//! and whose user interface a resource is.

use std::sync::Arc;

use super::mounted_backend::MountedBackend;
use super::{policy_input, tool_list_filter};
use gateway_core::grants::{NotAllowed, ToolState};
use gateway_core::policy::AccessToken;
use gateway_upstream::{Catalogue, Tool};
use mcp_protocol::calls::{Belonging, Call};

const RESOURCES_READ: &str = "resources/read";

/// How the tools stand that are about to be called, where the token allows them in one definition
/// only. Known in memory; the backend is asked only where it is not, and not again for this request
/// where it could not be asked.
pub(super) async fn of_calls(
    catalogue: &Arc<Catalogue>,
    token: &AccessToken,
    mounted: &MountedBackend,
    calls: &[Call],
    mut may_ask: bool,
) -> Vec<(String, ToolState)> {
    let (name, caller) = (&mounted.backend.mount.name, policy_input::caller(token));
    let mut tool_states = Vec::new();
    for tool in calls.iter().filter_map(Call::concerns) {
        if token.tools().pin(tool).is_some() {
            let mut current = if may_ask {
                catalogue.current(name, caller, tool).await
            } else {
                catalogue.cached_state(name, caller, tool)
            };
            let has_changed = || token.admit(tool, || current) == Err(NotAllowed::Changed);
            if may_ask && token.is_amended(tool) && has_changed() {
                // Approved on another replica since this one asked.
                current = catalogue.current_now(name, caller.user, tool).await;
            }
            may_ask &= current != ToolState::Unknown;
            tool_states.push((tool.to_owned(), current));
        }
    }
    tool_states
}

/// Writes down whose user interface is about to be read: that of a tool which the token shows.
pub(super) async fn find_interfaces(
    catalogue: &Arc<Catalogue>,
    token: &AccessToken,
    mounted: &MountedBackend,
    calls: &mut [Call],
) {
    let reads = |call: &Call| {
        let uri = call.name.as_deref().unwrap_or_default();
        call.method == RESOURCES_READ && uri.starts_with("ui://")
    };
    if !calls.iter().any(reads) || token.may_use(RESOURCES_READ) {
        return;
    }
    let (name, caller) = (&mounted.backend.mount.name, policy_input::caller(token));
    // Boxed: hardly any request needs room for it.
    let Ok(listing) = Box::pin(catalogue.cached(name, caller)).await else {
        return;
    };
    for call in calls.iter_mut().filter(|call| reads(call)) {
        let names_it = |tool: &&Tool| {
            let mut interfaces = tool.interfaces.iter();
            interfaces.any(|uri| Some(uri) == call.name.as_ref())
                && tool_list_filter::shows(token, tool)
        };
        let tool = listing.tools.iter().find(names_it);
        call.belongs_to = tool.map(|tool| Belonging::Tool(tool.name.clone()));
    }
}
