//! A person's session in a browser of the login pages.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::grants::UserId;

/// What the store keeps under the hash of the session cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowserSession {
    /// Who logged in.
    pub user: UserId,
    /// That person's name.
    pub user_name: String,
    /// When.
    pub started: Timestamp,
    /// When a new login is asked for.
    pub expires: Timestamp,
}
