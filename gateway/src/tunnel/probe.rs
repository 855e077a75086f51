//! Whether events come through a tunnel: once after the start the gateway opens a stream at its own
//! public URL, as an app would, and says what came of it. It is asked in the background, and nothing
//! waits for it.

use std::time::Duration;

use rand::RngCore;
use tokio::runtime::Handle;
use tokio::time::sleep;
use url::Url;

use gateway_core::protocol::resource::Issuer;
use gateway_core::secret::{Secret, SecretHash};
use gateway_doctor::{FirstEvent, first_event};
use gateway_proxy::STREAM_PROBE_PATH;

/// The pauses before each try: the name of a new tunnel is known everywhere only after a while.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
];

/// The probe, and the secret by which the gateway knows it.
#[derive(Debug)]
pub struct StreamProbe {
    url: Url,
    secret: Secret,
}

impl StreamProbe {
    /// One of this public URL. `None`: it is none that can be asked.
    pub fn new(issuer: &Issuer, random: &mut dyn RngCore) -> Option<Self> {
        Some(Self {
            url: Url::parse(&issuer.join(STREAM_PROBE_PATH)).ok()?,
            secret: Secret::draw(random),
        })
    }

    /// What the proxy knows it by.
    pub fn secret(&self) -> SecretHash {
        self.secret.hash()
    }

    /// Asks until a stream was open or the patience is at an end, and prints a line.
    pub fn start(self, runtime: &Handle) {
        runtime.spawn(async move {
            let found = self.ask().await;
            tell(&found);
            println!("{}", line(&found));
        });
    }

    async fn ask(&self) -> FirstEvent {
        let mut found = FirstEvent::NoStream("it was not asked".to_owned());
        for pause in PAUSES {
            sleep(pause).await;
            found = match first_event(&self.url, &self.secret).await {
                Ok(found) => found,
                Err(error) => return FirstEvent::NoStream(error.to_string()),
            };
            if !matches!(found, FirstEvent::NoStream(_)) {
                break;
            }
        }
        found
    }
}

/// For people, as the summary of the start has its lines.
fn line(found: &FirstEvent) -> String {
    match found {
        FirstEvent::Came(after) => format!(
            "✓ tunnel     event streams flow: an event came through after {} ms",
            after.as_millis()
        ),
        FirstEvent::HeldBack => "! tunnel     event streams are held back: an event did not come through while its \
             stream was open. Calls work; progress, questions to the person and what a server says by itself \
             come late or never. Name another program with --tunnel=NAME where that matters"
            .to_owned(),
        FirstEvent::NoStream(why) => format!(
            "! tunnel     whether event streams flow is not known: the gateway does not reach its own public \
             URL ({why}). `gateway doctor` from another machine tells whether apps do"
        ),
    }
}

fn tell(found: &FirstEvent) {
    match found {
        FirstEvent::Came(after) => {
            let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            log::info!(event = "tunnel_streams_flow", ms = millis; "event streams come through the tunnel");
        }
        FirstEvent::HeldBack => {
            log::warn!(event = "tunnel_streams_held_back"; "the tunnel holds event streams back");
        }
        FirstEvent::NoStream(why) => {
            log::warn!(event = "tunnel_not_reached", why = why.as_str(); "the gateway does not reach itself through the tunnel");
        }
    }
}
