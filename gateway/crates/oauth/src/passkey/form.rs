//! What a form carries of a ceremony, and the seal over it.

use gateway_core::secret::TagKey;
use rand::rngs::OsRng;

use super::ceremony::Ceremony;
use crate::form_token::{self, Purpose, SealError, Unsealed};
use crate::pages::PasskeyForm;
use gateway_core::clock::Timestamp;

/// What a page's form carries of a ceremony, if there is one, under its seal.
pub(crate) fn fields<'a>(
    ceremony: Option<&'a Ceremony>,
    seal: Option<&'a str>,
) -> Option<PasskeyForm<'a>> {
    let (ceremony, seal) = (ceremony?, seal?);
    Some(PasskeyForm {
        options: &ceremony.options,
        state: &ceremony.state,
        seal,
    })
}

/// Seals what a form carries of a ceremony: for this browser, for `about`, for its purpose.
pub(crate) fn seal(
    tags: &TagKey,
    purpose: Purpose,
    browser: &str,
    about: &str,
    ceremony: &Ceremony,
    now: Timestamp,
) -> String {
    let bound = bound(browser, about, &ceremony.state);
    form_token::seal(tags, purpose, &bound, now, &mut OsRng)
}

/// Opens the seal of a form that came back.
pub(super) fn unseal(
    tags: &TagKey,
    purpose: Purpose,
    (browser, about, state): (&str, &str, &str),
    seal: &str,
    now: Timestamp,
) -> Result<Unsealed, SealError> {
    let bound = bound(browser, about, state);
    form_token::unseal(tags, purpose, &bound, seal, now)
}

fn bound<'a>(browser: &'a str, about: &'a str, state: &'a str) -> [&'a [u8]; 3] {
    [browser.as_bytes(), about.as_bytes(), state.as_bytes()]
}
