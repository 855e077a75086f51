//! The token of a request, once it was confirmed: signed by us, for this resource, within its lifetime,
//! not revoked.

use std::sync::Arc;
use std::time::Duration;

use super::scopes::{Coverage, Operation, Scopes};
use crate::access_token::{Approval, Attenuation, Claims, Tools, VerifiedToken};
use crate::account::AccountId;
use crate::clock::Timestamp;
use crate::grants::amendment::Amended;
use crate::grants::{DigestedTools, NotAllowed, Pin, ToolState};
use crate::protocol::resource::Resource;
use crate::reason::Reason;
use mcp_protocol::members::Members;

/// A view of the revocations that is older than this decides nothing any more.
pub const VIEW_LIFETIME: Duration = Duration::from_secs(60);

/// What the revocation view says about a token at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationStatus {
    /// Whether the grant, or one of the token's blocks, was revoked.
    pub revoked: bool,
    /// The earliest moment that a token was given at whose revocation the store would remember;
    /// `None` while it was never reached.
    pub remembers_since: Option<Timestamp>,
    /// How long ago the view was last brought up to date.
    pub age: Duration,
    /// Why it could not be brought up to date since, where that is known.
    pub fault: Option<Reason>,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejection {
    /// 401: the client needs another token.
    #[error("{0}")]
    Invalid(Reason),
    /// 503: whether it counts can't be known, and why.
    #[error("whether the token counts can't be known: {0}")]
    Unknown(Reason),
}

/// Where a token is presented.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// The resource that it must have been minted for.
    pub resource: &'a Resource,
    /// The name of the backend behind it, which a narrowed token may have excluded.
    pub backend: &'a str,
    /// The backends that are offered together there, if there are several: one that a narrowed token
    /// leaves is enough.
    pub members: &'a [String],
    /// The scopes of that backend.
    pub scopes: &'a Arc<Scopes>,
}

impl Audience<'_> {
    /// Whether what holders appended leaves anything of it.
    fn is_left(&self, attenuation: &Attenuation) -> bool {
        let leaves = |member: &String| is_member_left(attenuation, self.backend, member);
        attenuation.allows_backend(self.backend) || self.members.iter().any(leaves)
    }
}

/// Whether what holders appended leaves this member of the backends that are offered together as `aggregate`.
fn is_member_left(attenuation: &Attenuation, aggregate: &str, member: &str) -> bool {
    attenuation.allows_backend_as(|name| name == aggregate || name == member)
}

/// A token that counts here and now: signed by us, for this resource, within its lifetime, its
/// grant not revoked.
#[derive(Clone, Debug)]
pub struct AccessToken {
    token: Arc<VerifiedToken>,
    scopes: Arc<Scopes>,
    amended: Option<Arc<Amended>>,
    kept: Option<Arc<DigestedTools>>,
    account: Option<AccountId>,
    /// What approvers said of the tools of one member, under its own names, where that is asked.
    of_member: Option<Arc<[Approval]>>,
}

impl AccessToken {
    /// Confirms a verified token for a resource.
    pub fn confirm(
        token: Arc<VerifiedToken>,
        audience: Audience<'_>,
        status: RevocationStatus,
        now: Timestamp,
    ) -> Result<Self, TokenRejection> {
        let claims = token.claims();
        if token.is_expired(now) {
            return Err(TokenRejection::Invalid(Reason::TokenExpired));
        }
        let attenuation = token.attenuation();
        if claims.resource != *audience.resource || !audience.is_left(attenuation) {
            return Err(TokenRejection::Invalid(Reason::TokenWrongAudience));
        }
        if status.revoked {
            return Err(TokenRejection::Invalid(Reason::GrantRevoked));
        }
        let unknown = TokenRejection::Unknown(status.fault.unwrap_or(Reason::StoreUnavailable));
        let since = status.remembers_since.ok_or(unknown)?;
        if status.age > VIEW_LIFETIME {
            return Err(unknown);
        }
        // A store that was emptied forgot its revocations: what is older than it may be revoked.
        // No leeway for clocks counts in favour of a token here; `since` has it within.
        if claims.issued < since {
            return Err(TokenRejection::Invalid(Reason::TokenOlderThanStore));
        }
        Ok(Self {
            token,
            scopes: Arc::clone(audience.scopes),
            amended: None,
            kept: None,
            account: None,
            of_member: None,
        })
    }

    /// The same token as one of several backends that are offered together takes it: with that member's own
    /// names of the tools, and the scopes that count there. Approvals name tools as all list them: one that
    /// names a tool as a member does is for none, since it would be for the tools of that name of all.
    #[must_use]
    pub fn at_member(&self, members: &Members, member: usize, scopes: &Arc<Scopes>) -> Self {
        let tools = self.tools().of_member(|shown| members.own(member, shown));
        let amended = self.amended.as_deref();
        let amended = amended.map(|all| all.of_member(|shown| members.own(member, shown)));
        let approvals = self.approvals().iter().filter_map(|approval| {
            let tool = members.own(member, &approval.tool)?.to_owned();
            Some(Approval {
                tool,
                ..approval.clone()
            })
        });
        Self {
            token: Arc::clone(&self.token),
            scopes: Arc::clone(scopes),
            amended: amended.map(Arc::new),
            kept: Some(Arc::new(tools.into())),
            account: None,
            of_member: Some(approvals.collect()),
        }
    }

