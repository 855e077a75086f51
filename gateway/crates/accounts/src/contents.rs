//! What is sealed of an account: its credentials, and with whom they are renewed.

use gateway_core::account::seal::{Bound, SealKeys};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::oauth::client::Client;
use crate::oauth::server::Server;

/// The credentials of an account. Wiped when it is let go of, never printed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Contents {
    /// What a call carries.
    pub(crate) credential: String,
    /// How it came, if from an authorization server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oauth: Option<OAuthContents>,
}

/// How a credential came from an authorization server: it is renewed and taken back there and nowhere else.
#[derive(Serialize, Deserialize)]
pub(crate) struct OAuthContents {
    /// What renews it, if it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<String>,
    /// Where.
    pub(crate) server: Server,
    /// As whom.
    pub(crate) client: Client,
    /// What was named by `resource`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<String>,
}

impl Contents {
    /// Whether it can be renewed.
    pub(crate) fn is_renewable(&self) -> bool {
        let oauth = self.oauth.as_ref();
        oauth.is_some_and(|oauth| oauth.refresh.is_some())
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        self.credential.zeroize();
    }
}

impl Drop for OAuthContents {
    fn drop(&mut self) {
        self.refresh.zeroize();
    }
}

/// Seals a value.
pub(crate) fn seal(
    value: &impl Serialize,
    keys: &SealKeys,
    bound: Bound<'_>,
    random: &mut dyn RngCore,
) -> String {
    let text = serde_json::to_vec(value).expect("it has text keys only, so it serialises");
    keys.seal(&Zeroizing::new(text), bound, random)
}

/// Opens it again; `None` for what can't be opened or read.
pub(crate) fn open<T: for<'d> Deserialize<'d>>(
    sealed: &str,
    keys: &SealKeys,
    bound: Bound<'_>,
) -> Option<T> {
    let text = keys.open(sealed, bound).ok()?;
    serde_json::from_slice(&text).ok()
}
