//! Who a person is: passwords, the set-up of the first owner, and the owner from the configuration.

mod owner;
mod password;
mod setup;

pub use self::owner::{LoginName, ensure_owner};
pub use self::password::{
    LONGEST, Overloaded, Password, PasswordPhc, Passwords, PhcError, SHORTEST,
};
pub use self::setup::{AcceptedCode, LIFETIME as SETUP_LIFETIME, Setup, SetupCode, SetupRefusal};
