//! Personal tokens: a person, or the operator in a person's name, makes one; whoever presents it is
//! served as with an access token of its grant.
//!
//! Owns: making one, and what a presented bearer token says, of whichever kind. Not: its form
//! (`gateway_core::grants::personal`), the pages (`account::tokens`), what is remembered of it between
//! calls (`proxy::confirmation`).

mod make;
mod present;

pub use self::make::{MOST, MintOutcome, NewToken, NotChosen, NotMade, choose, make};
pub(crate) use self::present::presented_personally;
