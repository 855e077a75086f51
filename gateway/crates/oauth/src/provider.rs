//! Logging in with an identity provider: OpenID Connect, and GitHub's own OAuth.
//!
//! `POST /login/NAME` begins, the browser goes to the provider and comes back to
//! `/login/NAME/callback`. A person is the pair of issuer and subject, never an address.
//!
//! Owns: what is asked of a provider, what of its answer is believed, and who that person is here.
//! Not: who is let in (`gateway_core::login_rules`), the session (`session`).

mod back_channel;
mod callback;
#[cfg(test)]
pub(crate) mod examples;
mod exchange;
mod failure;
mod github;
mod id_jag;
mod id_token;
pub(crate) mod membership;
mod metadata;
mod openid;
mod person;
pub(crate) mod providers;
mod renewal;
pub(crate) mod settings;
mod start;
mod state;
mod tenant;
mod unlink;

pub(crate) use self::failure::{Failure, is_absence, is_fault};
pub(crate) use self::id_jag::{IdJag, may_be_given, read_id_jag};
pub(crate) use self::membership::{Membership, membership};
pub use self::providers::Providers;
pub use self::renewal::Memberships;
pub use self::settings::{
    Authentication, Flavour, GitHub, IdJagRules, OnLeave, OpenId, Protocol, Provider, WellKnown,
};
pub(crate) use self::start::{browser_hash, link_bound};
pub(crate) use self::unlink::has_another_way_in;
pub use self::unlink::unlink;

use gateway_core::secret::TagKey;
use http::{Method, StatusCode};

use crate::cacheable_response;
use crate::endpoint::Endpoint;
use crate::server::AuthorizationServer;
use gateway_core::client::own_key::OwnKey;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;

/// `/login/NAME` and what is below it.
pub(super) async fn answer(
    server: &AuthorizationServer,
    endpoint: Endpoint,
    request: &Request,
    now: Timestamp,
) -> Response {
    let name = request.path.split('/').nth(2).unwrap_or_default();
    let Some(provider) = server.providers.named(name) else {
        return not_found();
    };
    match endpoint {
        Endpoint::ProviderCallback => callback::answer(server, provider, request, now).await,
        // Opened from the address bar after a button was pressed.
        Endpoint::ProviderLogin if request.method != Method::POST => {
            web::see_other(Endpoint::Login.path())
        }
        Endpoint::ProviderKeys => keys(&server.tags, provider, request),
        Endpoint::ProviderLogout => back_channel::answer(server, provider, request, now).await,
        _ => start::submit(server, provider, request, now).await,
    }
}

/// `/login/NAME/keys`: the key by which the gateway shows that provider who it is.
fn keys(tags: &TagKey, provider: &Provider, request: &Request) -> Response {
    match provider.authentication {
        Authentication::PrivateKey => {
            let key = OwnKey::at_provider(tags, &provider.name);
            let set = serde_json::json!({ "keys": [key.public()] });
            cacheable_response::json(request, "application/jwk-set+json", &set)
        }
        Authentication::Secret(_) => not_found(),
    }
}

fn not_found() -> Response {
    web::text(StatusCode::NOT_FOUND, Reason::NotFound.sentence())
}
