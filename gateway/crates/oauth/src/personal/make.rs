//! Making a personal token: a grant like any other, durable before the token is shown.

use std::time::Duration;

use crate::authorize::consent::tools::Offer;
use crate::provider::Memberships;
use crate::server::Settings;
use gateway_core::access_token::LEEWAY;
use gateway_core::audit::{Event, Record};
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::consented_tools::{self, Choice, NotGranted};
use gateway_core::grants::personal::{Personal, PersonalToken};
use gateway_core::grants::{Grant, Tools, UserId};
use gateway_core::protocol::resource::Mount;
use gateway_core::reason::Reason;
use gateway_store::{GrantsOf, Records, StoreError};
use gateway_upstream::Catalogue;

/// The most that one person may have at a time.
pub const MOST: usize = 100;

/// What a personal token is to be.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// In whose name it is used.
    pub user: &'a UserId,
    /// That person's login name.
    pub user_name: &'a str,
    /// What the person calls it.
    pub name: String,
    /// Where it may be used.
    pub mount: &'a Mount,
    /// With which tools.
    pub tools: Tools,
    /// For how long.
    pub lasts: Duration,
    /// What it is made of: random, or derived from what only this installation can derive it from.
    pub seed: [u8; 32],
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The operator, the person's standing or their other tokens don't allow it.
    #[error("{}", .0.sentence())]
    Because(Reason),
    /// The operator's ceiling is lower.
    #[error("a personal token lasts {0:?} at most")]
    TooLong(Duration),
    /// The store did not do what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A token that was made.
#[derive(Debug)]
pub struct MintOutcome {
    /// To be shown once.
    pub token: PersonalToken,
    /// What it stands for.
    pub grant: Grant,
    /// For the audit log; `None` if another request with the same seed made it.
    pub record: Option<Record>,
}

impl MintOutcome {
    /// When it was made first.
    pub fn when(&self) -> Timestamp {
        self.grant.redeemed.unwrap_or(self.grant.created)
    }
}

/// Makes a token. The same seed again gives the same token and makes nothing, unless that one counts no
/// more or another was asked for: [`Reason::PageExpired`].
pub async fn make(
    settings: &Settings,
    memberships: Memberships<'_>,
    new: NewToken<'_>,
    now: Timestamp,
) -> Result<MintOutcome, NotMade> {
    let records = memberships.records;
    let longest = settings
        .personal
        .ok_or(NotMade::Because(Reason::PersonalTokensOff))?;
    if new.lasts > longest {
        return Err(NotMade::TooLong(longest));
    }
    let token = PersonalToken::new(new.seed, memberships.tags);
    let used_up = Err(NotMade::Because(Reason::PageExpired));
    let is_over = |id| records.view().is_some_and(|view| view.is_revoked(id));
    if is_over(&token.grant()) {
        return used_up;
    }
    let made_before = records.grant(&token.grant(), now).await?.is_some();
    if !made_before && has_most(records, new.user, now).await? {
        return Err(NotMade::Because(Reason::PersonalTokensTooMany));
    }
    let pause = records.settles_in(now);
    tokio::time::sleep(pause.unwrap_or_default()).await;
    let now = now + pause.unwrap_or_default();
    let grant = Grant {
        id: token.grant(),
        user: new.user.clone(),
        user_name: new.user_name.to_owned(),
        client: ClientId::new(ClientId::PERSONAL_TOKEN),
        client_fingerprint: None,
        resource: new.mount.resource(&settings.issuer),
        scope: settings.scopes.at(&new.mount.name).defaults(),
        tools: new.tools,
        created: records.dated(now),
        redeemed: Some(now),
        expires: now + new.lasts,
        refresh: None,
        allowed_by: None,
        personal: Some(Personal {
            name: new.name,
            hash: token.hash(),
        }),
    };
    let is_new = records.add_grant(&grant, now).await?;
    let grant = if is_new {
        grant
    } else {
        match records.grant(&grant.id, now).await? {
            Some(first) if is_same(&first, &grant) => first,
            Some(_) | None => return used_up,
        }
    };
    // Whoever was disabled before the grant was there had all grants revoked but this one.
    if let Err(reason) = memberships.of(&grant.user, &grant.user_name, now).await? {
        let until = grant.expires + 2 * LEEWAY;
        records.revoke_grant(&grant.id, until, now).await?;
        return Err(NotMade::Because(reason));
    }
    let record = is_new.then(|| record(&grant, new.mount));
    if is_new {
        log::info!(
            event = "personal_token_made", user = grant.user.as_str(), grant = grant.id.as_str(),
            resource = grant.resource.as_str(), scope:% = grant.scope, expires:% = grant.expires;
            "a personal token was made"
        );
    }
    Ok(MintOutcome {
        token,
        grant,
        record,
    })
}

