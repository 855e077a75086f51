//! What the operations about people are asked and answer.

use clap::Args;
use serde::{Deserialize, Serialize};

/// A link by which a user sets themselves up. Never printed twice.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeLink {
    /// Its URL.
    pub link: String,
    /// When it is good no more, in RFC 3339.
    pub expires: String,
}

/// A passkey of a user.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasskeyToRemove {
    /// The login name
    pub name: String,
    /// The passkey's id, as `users show` has it, or its name
    // A name counts where one of theirs alone has it. One id in 64 begins with a hyphen.
    #[arg(allow_hyphen_values = true)]
    pub passkey: String,
}

/// A user by their login name.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedUser {
    /// The login name
    pub name: String,
}

/// A user who is new.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserToAdd {
    /// The login name.
    pub name: String,
    /// The password itself, never printed; without one the user sets themselves up by a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A user and their new password. Never printed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserWithPassword {
    /// The login name.
    pub name: String,
    /// The password itself.
    pub password: String,
}

/// An account at an identity provider of a user.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountToUnlink {
    /// The login name
    pub name: String,
    /// The name of the provider.
    #[arg(help = "The name of the provider's [[login]]")]
    pub provider: String,
    /// Names the account at the provider, where there are several
    // Providers make these, with whatever characters they please.
    #[arg(allow_hyphen_values = true)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// An app of a user whose access was taken back.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppToReadmit {
    /// The login name
    pub name: String,
    /// The app's client_id
    pub client: String,
}

/// A page of users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPage {
    /// In the order of their login names.
    pub users: Vec<UserView>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// A passkey as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyView {
    /// Its credential id.
    pub id: String,
    /// What its person calls it.
    pub name: String,
    /// When it was added, in RFC 3339.
    pub added: String,
    /// When somebody logged in with it last, in RFC 3339.
    pub last_used: Option<String>,
    /// Whether it may be on several devices.
    pub backup_eligible: bool,
    /// Whether it is.
    pub backed_up: bool,
}

/// A user after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedUser {
    /// As they are now.
    pub user: UserView,
    /// How many grants were revoked, where that belongs to the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<usize>,
}

/// A user as the operator sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// The id.
    pub id: String,
    /// The login name.
    pub name: String,
    /// Whether the configuration names them as owner.
    pub owner_of_configuration: bool,
    /// Whether they may see and do at `/admin` what the operator may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_owner: Option<bool>,
    /// Why they may not log in, if they may not.
    pub disabled: Option<String>,
    /// When they were added, in RFC 3339.
    pub created: String,
    /// Whether they have a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_password: Option<bool>,
    /// The accounts at identity providers that they log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<AccountView>>,
    /// The apps that no identity provider's word connects to them any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// The passkeys that they log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkeys: Option<Vec<PasskeyView>>,
}

/// An account at an identity provider as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// The name of the provider.
    pub provider: String,
    /// Names the account at the provider.
    pub subject: String,
    /// The mail address.
    pub address: Option<String>,
    /// Those of its groups that anything here goes by.
    pub groups: Vec<String>,
    /// When the provider said so, in RFC 3339.
    pub confirmed: String,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneUser {
    /// They.
    pub user: UserView,
}
