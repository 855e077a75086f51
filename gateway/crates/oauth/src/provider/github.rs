//! GitHub's own OAuth: no ID token, but an API that says who somebody is.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::exchange::{Exchange, Grant, ProviderClient, exchange};
use super::failure::Failure;
use super::openid::ProviderUser;
use super::settings::{GitHub, Provider};
use super::start::Pass;
use gateway_core::client::secret_basic::SecretMethods;
use gateway_core::clock::Timestamp;
use gateway_core::login_rules::{self, MailAddress, Profile};
use gateway_core::reason::Reason;

/// The login page, without what every provider is sent. Organisations are asked for only where
/// anything goes by them.
pub(super) fn login_page(github: &GitHub, provider: &Provider) -> Url {
    let mut url = below(&github.site, "login/oauth/authorize");
    let scope = if provider.known_groups.is_empty() {
        "read:user user:email"
    } else {
        "read:user user:email read:org"
    };
    url.query_pairs_mut().append_pair("scope", scope);
    url
}

#[derive(Deserialize)]
struct Account {
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct Email {
    email: String,
    verified: bool,
    primary: bool,
}

#[derive(Deserialize)]
struct Organisation {
    login: String,
}

#[derive(Deserialize)]
struct Team {
    slug: String,
    organization: Organisation,
}

/// The person behind a code.
pub(super) async fn fetch_user(
    client: ProviderClient<'_>,
    provider: &Provider,
    github: &GitHub,
    code: &str,
    pass: &Pass,
    now: Timestamp,
) -> Result<ProviderUser, Failure> {
    let endpoint = below(&github.site, "login/oauth/access_token");
    let asked = Exchange {
        provider,
        endpoint: &endpoint,
        methods: SecretMethods::FORM,
        grant: Grant::Code(code, &pass.verifier),
    };
    let tokens = exchange(client, &asked, now).await?;
    let token = tokens.access_token.ok_or_else(|| {
        let detail = "its answer has no access_token";
        Failure::because(Reason::ProviderAnswerInvalid, detail)
    })?;
    let api = Api {
        client,
        base: &github.api,
        token,
    };
    let account: Account = api.ask(&below(api.base, "user")).await?;
    // Its id stays; its login can be changed, and taken by somebody else then.
    let mut profile = Profile {
        subject: account.id.to_string(),
        name: Some(account.login.clone()),
        ..Profile::default()
    };
    if !provider.known_groups.is_empty() {
        let (organisations, all) = api.list::<Organisation>("user/orgs").await?;
        let (teams, all_teams) = api.list::<Team>("user/teams").await?;
        let of_teams = teams
            .into_iter()
            .map(|team| format!("{}/{}", team.organization.login, team.slug));
        let logins = organisations.into_iter().map(|of| of.login);
        profile.groups = logins.chain(of_teams).collect();
        profile.groups_incomplete = !(all && all_teams);
    }
    let (emails, _) = api.list::<Email>("user/emails").await?;
    profile.address = address(provider, &profile, emails);
    Ok(ProviderUser {
        issuer: provider.issuer().to_owned(),
        handle: Some(account.login),
        refresh: None,
        no_user_info: None,
        profile,
    })
}

/// Of a person's addresses the one that lets them in, else the main one.
fn address(provider: &Provider, profile: &Profile, mut emails: Vec<Email>) -> Option<MailAddress> {
    emails.sort_by_key(|email| !email.primary);
    let addresses: Vec<_> = emails
        .into_iter()
        .map(|email| MailAddress {
            text: email.email.to_ascii_lowercase(),
            verified: email.verified,
            of_domain: true,
        })
        .collect();
    let lets_in = |address: &&MailAddress| {
        let profile = Profile {
            address: Some((*address).clone()),
            groups: std::collections::BTreeSet::new(),
            ..profile.clone()
        };
        login_rules::judge(&provider.allow, &profile).is_ok()
    };
    let found = addresses.iter().find(lets_in).or(addresses.first());
    found.cloned()
}

struct Api<'a> {
    client: ProviderClient<'a>,
    base: &'a Url,
    token: String,
}

impl Api<'_> {
    /// All of a list that comes in pages, and whether that is all.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<(Vec<T>, bool), Failure> {
        const PAGE: usize = 100;
        const PAGES: usize = 10;
        let mut all = Vec::new();
        for number in 1..=PAGES {
            let mut url = below(self.base, path);
            url.query_pairs_mut()
                .append_pair("per_page", &PAGE.to_string())
                .append_pair("page", &number.to_string());
            let page: Vec<T> = self.ask(&url).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok((all, true));
            }
        }
        Ok((all, false))
    }

    async fn ask<T: DeserializeOwned>(&self, url: &Url) -> Result<T, Failure> {
        let unreadable = "an answer that can't be read";
        let providers = self.client.providers;
        let read = providers.read_with_token(url, &self.token, url.path(), unreadable);
        read.await
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let joined = format!("{}/{path}", base.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}
