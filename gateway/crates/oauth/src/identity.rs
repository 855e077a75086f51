//! Who a person is: passwords, the set-up of the first owner, the owner from the configuration, and
//! the people whom the operator adds.

mod owner;
mod password;
pub mod people;
mod setup;

pub use self::owner::{LoginName, ensure_owner, forget_former_owner, no_owner};
pub use self::password::{
    LONGEST, Overloaded, Password, PasswordPhc, Passwords, PhcError, SHORTEST,
};
pub use self::setup::{AcceptedCode, LIFETIME as SETUP_LIFETIME, SetupCode, SetupRefusal};
