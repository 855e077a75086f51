//! The pages that people see: values in, escaped HTML out. No I/O, no clock, and no script but the one
//! that browsers need for passkeys, on the pages that offer them.
//!
//! Owns: templates, the style sheet, words for durations, how a stranger's text is shown, and the
//! headers that every page carries. Not: cookies and forms' seals (`oauth`), what is decided.

mod account;
pub mod admin;
mod assets;
mod connect;
mod consent;
mod device;
mod home;
mod login;
mod moment;
mod page;
mod passkeys;
mod refusal;
mod rescue;
mod setup;
#[cfg(test)]
mod tests;
mod text;
mod tokens;
mod tool_picker;
mod waiting;

pub use self::account::{
    Account, AccountNotice, AllowedTools, App, ChangedTool, ClientOrigin, Connection, Elsewhere,
    ElsewhereAccount, GrantedResource, LimitUse, LimitsInUse, LinkForm, LinkedAccount, Logins,
    NewDefinition, RevokeForm, UnlinkForm, WithheldApp,
};
pub use self::assets::asset;
pub use self::connect::{Connect, ConnectProblem, ConnectWay, ConnectedPage};
pub use self::consent::{AuthorizationFlow, Changed, Consent, ScopeLine};
pub use self::device::{DeviceDone, DeviceForm, DeviceProblem};
pub use self::home::{Home, MountUrls};
pub use self::login::{Goal, Login, LoginProblem, Ownerless, ProviderButton};
pub(crate) use self::page::set_headers;
pub use self::page::{Frame, Page, respond};
pub use self::passkeys::{
    OwnPasskey, PasskeyForm, PasskeyNotice, PasskeysLine, PasskeysPage, PasswordForm,
};
pub use self::refusal::Refusal;
pub use self::rescue::{RescueForm, RescueProblem};
pub use self::setup::{SetupForm, SetupProblem};
pub use self::text::{ago, clean, in_words};
pub use self::tokens::{MadeToken, NewTokenForm, NewTokenProblem, OwnToken, Tokens};
pub use self::tool_picker::{Capabilities, Member, MemberStatus, Preset, Tool};
pub use self::waiting::Waiting;
