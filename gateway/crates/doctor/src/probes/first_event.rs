//! Whether the first event of a stream comes while the stream is open, for whoever has such a stream
//! and no more to be examined.

use std::time::Duration;

use http::Method;
use url::Url;

use crate::checks::streams::{EVENT, FirstEvent, first_arrival};
use crate::http_client::{Ask, HttpClient};
use crate::trust::{TrustError, client_config};
use gateway_core::secret::Secret;

/// For the head of the answer, which may be held back with the events until the stream has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens the event stream at `url` with a bearer token, and waits for its first event.
///
/// # Errors
///
/// TLS can't be set up on this machine.
pub async fn first_event(url: &Url, token: &Secret) -> Result<FirstEvent, TrustError> {
    let http = HttpClient::new(client_config(None)?, PATIENCE);
    let ask = Ask::new(Method::GET, url).bearer(token.reveal());
    Ok(match http.follow(ask).await {
        Ok(live) => {
            let seen = live.until(EVENT, |recording| !recording.events.is_empty());
            first_arrival(&seen.await)
        }
        Err(exchange) => FirstEvent::NoStream(match exchange.outcome {
            Ok(answer) => format!("it answered {}", answer.status),
            Err(failure) => failure.to_string(),
        }),
    })
}
