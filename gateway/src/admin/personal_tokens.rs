//! `token create`: a personal token in a person's name.

use std::time::Duration;

use rand::RngCore as _;
use rand::rngs::OsRng;

use super::failure::Failure;
use super::grants;
use super::lookup;
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::operator_api::{CreateToken, CreatedToken, TokenToCreate, ToolsToGrant};
use gateway_core::grants::consented_tools::Choice;
use gateway_core::protocol::resource::Mount;
use gateway_core::reason::Reason;
use gateway_oauth::Settings;
use gateway_oauth::pages::clean;
use gateway_oauth::personal::{NewToken, NotChosen, NotMade, choose, make};
use gateway_oauth::provider::Memberships;
use gateway_store::Records;
use gateway_upstream::Catalogue;

/// The longest name of a token, in characters.
const LONGEST_NAME: usize = 60;

/// The record of the audit log is that of the operator's command, which is written before and after.
pub(super) async fn create(
    settings: &Settings,
    records: &Records,
    catalogue: &Catalogue,
    memberships: Memberships<'_>,
    request: &Request,
) -> Result<Done, Failure> {
    let asked = request.body::<CreateToken>()?;
    let now = request.now;
    let name = clean(&asked.name, LONGEST_NAME);
    if name.is_empty() {
        return Err(Failure::malformed("a token needs a name"));
    }
    let user = lookup::user(records, &asked.user, now).await?;
    let mount = mount(settings, asked.backend.as_deref())?;
    let tools = choose(catalogue, settings, mount, &user.name, &choice(&asked)).await;
    let tools = tools.map_err(|error| not_chosen(&error, mount))?;
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    let new = NewToken {
        user: &user.id,
        user_name: &user.name,
        name,
        mount,
        tools,
        lasts: Duration::from_secs(asked.seconds),
        seed,
    };
    let made = make(settings, memberships, new, now)
        .await
        .map_err(not_made)?;
    let named = made.grant.personal.as_ref().map(|kept| kept.name.as_str());
    let words = format!("“{}” of {}", named.unwrap_or_default(), user.name);
    let subject = Subject::of_grant(&made.grant).with_words(words);
    let answer = CreatedToken {
        token: made.token.reveal().to_owned(),
        grant: grants::view(&made.grant, None, None),
    };
    Ok(Done::new::<CreateToken>(&answer, subject))
}

fn choice(asked: &TokenToCreate) -> Choice {
    match &asked.tools {
        ToolsToGrant::ReadOnly => Choice::ReadOnly,
        ToolsToGrant::Today => Choice::Today,
        ToolsToGrant::Everything => Choice::Everything,
        ToolsToGrant::Named(names) => Choice::Chosen(names.iter().cloned().collect()),
    }
}

/// The backend of this name, or the only one.
fn mount<'a>(settings: &'a Settings, name: Option<&str>) -> Result<&'a Mount, Failure> {
    let mounts = settings.mounts.as_slice();
    match (name, mounts) {
        (Some(name), mounts) => {
            let found = mounts.iter().find(|mount| mount.name == name);
            found.ok_or_else(|| Failure::unknown("backend", name, "check"))
        }
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::malformed(
            "there are several backends: name one with --backend",
        )),
    }
}

fn not_chosen(error: &NotChosen, mount: &Mount) -> Failure {
    let sentence = format!("{}: {error}", mount.name);
    match error {
        NotChosen::Unknown => Failure::new(Reason::ToolsUnknown, sentence),
        NotChosen::NoSuchTool(_) | NotChosen::Nothing | NotChosen::TooMany => {
            Failure::malformed(sentence)
        }
    }
}

fn not_made(error: NotMade) -> Failure {
    match error {
        NotMade::Because(reason) => Failure::from(reason),
        NotMade::TooLong(longest) => Failure::malformed(format!(
            "a personal token lasts {} days at most (tokens.personal_max)",
            longest.as_secs() / (24 * 3600)
        )),
        NotMade::Store(error) => error.into(),
    }
}
