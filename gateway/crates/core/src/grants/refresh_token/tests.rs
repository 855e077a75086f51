//! The rotation as arithmetic: times and numbers in, who gets what out.

use rand::rngs::OsRng;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::grants::{Tools, UserId};
use crate::protocol::scope::Scope;

const ACCESS: Duration = Duration::from_secs(3600);
const LIFETIMES: Lifetimes = Lifetimes {
    idle: Duration::from_secs(30 * DAY),
    absolute: Duration::from_secs(180 * DAY),
    grace: Duration::from_secs(60),
};
const DAY: u64 = 86_400;
const START: Timestamp = Timestamp::from_secs(1_000_000);

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn key() -> TagKey {
    TagKey::new([5; 32])
}

fn grant() -> Grant {
    Grant {
        id: GrantId::draw(&mut OsRng),
        user: UserId::new("u_1"),
        user_name: "alice".to_owned(),
        client: ClientId::new("c_1"),
        client_fingerprint: Some(fingerprint("as allowed")),
        resource: Resource::from_token("https://mcp.example.com/mcp"),
        scope: Scope::parse("mcp"),
        tools: Tools::All,
        allowed_by: None,
        created: START,
        redeemed: None,
        expires: START + ACCESS,
        refresh: None,
        personal: None,
    }
    .with_refresh_tokens(&LIFETIMES, START, &mut OsRng)
}

fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint {
        redirect_uris: text.to_owned(),
        authentication: text.to_owned(),
    }
}

/// What a store does with what is decided.
struct Kept {
    grant: Grant,
}

impl Kept {
    fn present(&mut self, token: &Secret, seconds: u64) -> Result<Secret, Reason> {
        let parsed = RefreshToken::parse(token.reveal()).ok_or(Reason::RefreshUnknown)?;
        let before = self.grant.clone();
        let proven = parsed.prove(&before, Presenter::owner(&before), &key())?;
        if let Exchange::Rotated(grant) = proven.exchange(&LIFETIMES, ACCESS, at(seconds))? {
            self.grant = *grant;
        }
        Ok(proven.successor(&key()))
    }
}

fn kept() -> (Kept, Secret) {
    let grant = grant();
    let first = grant.first_refresh_token(&key()).unwrap();
    (Kept { grant }, first)
}

#[test]
fn a_token_is_exchanged_for_the_next_one() {
    let (mut kept, first) = kept();
    let second = kept.present(&first, 0).unwrap();
    let third = kept.present(&second, 3600).unwrap();
    assert!(first != second && second != third && first != third);
    assert!(third.reveal().len() < 100, "{}", third.reveal().len());
}

#[test]
fn within_the_grace_a_used_token_gives_the_same_successor_and_after_it_is_a_reuse() {
    let (mut kept, first) = kept();
    let second = kept.present(&first, 100).unwrap();
    for seconds in [100, 130, 159] {
        assert_eq!(kept.present(&first, seconds), Ok(second.clone()));
    }
    for seconds in [160, 161, 100_000] {
        assert_eq!(kept.present(&first, seconds), Err(Reason::RefreshReused));
    }
    // The decision alone changes nothing: revoking is the endpoint's.
    assert!(kept.present(&second, 161).is_ok());
}

#[test]
fn the_grace_of_a_token_counts_from_its_own_exchange_whatever_came_after() {
    let (mut kept, first) = kept();
    let second = kept.present(&first, 0).unwrap();
    let third = kept.present(&second, 30).unwrap();
    let fourth = kept.present(&third, 50).unwrap();
    assert_eq!(kept.present(&first, 59), Ok(second.clone()));
    assert_eq!(kept.present(&first, 60), Err(Reason::RefreshReused));
    assert_eq!(kept.present(&second, 89), Ok(third.clone()));
    assert_eq!(kept.present(&second, 90), Err(Reason::RefreshReused));
    assert_eq!(kept.present(&third, 109), Ok(fourth.clone()));
    let fifth = kept.present(&fourth, 200).unwrap();
    assert_eq!(kept.present(&third, 201), Err(Reason::RefreshReused));
    assert_eq!(kept.present(&first, 201), Err(Reason::RefreshReused));
    assert_eq!(kept.present(&fourth, 201), Ok(fifth));
}

