//! The page `/account` as things stand.

use crate::provider::providers::Providers;
use http::StatusCode;

use super::form::{Sealer, entered};
use super::{cards, elsewhere, limits};
use crate::browser::{self, BrowserName};
use crate::error_page::Refused;
use crate::form_token::Purpose;
use crate::pages::{
    Account, AccountNotice, LinkForm, LinkedAccount, Logins, PasskeysLine, UnlinkForm,
};
use crate::provider::{Provider, has_another_way_in};
use crate::server::AuthorizationServer;
use crate::session;
use crate::ways_in::WaysIn;
use gateway_core::browser_session::BrowserSession;
use gateway_core::protocol::web::{Request, Response};
use gateway_store::{Identity, User};

/// The page as things stand, with what came of a button.
pub(super) async fn show(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    notice: Option<AccountNotice>,
) -> Result<Response, Refused> {
    let now = server.clock.now();
    let refused = notice.as_ref().and_then(AccountNotice::reason);
    let browser = BrowserName::from_request(&server.settings, request);
    let sealer = Sealer {
        server,
        browser: &browser.value,
        session,
        now,
    };
    let (apps, is_cut) = cards::load(sealer).await?;
    let user = server.records.user(&session.user_name, now).await?;
    let withheld = user.as_ref().map_or(&[][..], |user| &user.withheld);
    let withheld = cards::withheld(sealer, withheld).await?;
    let elsewhere = elsewhere::load(sealer).await?;
    let limits = limits::load(sealer, user.as_ref()).await?;
    let status = notice
        .as_ref()
        .map_or(StatusCode::OK, AccountNotice::status);
    let page = Account {
        frame: browser::frame(&server.settings, request),
        user_name: &session.user_name,
        now,
        notice,
        apps,
        is_cut,
        log_out_seal: &session::log_out_seal(&server.tags, &browser, session, now),
        logins: logins(sealer, user.as_ref()),
        has_tokens: server.settings.personal.is_some(),
        withheld,
        elsewhere,
        limits,
    }
    .page();
    let response = browser.respond(&server.settings, status, page);
    Ok(entered(request, session, response, refused))
}

/// How the person logs in, and with which providers a person of this gateway's own may besides.
fn logins<'a>(sealer: Sealer<'a>, user: Option<&'a User>) -> Logins<'a> {
    let providers = sealer.server.providers.all();
    let Some(user) = user else {
        return Logins::default();
    };
    let accounts = user.identities.iter();
    let accounts = accounts.map(|identity| {
        let address = identity.address.as_ref();
        let address = address.map(|address| address.text.as_str());
        LinkedAccount {
            provider: provider_words(&sealer.server.providers, identity),
            name: address
                .or(identity.name.as_deref())
                .unwrap_or(&identity.subject),
            is_current: session::came_through(sealer.session, identity),
            unlink: has_another_way_in(sealer.server.ways_in(), user, identity).then(|| {
                UnlinkForm {
                    issuer: &identity.issuer,
                    subject: &identity.subject,
                    seal: sealer.seal(Purpose::Unlink, &[&identity.issuer, &identity.subject]),
                }
            }),
        }
    });
    let is_linked = |provider: &&Provider| {
        let mut identities = user.identities.iter();
        let of = |identity| sealer.server.providers.of_account(identity);
        !identities.any(|identity| of(identity).is_some_and(|of| of.name == provider.name))
    };
    let links = providers.iter().filter(is_linked).map(|provider| LinkForm {
        name: &provider.name,
        words: &provider.words,
        seal: sealer.link_seal(&provider.name),
    });
    let is_local = sealer.server.ways_in().is_local(user);
    Logins {
        passkeys: passkeys_line(sealer.server.ways_in(), user),
        has_password: user.password().is_some(),
        accounts: accounts.collect(),
        links: links.filter(|_| is_local).collect(),
    }
}

fn passkeys_line(ways: WaysIn<'_>, user: &User) -> PasskeysLine {
    match (ways.passkeys.count(user), ways.passkeys.unavailable()) {
        _ if !ways.is_local(user) => PasskeysLine::None,
        (0, Some(why)) => PasskeysLine::Unavailable(why.words()),
        (0, None) => PasskeysLine::Possible,
        (count, _) => PasskeysLine::Some(count),
    }
}

/// What people know the provider of an account by.
pub(super) fn provider_words<'a>(providers: &'a Providers, identity: &'a Identity) -> &'a str {
    let provider = providers.of_account(identity);
    provider.map_or(identity.provider.as_str(), |it| it.words.as_str())
}
