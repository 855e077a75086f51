//! The page of a person's passkeys, and what the script needs wherever one is asked for.

use askama::Template;
use http::StatusCode;

use super::account::NoticeLine;
use super::moment::Moment;
use super::page::{Forms, Frame, Page};
use super::text::clean;
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_store::Passkey;

/// What a form carries that a passkey answers.
#[derive(Clone, Copy, Debug)]
pub struct PasskeyForm<'a> {
    /// What the browser is asked, in JSON.
    pub options: &'a str,
    /// What its answer is judged by, in JSON.
    pub state: &'a str,
    /// Proves that the form comes from this page.
    pub seal: &'a str,
}

/// The longest name of a host, in characters (RFC 1035 §2.3.4).
const LONGEST_HOST: usize = 253;

/// What `/account` says of passkeys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PasskeysLine {
    /// Nothing: the person logs in with an identity provider alone.
    #[default]
    None,
    /// There is none, and could be.
    Possible,
    /// There can be none here; why, in words for the person.
    Unavailable(&'static str),
    /// So many.
    Some(usize),
}

/// A person's passkeys, and how one is added.
#[derive(Clone, Debug)]
pub struct PasskeysPage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Whose page it is.
    pub user_name: &'a str,
    /// The time for which "ago" is said.
    pub now: Timestamp,
    /// What the person has just done, or why it was not done.
    pub notice: Option<PasskeyNotice>,
    /// The passkeys.
    pub passkeys: Vec<OwnPasskey<'a>>,
    /// Adds one; `None`: the person can't have one, or not one more.
    pub add: Option<PasskeyForm<'a>>,
    /// Why there are no passkeys here, if so, in words for the person.
    pub unavailable: Option<&'static str>,
    /// Whether the person logs in with an identity provider alone.
    pub is_of_provider: bool,
    /// What the person may do about the password.
    pub password: PasswordForm,
    /// Proves that the log-out comes from this page.
    pub log_out_seal: &'a str,
}

/// One passkey.
#[derive(Clone, Debug)]
pub struct OwnPasskey<'a> {
    /// What is known of it.
    pub passkey: &'a Passkey,
    /// Whether the person came with it this time.
    pub is_current: bool,
    /// Whether it is for another host than this gateway has now, so that it logs nobody in.
    pub is_elsewhere: bool,
    /// Proves that the form which removes it comes from this page; `None`: the person could not log in
    /// without it.
    pub remove_seal: Option<String>,
}

/// What the page says of the person's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordForm {
    /// There is none.
    None,
    /// It is needed.
    Needed,
    /// It stands in the configuration.
    Configured,
    /// A passkey stands in its place if the person likes; proves that the form comes from this page.
    Removable(String),
}

/// What came of a button of this page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasskeyNotice {
    /// The passkey of this name logs the person in.
    Added(String),
    /// The passkey of this name does not any more.
    Removed(String),
    /// It did not before.
    AlreadyRemoved,
    /// The person has no password any more.
    PasswordRemoved,
    /// Nothing was done.
    Refused(Reason),
}

impl PasskeyNotice {
    /// The status of the page that says it.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Refused(Reason::LastWayIn | Reason::PasskeyTaken | Reason::PasskeysFull) => {
                StatusCode::CONFLICT
            }
            Self::Refused(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::OK,
        }
    }

    /// Why nothing was done that should have been.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(reason) => Some(*reason),
            _ => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Added(name) => format!(
                "“{}” logs you in from now on. Add another one on another device: then losing one \
                 does not lock you out.",
                clean(name, Passkey::LONGEST_NAME)
            ),
            Self::Removed(name) => format!(
                "“{}” does not log you in any more. Remove it from the device, too, in its own settings.",
                clean(name, Passkey::LONGEST_NAME)
            ),
            Self::AlreadyRemoved => {
                "Nothing was changed: that passkey had been removed before.".to_owned()
            }
            Self::PasswordRemoved => {
                "You have no password any more: a passkey logs you in. Other browsers are logged out."
                    .to_owned()
            }
            Self::Refused(Reason::PageExpired) => {
                "Nothing was changed: the page was open for too long, or was used before. Press the \
                 button again."
                    .to_owned()
            }
            Self::Refused(reason) => format!(
                "Nothing was changed. {} {}",
                reason.sentence(),
                reason.remedy()
            ),
        }
    }
}

