//! Cutting off: all that a client was given, or that a person gave, counts no more.
//!
//! Two things together leave no gap. The cut itself is durable first: everything from before its
//! moment is refused, on every replica, however much there is. Then all that can be found is revoked
//! by name: a code that is being redeemed at this moment, a grant that is just being refreshed, and
//! what a replica gave whose clock is ahead. Codes, and what apps on other machines have not fetched
//! yet, come before grants, because one becomes the other: a grant that was not there yet is named by them.
//!
//! A person who allows the client again afterwards has given something new, and that counts. For a
//! person who may not do that, the record is disabled first (`identity::people`), which every
//! redemption and refresh asks.

use std::time::Duration;

use crate::server::Settings;
use gateway_core::access_token::LEEWAY;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_store::{GrantsOf, Records, Revoked, StoreError};

/// How long it is remembered at least that something counts no more whose end is not known: longer
/// than anything lives, also where the operator has made lifetimes shorter since.
pub const REMEMBERED: Duration = Duration::from_secs(400 * 24 * 3600);

/// The client or the person whose access is taken back.
#[derive(Clone, Copy, Debug)]
pub enum RevocationSubject<'a> {
    /// What this client was given.
    Client(&'a ClientId),
    /// What this person gave.
    User(&'a UserId),
}

impl<'a> RevocationSubject<'a> {
    /// The grants that are of it.
    pub(crate) const fn grants(self) -> GrantsOf<'a> {
        let (user, client) = match self {
            Self::Client(client) => (None, Some(client)),
            Self::User(user) => (Some(user), None),
        };
        GrantsOf { user, client }
    }
}

/// What was cut off.
#[derive(Debug)]
#[must_use]
pub struct CutOff {
    /// How many grants were found, and revoked by name.
    pub grants: usize,
    /// Why a grant or a code could not be read that may be one of them, if so. It is refused by its
    /// moment all the same, as far as clocks agree.
    pub unreadable: Option<StoreError>,
}

impl CutOff {
    /// How many grants were revoked, if none can have been missed.
    pub fn complete(self) -> Result<usize, StoreError> {
        self.unreadable.map_or(Ok(self.grants), Err)
    }

    /// The two together.
    pub fn and(self, later: Self) -> Self {
        Self {
            grants: self.grants + later.grants,
            unreadable: self.unreadable.or(later.unreadable),
        }
    }
}

/// Cuts off, durably, on every replica; streams and calls end as with any revocation. What can't be
/// read keeps nothing else from being revoked. On an error some may have been.
pub async fn cut_off(
    records: &Records,
    settings: &Settings,
    whose: RevocationSubject<'_>,
    now: Timestamp,
) -> Result<CutOff, StoreError> {
    let of = whose.grants();
    let cut = match whose {
        RevocationSubject::Client(client) => Revoked::Client(client.clone(), now),
        RevocationSubject::User(user) => Revoked::User(user.clone(), now),
    };
    let longest = settings.refresh.map_or(settings.access_ttl, |refresh| {
        refresh.absolute.max(settings.access_ttl)
    });
    records
        .revoke(&cut, now + longest.max(REMEMBERED) + 2 * LEEWAY, now)
        .await?;

    let given_now = now + settings.longest_use();
    let mut named = Vec::new();
    let codes = records.open_codes(of, now).await?;
    for code in codes.entries {
        named.push((code.grant, given_now + 2 * LEEWAY));
    }
    let devices = records.answered_devices(of, now).await?;
    let allowed = devices
        .entries
        .into_iter()
        .filter_map(|asked| asked.allowed());
    named.extend(allowed.map(|allowed| (allowed.grant, given_now + 2 * LEEWAY)));
    let grants = records.all_grants(of, now).await?;
    let known = grants.entries.len();
    for grant in grants.entries {
        named.push((grant.id, grant.expires.max(given_now) + 2 * LEEWAY));
    }
    records.revoke_grants(named, now).await?;
    let (user, client) = (of.user.map(UserId::as_str), of.client.map(ClientId::as_str));
    log::info!(
        event = "cut_off", user = user, client = client, grants = known;
        "all access of before was taken back"
    );
    Ok(CutOff {
        grants: known,
        unreadable: codes
            .unreadable
            .or(devices.unreadable)
            .or(grants.unreadable),
    })
}
