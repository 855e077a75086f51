//! Amendments: a tool whose definition changed, approved again by the person who had allowed it.
//!
//! The grant's record gets the new pin, and tokens that are minted from then on carry it. Tokens in
//! use carry the old one and are not taken back for it: an amendment travels to every replica as an
//! entry of the list of revocations, which is in memory there, and stands in place of the token's
//! own pin. It never adds a tool. One that got lost hides the tool until it is approved once more.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::grants::{Grant, GrantId, Pin, ToolState, Tools, UserId};

/// A tool of a grant in the definition that the person approved last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// Of which grant.
    pub grant: GrantId,
    /// Which tool.
    pub tool: String,
    /// In which definition.
    pub pin: Pin,
    /// When it was approved. Of two amendments of a tool the later counts.
    pub at: Timestamp,
}

impl Amendment {
    /// What no grant, token, client or person is called.
    const MARK: &'static str = "amendment/";

    /// The entry of the list. A name may hold anything, so it stands last.
    pub fn to_entry(&self) -> String {
        let (grant, at, pin) = (&self.grant, self.at.millis(), self.pin);
        format!("{}{grant}/{at}/{pin}/{}", Self::MARK, self.tool)
    }

    /// Reads an entry. `None` for one that is a revocation, or in no form of ours.
    pub fn parse(entry: &str) -> Option<Self> {
        let mut parts = entry.strip_prefix(Self::MARK)?.splitn(4, '/');
        let (grant, at, pin, tool) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            grant: GrantId::new(grant),
            at: Timestamp::from_millis(at.parse().ok()?),
            pin: Pin::parse(pin)?,
            tool: tool.to_owned(),
        })
    }
}

/// The amendments of one grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amended(BTreeMap<String, Latest>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Latest {
    at: Timestamp,
    pin: Pin,
    expires: Timestamp,
}

impl Amended {
    /// The definition in which a tool was approved last.
    pub fn pin(&self, tool: &str) -> Option<Pin> {
        self.0.get(tool).map(|latest| latest.pin)
    }

    /// Those of the tools that have a name for one member of several, under that name.
    pub fn of_member<'n>(&'n self, own: impl Fn(&'n str) -> Option<&'n str>) -> Self {
        let of = |(tool, latest): (&'n String, &Latest)| Some((own(tool)?.to_owned(), *latest));
        Self(self.0.iter().filter_map(of).collect())
    }

    /// When a tool was approved last, in the definition that is in force.
    pub fn approved(&self, tool: &str) -> Option<Timestamp> {
        self.0.get(tool).map(|latest| latest.at)
    }

    /// Takes one in, whatever order they come in. `expires`: when no token in use can need it any
    /// more.
    pub fn take(&mut self, amendment: Amendment, expires: Timestamp) {
        let Amendment { tool, pin, at, .. } = amendment;
        let latest = Latest { at, pin, expires };
        let known = self.0.entry(tool).or_insert(latest);
        *known = latest.max(*known);
    }

    /// Forgets what no token can need any more; `false` if nothing is left.
    pub fn retain(&mut self, now: Timestamp) -> bool {
        self.0.retain(|_, latest| now < latest.expires);
        !self.0.is_empty()
    }
}

/// Why a changed tool is not approved again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAmended {
    /// The grant is over, or not this person's.
    #[error("the grant is over")]
    Ended,
    /// The grant does not name this tool with a definition.
    #[error("the tool was never allowed")]
    NeverAllowed,
    /// The grant has it in this definition already.
    #[error("it was approved before")]
    Already,
    /// It is something else again than the person was shown.
    #[error("the definition changed again")]
    ChangedAgain,
    /// The backend has it no more.
    #[error("the backend does not offer the tool")]
    Gone,
    /// The backend can't be asked what it is.
    #[error("the backend could not be asked")]
    Unknown,
}

