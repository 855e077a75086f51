//! The two ceremonies: making a passkey, and proving that one has it. Pure, but for the challenge, which
//! the library draws.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use webauthn_rs::prelude::{
    AttestationFormat, Credential, DiscoverableAuthentication, ParsedAttestation,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Uuid, WebauthnError,
};
use webauthn_rs_core::proto::{RegisteredExtensions, UserVerificationPolicy};

use super::refusal::PasskeyRefusal;
use super::site::Passkeys;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::reason::Reason;
use gateway_store::{Passkey, User};

/// The longest credential id, in bytes (Web Authentication §5.1).
const LONGEST_ID: usize = 1023;
/// More than any public key takes, in bytes of JSON.
const LONGEST_KEY: usize = 4096;

/// What a page asks a browser, and what has to come back with the answer.
#[derive(Clone, Debug)]
pub(crate) struct Ceremony {
    /// The options of `navigator.credentials`, with bytes in base64url.
    pub(crate) options: String,
    /// What the answer is judged by. No secret: the challenge stands in the options, too.
    pub(crate) state: String,
}

/// What a browser says with a passkey, before anything of it is believed.
#[derive(Debug)]
pub(super) struct Assertion {
    credential: PublicKeyCredential,
    /// The credential id in base64url.
    pub(super) id: String,
}

