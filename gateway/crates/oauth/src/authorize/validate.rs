//! From a raw query to a valid authorization request: the client is found, and the request is held
//! against the rules of `request`.

use crate::authorize::request::{AuthorizationRequest, AuthorizeRefusal, Rules, client_id, judge};
use crate::clients::Clients;
use crate::device;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;

/// Longer queries are refused: a client that sends this much means something else.
const MAX_QUERY: usize = 16 * 1024;

/// Judges an authorization request anew, wherever it comes from: the address bar or a form.
pub(crate) async fn validate(
    clients: Clients<'_>,
    tags: &TagKey,
    request: &Request,
    raw_query: &str,
    now: Timestamp,
) -> Result<AuthorizationRequest, AuthorizeRefusal> {
    let malformed = |detail: String| AuthorizeRefusal::Page(Reason::RequestMalformed, detail);
    if raw_query.len() > MAX_QUERY {
        return Err(malformed("the request is too long".to_owned()));
    }
    let form = Form::parse(raw_query.as_bytes()).map_err(|error| malformed(error.to_string()))?;
    if let Some(of_device) = device::validate(clients, tags, request, raw_query, &form, now).await?
    {
        return Ok(of_device);
    }
    let id = client_id(&form)?;
    if id.as_str().eq_ignore_ascii_case("authorization") {
        let detail = format!("client_id: {id}");
        let reason = Reason::HeaderTakenForClient;
        return Err(AuthorizeRefusal::Page(reason, detail));
    }
    let client = clients.find(&id, now).await?;
    let settings = clients.settings;
    let rules = Rules {
        issuer: &settings.issuer,
        mounts: &settings.mounts,
        schemes: &settings.redirect_schemes,
        scopes: &settings.scopes,
        refresh: settings.refresh.is_some(),
    };
    judge(raw_query, &form, client, rules)
}
