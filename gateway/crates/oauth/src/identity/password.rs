//! Passwords: which are accepted, and hashing them with argon2id on a bounded pool of threads.
//!
//! Hashing costs 19 MiB and tens of milliseconds on purpose, so the pool is small: a storm of
//! logins waits here and never takes the processors from the proxy.

use std::fmt;
use std::sync::{Arc, OnceLock};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::rngs::OsRng;
use tokio::sync::Semaphore;

/// The fewest characters of a new password.
pub const SHORTEST: usize = 12;
/// The most bytes of a password that is looked at.
pub const LONGEST: usize = 256;

/// How many hashes are computed at once.
const LANES: usize = 2;
/// How many more may wait for a lane.
const QUEUE: usize = 32;

/// A configured hash may not cost more than this: 256 MiB, 10 passes, 8 lanes.
const DEAREST: (u32, u32, u32) = (256 * 1024, 10, 8);

/// A password as somebody typed it, at most [`LONGEST`] bytes.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// A password to compare. `None` when it is longer than any that was ever accepted.
    pub fn presented(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (text.len() <= LONGEST).then_some(Self(text))
    }

    /// A password to set: at least [`SHORTEST`] characters. Length is what helps; there is no rule
    /// about kinds of characters (NIST SP 800-63B §3.1.1).
    pub fn new(text: impl Into<String>) -> Option<Self> {
        Self::presented(text).filter(|password| password.0.chars().count() >= SHORTEST)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// An argon2id hash in the PHC string format that this gateway can verify at a bounded cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordPhc(String);

/// Why a text is no usable password hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhcError {
    /// Not a PHC string.
    #[error("is not a PHC string; make one with `gateway users hash`")]
    Malformed,
    /// Another algorithm.
    #[error("is not argon2id; make one with `gateway users hash`")]
    NotArgon2id,
    /// It has no hash or no salt.
    #[error("lacks salt or hash; make one with `gateway users hash`")]
    Incomplete,
    /// Verifying it would take too much memory or time.
    #[error("asks for more than 256 MiB, 10 passes or 8 lanes")]
    TooDear,
}

impl PasswordPhc {
    /// Takes a PHC string, as `gateway users hash` prints it.
    pub fn parse(text: &str) -> Result<Self, PhcError> {
        let text = text.trim();
        let parsed = PasswordHash::new(text).map_err(|_| PhcError::Malformed)?;
        if parsed.algorithm != argon2::ARGON2ID_IDENT {
            return Err(PhcError::NotArgon2id);
        }
        if parsed.salt.is_none() || parsed.hash.is_none() {
            return Err(PhcError::Incomplete);
        }
        let params = Params::try_from(&parsed).map_err(|_| PhcError::Malformed)?;
        let (memory, passes, lanes) = DEAREST;
        if params.m_cost() > memory || params.t_cost() > passes || params.p_cost() > lanes {
            return Err(PhcError::TooDear);
        }
        Ok(Self(text.to_owned()))
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// More passwords wait than the queue holds: 503, and the client tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be hashed")]
pub struct Overloaded;

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    lanes: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    decoy: Arc<OnceLock<String>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            lanes: Arc::new(Semaphore::new(LANES)),
            queue: Arc::new(Semaphore::new(LANES + QUEUE)),
            decoy: Arc::default(),
        }
    }
}

impl Passwords {
    /// Hashes a new password with a fresh salt.
    pub async fn hash(&self, password: Password) -> Result<PasswordPhc, Overloaded> {
        self.on_a_lane(move || hash(&password)).await
    }

    /// The hash that stands in for that of a name that nobody has, where one was kept.
    pub fn decoy(&self) -> Option<&str> {
        self.decoy.get().map(String::as_str)
    }

    /// Keeps the hash of somebody here as the one that stands in: it costs what those here cost. The first
    /// one stays, so that what a strange name costs does not change.
    pub fn keep_decoy(&self, phc: &str) {
        self.decoy.get_or_init(|| phc.to_owned());
    }