/// What passkeys of a person carry instead of the id: nothing of the person stands in it (Web
/// Authentication §14.6.1).
fn handle(user: &UserId) -> Uuid {
    let digest = Sha256::digest(format!("passkey user handle {}", user.as_str()));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

impl Passkeys {
    /// Begins to make a passkey for a person: none on a device that has one of theirs. `None`: there are
    /// no passkeys here.
    pub(crate) fn begin_registration(
        &self,
        user: &UserId,
        name: &str,
        known: &[Passkey],
    ) -> Option<Ceremony> {
        let known = known.iter().filter_map(|passkey| decode(&passkey.id));
        // Who is being set up types the name afterwards; it is for the device's own list.
        let name = if name.is_empty() { "?" } else { name };
        let site = self.site()?;
        let known = Some(known.collect());
        let started = site
            .webauthn
            .start_passkey_registration(handle(user), name, name, known);
        let (challenge, state) = started.ok()?;
        let mut options = to_value(&challenge.public_key);
        // Found without a name at the login, and asking who is there.
        options["authenticatorSelection"] = json!({
            "residentKey": "required",
            "requireResidentKey": true,
            "userVerification": "required",
        });
        Some(ceremony(options, &state))
    }

    /// The passkey that a browser has made.
    pub(super) fn finish_registration(
        &self,
        state: &str,
        answer: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Passkey, PasskeyRefusal> {
        let state: PasskeyRegistration = parse(state)?;
        let answer: RegisterPublicKeyCredential = parse(answer)?;
        let site = self.site().ok_or_else(unavailable)?;
        let made = site.webauthn.finish_passkey_registration(&answer, &state);
        let made = Credential::from(made.map_err(|error| refusal(&error))?);
        let public_key = to_value(&made.cred);
        if made.cred_id.is_empty()
            || made.cred_id.len() > LONGEST_ID
            || public_key.to_string().len() > LONGEST_KEY
        {
            let cause = "its id or its key is too long";
            return Err(PasskeyRefusal::new(Reason::PasskeyInvalid, cause));
        }
        Ok(Passkey {
            id: URL_SAFE_NO_PAD.encode(&made.cred_id),
            name: name.to_owned(),
            site: Some(site.id.clone()),
            public_key,
            counter: made.counter,
            backup_eligible: made.backup_eligible,
            backed_up: made.backup_state,
            added: now,
            last_used: None,
        })
    }

    /// Begins a login with whatever passkey the device has. `None`: there are no passkeys here.
    pub(crate) fn begin_login(&self) -> Option<Ceremony> {
        let webauthn = &self.site()?.webauthn;
        let (challenge, state) = webauthn.start_discoverable_authentication().ok()?;
        Some(ceremony(to_value(&challenge.public_key), &state))
    }

    /// Reads what a browser sent, so that its person can be looked for.
    pub(super) fn presented(&self, answer: &str) -> Result<Assertion, PasskeyRefusal> {
        let credential: PublicKeyCredential = parse(answer)?;
        let id = URL_SAFE_NO_PAD.encode(&credential.raw_id);
        Ok(Assertion { credential, id })
    }

    /// Judges it by the passkey of the person who has it. The passkey as it is to be kept from now on.
    pub(super) fn finish_login(
        &self,
        state: &str,
        assertion: &Assertion,
        user: &User,
        now: Timestamp,
    ) -> Result<Passkey, PasskeyRefusal> {
        let state: DiscoverableAuthentication = parse(state)?;
        let site = self.site().ok_or_else(unavailable)?;
        let unknown = |cause| PasskeyRefusal::new(Reason::PasskeyUnknown, cause);
        let kept = user.passkey(&assertion.id);
        let kept = kept.ok_or_else(|| unknown("nobody has this credential id"))?;
        // §7.2, step 6: the person was not named before, so the answer names them.
        let webauthn = &site.webauthn;
        let named = webauthn.identify_discoverable_authentication(&assertion.credential);
        let (named, _) = named.map_err(|error| refusal(&error))?;
        if named != handle(&user.id) {
            return Err(unknown("it names another person"));
        }
        let key = webauthn_rs::prelude::Passkey::from(credential(kept)?);
        let finished =
            webauthn.finish_discoverable_authentication_v2(&assertion.credential, state, &key);
        let result = finished.map_err(|error| refusal(&error))?;
        if !result.user_verified() {
            let cause = "the answer does not say that the user was verified";
            return Err(PasskeyRefusal::new(Reason::PasskeyUnverified, cause));
        }
        Ok(Passkey {
            // What it signed names the site, so that passkeys of earlier versions have it from now on.
            site: Some(site.id.clone()),
            counter: result.counter(),
            backed_up: result.backup_state(),
            last_used: Some(now),
            ..kept.clone()
        })
    }
}

/// A kept passkey as the library verifies with it. What its maker said was not asked for.
fn credential(kept: &Passkey) -> Result<Credential, PasskeyRefusal> {
    let unreadable = || PasskeyRefusal::new(Reason::RecordUnreadable, "its key can't be read");
    Ok(Credential {
        cred_id: decode(&kept.id).ok_or_else(unreadable)?,
        cred: serde_json::from_value(kept.public_key.clone()).map_err(|_| unreadable())?,
        counter: kept.counter,
        transports: None,
        user_verified: true,
        backup_eligible: kept.backup_eligible,
        backup_state: kept.backed_up,
        registration_policy: UserVerificationPolicy::Required,
        extensions: RegisteredExtensions::none(),
        attestation: ParsedAttestation::default(),
        attestation_format: AttestationFormat::None,
    })
}

fn ceremony(mut options: Value, state: &impl Serialize) -> Ceremony {
    // None of them is needed, and some browsers warn of them.
    if let Some(options) = options.as_object_mut() {
        options.remove("extensions");
    }
    Ceremony {
        options: options.to_string(),
        state: to_value(state).to_string(),
    }
}

fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("the library's own types have text keys only")
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, PasskeyRefusal> {
    // The parser's own sentence stays out: it repeats what it found.
    let refusal = |error: serde_json::Error| {
        let cause = format!("it is not of its form (at byte {})", error.column());
        PasskeyRefusal::new(Reason::PasskeyInvalid, cause)
    };
    serde_json::from_str(text).map_err(refusal)
}

fn decode(id: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(id).ok()
}

fn unavailable() -> PasskeyRefusal {
    PasskeyRefusal::new(
        Reason::PasskeyInvalid,
        "there are no passkeys at this address",
    )
}

fn refusal(error: &WebauthnError) -> PasskeyRefusal {
    let reason = match error {
        WebauthnError::InvalidRPOrigin
        | WebauthnError::InvalidRPIDHash
        | WebauthnError::CredentialCrossOrigin => Reason::PasskeyForeign,
        WebauthnError::UserNotVerified | WebauthnError::UserNotPresent => Reason::PasskeyUnverified,
        WebauthnError::CredentialPossibleCompromise => Reason::PasskeyCloned,
        WebauthnError::CredentialNotFound | WebauthnError::InvalidUserUniqueId => {
            Reason::PasskeyUnknown
        }
        _ => Reason::PasskeyInvalid,
    };
    PasskeyRefusal::new(reason, error.to_string())
}
