//! One request of the owner's, and who answers it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

use crate::browser::cookie::BrowserName;
use crate::server::AuthorizationServer;
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};

/// Answers what the owner asks under `/admin`.
#[async_trait]
pub trait OwnerPages: Send + Sync {
    /// The answer to one request.
    async fn answer(&self, visit: &OwnerVisit<'_>) -> Response;
}

/// Where the pages are put once, at the start.
#[derive(Clone, Default)]
pub struct OwnerPagesHandle(pub(super) Arc<OnceLock<Box<dyn OwnerPages>>>);

impl OwnerPagesHandle {
    /// Puts them there; those that are there stay.
    pub fn set(&self, pages: Box<dyn OwnerPages>) {
        let _ = self.0.set(pages);
    }
}

impl fmt::Debug for OwnerPagesHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerPagesHandle")
    }
}

/// One request of the owner's, logged in in this browser.
pub struct OwnerVisit<'a> {
    /// What the pages answer from.
    pub server: &'a AuthorizationServer,
    /// What is asked.
    pub request: &'a Request,
    /// The time that it is answered for.
    pub now: Timestamp,
    pub(super) session: BrowserSession,
    pub(super) browser: BrowserName,
}
