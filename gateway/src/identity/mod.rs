//! Who a person is: passwords and the set-up of the first owner.

mod password;
mod setup;

pub use self::password::Passwords;
pub use self::setup::Setup;
