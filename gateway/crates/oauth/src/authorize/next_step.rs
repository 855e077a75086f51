//! What comes next on the way from an app's request to its code. The steps of that way (the judgement
//! of the request, login, consent) name it and never call one another; `/authorize` does what it says.

use crate::authorize::request::AuthorizationRequest;
use gateway_core::browser_session::BrowserSession;
use gateway_core::grants::Tools;
use gateway_core::protocol::web::Response;
use gateway_core::secret::Secret;

/// What comes next.
pub(crate) enum NextStep {
    /// Nothing: the person gets this page, or goes back to the app.
    Answer(Response),
    /// The person logs in, and comes back with this raw query.
    Login(String),
    /// The person logs in again, whose session ended while a page was open; and comes back with its raw
    /// query, if it had one.
    LoginAgain(Option<String>),
    /// The person is asked.
    Consent(Box<AuthorizationRequest>, BrowserSession),
    /// The person goes on with this raw query, without an account of theirs at the backend.
    WithoutAccount(String, BrowserSession),
    /// The app gets a code.
    IssueCode(Box<Consented>),
}

impl From<Response> for NextStep {
    fn from(response: Response) -> Self {
        Self::Answer(response)
    }
}

/// What a person has allowed.
pub(crate) struct Consented {
    /// Who.
    pub(crate) session: BrowserSession,
    /// What was asked for, judged at that moment.
    pub(crate) asked: AuthorizationRequest,
    /// The tools, judged at that moment.
    pub(crate) tools: Tools,
    /// The code, one a consent page: the same press again leads to the same code.
    pub(crate) code: Secret,
}
