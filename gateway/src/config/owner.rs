//! `[owner]`: who may log in at an unattended set-up.

use crate::config::reader::Reader;
use crate::config::settings::{SecretText, settings};
use crate::config::values;
use gateway_oauth::identity::{LoginName, PasswordPhc};

const NAME: &str = "owner.name";
const HASH: &str = "owner.password_hash";
const HASH_FILE: &str = "owner.password_hash_file";

/// The owner, of an unattended set-up.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The login name, in the case that it was written in.
    pub name: LoginName,
    /// Argon2id, in the PHC string format.
    pub password: PasswordPhc,
}

settings! {
    /// `[owner]`
    pub(super) struct OwnerKeys in "owner." {
        /// Unattended set-up: the owner's login name.
        name: Option<LoginName>, values::person;
        /// The owner's argon2id hash; `gateway users hash` makes one.
        password_hash: SecretText, values::text;
        /// A file that holds it.
        password_hash_file: Option<String>, values::file;
    }
}

impl OwnerKeys {
    /// The owner; `None` where there is none, or a problem was noted.
    pub(super) fn owner(&self, reader: &mut Reader<'_>) -> Option<Owner> {
        let inline = &self.password_hash.0;
        let hash = reader.secret(HASH, inline, &self.password_hash_file);
        match (reader.is_written(NAME), hash) {
            (true, Some(hash)) => match PasswordPhc::parse(&hash) {
                Ok(password) => Some(Owner {
                    name: self.name.clone()?,
                    password,
                }),
                Err(error) => {
                    reader.wrong_secret(HASH, inline, error);
                    None
                }
            },
            (false, None) => None,
            // What is wrong has been said.
            (true, None) if reader.is_wrong(HASH) || reader.is_wrong(HASH_FILE) => None,
            (true, None) => {
                let sentence = "must be given with owner.name; `gateway users hash` makes the hash";
                reader.wrong(HASH_FILE, sentence);
                None
            }
            (false, Some(_)) => {
                reader.wrong(NAME, "must be given with the owner's password hash");
                None
            }
        }
    }
}
