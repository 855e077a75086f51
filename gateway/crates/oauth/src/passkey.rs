//! Passkeys: what a browser is asked for one, what of its answer is believed, and what is kept
//! (W3C Web Authentication, level 3).
//!
//! The verification is `webauthn-rs`'s. A passkey is always discoverable and always asks its device who
//! is using it, so that it stands for name and password together; nothing is asked of its maker
//! (attestation `none`).
//!
//! What must be the same when the answer comes back, the challenge among it, travels in the form, sealed
//! for one browser and ten minutes (`form_token`): nothing is kept for a page that was only looked at.
//! An answer that holds uses the form up.

mod add;
mod ceremony;
pub(crate) mod form;
pub(crate) mod login;
mod refusal;
pub(crate) mod remove;
pub(crate) mod site;

pub(crate) use self::add::{Ceremonies, NewPasskey, NotMade, add, registered};
pub(crate) use self::form::seal;
pub use self::remove::{Removed, remove, remove_by_operator};
pub(crate) use self::remove::{has_way_in, remove_password};
pub use self::site::{Passkeys, Unavailable};
