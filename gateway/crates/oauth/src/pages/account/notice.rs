//! What the page says of the button that was pressed last.

use http::StatusCode;

use super::super::text::{LONGEST_NAME, clean, shown_name};
use gateway_core::reason::Reason;

/// What came of a button of this page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountNotice {
    /// An app of this name, if it has one, lost what was shown.
    Revoked(Option<String>),
    /// The personal token of this name counts no more.
    TokenEnded(String),
    /// The same of what an organisation had allowed it.
    Withheld(Option<String>),
    /// An organisation may connect an app of this name, if it has one, again.
    Readmitted(Option<String>),
    /// It might before.
    AlreadyReadmitted,
    /// What the form names is over already.
    AlreadyOver,
    /// This tool may be used again.
    Approved(String),
    /// It was approved before.
    AlreadyApproved(String),
    /// It is something else again than the page showed.
    ChangedAgain(String),
    /// The backend does not offer it any more.
    Withdrawn(String),
    /// The backend could not be asked.
    NotAsked(String),
    /// The account at the provider of this name logs nobody in any more.
    Unlinked(String),
    /// The account is none of the person's any more.
    AlreadyUnlinked,
    /// The person could not log in without the account.
    LastWayIn,
    /// The person's account at this backend is gone, at the other side too.
    Disconnected(String),
    /// It is gone here, and goes on there until somebody ends it.
    DisconnectedHere(String),
    /// It was gone before.
    AlreadyDisconnected,
    /// The page was open for too long.
    PageExpired,
}

/// What a notice comes to.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// Something was changed.
    Done,
    /// It was so before.
    Unchanged,
    /// It could not be done.
    Refused(StatusCode, Reason),
}

impl AccountNotice {
    const fn outcome(&self) -> Outcome {
        match self {
            Self::Revoked(_)
            | Self::TokenEnded(_)
            | Self::Withheld(_)
            | Self::Readmitted(_)
            | Self::Approved(_)
            | Self::Disconnected(_)
            | Self::DisconnectedHere(_)
            | Self::Unlinked(_) => Outcome::Done,
            Self::AlreadyReadmitted
            | Self::AlreadyOver
            | Self::AlreadyApproved(_)
            | Self::AlreadyDisconnected
            | Self::AlreadyUnlinked => Outcome::Unchanged,
            Self::ChangedAgain(_) => {
                Outcome::Refused(StatusCode::CONFLICT, Reason::ToolsChangedMeanwhile)
            }
            Self::Withdrawn(_) => {
                Outcome::Refused(StatusCode::CONFLICT, Reason::ToolDefinitionChanged)
            }
            Self::LastWayIn => Outcome::Refused(StatusCode::CONFLICT, Reason::LastWayIn),
            Self::NotAsked(_) => {
                Outcome::Refused(StatusCode::SERVICE_UNAVAILABLE, Reason::ToolsUnknown)
            }
            Self::PageExpired => Outcome::Refused(StatusCode::FORBIDDEN, Reason::PageExpired),
        }
    }

    /// The status of the page that says it.
    pub const fn status(&self) -> StatusCode {
        match self.outcome() {
            Outcome::Done | Outcome::Unchanged => StatusCode::OK,
            Outcome::Refused(status, _) => status,
        }
    }

    /// Why nothing was done that should have been; `None` where nothing is wrong.
    pub const fn reason(&self) -> Option<Reason> {
        match self.outcome() {
            Outcome::Done | Outcome::Unchanged => None,
            Outcome::Refused(_, reason) => Some(reason),
        }
    }

    /// Whether it says that something was done.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.outcome(), Outcome::Done)
    }

    pub(super) fn words(&self) -> String {
        let tool = |name: &String| clean(name, LONGEST_NAME);
        match self {
            Self::Revoked(app) => format!(
                "{} lost its access. Its next call is refused, and whatever it has open \
                 here ends within seconds. To come back it has to ask you again.",
                app_name(app)
            ),
            Self::Withheld(app) => format!(
                "{} lost its access. Its next call is refused, and whatever it has open \
                 here ends within seconds. Your organisation does not bring it back until you let \
                 it in again below.",
                app_name(app)
            ),
            Self::Readmitted(app) => format!(
                "{} may be connected by your organisation again. Until then nothing is allowed.",
                app_name(app)
            ),
            Self::AlreadyReadmitted => {
                "Nothing was changed: your organisation might connect that app before.".to_owned()
            }
            Self::TokenEnded(name) => format!(
                "“{}” counts no more. The next call with it is refused, and whatever is open with it \
                 ends within seconds.",
                tool(name)
            ),
            Self::AlreadyOver => "Nothing was changed: that access had ended before.".to_owned(),
            Self::Approved(name) => format!(
                "“{}” may be used again, as it is shown to you now. The app need not reconnect.",
                tool(name)
            ),
            Self::AlreadyApproved(name) => {
                format!("Nothing was changed: “{}” was approved before.", tool(name))
            }
            Self::ChangedAgain(name) => format!(
                "Nothing was approved: the backend changed “{}” once more. Look again, it is shown \
                 below as it is now.",
                tool(name)
            ),
            Self::Withdrawn(name) => format!(
                "Nothing was approved: the backend does not offer “{}” any more.",
                tool(name)
            ),
            Self::NotAsked(name) => format!(
                "Nothing was approved: the backend could not be asked what “{}” is now. Try again \
                 in a moment.",
                tool(name)
            ),
            Self::Unlinked(provider) => format!(
                "Your account at “{}” does not log you in any more. Apps keep what you allowed them.",
                tool(provider)
            ),
            Self::AlreadyUnlinked => {
                "Nothing was changed: that account had been removed before.".to_owned()
            }
            Self::Disconnected(backend) => format!(
                "Your account at “{}” is removed, and revoked there. The next call with it is refused, \
                 and whatever is open with it ends within seconds.",
                tool(backend)
            ),
            Self::DisconnectedHere(backend) => format!(
                "Your account at “{}” is removed here. The next call with it is refused, and whatever is \
                 open with it ends within seconds. The other side did not say that it ended it, too: \
                 look there if you want to be sure.",
                tool(backend)
            ),
            Self::AlreadyDisconnected => {
                "Nothing was changed: that account had been removed before.".to_owned()
            }
            Self::LastWayIn => {
                "Nothing was changed: you could not log in without that account.".to_owned()
            }
            Self::PageExpired => {
                "Nothing was changed: the page was open for too long. Press the button again."
                    .to_owned()
            }
        }
    }
}

fn app_name(name: &Option<String>) -> String {
    shown_name(name.as_deref()).map_or_else(|| "The app".to_owned(), |name| format!("“{name}”"))
}
