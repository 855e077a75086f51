//! Device authorization (RFC 8628): an app on a machine without a browser gets two codes; a person types
//! the short one at `/device` and answers on the ordinary consent page; the app comes for the answer with
//! the long one (`token::device_code`).
//!
//! Owns: who may ask, the page that takes the short code, and what the answer does. Not: the consent page,
//! which is reached through `/authorize?device=…`, where nobody has to be logged in yet; nor what is kept
//! (`gateway_core::grants::device`).

mod answer;
pub(crate) mod apps;
mod ask;
mod page;
mod typed;

pub(crate) use self::answer::{allow, deny, done};
pub use self::apps::DeviceApps;
pub(super) use self::ask::ask;
pub(super) use self::page::{page, submit};
pub(crate) use self::typed::type_code;

use crate::authorize::request::{AuthorizationFlow, AuthorizationRequest, AuthorizeRefusal};
use crate::clients::Clients;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_core::secret::{SecretHash, TagKey};

/// The request that a raw query of `/authorize` names, if it is one of a device: the query is judged anew
/// wherever it comes from, as that of any other app. It may have been answered since.
pub(crate) async fn validate(
    clients: Clients<'_>,
    tags: &TagKey,
    request: &Request,
    raw_query: &str,
    form: &Form,
    now: Timestamp,
) -> Result<Option<AuthorizationRequest>, AuthorizeRefusal> {
    let Ok(Some(named)) = form.one("device") else {
        return Ok(None);
    };
    let unknown = || AuthorizeRefusal::Page(Reason::UserCodeUnknown, String::new());
    let code = SecretHash::parse(named).ok_or_else(unknown)?;
    // Whoever asked knows the name of its request; who typed the code is this browser.
    if !typed::is_typed(clients.settings, tags, request, form, &code, now) {
        return Err(AuthorizeRefusal::TypeCode);
    }
    let kept = clients.records.device(&code, now).await;
    let kept = kept.map_err(AuthorizeRefusal::Fault)?;
    let kept = kept
        .filter(|kept| now < kept.asked.expires)
        .ok_or_else(unknown)?;
    let client = clients.find(&kept.asked.client, now).await?;
    if !clients.settings.device_apps.include(&client) {
        let detail = client.id.to_string();
        return Err(AuthorizeRefusal::Page(Reason::DeviceNotAllowed, detail));
    }
    if client.fingerprint() != kept.asked.client_fingerprint {
        let detail = client.id.to_string();
        return Err(AuthorizeRefusal::Page(Reason::ClientChanged, detail));
    }
    let mount = clients.settings.mount_of(&kept.asked.resource);
    let mount = mount.ok_or_else(|| {
        let resource = kept.asked.resource.as_str().to_owned();
        AuthorizeRefusal::Page(Reason::ResourceUnknown, resource)
    })?;
    Ok(Some(AuthorizationRequest::new(
        client,
        mount.clone(),
        kept.asked.resource.clone(),
        kept.asked.scope.clone(),
        AuthorizationFlow::Device(Box::new(kept)),
        raw_query,
    )))
}
