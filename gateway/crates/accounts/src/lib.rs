//! Everybody's own account at a backend: the credential that a call is made with.
//!
//! A person connects an account once, on a page of the gateway's; from then on each call of theirs to that
//! backend carries their own credential, which no app ever sees.
//!
//! Owns: obtaining, keeping, renewing and ending such credentials. Not: the pages (`gateway-oauth`), the
//! call (`gateway-proxy`), how a credential is sealed and when it is renewed (`gateway_core::account`).
//!
//! Begin at [`Accounts::credential`]. What is remembered in memory answers nearly every call; behind it is
//! the record in the store, sealed. An account that ends is an entry in the list of revocations, so that
//! every replica forgets it within a second and ends its streams.

mod account_error;
mod accounts;
mod changes;
mod contents;
mod links;
mod oauth;
mod remembered;
mod removal;
mod source;

pub use self::account_error::AccountError;
pub use self::accounts::{Accounts, Parts, Person};
pub use self::changes::Connected;
pub use self::links::Link;
pub use self::oauth::failure::Failure;
pub use self::oauth::login::{Returned, Traveller, Unfinished};
pub use self::removal::Removed;
