//! The domain's types on the store's promises: a file an entity, with its record, its key and what
//! is done with it. Owns: reading and writing a record. Not: what a record means (`gateway-core`).

mod access;
mod accounts;
mod certificates;
mod clients;
mod codes;
mod counts;
mod device_codes;
mod encoding;
mod forms;
mod grants;
mod identities;
mod indexes;
pub(crate) mod kept_tools;
mod last_use;
mod left_out;
mod login_locks;
mod marks;
mod page;
mod passkeys;
mod provider_logins;
mod rescue_links;
mod service_grants;
mod sessions;
mod setup;
mod signing_keys;
mod users;
mod ways;

pub use self::access::Records;
pub use self::accounts::{
    Account, AccountLink, AccountLogin, KeptAccount, Lapse, TakenAccountLogin,
};
pub use self::certificates::{AcmeAccount, FailedOrders, KeptCertificate, ORDER_LEASE, OrderLease};
pub use self::codes::TakenCode;
pub use self::device_codes::{KeptDevice, TakenDevice};
pub use self::forms::{FormPage, Submission};
pub use self::grants::{GrantsOf, KeptGrant};
pub use self::identities::Identity;
pub(crate) use self::indexes::ExclusiveIndexes;
pub use self::kept_tools::ToolsUnknown;
pub use self::login_locks::LoginSubject;
pub use self::page::{Page, Readable};
pub use self::passkeys::Passkey;
pub use self::provider_logins::{KeptGoal, ProviderLogin, TakenLogin};
pub use self::rescue_links::{RescueLink, TakenLink};
pub use self::service_grants::ServiceGrantKey;
pub use self::setup::{KeptSetup, SetupOffer, SetupState};
pub use self::users::{Disabled, User};