    /// Whether what holders appended leaves this member of the backends that are offered together as
    /// `aggregate`.
    pub fn leaves_member(&self, aggregate: &str, member: &str) -> bool {
        is_member_left(self.attenuation(), aggregate, member)
    }

    /// The same token with what the user has approved under its grant since it was given.
    #[must_use]
    pub fn amended(self, amended: Option<Arc<Amended>>) -> Self {
        Self { amended, ..self }
    }

    /// The same token with the choice that is kept with its grant, where it says [`Tools::Kept`]. Any
    /// other choice than that is not taken: the token allows no tool then.
    #[must_use]
    pub fn with_tools(self, kept: Option<Arc<DigestedTools>>) -> Self {
        let said = match &self.claims().tools {
            Tools::Kept { digest, .. } => Some(*digest),
            _ => None,
        };
        let is_it = |kept: &Arc<DigestedTools>| said == Some(kept.digest());
        let kept = kept.filter(is_it);
        Self { kept, ..self }
    }

    /// The same, supposing a choice that can't be read: for a question about a token, never for a call.
    #[must_use]
    pub fn supposing_tools(self, kept: Option<Tools>) -> Self {
        let kept = kept.map(|tools| Arc::new(tools.into()));
        Self { kept, ..self }
    }

    /// The same token, used with an account of its person at the backend.
    #[must_use]
    pub fn with_account(self, account: Option<AccountId>) -> Self {
        Self { account, ..self }
    }

    /// The account at the backend that its person calls with, if they do with one.
    pub const fn account(&self) -> Option<&AccountId> {
        self.account.as_ref()
    }

    /// The tools that are granted.
    pub fn tools(&self) -> &Tools {
        let kept = self.kept.as_deref().map(DigestedTools::tools);
        kept.unwrap_or(&self.claims().tools)
    }

    /// The definition in which a tool is granted, where that matters.
    pub fn pin(&self, tool: &str) -> Option<Pin> {
        self.tools().pin_amended(tool, self.amended.as_deref())
    }

    /// Whether the user has approved a later definition of this tool.
    pub fn is_amended(&self, tool: &str) -> bool {
        let amended = self.amended.as_deref();
        amended.is_some_and(|amended| amended.pin(tool).is_some())
    }

    /// Whether a tool is granted as it stands. `current` is asked only where it matters.
    pub fn admit(&self, tool: &str, current: impl FnOnce() -> ToolState) -> Result<(), NotAllowed> {
        let amended = self.amended.as_deref();
        self.tools().admit(tool, amended, current)
    }

    /// What it says.
    pub fn claims(&self) -> &Claims {
        self.token.claims()
    }

    /// Its name in the log.
    pub fn id(&self) -> &str {
        self.token.id()
    }

    /// The revocation id of its last block, which no other token has.
    pub fn last_id(&self) -> &str {
        let last = self.token.ids().last();
        last.map(String::as_str).unwrap_or_default()
    }

    /// What its holders appended.
    pub fn attenuation(&self) -> &Attenuation {
        self.token.attenuation()
    }

    /// The token itself.
    pub const fn verified(&self) -> &Arc<VerifiedToken> {
        &self.token
    }

    /// What approvers said of tools, also what is over: by the names that the tools have where it is
    /// presented.
    pub fn approvals(&self) -> &[Approval] {
        let all = self.token.approvals();
        self.of_member.as_deref().unwrap_or(all)
    }

    /// Whether an approver has approved this tool, and still does.
    pub fn is_approved(&self, tool: &str, now: Timestamp) -> bool {
        let mut approvals = self.approvals().iter();
        approvals.any(|approval| approval.tool == tool && now < approval.until)
    }

    /// Whether it is good for less than everything at its backend. Then lists of tools are cut, and
    /// methods are refused that are not known to be harmless.
    pub fn is_restricted(&self) -> bool {
        let claims = self.claims();
        !claims.tools.is_all()
            || !self.attenuation().is_empty()
            || !self.scopes.is_everything(&claims.scope)
    }

    /// Whether what tools say of their effects decides about it.
    pub fn asks_for_effects(&self) -> bool {
        self.attenuation().asks_for_effects() || self.scopes.ask_for_effects(&self.claims().scope)
    }

    /// The scopes that it comes to: its own, and those that they include.
    pub fn scopes(&self) -> Vec<&str> {
        self.scopes.all(&self.claims().scope)
    }

    /// Whether its scope covers an operation, and if not, which would.
    pub fn coverage(&self, operation: Operation<'_>) -> Coverage {
        self.scopes.coverage(&self.claims().scope, operation)
    }

    /// Whether a list may show a tool that stands so: granted as it is, and not narrowed away. A
    /// tool that another scope covers is shown, too: no client asks for more scope unless it calls a
    /// tool that needs it, and none calls a tool that it never saw.
    pub fn shows(
        &self,
        tool: &str,
        reads_only: bool,
        current: impl FnOnce() -> ToolState,
    ) -> Result<(), NotAllowed> {
        if !self.attenuation().allows_tool(tool, reads_only) {
            return Err(NotAllowed::Never);
        }
        let operation = Operation::Tool {
            name: tool,
            reads_only,
        };
        match self.coverage(operation) {
            Coverage::Covered => self.admit(tool, current),
            Coverage::Needs(_) => Ok(()),
            Coverage::Never => Err(NotAllowed::Never),
        }
    }
}
