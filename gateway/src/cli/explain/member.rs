//! Questions about several backends that are offered together.

use std::sync::Arc;

use crate::config::Config;
use gateway_upstream::Backend;
use mcp_protocol::calls::Call;

/// Where a call is decided, and as what.
pub(super) struct Place {
    /// The backend that decides.
    pub(super) backend: Arc<Backend>,
    /// All together that it is asked at, and which of them that backend is, where it is one of several.
    pub(super) aggregate: Option<(Arc<Backend>, usize)>,
    /// The call, under that backend's own name of the tool.
    pub(super) call: Call,
}

/// The place of a call: for several backends together, at the member that it is for, under
/// that member's own name.
pub(super) fn at_member(
    config: &Config,
    backend: Arc<Backend>,
    mut call: Call,
) -> Result<Place, String> {
    let Some(aggregate) = &backend.aggregate else {
        return Ok(Place {
            backend,
            aggregate: None,
            call,
        });
    };
    let name = &backend.mount.name;
    let shown = call.name.clone().unwrap_or_default();
    let Some((member, own)) = aggregate.members.find(&shown) else {
        let example = aggregate.members.shown(0, "search");
        return Err(format!(
            "`{name}` is several servers together: name a tool of one as apps do, such as `{example}`, or one \
             of them with --backend"
        ));
    };
    let member_backend = backend_named(config, &aggregate.members.names()[member])?;
    call.name = Some(own.to_owned());
    Ok(Place {
        backend: member_backend,
        aggregate: Some((backend, member)),
        call,
    })
}

pub(super) fn backend_named(config: &Config, name: &str) -> Result<Arc<Backend>, String> {
    let mut all = config.backends.iter().map(|configured| &configured.backend);
    let found = all.find(|backend| backend.mount.name == name);
    let found = found.ok_or_else(|| format!("no backend has the name `{name}`"))?;
    Ok(Arc::new(found.clone()))
}