async fn has_most(records: &Records, user: &UserId, now: Timestamp) -> Result<bool, StoreError> {
    let of = GrantsOf {
        user: Some(user),
        client: Some(&ClientId::new(ClientId::PERSONAL_TOKEN)),
    };
    let tokens = records.grants(of, None, MOST, now).await?;
    Ok(tokens.entries.len() >= MOST)
}

/// Whether what is asked for again is what was made first.
fn is_same(first: &Grant, again: &Grant) -> bool {
    let of = |grant: &Grant| {
        let name = grant.personal.as_ref().map(|kept| kept.name.clone());
        let lasts = grant.redeemed.map(|made| grant.expires.since(made));
        (name, lasts)
    };
    first.user == again.user
        && first.resource == again.resource
        && first.tools == again.tools
        && of(first) == of(again)
}

/// Why no tools can be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChosen {
    /// The backend could not be asked.
    #[error("the backend could not be asked for its tools")]
    Unknown,
    /// The backend offers no tool of this name.
    #[error("there is no tool {0:?}")]
    NoSuchTool(String),
    /// Nothing would be granted.
    #[error("no tool would be granted")]
    Nothing,
    /// No grant can name so many.
    #[error("no grant can name so many tools; take fewer, or everything")]
    TooMany,
}

/// The tools that a choice comes to at this moment, each as it is now.
pub async fn choose(
    catalogue: &Catalogue,
    settings: &Settings,
    mount: &Mount,
    user_name: &str,
    choice: &Choice,
) -> Result<Tools, NotChosen> {
    let listing = catalogue
        .refresh_or_wait(&mount.name, Some(user_name))
        .await;
    let scopes = settings.scopes.at(&mount.name);
    let scope = scopes.defaults();
    let offer = listing
        .ok()
        .map(|listing| Offer::new(&listing, settings, mount, &scope).pinned());
    if let (Choice::Chosen(names), Some(offer)) = (choice, &offer) {
        let is_there = |name: &&String| offer.iter().any(|tool| tool.name == **name);
        if let Some(unknown) = names.iter().find(|name| !is_there(name)) {
            return Err(NotChosen::NoSuchTool(unknown.clone()));
        }
    }
    let offer = offer.as_deref();
    consented_tools::grant(choice, offer, offer, true).map_err(|error| match error {
        NotGranted::Unknown | NotGranted::Changed(_) => NotChosen::Unknown,
        NotGranted::Nothing => NotChosen::Nothing,
        NotGranted::TooMany => NotChosen::TooMany,
    })
}

fn record(grant: &Grant, mount: &Mount) -> Record {
    let name = grant.personal.as_ref().map(|personal| &personal.name);
    Record {
        user: Some(grant.user.as_str().to_owned()),
        client: Some(grant.client.as_str().to_owned()),
        grant: Some(grant.id.as_str().to_owned()),
        backend: Some(mount.name.clone()),
        detail: Some(format!(
            "personal token “{}”; scope {}; tools {}; until {}",
            name.map_or("", String::as_str),
            grant.scope,
            grant.tools.in_words(),
            grant.expires
        )),
        ..Record::new(Event::Consent)
    }
}
