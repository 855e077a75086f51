//! Which apps may ask from another machine.

use gateway_core::client::{Client, Registration};

/// Which apps may ask from another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceApps {
    /// None.
    Off,
    /// Those that somebody vouches for: the operator, or the site that describes them. Whether it is they
    /// who ask is another question (`AuthorizationRequest::is_proved`).
    Verified,
    /// All, also those that registered themselves.
    All,
}

impl DeviceApps {
    /// Whether this app may.
    pub fn include(self, client: &Client) -> bool {
        match self {
            _ if !client.may_ask_from_elsewhere => false,
            Self::Off => false,
            Self::Verified => client.registration != Registration::SelfRegistered,
            Self::All => true,
        }
    }
}
