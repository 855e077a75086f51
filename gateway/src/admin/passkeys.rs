//! `users link` and `users remove-passkey`: the operator lets a person set themselves up, and takes a
//! passkey off them.

use rand::rngs::OsRng;

use super::failure::Failure;
use super::lookup;
use super::outcome::Done;
use super::request::Request;
use super::users::{changed, subject};
use crate::operator_api::{LinkUser, MadeLink, NamedUser, PasskeyToRemove, RemovePasskey};
use gateway_oauth::passkey::{self, Removed};
use gateway_oauth::{Settings, WaysIn, rescue};
use gateway_store::{Passkey, Records, RescueLink};

/// Makes a rescue link. It gives a way in, so the audit log has it before it is made.
pub(super) async fn link(
    settings: &Settings,
    records: &Records,
    ways: WaysIn<'_>,
    request: &Request,
) -> Result<Done, Failure> {
    let NamedUser { name } = request.body::<LinkUser>()?;
    let user = lookup::user(records, &name, request.now).await?;
    let offered = rescue::offer(ways, records, &user, request.now, &mut OsRng).await?;
    let path = offered.map_err(Failure::of(&subject(&user)))?;
    let answer = MadeLink {
        link: settings.issuer.join(&path),
        expires: (request.now + RescueLink::LIFETIME).to_string(),
    };
    Ok(Done::new::<LinkUser>(&answer, subject(&user)))
}

/// Takes a passkey off a user, by its id or by a name that only one of theirs has; also the last way in.
pub(super) async fn remove(records: &Records, request: &Request) -> Result<Done, Failure> {
    let PasskeyToRemove { name, passkey } = request.body::<RemovePasskey>()?;
    let user = lookup::user(records, &name, request.now).await?;
    let named = |it: &&Passkey| it.name == passkey;
    let meant: Vec<_> = match user.passkey(&passkey) {
        Some(one) => vec![one],
        None => user.passkeys.iter().filter(named).collect(),
    };
    let id = match meant[..] {
        [one] => &one.id,
        [] => return Err(Failure::unknown("passkey", &passkey, "users show")),
        _ => {
            let sentence = "several have this name: give the id, as `gateway users show` has it";
            return Err(Failure::malformed(sentence));
        }
    };
    match passkey::remove_by_operator(records, &user, id, request.now).await? {
        Removed::Done(user) => Ok(changed::<RemovePasskey>(&user, None)),
        Removed::NotThere | Removed::LastWayIn => {
            Err(Failure::unknown("passkey", &passkey, "users show"))
        }
    }
}
