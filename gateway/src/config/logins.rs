//! `[[login]]`: the identity providers that people log in with.

use std::collections::BTreeSet;
use std::time::Duration;

use url::Url;

use crate::config::policy::GroupSource;
use crate::config::reader::Reader;
use crate::config::settings::{SecretText, settings};
use crate::config::{id_jag, units, values};
use gateway_core::login_rules::AllowRule;
use gateway_oauth::provider::{
    Authentication, Flavour, GitHub, OnLeave, OpenId, Protocol, Provider, WellKnown,
};

/// How long groups hold where anything goes by them, unless it is said otherwise.
const GROUPS_HOLD: Duration = Duration::from_secs(24 * 3600);

settings! {
    /// `[[login]]`
    pub(super) struct LoginKeys in "login[]." {
        /// An identity provider that people log in with: its name in `/login/NAME/callback`, which is
        /// registered there, and in `from` of a group. Lower-case letters, digits and `-`.
        name: Option<String>, provider_name;
        /// Its name on the button. Default: that of the preset, else `name`.
        words: Option<String>, values::displayable;
        /// `google`, `github` or `entra`, instead of an issuer; with one it is a server of that kind
        /// of your own.
        preset: Option<Preset>, preset;
        /// The issuer of an OpenID provider, exactly as its discovery document has it. It may have a
        /// private address; `http:` on a loopback address only.
        issuer: Option<String>, issuer;
        /// The tenant of `entra`: its id, so that nobody of another tenant is let in.
        tenant: Option<String>, tenant;
        /// The id that the provider gave this gateway.
        client_id: Option<String>, values::text;
        /// The secret that goes with it.
        client_secret: SecretText, values::text;
        /// A file that holds it.
        client_secret_file: Option<String>, values::file;
        /// Instead of a secret: requests are signed with a key whose public half stands at
        /// `/login/NAME/keys`.
        private_key_jwt: bool = "false", values::flag;
        /// The scopes that are asked for; some providers want `groups` among them. Not for `github`.
        scopes: Vec<String> = "openid, profile, email", values::text;
        /// Who may come in: `a@example.com`, `*@example.com`, `group:NAME`, `*` for everybody whom the
        /// provider lets in. Addresses count only where the provider has verified them. Default: nobody.
        allow: Vec<AllowRule>, AllowRule::parse;
        /// The claim of the ID token that lists a person's groups. With `github` groups are `ORG` and
        /// `ORG/TEAM` by themselves.
        groups_claim: Option<String>, values::text;
        /// How long what the provider said of a person holds. Afterwards apps are sent through its
        /// login again when they renew their access. Default: `24h` where a rule or a `[[group]]` goes
        /// by its groups, else until the person logs in again.
        groups_max_age: Option<Duration>, max_age;
        /// When the provider says that a person has left, or a rule lets them in no more, their
        /// browser sessions end; with `revoke` also what they allowed apps, with its streams. Else
        /// `keep`.
        on_leave: OnLeave = "keep", on_leave;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    Google,
    GitHub,
    Entra,
}

impl Preset {
    const fn words(self) -> &'static str {
        match self {
            Self::Google => "Google",
            Self::GitHub => "GitHub",
            Self::Entra => "Microsoft",
        }
    }
}

/// The providers, with the groups that `[[group]]` tables take from them.
pub(super) fn providers(reader: &mut Reader<'_>, sources: &[GroupSource]) -> Vec<Provider> {
    let mut names = BTreeSet::new();
    let mut issuers = BTreeSet::new();
    let mut providers = Vec::new();
    for table in reader.tables("login") {
        let keys = LoginKeys::read(reader, &table);
        if let Some(name) = &keys.name {
            reader.unique(&mut names, &table, name);
        }
        let is_preset = keys.issuer.is_none();
        let provider = provider(reader, &table, keys, sources);
        if let Some(provider) = &provider
            && !issuers.insert(provider.issuer().trim_end_matches('/').to_owned())
        {
            // Its people would come in by the rules of either.
            let key = if is_preset { "preset" } else { "issuer" };
            let sentence = format!(
                "is configured twice ({}): write one [[login]] for all of its people",
                provider.issuer()
            );
            reader.wrong(&format!("{table}.{key}"), sentence);
        }
        providers.extend(provider);
    }
    for source in sources {
        if !names.contains(&source.provider) {
            let sentence = format!(
                "names `{}`, and no [[login]] has that name",
                source.provider
            );
            reader.wrong(&source.key, sentence);
        }
    }
    providers
}

