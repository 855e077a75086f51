//! The one-time code that makes whoever sees the terminal the first owner.
//!
//! One code is open at a time: offering a new one closes the one before. Only its hash is kept.

use std::fmt;
use std::time::Duration;

use rand::RngCore;

use gateway_core::clock::Timestamp;
use gateway_core::secret::{Secret, SecretHash};
use gateway_store::{
    KeptSetup, Records, SetupOffer, SetupState, StoreError, User, unless_conflict,
};

/// How long a code is open.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How many wrong codes close it.
const TRIES: u32 = 5;

/// Digits and capitals without those that look alike: 30 characters.
const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A setup code, `XXXX-XXXX`: 39 bits, which five tries do not guess.
#[derive(Clone, PartialEq, Eq)]
pub struct SetupCode(String);

impl SetupCode {
    /// Draws a new one.
    pub fn draw(random: &mut dyn RngCore) -> Self {
        let mut characters = String::with_capacity(9);
        while characters.len() < 9 {
            if characters.len() == 4 {
                characters.push('-');
            }
            let mut byte = [0; 1];
            random.fill_bytes(&mut byte);
            // 240 is the largest multiple of 30 in a byte: the rest would favour some characters.
            if byte[0] < 240 {
                characters.push(ALPHABET[usize::from(byte[0]) % ALPHABET.len()].into());
            }
        }
        Self(characters)
    }

    /// A code as typed: any case, with or without the dash and spaces. What has eight letters and
    /// digits is a code, perhaps a wrong one.
    pub fn parse(text: &str) -> Option<Self> {
        let bare: String = text
            .chars()
            .take(32)
            .filter(|c| !matches!(c, '-' | ' '))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let valid = bare.len() == 8 && bare.bytes().all(|b| b.is_ascii_alphanumeric());
        valid.then(|| Self(format!("{}-{}", &bare[..4], &bare[4..])))
    }

    /// The text to print once. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn secret(&self) -> Secret {
        Secret::presented(self.0.clone())
    }
}

impl fmt::Debug for SetupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetupCode(…)")
    }
}

/// Why nobody became the owner.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetupRefusal {
    /// Somebody is the owner already.
    #[error("there is an owner")]
    Done,
    /// The code is wrong, used up or too old.
    #[error("the code is wrong, used or too old")]
    CodeWrong,
    /// The store did not do what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SetupCode {
    /// Opens a new one and closes the one before. `None` once there is a user.
    pub async fn offer(
        records: &Records,
        now: Timestamp,
        random: &mut (dyn RngCore + Send),
    ) -> Result<Option<Self>, StoreError> {
        if records.has_users(now).await? {
            return Ok(None);
        }
        let code = Self::draw(random);
        let offer = SetupOffer {
            hash: code.secret().hash(),
            expires: now + LIFETIME,
            wrong: 0,
        };
        records.offer_setup(&offer, now).await?;
        Ok(Some(code))
    }

    /// Looks at one that was presented. A wrong one is counted before this returns, whatever else
    /// happens at the same time; a right one stays open until it is claimed.
    pub async fn accept(
        &self,
        records: &Records,
        now: Timestamp,
    ) -> Result<AcceptedCode, SetupRefusal> {
        // A count that fails was overtaken by another wrong code, and after [`TRIES`] of those the
        // offer is closed: the loop never ends without an answer from inside.
        for _ in 0..=TRIES {
            let Some((kept, mut offer)) = open_offer(records, now).await? else {
                return Err(closed(records, now).await?);
            };
            if offer.hash.matches(&self.secret()) {
                let presented = self.secret().hash();
                return Ok(AcceptedCode { kept, presented });
            }
            offer.wrong += 1;
            let expires = offer.expires;
            let next = SetupState::Offered(offer);
            let counted = records.replace_setup(&kept, &next, expires, now).await;
            if unless_conflict(counted)?.is_some() {
                return Err(SetupRefusal::CodeWrong);
            }
        }
        Err(SetupRefusal::CodeWrong)
    }

    /// Whether it is this one with which somebody became the owner just now: then the same form was
    /// sent twice.
    pub async fn was_claimed(&self, records: &Records, now: Timestamp) -> Result<bool, StoreError> {
        let claimed = claimed(&self.secret().hash());
        let kept = records.setup(now).await?;
        Ok(kept.is_some_and(|kept| kept.state == claimed))
    }
}

/// Proof that the open code was presented; worth nothing once another request has claimed it.
#[derive(Debug)]
pub struct AcceptedCode {
    kept: KeptSetup,
    presented: SecretHash,
}

impl AcceptedCode {
    /// Uses it up and adds the owner. Of two that race with the right code, one becomes the owner.
    pub async fn claim(
        self,
        records: &Records,
        owner: &User,
        now: Timestamp,
    ) -> Result<(), SetupRefusal> {
        let claimed = claimed(&self.presented);
        let expires = now + LIFETIME;
        let claiming = records.replace_setup(&self.kept, &claimed, expires, now);
        // Whoever was faster has used the code up.
        if unless_conflict(claiming.await)?.is_none() {
            return Err(closed(records, now).await?);
        }
        if records.has_users(now).await? || !records.add_user(owner, now).await? {
            return Err(SetupRefusal::Done);
        }
        Ok(())
    }
}

/// What stands in place of an offer that was used.
fn claimed(code: &SecretHash) -> SetupState {
    SetupState::Claimed(code.as_str().to_owned())
}

/// The offer that a code can still meet.
async fn open_offer(
    records: &Records,
    now: Timestamp,
) -> Result<Option<(KeptSetup, SetupOffer)>, StoreError> {
    let Some(kept) = records.setup(now).await? else {
        return Ok(None);
    };
    Ok(match kept.state.clone() {
        SetupState::Offered(offer) if now < offer.expires && offer.wrong < TRIES => {
            Some((kept, offer))
        }
        SetupState::Offered(_) | SetupState::Claimed(_) => None,
    })
}

async fn closed(records: &Records, now: Timestamp) -> Result<SetupRefusal, StoreError> {
    Ok(if records.has_users(now).await? {
        SetupRefusal::Done
    } else {
        SetupRefusal::CodeWrong
    })
}
