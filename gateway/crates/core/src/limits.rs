//! Limits: how often and how much somebody may call.
//!
//! Owns: what is counted and whose it is ([`Limit`]), how a store counts ([`Quota`]), how a replica spends
//! what the store gave it ([`Share`]), how many calls a policy is told of ([`Tally`]). All of it is
//! arithmetic on a time that is passed in. Not: where it is kept, and who asks (`gateway-store`,
//! `gateway-proxy`).

mod draw;
pub(crate) mod meter;
pub(crate) mod quota;
mod setting;
mod share;
mod tally;

pub use self::draw::{Answers, Draw, DrawId, Drawn};
pub use self::meter::{Meter, Unit, wait_in_words};
pub use self::quota::{Kept, Quota, Rate, SKEW};
pub use self::setting::{Asker, Charge, Limit, Per, is_counted};
pub use self::share::{Decision, Part, Share};
pub use self::tally::{CALLS_TODAY, Tally};
