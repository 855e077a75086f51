//! The operator's API as both of its ends know it: its operations, what each is asked and answers. The
//! commands (`cli::operator`) send and read these types, the admin listener (`admin`) takes and makes
//! them. Where a command takes what it asks, the request says how it is typed, too.
//!
//! JSON under `/v1/`. Reading is GET with a query, changing is POST with a JSON object. A list comes in
//! pages: at most [`Limit::MOST`] entries, and `next` is what to ask for as `after`.
//!
//! Commands of one version meet a gateway of another while one is updated: a member that is new must
//! be an `Option`.
//!
//! Owns: paths, names and types. Not: what an operation does (`admin`), how it is sent (`cli::operator`).

mod accounts;
mod backups;
mod keys;
mod people;
mod query;
mod tokens;

use clap::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::accounts::{ElsewherePage, ElsewhereToRemove, ElsewhereView, RemovedElsewhere};
pub use self::backups::{BackupBegun, BackupPage};
pub use self::keys::{AdminTokenChanged, KeyPage, KeyView, KeysToRevoke, MadeKey};
pub use self::people::{
    AccountToUnlink, AccountView, AppToReadmit, ChangedUser, MadeLink, NamedUser, OneUser,
    PasskeyToRemove, PasskeyView, UserPage, UserToAdd, UserView, UserWithPassword,
};
pub use self::query::{
    BackupPageQuery, GrantsQuery, IdQuery, Limit, PageQuery, Query, QueryError, StreamsQuery,
};
pub use self::tokens::{CreatedToken, RevokedToken, TokenToCreate, TokenToRevoke, ToolsToGrant};

/// What an operation does to what people may do, which decides what an audit log means for it that
/// can't be written: nothing is given unless it is written down before what is about to be given, to
/// whom and by whom; but what is taken back is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changes.
    Reads,
    /// Somebody may do more.
    Gives,
    /// Somebody may do less.
    Takes,
}

/// One operation as a type.
pub trait Endpoint {
    /// Its row in the table.
    const OPERATION: Operation;
    /// What it is asked: a [`Query`] where it reads, else a JSON object.
    type Request;
    /// What it answers when it was done.
    type Answer: Serialize + DeserializeOwned;
}

macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $name:ident: $command:literal, $path:literal, $effect:ident,
        $request:ty => $answer:ty, $holds:literal;)+) => {
        /// The table of operations.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation { $($(#[doc = $doc])+ $name,)+ }

        impl Operation {
            const ALL: &[Self] = &[$(Self::$name,)+];

            /// The path of its URL.
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)+ }
            }

            /// Its name in the audit log, which is that of the command.
            pub const fn command(self) -> &'static str {
                match self { $(Self::$name => $command,)+ }
            }

            /// What it does to what people may do.
            pub const fn effect(self) -> Effect {
                match self { $(Self::$name => Effect::$effect,)+ }
            }

            /// The member that no answer of it is without: what has none is of another program.
            pub const fn holds(self) -> &'static str {
                match self { $(Self::$name => $holds,)+ }
            }

            /// Whether it is part of another that was written down.
            pub fn is_written_down_before(self) -> bool {
                self == Self::ReadBackup
            }

            /// The operation at a path.
            pub fn at(path: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|operation| operation.path() == path)
            }
        }

        $($(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $name;

        impl Endpoint for $name {
            const OPERATION: Operation = Operation::$name;
            type Request = $request;
            type Answer = $answer;
        })+
    };
}

