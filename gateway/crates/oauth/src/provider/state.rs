//! How each provider stands, for the owner's page.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::settings::Protocol;
use crate::server::AuthorizationServer;
use gateway_core::clock::Timestamp;

/// Asking all of them takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);

impl AuthorizationServer {
    /// The name of each identity provider for people, and how it stands; or what is wrong with it. One
    /// whose document was had before counts as at hand, as it does for a login.
    pub async fn provider_states(
        &self,
        now: Timestamp,
    ) -> Vec<(String, Result<&'static str, String>)> {
        let deadline = Instant::now() + PATIENCE;
        let mut states = Vec::new();
        for provider in self.providers.all() {
            let state = match &provider.protocol {
                // It describes itself nowhere.
                Protocol::GitHub(_) => Ok("is asked when somebody logs in"),
                Protocol::OpenId(open_id) => {
                    let asked = self.providers.metadata(open_id, now);
                    match timeout_at(deadline, asked).await {
                        Ok(Ok(_)) => Ok("its discovery document is at hand"),
                        Ok(Err(failure)) => Err(match failure.explained() {
                            Ok((reason, detail)) => format!("{reason}: {detail}"),
                            Err(error) => error.to_string(),
                        }),
                        Err(_) => Err("has not answered in time".to_owned()),
                    }
                }
            };
            states.push((provider.words.clone(), state));
        }
        states
    }
}
