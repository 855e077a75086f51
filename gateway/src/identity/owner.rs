//! Login names, and the owner whom the configuration names.

use rand::RngCore;

use crate::clock::Timestamp;
use crate::grants::UserId;
use crate::identity::PasswordPhc;
use crate::store::{Records, StoreError, User};

/// A login name: 1 to 64 characters, none of them blank or invisible. It is compared in lower case,
/// and goes to backends in a header, so it is ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginName(String);

impl LoginName {
    /// Takes letters, digits and `. _ - + @`, without surrounding blanks.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let valid = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-+@".contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// The name as its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Adds the owner whom the configuration names, or gives that person the password it names now.
/// A changed password ends that person's browser sessions.
pub async fn ensure_owner(
    records: &Records,
    name: &LoginName,
    password: &PasswordPhc,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<(), StoreError> {
    let owner = match records.user(name.as_str(), now).await? {
        Some(user) if user.password_hash == password.as_str() => return Ok(()),
        Some(user) => User {
            password_hash: password.as_str().to_owned(),
            ..user
        },
        None => User {
            id: UserId::draw(random),
            name: name.as_str().to_owned(),
            password_hash: password.as_str().to_owned(),
            created: now,
        },
    };
    records.put_user(&owner).await
}