/// Judges whether `user` approves `tool` in the definition `shown`: exactly what was shown, and only
/// while it is what the backend offers. `view` is what is known of earlier amendments: a clock that
/// runs behind must not make this one the older.
pub fn amend(
    grant: &Grant,
    user: &UserId,
    tool: &str,
    shown: Pin,
    current: ToolState,
    view: Option<&Amended>,
    now: Timestamp,
) -> Result<(Grant, Amendment), NotAmended> {
    if grant.user != *user || now >= grant.expires {
        return Err(NotAmended::Ended);
    }
    let Tools::Pinned(pins) = &grant.tools else {
        return Err(NotAmended::NeverAllowed);
    };
    // Where the grant's record was not written after its amendment, the two differ.
    let amended = view.and_then(|view| view.pin(tool));
    let is_in_force = |pin: &Pin| *pin == shown && amended.is_none_or(|pin| pin == shown);
    match (pins.get(tool), current) {
        (None, _) => return Err(NotAmended::NeverAllowed),
        (Some(_), ToolState::Gone) => return Err(NotAmended::Gone),
        (Some(_), ToolState::Unknown) => return Err(NotAmended::Unknown),
        (Some(_), ToolState::Defined(pin)) if pin != shown => return Err(NotAmended::ChangedAgain),
        (Some(pin), ToolState::Defined(_)) if is_in_force(pin) => return Err(NotAmended::Already),
        (Some(_), ToolState::Defined(_)) => {}
    }
    let mut pins = pins.clone();
    pins.insert(tool.to_owned(), shown);
    let earlier = view.and_then(|view| view.0.get(tool));
    let at = earlier.map_or(now, |latest| {
        now.max(Timestamp::from_millis(latest.at.millis().saturating_add(1)))
    });
    let amendment = Amendment {
        grant: grant.id.clone(),
        tool: tool.to_owned(),
        pin: shown,
        at,
    };
    let amended = Grant {
        tools: Tools::Pinned(pins),
        ..grant.clone()
    };
    Ok((amended, amendment))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::ClientId;
    use crate::protocol::resource::Resource;
    use crate::protocol::scope::Scope;

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const OLD: Pin = Pin::new([1; 8]);
    const NEW: Pin = Pin::new([2; 8]);

    fn grant() -> Grant {
        Grant {
            id: GrantId::new("g_1"),
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            client: ClientId::new("c_1"),
            client_fingerprint: None,
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            tools: Tools::Pinned(BTreeMap::from([
                ("look".to_owned(), OLD),
                ("echo".to_owned(), OLD),
            ])),
            allowed_by: None,
            created: NOW,
            redeemed: None,
            expires: NOW + Duration::from_secs(60),
            refresh: None,
            personal: None,
        }
    }

    fn judge(
        grant: &Grant,
        tool: &str,
        shown: Pin,
        current: ToolState,
    ) -> Result<Tools, NotAmended> {
        let alice = UserId::new("u_1");
        amend(grant, &alice, tool, shown, current, None, NOW).map(|(grant, _)| grant.tools)
    }

    #[test]
    fn exactly_what_was_shown_replaces_the_pin_of_that_tool_and_nothing_else() {
        let alice = UserId::new("u_1");
        let before = grant();
        let (after, amendment) = amend(
            &before,
            &alice,
            "look",
            NEW,
            ToolState::Defined(NEW),
            None,
            NOW,
        )
        .unwrap();
        assert_eq!(after.tools.pin("look"), Some(NEW));
        assert_eq!(after.tools.pin("echo"), Some(OLD));
        assert_eq!(amendment.pin, NEW);
        assert_eq!(
            Grant {
                tools: before.tools.clone(),
                ..after
            },
            before
        );
    }

    #[test]
    fn nothing_is_approved_that_was_not_shown_not_allowed_or_is_not_there() {
        let grant = grant();
        let other = Pin::new([3; 8]);
        for (tool, shown, current, why) in [
            (
                "look",
                NEW,
                ToolState::Defined(other),
                NotAmended::ChangedAgain,
            ),
            (
                "look",
                NEW,
                ToolState::Defined(OLD),
                NotAmended::ChangedAgain,
            ),
            ("look", OLD, ToolState::Defined(OLD), NotAmended::Already),
            ("look", NEW, ToolState::Gone, NotAmended::Gone),
            ("look", NEW, ToolState::Unknown, NotAmended::Unknown),
            (
                "erase",
                NEW,
                ToolState::Defined(NEW),
                NotAmended::NeverAllowed,
            ),
        ] {
            assert_eq!(judge(&grant, tool, shown, current), Err(why), "{tool}");
        }
        for tools in [Tools::All, Tools::Only(["look".to_owned()].into())] {
            let unpinned = Grant {
                tools,
                ..grant.clone()
            };
            assert_eq!(
                judge(&unpinned, "look", NEW, ToolState::Defined(NEW)),
                Err(NotAmended::NeverAllowed)
            );
        }
        let current = ToolState::Defined(NEW);
        let bob = UserId::new("u_2");
        let foreign = amend(&grant, &bob, "look", NEW, current, None, NOW);
        assert_eq!(foreign, Err(NotAmended::Ended));
        let alice = UserId::new("u_1");
        let late = amend(&grant, &alice, "look", NEW, current, None, grant.expires);
        assert_eq!(late, Err(NotAmended::Ended));
    }

    #[test]
    fn an_amendment_whose_grant_was_not_written_is_taken_back_by_approving_once_more() {
        let alice = UserId::new("u_1");
        let until = NOW + Duration::from_secs(10);
        let mut seen = Amended::default();
        let amendment = Amendment {
            grant: GrantId::new("g_1"),
            tool: "look".to_owned(),
            pin: NEW,
            at: NOW,
        };
        seen.take(amendment, until);
        // The backend turned back, and the record never moved on.
        let grant = grant();
        let back = |name: &str| {
            if name == "look" {
                ToolState::Defined(OLD)
            } else {
                ToolState::Gone
            }
        };
        assert!(grant.tools.changed(Some(&seen), back).contains(&"look"));
        let (_, again) = amend(
            &grant,
            &alice,
            "look",
            OLD,
            ToolState::Defined(OLD),
            Some(&seen),
            NOW,
        )
        .unwrap();
        seen.take(again, until);
        assert!(!grant.tools.changed(Some(&seen), back).contains(&"look"));
    }

    #[test]
    fn an_entry_says_the_same_after_the_list_and_no_revocation_is_one() {
        for tool in [
            "look",
            "a/b/c",
            "",
            "amendment/g_1/1/0101010101010101/x",
            "é\u{2028}",
        ] {
            let amendment = Amendment {
                grant: GrantId::new("g_0123456789_-abcdefghij"),
                tool: tool.to_owned(),
                pin: NEW,
                at: NOW,
            };
            assert_eq!(Amendment::parse(&amendment.to_entry()), Some(amendment));
        }
        for entry in [
            "g_1",
            "amendment/",
            "amendment/g_1",
            "amendment/g_1/1/01/look",
            "amendment/g_1/-1/0101010101010101/look",
            "0101010101010101",
        ] {
            assert_eq!(Amendment::parse(entry), None, "{entry}");
        }
    }

    #[test]
    fn the_latest_amendment_counts_in_whatever_order_they_come_and_whatever_the_clock_says() {
        let alice = UserId::new("u_1");
        let until = NOW + Duration::from_secs(10);
        let (first, one) = amend(
            &grant(),
            &alice,
            "look",
            NEW,
            ToolState::Defined(NEW),
            None,
            NOW,
        )
        .unwrap();
        let mut seen = Amended::default();
        seen.take(one.clone(), until);
        // Another replica, whose clock is behind: back to the old definition.
        let behind = NOW - Duration::from_secs(5);
        let (_, two) = amend(
            &first,
            &alice,
            "look",
            OLD,
            ToolState::Defined(OLD),
            Some(&seen),
            behind,
        )
        .unwrap();
        for order in [[&one, &two], [&two, &one]] {
            let mut amended = Amended::default();
            order
                .into_iter()
                .cloned()
                .for_each(|each| amended.take(each, until));
            assert_eq!(amended.pin("look"), Some(OLD));
            assert_eq!(amended.pin("echo"), None);
        }
        assert!(seen.retain(until - Duration::from_millis(1)));
        assert!(!seen.retain(until));
    }
}
