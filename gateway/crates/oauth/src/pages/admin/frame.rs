//! What stands around the owner's pages: the list of them, what came of a button, and buttons that are
//! forms.

use http::StatusCode;

use crate::pages::text::clean;
use gateway_core::reason::Reason;

/// The longest name that is shown, in characters.
const LONGEST: usize = 120;

/// What stands around each of the owner's pages.
#[derive(Clone, Debug)]
pub struct AdminFrame<'a> {
    /// The owner's login name.
    pub user_name: &'a str,
    /// Proves that the log-out comes from this page.
    pub log_out_seal: String,
    /// Which page it is.
    pub section: Section,
    /// Path and query of this page, to which its forms go.
    pub here: String,
    /// What came of a button.
    pub notice: Option<Notice>,
}

/// A link to one of the pages.
pub(super) struct SectionLink {
    pub(super) path: &'static str,
    pub(super) words: &'static str,
    pub(super) is_here: bool,
}

impl AdminFrame<'_> {
    pub(super) fn links(&self) -> impl Iterator<Item = SectionLink> {
        Section::ALL.into_iter().map(|section| SectionLink {
            path: section.path(),
            words: section.words(),
            is_here: section == self.section,
        })
    }
}

/// What came of a button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// In words.
    pub words: String,
    /// With which status and for which reason it was not done, if it was not.
    pub refusal: Option<(StatusCode, Reason)>,
}

impl Notice {
    /// It was done, as these words say.
    pub fn done(words: String) -> Self {
        Self {
            words,
            refusal: None,
        }
    }

    /// It was not done, as these words say.
    pub fn refused(status: StatusCode, reason: Reason, words: String) -> Self {
        Self {
            words,
            refusal: Some((status, reason)),
        }
    }

    /// The status of the page that says it.
    pub fn status(&self) -> StatusCode {
        self.refusal.map_or(StatusCode::OK, |(status, _)| status)
    }

    pub(super) fn is_problem(&self) -> bool {
        self.refusal.is_some()
    }

    /// The code of the reason, by which the log and the manual name it.
    pub(super) fn code(&self) -> Option<&'static str> {
        self.refusal.map(|(_, reason)| reason.code())
    }
}

/// One of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `/admin`
    Overview,
    /// `/admin/people`
    People,
    /// `/admin/apps`
    Apps,
    /// `/admin/streams`
    Streams,
    /// `/admin/backends`
    Backends,
    /// `/admin/audit`
    Audit,
    /// `/admin/policy`
    Policy,
}

impl Section {
    /// In the order of the list that leads to them.
    pub const ALL: [Self; 7] = [
        Self::Overview,
        Self::People,
        Self::Apps,
        Self::Streams,
        Self::Backends,
        Self::Audit,
        Self::Policy,
    ];

    /// Its path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/admin",
            Self::People => "/admin/people",
            Self::Apps => "/admin/apps",
            Self::Streams => "/admin/streams",
            Self::Backends => "/admin/backends",
            Self::Audit => "/admin/audit",
            Self::Policy => "/admin/policy",
        }
    }

    /// The page at a path.
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.path() == path)
    }

    /// Its name for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::People => "People",
            Self::Apps => "Apps",
            Self::Streams => "Streams",
            Self::Backends => "Backends",
            Self::Audit => "Audit log",
            Self::Policy => "Policy",
        }
    }
}

/// A button with its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PressForm {
    /// What it does, as the form says it.
    pub action: &'static str,
    /// What about.
    pub subject: String,
    /// Proves that the form comes from this page.
    pub seal: String,
    /// What stands on the button.
    pub words: &'static str,
    /// What it is about, for who does not see where the button stands.
    pub about: String,
    /// Whether somebody may do less afterwards.
    pub takes: bool,
}

/// A stranger's text, fit to be shown; a dash for none.
pub(super) fn shown(text: &str) -> String {
    let text = clean(text, LONGEST);
    if text.is_empty() {
        "–".to_owned()
    } else {
        text
    }
}

/// A moment as people read it: the seconds and the `T` of RFC 3339 tell nobody anything.
pub(super) fn moment(rfc3339: &str) -> String {
    let text = rfc3339.get(..16).unwrap_or(rfc3339);
    text.replace('T', " ")
}
