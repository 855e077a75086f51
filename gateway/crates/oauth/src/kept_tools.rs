//! The tools of a grant that are kept beside it, where its tokens do not say them.

use gateway_core::clock::Timestamp;
use gateway_core::policy::{AccessToken, TokenRejection};
use gateway_core::reason::Reason;
use gateway_store::{Records, ToolsUnknown};

/// A confirmed token with the tools that are kept with its grant, where it does not say them
/// itself. One whose choice is not kept any more counts no more; while the store does not say,
/// whether it counts can't be known.
pub async fn with_kept_tools(
    records: &Records,
    token: AccessToken,
    now: Timestamp,
) -> Result<AccessToken, TokenRejection> {
    let claims = token.claims();
    match records.tools_of(&claims.grant, &claims.tools, now).await {
        Ok(kept) => Ok(token.with_tools(kept)),
        Err(ToolsUnknown::Gone) => Err(TokenRejection::Invalid(Reason::GrantUnknown)),
        Err(ToolsUnknown::Store(error)) => {
            let reason = error.reason();
            log::error!(
                event = "kept_tools_unknown", reason, hint = reason.remedy(),
                grant = claims.grant.as_str(), cause:% = error; "{}", reason.sentence()
            );
            Err(TokenRejection::Unknown(reason))
        }
    }
}
