//! The end of an account at the other side (RFC 7009): best effort, and said.

use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;
use url::Url;

use crate::accounts::{AccountBackend, Accounts};
use crate::contents::OAuthContents;
use crate::oauth::token::{form, identify};
use crate::removal::Removed;
use gateway_fetch::{Body, FetchError};

/// How long the other side may take: somebody waits for the page.
const PATIENCE: Duration = Duration::from_secs(5);

impl Accounts {
    /// Tells the authorization server that nobody uses these tokens any more. [`Removed::Here`]: it has nobody
    /// who could be told.
    pub(crate) async fn take_back(
        &self,
        of: &AccountBackend,
        oauth: &OAuthContents,
        access: &str,
    ) -> Removed {
        let endpoint = oauth.server.revocation_endpoint.as_deref();
        let Some(url) = endpoint.and_then(|endpoint| Url::parse(endpoint).ok()) else {
            return Removed::Here;
        };
        // With the refresh token goes what came of it (RFC 7009 §2.1); not every server does that.
        let refresh = oauth.refresh.as_deref();
        let tokens = [(refresh, "refresh_token"), (Some(access), "access_token")];
        let telling = async {
            for (token, hint) in tokens {
                if let Some(token) = token {
                    tell_server(of, oauth, &url, token, hint).await?;
                }
            }
            Ok(())
        };
        match timeout(PATIENCE, telling).await {
            Ok(Ok(())) => Removed::Everywhere,
            Ok(Err(why)) => Removed::NotThere(why),
            Err(_) => Removed::NotThere("it has not answered in time".to_owned()),
        }
    }
}

async fn tell_server(
    of: &AccountBackend,
    oauth: &OAuthContents,
    url: &Url,
    token: &str,
    hint: &str,
) -> Result<(), String> {
    let mut parameters = vec![("token", token), ("token_type_hint", hint)];
    let authorization = identify(&oauth.client, &mut parameters);
    let form = form(&parameters);
    let authorization = authorization.as_ref().map(|text| text.as_str());
    match of
        .fetch
        .ask(url, authorization, Some(Body::Form(&form)))
        .await
    {
        Ok(answered) if answered.status == StatusCode::OK => Ok(()),
        // A yes has no body that says anything.
        Err(FetchError::MediaType) => Ok(()),
        Ok(answered) => Err(format!("it answered {}", answered.status.as_u16())),
        Err(error) => Err(error.to_string()),
    }
}