/// Every problem of it, and the provider if there is none.
fn provider(
    reader: &mut Reader<'_>,
    table: &str,
    keys: LoginKeys,
    sources: &[GroupSource],
) -> Option<Provider> {
    let at = |key: &str| format!("{table}.{key}");
    reader.require(&at("name"), "is missing");
    reader.require(&at("client_id"), "is missing: the provider gives it");
    let protocol = protocol(reader, table, &keys);
    let authentication = authentication(reader, table, &keys);
    check_groups(reader, table, &keys);
    let id_jag = id_jag::rules(reader, table, keys.preset == Some(Preset::GitHub));
    let name = keys.name?;
    let rules = keys.allow.iter().filter_map(|rule| match rule {
        AllowRule::Group(group) => Some(group.clone()),
        _ => None,
    });
    let taken = sources.iter().filter(|source| source.provider == name);
    let known_groups: BTreeSet<String> = rules
        .chain(taken.map(|source| source.group.clone()))
        .collect();
    let goes_by_groups = !known_groups.is_empty();
    let words = keys
        .words
        .or(keys.preset.map(|preset| preset.words().to_owned()));
    let provider = Provider {
        words: words.unwrap_or_else(|| name.clone()),
        name,
        protocol: protocol?,
        client_id: keys.client_id?,
        authentication: authentication?,
        allow: keys.allow,
        known_groups,
        max_age: keys
            .groups_max_age
            .or(goes_by_groups.then_some(GROUPS_HOLD)),
        on_leave: keys.on_leave,
        id_jag,
    };
    check_host(reader, table, keys.preset, &provider);
    Some(provider)
}

/// A rule that can never hold is refused.
fn check_groups(reader: &mut Reader<'_>, table: &str, keys: &LoginKeys) {
    let has_groups = keys.groups_claim.is_some() || keys.preset == Some(Preset::GitHub);
    let goes_by_groups = |rule: &AllowRule| matches!(rule, AllowRule::Group(_));
    if !has_groups && keys.allow.iter().any(goes_by_groups) {
        let sentence = "has a group, and `groups_claim` does not say where groups stand";
        reader.wrong(&format!("{table}.allow"), sentence);
    }
}

/// What is particular to a provider's host holds however the provider was written: a rule that lets
/// the whole world in is refused, and so is one of these without its preset, whose addresses would be
/// believed.
fn check_host(reader: &mut Reader<'_>, table: &str, preset: Option<Preset>, provider: &Provider) {
    let needed = provider.well_known_host().map(|host| match host {
        WellKnown::Google => (Preset::Google, "google"),
        WellKnown::GitHub => (Preset::GitHub, "github"),
        WellKnown::Microsoft => (Preset::Entra, "entra"),
    });
    if let Some((needed, text)) = needed
        && preset != Some(needed)
    {
        let sentence = format!(
            "is {}'s, which has particularities: write `preset = \"{text}\"` instead",
            needed.words()
        );
        reader.wrong(&format!("{table}.issuer"), sentence);
    }
    if provider.is_for_everybody() && provider.allow.contains(&AllowRule::Everybody) {
        let sentence = "has `*`, which lets everybody in who has an account there";
        reader.wrong(&format!("{table}.allow"), sentence);
    }
}