#[test]
fn many_exchanges_in_a_minute_keep_the_record_small() {
    let (mut kept, first) = kept();
    let mut tokens = vec![first];
    for exchange in 0..5_000_u64 {
        // Twenty a second.
        let next = kept.present(tokens.last().unwrap(), exchange / 20).unwrap();
        tokens.push(next);
    }
    let record = serde_json::to_vec(&kept.grant).unwrap();
    assert!(record.len() < 8 * 1024, "{}", record.len());
    // The last second that was used is 249.
    for (exchange, token) in tokens.iter().enumerate().take(5_000) {
        let age = 249 - exchange as u64 / 20;
        let expected = if age < 60 {
            Ok(tokens[exchange + 1].clone())
        } else {
            Err(Reason::RefreshReused)
        };
        assert_eq!(kept.present(token, 249), expected, "{exchange}");
    }
}

#[test]
fn random_histories_give_each_token_one_successor_and_no_other() {
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..200 {
        let (mut kept, first) = kept();
        // Each token: when it was exchanged.
        let mut tokens = vec![(first, None::<u64>)];
        let mut now = 0;
        for _ in 0..200 {
            now += random.gen_range(0..20);
            let index = tokens.len() - 1 - random.gen_range(0..tokens.len().min(8));
            let (token, exchanged) = tokens[index].clone();
            let answer = kept.present(&token, now);
            match exchanged {
                None => {
                    tokens[index].1 = Some(now);
                    tokens.push((answer.unwrap(), None));
                }
                // Exchanges within one second share the later end.
                Some(then) if now < then + 60 => {
                    assert_eq!(answer, Ok(tokens[index + 1].0.clone()));
                }
                Some(then) if now > then + 60 => {
                    assert_eq!(answer, Err(Reason::RefreshReused), "{now} {then}");
                }
                Some(_) => {}
            }
        }
    }
}

#[test]
fn an_unused_token_ends_after_its_idle_time_and_all_end_at_the_cap() {
    let (mut kept, first) = kept();
    let idle = 30 * DAY;
    assert_eq!(kept.grant.expires, at(idle));
    assert_eq!(kept.present(&first, idle), Err(Reason::RefreshExpired));
    let mut token = kept.present(&first, idle - 1).unwrap();
    assert_eq!(kept.grant.expires, at(2 * idle - 1));
    for week in 8..25 {
        token = kept.present(&token, week * 7 * DAY).unwrap();
    }
    let cap = 180 * DAY;
    let last = kept.present(&token, cap - 1).unwrap();
    assert_eq!(kept.present(&last, cap), Err(Reason::RefreshExpired));
    assert!(kept.grant.expires >= at(cap - 1) + ACCESS);
    assert!(kept.grant.expires <= at(cap) + ACCESS + LIFETIMES.grace);
}

#[test]
fn the_record_lives_as_long_as_every_token_that_it_gives() {
    let (mut kept, first) = kept();
    let near_the_cap = 180 * DAY - 10;
    let mut token = first;
    for week in 1..25 {
        token = kept.present(&token, week * 7 * DAY).unwrap();
    }
    kept.present(&token, near_the_cap).unwrap();
    kept.present(&token, near_the_cap + 9).unwrap();
    assert!(kept.grant.expires >= at(near_the_cap + 9) + ACCESS);
}