operations! {
    /// Lists grants.
    ListGrants: "grants ls", "/v1/grants", Reads, GrantsQuery => GrantPage, "grants";
    /// Shows one grant.
    ShowGrant: "grants show", "/v1/grants/show", Reads, IdQuery => OneGrant, "grant";
    /// Revokes grants.
    RevokeGrants: "grants revoke", "/v1/grants/revoke", Takes, GrantsToRevoke => RevokedCount, "revoked";
    /// Lists clients.
    ListClients: "clients ls", "/v1/clients", Reads, PageQuery => ClientPage, "clients";
    /// Shows one client.
    ShowClient: "clients show", "/v1/clients/show", Reads, IdQuery => OneClient, "client";
    /// Forgets a client and revokes all that it was given.
    RemoveClient: "clients rm", "/v1/clients/remove", Takes, NamedClient => RemovedClient, "removed";
    /// Lists people's own accounts at backends.
    ListAccounts: "accounts ls", "/v1/accounts", Reads, PageQuery => ElsewherePage, "accounts";
    /// Removes one.
    RemoveAccount: "accounts rm", "/v1/accounts/remove", Takes, ElsewhereToRemove => RemovedElsewhere, "removed";
    /// Lists users.
    ListUsers: "users ls", "/v1/users", Reads, PageQuery => UserPage, "users";
    /// Shows one user.
    ShowUser: "users show", "/v1/users/show", Reads, IdQuery => OneUser, "user";
    /// Adds a user.
    AddUser: "users add", "/v1/users/add", Gives, UserToAdd => ChangedUser, "user";
    /// Makes a link by which a user sets themselves up, or comes in again.
    LinkUser: "users link", "/v1/users/link", Gives, NamedUser => MadeLink, "link";
    /// Removes a user with all that leads to them, and revokes all that they granted.
    RemoveUser: "users rm", "/v1/users/remove", Takes, NamedUser => ChangedUser, "user";
    /// Takes a passkey off a user.
    RemovePasskey: "users remove-passkey", "/v1/users/remove-passkey", Takes, PasskeyToRemove => ChangedUser, "user";
    /// Keeps a user out, and revokes all that they granted.
    DisableUser: "users disable", "/v1/users/disable", Takes, NamedUser => ChangedUser, "user";
    /// Lets a user log in again.
    EnableUser: "users enable", "/v1/users/enable", Gives, NamedUser => ChangedUser, "user";
    /// Lets a user see and do at `/admin` what the operator may.
    PromoteUser: "users promote", "/v1/users/promote", Gives, NamedUser => ChangedUser, "user";
    /// Does so no more.
    DemoteUser: "users demote", "/v1/users/demote", Takes, NamedUser => ChangedUser, "user";
    /// Gives a user another password.
    SetPassword: "users password", "/v1/users/password", Gives, UserWithPassword => ChangedUser, "user";
    /// Takes an account at an identity provider off a user.
    UnlinkUser: "users unlink", "/v1/users/unlink", Takes, AccountToUnlink => ChangedUser, "user";
    /// Lets an identity provider's word connect an app of a user again.
    ReadmitApp: "users readmit", "/v1/users/readmit", Gives, AppToReadmit => ChangedUser, "user";
    /// Lists the event streams of all replicas.
    ListStreams: "streams ls", "/v1/streams", Reads, StreamsQuery => StreamPage, "streams";
    /// Ends event streams of any replica. Nothing is revoked.
    CloseStreams: "streams close", "/v1/streams/close", Takes, StreamsToClose => ClosedCount, "closed";
    /// Makes a personal token.
    CreateToken: "token create", "/v1/tokens/create", Gives, TokenToCreate => CreatedToken, "token";
    /// Revokes one access token with all that was narrowed from it.
    RevokeToken: "token revoke", "/v1/tokens/revoke", Takes, TokenToRevoke => RevokedToken, "revoked";
    /// Lists the keys that sign access tokens.
    ListKeys: "keys ls", "/v1/keys", Reads, PageQuery => KeyPage, "keys";
    /// Makes one more.
    MakeKey: "keys rotate", "/v1/keys/rotate", Gives, Nothing => MadeKey, "made";
    /// Refuses all that was signed with some of them.
    RevokeKeys: "keys revoke", "/v1/keys/revoke", Takes, KeysToRevoke => KeyPage, "keys";
    /// Changes the token of the operator's commands.
    ChangeAdminToken: "keys rotate --admin-token", "/v1/keys/admin-token", Gives, Nothing => AdminTokenChanged, "changed";
    /// Takes a snapshot of an embedded store. All that it holds is about to be given away.
    BeginBackup: "backup", "/v1/backup", Gives, Nothing => BackupBegun, "backup";
    /// Reads on in one.
    ReadBackup: "backup", "/v1/backup/page", Reads, BackupPageQuery => BackupPage, "rows";
}