fn protocol(reader: &mut Reader<'_>, table: &str, keys: &LoginKeys) -> Option<Protocol> {
    let at = |key: &str| format!("{table}.{key}");
    if keys.tenant.is_some() && keys.preset != Some(Preset::Entra) {
        reader.wrong(&at("tenant"), "is for the preset `entra`");
    }
    let open_id = |issuer: String, flavour| {
        Some(Protocol::OpenId(OpenId {
            issuer,
            flavour,
            scopes: keys.scopes.clone(),
            groups_claim: keys.groups_claim.clone(),
        }))
    };
    match (keys.preset, keys.issuer.clone()) {
        (None, Some(issuer)) => open_id(issuer, Flavour::Plain),
        (None, None) => {
            if !reader.is_wrong(&at("issuer")) && !reader.is_wrong(&at("preset")) {
                reader.wrong(&at("issuer"), "is missing, and so is a preset");
            }
            None
        }
        (Some(Preset::Google), issuer) => open_id(
            issuer.unwrap_or_else(|| "https://accounts.google.com".to_owned()),
            Flavour::Google,
        ),
        (Some(Preset::GitHub), issuer) => github(issuer.as_deref()),
        (Some(Preset::Entra), Some(issuer)) => open_id(issuer, Flavour::Entra),
        (Some(Preset::Entra), None) => {
            let Some(tenant) = &keys.tenant else {
                reader.conflict(&at("tenant"), "is missing: the id of your directory");
                return None;
            };
            let issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
            open_id(issuer, Flavour::Entra)
        }
    }
}

/// Of a GitHub Enterprise Server where its URL is given.
fn github(site: Option<&str>) -> Option<Protocol> {
    let (site, api) = match site {
        None => ("https://github.com", "https://api.github.com".to_owned()),
        Some(site) => {
            let site = site.trim_end_matches('/');
            (site, format!("{site}/api/v3"))
        }
    };
    Some(Protocol::GitHub(GitHub {
        site: Url::parse(site).ok()?,
        api: Url::parse(&api).ok()?,
    }))
}

fn authentication(
    reader: &mut Reader<'_>,
    table: &str,
    keys: &LoginKeys,
) -> Option<Authentication> {
    let at = |key: &str| format!("{table}.{key}");
    let file = at("client_secret_file");
    let is_given = keys.client_secret.0.is_some() || keys.client_secret_file.is_some();
    match (keys.private_key_jwt, is_given) {
        (true, true) => {
            let sentence = "stands beside a secret; give one of them";
            reader.wrong(&at("private_key_jwt"), sentence);
            None
        }
        (true, false) if keys.preset == Some(Preset::GitHub) => {
            reader.wrong(&at("private_key_jwt"), "is nothing that GitHub takes");
            None
        }
        (true, false) => Some(Authentication::PrivateKey),
        (false, false) => {
            reader.conflict(&file, "is missing, and private_key_jwt is not on");
            None
        }
        (false, true) => {
            let (inline, in_file) = (&keys.client_secret.0, &keys.client_secret_file);
            let secret = reader.secret(&at("client_secret"), inline, in_file)?;
            if secret.is_empty() {
                reader.wrong(&file, "is empty");
                return None;
            }
            Some(Authentication::Secret(secret))
        }
    }
}

fn provider_name(text: &str) -> Result<String, String> {
    let is_plain = (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 32 lower-case letters, digits and `-`".to_owned())
    }
}

fn preset(text: &str) -> Result<Preset, String> {
    use Preset::{Entra, GitHub, Google};
    values::one_of(
        text,
        &[("google", Google), ("github", GitHub), ("entra", Entra)],
    )
    .map_err(|sentence| format!("{sentence}; for any other give `issuer`"))
}

/// Kept as it is written: it is compared byte for byte.
fn issuer(text: &str) -> Result<String, String> {
    let url =
        Url::parse(text).map_err(|_| "is no URL, such as https://login.example.com".to_owned())?;
    values::check_secure(&url)?;
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err("has a query, a fragment or a user name, which no issuer has".to_owned());
    }
    if text.ends_with("/.well-known/openid-configuration") {
        return Err("is the discovery document; write what stands before /.well-known".to_owned());
    }
    Ok(text.to_owned())
}

fn tenant(text: &str) -> Result<String, String> {
    if values::is_plain(text, b"-.") {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is no tenant: write the id of your directory".to_owned())
    }
}

/// No time at all would let nobody in.
fn max_age(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        age if age < Duration::from_secs(1) => Err("must be a second at least".to_owned()),
        age => Ok(age),
    }
}

fn on_leave(text: &str) -> Result<OnLeave, String> {
    let ways = [("keep", OnLeave::Keep), ("revoke", OnLeave::Revoke)];
    values::one_of(text, &ways)
}

#[cfg(test)]
mod tests;