#[test]
fn a_token_counts_for_its_grant_its_client_and_its_installation_only() {
    let grant = grant();
    let token = grant.first_refresh_token(&key()).unwrap();
    let parsed = RefreshToken::parse(token.reveal()).unwrap();
    let owner = Presenter::owner(&grant);
    assert!(parsed.prove(&grant, owner, &key()).is_ok());
    let (other, changed) = (ClientId::new("c_2"), fingerprint("changed"));
    for (presenter, error) in [
        (
            Presenter {
                client: &other,
                ..owner
            },
            Reason::RefreshClientMismatch,
        ),
        (
            Presenter {
                fingerprint: Some(&changed),
                ..owner
            },
            Reason::ClientChanged,
        ),
        (
            Presenter {
                fingerprint: None,
                ..owner
            },
            Reason::ClientChanged,
        ),
    ] {
        let refused = parsed.prove(&grant, presenter, &key()).unwrap_err();
        assert_eq!(refused, error);
    }
    let mut reseeded = super::tests::grant();
    reseeded.id = grant.id.clone();
    for (grant, key) in [
        (&super::tests::grant(), key()),
        (&reseeded, key()),
        (&grant, TagKey::new([6; 32])),
        (
            &Grant {
                refresh: None,
                ..grant.clone()
            },
            key(),
        ),
    ] {
        assert_eq!(
            parsed.prove(grant, owner, &key).unwrap_err(),
            Reason::RefreshUnknown
        );
    }
    let text = token.reveal();
    let zero = format!("r_{}.0.", grant.id);
    for forged in [
        text.replace(&zero, &format!("r_{}.1.", grant.id)),
        text.replace(&zero, &format!("r_{}.00.", grant.id)),
        text.replace(&zero, &format!("r_{}.+0.", grant.id)),
        format!("{text}A"),
        text[..text.len() - 1].to_owned(),
        zero.clone(),
    ] {
        assert_ne!(forged, text);
        let forged = RefreshToken::parse(&forged).unwrap();
        assert_eq!(
            forged.prove(&grant, owner, &key()).unwrap_err(),
            Reason::RefreshUnknown
        );
    }
    for garbage in [
        "",
        "r_",
        "r_..",
        "r_g_1.0",
        "r_g_1.-1.x",
        "r_g_1.99999999999999999999.x",
        "x_g_1.0.x",
        &format!("r_g_1.0.{}", "x".repeat(300)),
    ] {
        assert!(RefreshToken::parse(garbage).is_none(), "{garbage}");
    }
}

#[test]
fn a_store_that_lost_the_last_rotation_logs_nobody_out() {
    let (mut kept, first) = kept();
    let before = kept.grant.clone();
    let second = kept.present(&first, 0).unwrap();
    kept.grant = before;
    let third = kept.present(&second, 10).unwrap();
    assert_eq!(kept.present(&second, 20), Ok(third));
    // Whoever still has the first is within the grace of a parallel use.
    assert_eq!(kept.present(&first, 20), Ok(second.clone()));
    assert_eq!(kept.present(&first, 70), Err(Reason::RefreshReused));
}

#[test]
fn a_clock_that_jumps_back_makes_no_grace_longer() {
    let (mut kept, first) = kept();
    let second = kept.present(&first, 10_000).unwrap();
    assert_eq!(kept.present(&first, 9_980), Ok(second), "within the skew");
    assert_eq!(kept.present(&first, 9_000), Err(Reason::RefreshReused));
}

#[test]
fn no_other_resource_is_covered() {
    let grant = grant();
    let token = grant.first_refresh_token(&key()).unwrap();
    let parsed = RefreshToken::parse(token.reveal()).unwrap();
    let proven = parsed
        .prove(&grant, Presenter::owner(&grant), &key())
        .unwrap();
    let other = Resource::from_token("https://mcp.example.com/mcp2");
    assert_eq!(proven.covers(None), Ok(()));
    assert_eq!(proven.covers(Some(&grant.resource)), Ok(()));
    assert_eq!(proven.covers(Some(&other)), Err(Reason::ResourceMismatch));
}

#[test]
fn a_record_without_refresh_tokens_reads_as_before() {
    let grant = Grant {
        refresh: None,
        ..grant()
    };
    let text = serde_json::to_string(&grant).unwrap();
    assert!(!text.contains("refresh"));
    assert_eq!(serde_json::from_str::<Grant>(&text).unwrap(), grant);
    let with = super::tests::grant();
    let text = serde_json::to_string(&with).unwrap();
    assert_eq!(serde_json::from_str::<Grant>(&text).unwrap(), with);
    assert!(!format!("{with:?}").contains(&with.refresh.as_ref().unwrap().seed.0));
}
