//! That a code was typed in this browser: the consent page is asked for with a seal over the browser and
//! the request, which `/device` alone gives. The name of a request is no secret to whoever made it.

use crate::server::Settings;
use rand::rngs::OsRng;

use crate::browser::{BrowserName, Cookie};
use crate::endpoint::Endpoint;
use crate::form_token::{self, Purpose};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::secret::{SecretHash, TagKey};

/// On to the consent page, for a code that was typed.
pub(super) fn go_on(
    settings: &Settings,
    tags: &TagKey,
    request: &Request,
    code: &SecretHash,
    now: Timestamp,
) -> Response {
    let browser = BrowserName::from_request(settings, request);
    let bound = bound(&browser.value, code);
    let seal = form_token::seal(tags, Purpose::Device, &bound, now, &mut OsRng);
    let place = Endpoint::Authorize.path();
    let location = format!("{place}?device={}&seal={seal}", code.as_str());
    let mut response = web::see_other(&location);
    browser.keep(settings, &mut response);
    response
}

/// Whether the code of this request was typed in this browser.
pub(super) fn is_typed(
    settings: &Settings,
    tags: &TagKey,
    request: &Request,
    form: &Form,
    code: &SecretHash,
    now: Timestamp,
) -> bool {
    let browser = Cookie::Browser.read(settings, request);
    let seal = form.one("seal").ok().flatten();
    let (Some(browser), Some(seal)) = (browser, seal) else {
        return false;
    };
    let bound = bound(browser, code);
    form_token::unseal(tags, Purpose::Device, &bound, seal, now).is_ok()
}

fn bound<'a>(browser: &'a str, code: &'a SecretHash) -> [&'a [u8]; 2] {
    [browser.as_bytes(), code.as_str().as_bytes()]
}

/// To the page that takes the code.
pub(crate) fn type_code() -> Response {
    web::see_other(Endpoint::Device.path())
}
