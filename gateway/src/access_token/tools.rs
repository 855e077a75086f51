//! The granted tools in a token: `granted_all(true)`, or `granted(NAME)` each, and one
//! `pins(BYTES)` with the pins of all in the order of the names. Where the names are many, they go
//! into one `granted_set({NAME, …})`, which takes less than half the room. Tokens of earlier versions
//! say `tool(NAME)` and `all_tools(true)`.

use std::collections::{BTreeMap, BTreeSet};

use biscuit_auth::builder::{Fact, boolean, bytes, set, string};
use biscuit_auth::format::schema::{Term, term::Content};

use super::form::Block;
use crate::grants::{Pin, Tools};

/// Up to this many names are facts of their own.
const FEW: usize = 24;

/// The facts that say `tools`.
pub(super) fn facts(tools: &Tools) -> Vec<Fact> {
    if tools.is_all() {
        return vec![Fact::new("granted_all".to_owned(), vec![boolean(true)])];
    }
    let names = tools.names();
    let fact = |name, term| Fact::new(String::from(name), vec![term]);
    let mut facts: Vec<Fact> = match names.len() {
        0..=FEW => names
            .iter()
            .map(|name| fact("granted", string(name)))
            .collect(),
        _ => {
            let names = names.iter().map(|name| string(name)).collect();
            vec![fact("granted_set", set(names))]
        }
    };
    if let Tools::Pinned(pins) = tools {
        let pins: Vec<u8> = pins.values().flat_map(|pin| *pin.as_bytes()).collect();
        facts.push(fact("pins", bytes(&pins)));
    }
    facts
}

/// What a block says. `None` if it says it in no way of ours.
pub(super) fn read(authority: &Block) -> Option<Tools> {
    if authority.is_so("granted_all") || authority.is_so("all_tools") {
        return Some(Tools::All);
    }
    let mut names: BTreeSet<String> = authority.texts("granted")?.into_iter().collect();
    names.extend(authority.texts("tool")?);
    for terms in authority.facts("granted_set") {
        names.extend(members(authority, terms)?);
    }
    let mut pins = authority.facts("pins");
    match (pins.next(), pins.next()) {
        (None, _) => Some(Tools::Only(names)),
        (Some(terms), None) => pinned(names, terms).map(Tools::Pinned),
        (Some(_), Some(_)) => None,
    }
}

fn members(authority: &Block, terms: &[Term]) -> Option<Vec<String>> {
    let [
        Term {
            content: Some(Content::Set(set)),
        },
    ] = terms
    else {
        return None;
    };
    set.set
        .iter()
        .map(|term| authority.text_of(term).map(str::to_owned))
        .collect()
}

/// As many pins as names, or the token is none of ours.
fn pinned(names: BTreeSet<String>, terms: &[Term]) -> Option<BTreeMap<String, Pin>> {
    let [
        Term {
            content: Some(Content::Bytes(pins)),
        },
    ] = terms
    else {
        return None;
    };
    let (pins, rest) = pins.as_chunks::<{ Pin::LENGTH }>();
    if !rest.is_empty() || pins.len() != names.len() {
        return None;
    }
    let pins = pins.iter().map(|pin| Pin::new(*pin));
    Some(names.into_iter().zip(pins).collect())
}

#[cfg(test)]
mod tests {
    use biscuit_auth::{Biscuit, KeyPair};

    use crate::access_token::{Claims, Keys, TokenError, mint, verify};
    use crate::client::ClientId;
    use crate::clock::Timestamp;
    use crate::grants::{GrantId, UserId};
    use crate::protocol::bearer::BearerToken;
    use crate::protocol::resource::Resource;
    use crate::protocol::scope::Scope;

    use super::*;

    fn keys() -> Keys {
        Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap()
    }

    fn claims(tools: Tools) -> Claims {
        Claims {
            user: UserId::new("u_0123456789012345678901"),
            user_name: "alice".to_owned(),
            client: ClientId::new("https://chatgpt.com/oauth/some-client/metadata-document.json"),
            grant: GrantId::new("g_0123456789012345678901"),
            resource: Resource::from_token("https://mcp.some-company.example.com/notes/mcp"),
            scope: Scope::parse("mcp"),
            tools,
            issued: Timestamp::from_secs(1_000),
            expires: Timestamp::from_secs(2_000),
        }
    }

    fn bearer(text: &str) -> BearerToken {
        BearerToken::parse_token(text).unwrap()
    }

    fn pinned_tools(count: u64, name: impl Fn(u64) -> String) -> Tools {
        let pin = |n: u64| Pin::new((n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
        Tools::Pinned((0..count).map(|n| (name(n), pin(n))).collect())
    }

    #[test]
    fn a_token_carries_each_tool_with_its_pin() {
        let keys = keys();
        for count in [0, 1, 2, 24, 25, 60] {
            let claims = claims(pinned_tools(count, |n| format!("\"tool\" {}", count - n)));
            let minted = mint(&claims, &keys).unwrap();
            let verified = verify(&bearer(&minted.token), &keys).unwrap();
            assert_eq!(verified.claims(), &claims, "{count}");
        }
    }

    #[test]
    fn the_largest_choice_that_fits_stays_well_under_4_kib() {
        for length in [1, 12, 20, 60] {
            let mut count = 1;
            let named = |n: u64| format!("{n:0length$}");
            while pinned_tools(count + 1, named).fit_a_token() && count < 1000 {
                count += 1;
            }
            let minted = mint(&claims(pinned_tools(count, named)), &keys()).unwrap();
            let size = minted.token.len();
            println!("{count} tools of {length} characters: {size} bytes");
            assert!(size < 3700, "{length}: {size}");
            assert!(count >= 60 || length > 20, "{count} of {length}");
        }
    }

    fn verified(code: &str) -> Result<Tools, TokenError> {
        let keys = keys();
        let facts = "user(\"u\"); user_name(\"u\"); client(\"c\"); grant(\"g\"); resource(\"r\"); \
                     scope(\"mcp\"); issued(1); expires(2);";
        let biscuit = Biscuit::builder()
            .root_key_id(1)
            .code(format!("{facts} {code}"))
            .unwrap()
            .build(keys.signing())
            .unwrap();
        let token = bearer(&biscuit.to_base64().unwrap());
        verify(&token, &keys).map(|token| token.claims().tools.clone())
    }

    #[test]
    fn a_token_with_pins_that_do_not_match_its_tools_is_malformed() {
        for code in [
            "granted(\"a\"); pins(hex:0102030405060708090a0b0c0d0e0f10);",
            "granted(\"a\"); pins(hex:01);",
            "granted(\"a\"); pins(\"0102030405060708\");",
            "granted(\"a\"); pins(hex:0102030405060708); pins(hex:0102030405060709);",
            "granted_set({1, 2}); pins(hex:0102030405060708090a0b0c0d0e0f10);",
            "granted_set(\"a\");",
        ] {
            assert_eq!(verified(code), Err(TokenError::Malformed), "{code}");
        }
    }

    #[test]
    fn tokens_of_earlier_versions_say_what_they_said() {
        let only = Tools::Only(BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        for (code, tools) in [
            ("all_tools(true);", Tools::All),
            ("tool(\"a\"); tool(\"b\");", only.clone()),
            ("granted(\"a\"); granted(\"b\");", only),
            ("", Tools::Only(BTreeSet::new())),
        ] {
            assert_eq!(verified(code), Ok(tools), "{code}");
        }
    }
}