impl PasskeysPage<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let template = PasskeysTemplate {
            frame: self.frame,
            page: self,
            notice: self.notice.as_ref().map(|notice| NoticeLine {
                is_problem: notice.reason().is_some(),
                is_done: !matches!(notice, PasskeyNotice::AlreadyRemoved),
                words: notice.words(),
            }),
            passkeys: self.passkeys.iter().map(|own| self.line(own)).collect(),
            is_full: self.passkeys.len() >= Passkey::MOST,
        };
        Page::render(&template, Forms::Here).with_script(self.add.is_some())
    }

    fn line<'a>(&self, own: &'a OwnPasskey<'_>) -> PasskeyLine<'a> {
        let passkey = own.passkey;
        PasskeyLine {
            id: &passkey.id,
            name: clean(&passkey.name, Passkey::LONGEST_NAME),
            is_current: own.is_current,
            elsewhere: own.is_elsewhere.then(|| {
                let site = passkey.site.as_deref();
                clean(site.unwrap_or("another host"), LONGEST_HOST)
            }),
            kept: match (passkey.backup_eligible, passkey.backed_up) {
                (false, _) => "On one device alone",
                (true, false) => "On one device; it can be copied to others of yours",
                (true, true) => "Copied to your devices by their maker",
            },
            added: Moment::before(passkey.added, self.now),
            last_used: passkey.last_used.map(|at| Moment::before(at, self.now)),
            remove_seal: own.remove_seal.as_deref(),
        }
    }
}

#[derive(Template)]
#[template(path = "passkeys.html")]
struct PasskeysTemplate<'a> {
    frame: Frame<'a>,
    page: &'a PasskeysPage<'a>,
    notice: Option<NoticeLine>,
    passkeys: Vec<PasskeyLine<'a>>,
    is_full: bool,
}

struct PasskeyLine<'a> {
    id: &'a str,
    name: String,
    is_current: bool,
    elsewhere: Option<String>,
    kept: &'static str,
    added: Moment,
    last_used: Option<Moment>,
    remove_seal: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::super::{Goal, Login, respond};
    use super::*;
    use http::header::CONTENT_SECURITY_POLICY;

    const FRAME: Frame<'static> = Frame {
        site: "Test",
        authority: "mcp.example.com",
        request_id: "r",
    };
    const FORM: PasskeyForm<'static> = PasskeyForm {
        options: "{\"challenge\":\"<script>\"}",
        state: "{\"\":\"\\\"><script>\"}",
        seal: "1.2.3",
    };

    fn policy(page: Page) -> String {
        let response = respond(StatusCode::OK, page, true);
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str();
        policy.unwrap().to_owned()
    }

    fn login(passkey: Option<PasskeyForm<'_>>) -> Page {
        Login {
            frame: FRAME,
            goal: Goal::Start,
            seal: "1.2.3",
            name: "",
            problem: None,
            providers: &[],
            passkey,
            with_password: true,
        }
        .page()
    }

    #[test]
    fn one_script_of_our_own_where_a_passkey_is_asked_for_and_none_elsewhere() {
        let page = login(Some(FORM));
        assert_eq!(page.html().matches("<script").count(), 1);
        assert!(page.html().contains("<script src=\"/assets/passkey-"));
        let hidden = page.html().find("data-passkey-block hidden");
        assert!(hidden.is_some(), "the button waits for the script");
        assert!(policy(page).ends_with("; script-src 'self'"));
        let page = login(None);
        assert!(!page.html().contains("passkey"));
        assert!(!policy(page).contains("script-src"));
    }

    fn own(passkey: &Passkey, seal: Option<&str>) -> String {
        let page = PasskeysPage {
            frame: FRAME,
            user_name: "alice",
            now: Timestamp::from_secs(1_000_000),
            notice: Some(PasskeyNotice::Added(passkey.name.clone())),
            passkeys: vec![OwnPasskey {
                passkey,
                is_current: true,
                is_elsewhere: passkey.site.is_some(),
                remove_seal: seal.map(str::to_owned),
            }],
            add: None,
            unavailable: None,
            is_of_provider: false,
            password: PasswordForm::None,
            log_out_seal: "1.2.3",
        }
        .page();
        page.html().to_owned()
    }

    #[test]
    fn a_passkey_is_shown_as_its_person_called_it_and_the_last_way_in_has_no_button() {
        let passkey = Passkey {
            id: "abc".to_owned(),
            name: "<b>Phone".to_owned(),
            site: None,
            public_key: serde_json::Value::Null,
            counter: 0,
            backup_eligible: true,
            backed_up: true,
            added: Timestamp::from_secs(1_000_000),
            last_used: None,
        };
        let html = own(&passkey, Some("1.2.3"));
        assert!(!html.contains("<b>"), "{html}");
        assert!(html.contains("Copied to your devices"), "{html}");
        assert!(html.contains(">Remove</button>"), "{html}");
        let html = own(&passkey, None);
        assert!(!html.contains(">Remove</button>"), "{html}");
        assert!(html.contains("You could not log in without it"), "{html}");
        assert!(!html.contains("logs nobody in"), "{html}");
        let moved = Passkey {
            site: Some("old.example.com".to_owned()),
            ..passkey
        };
        let html = own(&moved, Some("1.2.3"));
        assert!(html.contains("old.example.com"), "{html}");
        assert!(html.contains("logs nobody in"), "{html}");
    }
}