/// An operation that takes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Grants by their ids, or all of a client or a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum GrantsToRevoke {
    /// These.
    Grants(Vec<String>),
    /// All that a client was given.
    Client(String),
    /// All of a user: an id or a login name.
    User(String),
}

/// A client by its id.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedClient {
    /// Its client_id
    pub client: String,
}

/// One stream, or all of a grant, a client or a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum StreamsToClose {
    /// The one of this number.
    Stream(u64),
    /// All of a grant.
    Grant(String),
    /// All of a client.
    Client(String),
    /// All of a user: an id or a login name.
    User(String),
}

/// A page of grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantPage {
    /// In the order of their ids.
    pub grants: Vec<GrantView>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneGrant {
    /// It.
    pub grant: GrantView,
}

/// A grant as the operator sees it. Times are in RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its id.
    pub id: String,
    /// Who granted it.
    pub user: String,
    /// Their login name.
    pub user_name: String,
    /// Who has it.
    pub client: String,
    /// The name of the client, where it is known and has one.
    pub client_name: Option<String>,
    /// What the person calls the personal token, if it is the grant of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<String>,
    /// Where it counts.
    pub resource: String,
    /// Its scopes, parted by blanks.
    pub scope: String,
    /// Which tools.
    pub tools: GrantedTools,
    /// When it was granted.
    pub created: String,
    /// When a token of it was used last.
    pub last_used: Option<String>,
    /// When it ends.
    pub expires: String,
    /// Whether it has a refresh token.
    pub refreshes: bool,
    /// The identity provider by whose word it was made, where nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<String>,
}

/// The tools of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantedTools {
    /// `"all"`, also later ones.
    #[serde(rename = "all")]
    All,
    /// These.
    #[serde(untagged)]
    Named(Vec<String>),
}

/// How many grants were revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedCount {
    /// So many.
    pub revoked: usize,
}

/// A page of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPage {
    /// In the order of their ids.
    pub clients: Vec<ClientView>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneClient {
    /// It.
    pub client: ClientView,
}

/// A client as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// Its `client_id`.
    pub id: String,
    /// The name that it gave itself.
    pub name: Option<String>,
    /// `self`, `configuration` or `document`.
    pub registration: String,
    /// Its authentication method at `/token`.
    pub authentication: String,
    /// Where users may be sent back to.
    pub redirect_uris: Vec<String>,
    /// When, in RFC 3339; `None` for one of the configuration.
    pub registered: Option<String>,
    /// How many grants it has, where one client was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<usize>,
}

/// What came of removing a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedClient {
    /// Whether it was registered.
    pub removed: bool,
    /// How many grants were revoked.
    pub revoked: usize,
}

/// A page of streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPage {
    /// In the order of their numbers.
    pub streams: Vec<StreamEntry>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// An event stream that is held open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEntry {
    /// Its number, which no stream of another replica has.
    pub stream: u64,
    /// Who holds it: the name of the machine or pod, and the process.
    pub replica: String,
    /// The name of its backend.
    pub backend: String,
    /// On whose behalf.
    pub user: String,
    /// Their login name.
    pub user_name: String,
    /// Who reads it.
    pub client: String,
    /// Under which grant.
    pub grant: String,
    /// When it was opened, in RFC 3339.
    pub since: String,
}

/// How many streams were closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedCount {
    /// So many.
    pub closed: usize,
}

/// What is answered instead, with a status that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The code of the reason.
    pub error: String,
    /// What is wrong with this request.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_found_by_its_path_and_no_two_have_one() {
        for operation in Operation::ALL {
            assert_eq!(Operation::at(operation.path()), Some(*operation));
        }
        assert_eq!(Operation::at("/v1/grants/"), None);
    }

    #[test]
    fn tools_are_a_word_or_a_list() {
        for (json, tools) in [
            ("\"all\"", GrantedTools::All),
            ("[\"all\"]", GrantedTools::Named(vec!["all".to_owned()])),
        ] {
            assert_eq!(serde_json::to_string(&tools).unwrap(), json);
            assert_eq!(serde_json::from_str::<GrantedTools>(json).unwrap(), tools);
        }
    }
}
