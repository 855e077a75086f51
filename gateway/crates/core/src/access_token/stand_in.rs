//! What a personal token stands for at a call: the access token that would be minted of its grant at
//! that moment, without being minted. It ends as that would, and is then made anew of the grant; all
//! else that is asked about an access token is asked about it. And what an app may do with a grant, for
//! the person who gave it ([`as_its_app`]).

use crate::clock::Timestamp;
use crate::grants::personal::PersonalToken;
use crate::grants::{Grant, Tools};

use super::attenuation::Attenuation;
use super::verified_token::{Claims, VerifiedToken};

/// The access token that stands in for `presented` until `expires`, while the person is in these
/// groups of identity providers. `None` if it is not the token of this grant.
///
/// It counts as given when the grant was: whatever cuts off what was given before a moment cuts it off.
pub fn stand_in(
    presented: &PersonalToken,
    grant: &Grant,
    groups: Vec<String>,
    expires: Timestamp,
) -> Option<VerifiedToken> {
    let kept = grant.personal.as_ref()?;
    if presented.grant() != grant.id || !presented.is(kept) {
        return None;
    }
    let claims = claims(grant, groups, expires.min(grant.expires));
    Some(standing_in(presented.id(), claims))
}

/// The access token that an app would have of `grant` now, for a question about what it may do in
/// the person's name: the person asks themselves. It is never presented. `issued`: the date that a token
/// would have which were given now; whether the grant is revoked is another question.
pub fn as_its_app(grant: &Grant, groups: Vec<String>, issued: Timestamp) -> VerifiedToken {
    // Decisions are remembered by this name, so all is in it that they may rest on.
    let name = format!("as its app: {} {} {groups:?}", grant.id, grant.scope);
    let claims = claims(grant, groups, grant.expires);
    standing_in(name, Claims { issued, ..claims })
}

fn standing_in(name: String, claims: Claims) -> VerifiedToken {
    VerifiedToken {
        ids: vec![name],
        claims,
        attenuation: Attenuation::default(),
        approvals: Vec::new(),
        is_stand_in: true,
        signing_key: None,
    }
}

/// What a token of the grant says.
fn claims(grant: &Grant, groups: Vec<String>, expires: Timestamp) -> Claims {
    Claims {
        user: grant.user.clone(),
        user_name: grant.user_name.clone(),
        groups,
        client: grant.client.clone(),
        grant: grant.id.clone(),
        resource: grant.resource.clone(),
        scope: grant.scope.for_resource(),
        tools: said(&grant.tools),
        issued: grant.created,
        expires,
    }
}

/// As a minted token says them, so that what is remembered of many tokens stays small.
fn said(tools: &Tools) -> Tools {
    if tools.is_all() || tools.fit_a_token() {
        return tools.clone();
    }
    let count = tools.count().and_then(|count| u32::try_from(count).ok());
    Tools::Kept {
        digest: tools.digest(),
        count: count.unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::ClientId;
    use crate::grants::UserId;
    use crate::grants::personal::Personal;
    use crate::protocol::resource::Resource;
    use crate::protocol::scope::Scope;
    use crate::secret::TagKey;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn token(seed: u8) -> PersonalToken {
        PersonalToken::new([seed; 32], &TagKey::new([7; 32]))
    }

    fn grant(token: &PersonalToken) -> Grant {
        Grant {
            id: token.grant(),
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            client: ClientId::new(ClientId::PERSONAL_TOKEN),
            client_fingerprint: None,
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp offline_access"),
            tools: Tools::Only(["search".to_owned()].into()),
            created: NOW - HOUR,
            redeemed: None,
            expires: NOW + 100 * HOUR,
            refresh: None,
            allowed_by: None,
            personal: Some(Personal {
                name: "ci".to_owned(),
                hash: token.hash(),
            }),
        }
    }

    #[test]
    fn it_says_what_the_grant_says_and_ends_with_what_ends_first() {
        let token = token(1);
        let groups = vec!["corp:staff".to_owned()];
        let standing = stand_in(&token, &grant(&token), groups.clone(), NOW + HOUR).unwrap();
        let claims = standing.claims();
        assert_eq!(claims.scope, Scope::parse("mcp"));
        assert_eq!(claims.issued, NOW - HOUR);
        assert_eq!((claims.expires, &claims.groups), (NOW + HOUR, &groups));
        assert_eq!(standing.ids(), [token.id()]);
        assert!(standing.allows_tool("search", true) && !standing.allows_tool("erase", false));
        assert!(!standing.is_stale(NOW + HOUR - Duration::from_millis(1)));
        assert!(standing.is_stale(NOW + HOUR) && !standing.is_expired(NOW + HOUR));
        let last = stand_in(&token, &grant(&token), Vec::new(), NOW + 1000 * HOUR).unwrap();
        assert_eq!(last.claims().expires, NOW + 100 * HOUR);
    }

    #[test]
    fn only_the_token_of_the_grant_stands_for_it() {
        let (one, other) = (token(1), token(2));
        assert!(stand_in(&other, &grant(&one), Vec::new(), NOW).is_none());
        let renamed = Grant {
            id: other.grant(),
            ..grant(&one)
        };
        assert!(stand_in(&other, &renamed, Vec::new(), NOW).is_none());
        assert!(stand_in(&one, &renamed, Vec::new(), NOW).is_none());
        let of_an_app = Grant {
            personal: None,
            allowed_by: None,
            ..grant(&one)
        };
        assert!(stand_in(&one, &of_an_app, Vec::new(), NOW).is_none());
    }

    #[test]
    fn many_tools_stay_with_the_grant() {
        let token = token(1);
        let tools: std::collections::BTreeSet<String> =
            (0..200).map(|n| format!("tool_{n}")).collect();
        let many = Grant {
            tools: Tools::Only(tools),
            ..grant(&token)
        };
        let standing = stand_in(&token, &many, Vec::new(), NOW).unwrap();
        let said = Tools::Kept {
            digest: many.tools.digest(),
            count: 200,
        };
        assert_eq!(standing.claims().tools, said);
    }
}