    /// Whether `password` is the one behind `phc`. `None` stands for a person who does not exist:
    /// the same time is spent and the answer is no.
    pub async fn check(&self, phc: Option<&str>, password: Password) -> Result<bool, Overloaded> {
        let phc = phc.map(str::to_owned);
        self.on_a_lane(move || match phc {
            Some(phc) => matches(&phc, &password),
            None => {
                std::hint::black_box(hash(&password));
                false
            }
        })
        .await
    }

    async fn on_a_lane<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Overloaded> {
        // Both permits go into the task: a visitor who leaves does not free a lane that still works.
        let queued = Arc::clone(&self.queue)
            .try_acquire_owned()
            .map_err(|_| Overloaded)?;
        let lane = Arc::clone(&self.lanes)
            .acquire_owned()
            .await
            .map_err(|_| Overloaded)?;
        tokio::task::spawn_blocking(move || {
            let _held = (queued, lane);
            work()
        })
        .await
        .map_err(|_| Overloaded)
    }
}

fn hash(password: &Password) -> PasswordPhc {
    let salt = SaltString::generate(&mut OsRng);
    let phc = argon2()
        .hash_password(password.0.as_bytes(), &salt)
        .expect("the parameters are the library's own and the password is bounded");
    PasswordPhc(phc.to_string())
}

fn matches(phc: &str, password: &Password) -> bool {
    PasswordHash::new(phc).is_ok_and(|phc| {
        argon2()
            .verify_password(password.0.as_bytes(), &phc)
            .is_ok()
    })
}

/// Argon2id with 19 MiB, 2 passes, 1 lane: OWASP's recommendation, and the library's default.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::presented(text).unwrap()
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::default();
        let phc = passwords
            .hash(Password::new("correct horse battery").unwrap())
            .await
            .unwrap();
        assert_eq!(PasswordPhc::parse(phc.as_str()), Ok(phc.clone()));
        assert!(phc.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let check = |text: &str| passwords.check(Some(phc.as_str()), password(text));
        assert_eq!(check("correct horse battery").await, Ok(true));
        assert_eq!(check("correct horse batterY").await, Ok(false));
        assert_eq!(check("").await, Ok(false));
        assert_eq!(
            passwords
                .check(None, password("correct horse battery"))
                .await,
            Ok(false)
        );
    }

    #[tokio::test]
    async fn a_full_queue_refuses_instead_of_waiting() {
        let passwords = Passwords::default();
        let _busy = Arc::clone(&passwords.queue)
            .try_acquire_many_owned((LANES + QUEUE) as u32)
            .unwrap();
        let answer = passwords.check(None, password("x")).await;
        assert_eq!(answer, Err(Overloaded));
    }

    #[test]
    fn a_new_password_has_twelve_characters_and_a_bounded_length() {
        assert!(Password::new("elevenchars").is_none());
        assert!(Password::new("twelve chars").is_some());
        assert!(Password::new("zwölf Zeich.").is_some());
        assert!(Password::new("x".repeat(LONGEST + 1)).is_none());
        assert!(Password::presented("x".repeat(LONGEST + 1)).is_none());
    }

    #[test]
    fn a_configured_hash_is_argon2id_and_affordable() {
        let tail = "$c29tZXNhbHRzb21lc2FsdA$uTW2EAzSp2hBK2jNZFYgEtRBzjbBLpVLQxc3k6aWYBY";
        let phc = |params: &str| format!("$argon2id$v=19${params}{tail}");
        assert!(PasswordPhc::parse(&phc("m=65536,t=3,p=4")).is_ok());
        assert!(PasswordPhc::parse(&format!("{}\n", phc("m=65536,t=3,p=4"))).is_ok());
        for params in [
            "m=4194304,t=2,p=1",
            "m=19456,t=1000,p=1",
            "m=19456,t=2,p=64",
        ] {
            assert_eq!(PasswordPhc::parse(&phc(params)), Err(PhcError::TooDear));
        }
        let argon2i = phc("m=19456,t=2,p=1").replace("argon2id", "argon2i");
        assert_eq!(PasswordPhc::parse(&argon2i), Err(PhcError::NotArgon2id));
        for text in ["", "hunter2", "$2b$12$abcdefghijklmnopqrstuu"] {
            assert!(PasswordPhc::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            PasswordPhc::parse("$argon2id$v=19$m=19456,t=2,p=1"),
            Err(PhcError::Incomplete)
        );
    }
}
