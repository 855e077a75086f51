//! The granted tools in a token: `granted_all(true)`, or `granted(NAME)` each, and one
//! `pins(BYTES)` with the pins of all in the order of the names. More than fit say
//! `granted_digest(BYTES, COUNT)` instead: the gateway keeps them with the grant. A version that does
//! not know this fact reads that nothing is granted. Tokens of earlier versions say `tool(NAME)` and
//! `all_tools(true)`, or name many tools in one `granted_set({NAME, …})`.

use std::collections::{BTreeMap, BTreeSet};

use biscuit_auth::builder::{Fact, boolean, bytes, int, string};
use biscuit_auth::format::schema::{Term, term::Content};

use super::envelope::Block;
use super::facts::contents;
use crate::grants::{Pin, SetDigest, Tools};

/// The facts that say `tools`.
pub(super) fn facts(tools: &Tools) -> Vec<Fact> {
    let fact = |name, terms| Fact::new(String::from(name), terms);
    if tools.is_all() {
        return vec![fact("granted_all", vec![boolean(true)])];
    }
    if !tools.fit_a_token() || matches!(tools, Tools::Kept { .. }) {
        let count = tools.count().and_then(|count| i64::try_from(count).ok());
        let digest = bytes(tools.digest().as_bytes());
        return vec![fact(
            "granted_digest",
            vec![digest, int(count.unwrap_or(i64::MAX))],
        )];
    }
    let names = tools.names().into_iter();
    let mut facts: Vec<Fact> = names
        .map(|name| fact("granted", vec![string(name)]))
        .collect();
    if let Tools::Pinned(pins) = tools {
        let pins: Vec<u8> = pins.values().flat_map(|pin| *pin.as_bytes()).collect();
        facts.push(fact("pins", vec![bytes(&pins)]));
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
    let mut digests = authority.facts("granted_digest");
    if let Some(terms) = digests.next() {
        let is_alone = digests.next().is_none() && pins.next().is_none() && names.is_empty();
        return kept(terms).filter(|_| is_alone);
    }
    match (pins.next(), pins.next()) {
        (None, _) => Some(Tools::Only(names)),
        (Some(terms), None) => pinned(names, terms).map(Tools::Pinned),
        (Some(_), Some(_)) => None,
    }
}

fn kept(terms: &[Term]) -> Option<Tools> {
    let [Content::Bytes(digest), Content::Integer(count)] = contents(terms)?[..] else {
        return None;
    };
    Some(Tools::Kept {
        digest: SetDigest::new(digest.as_slice().try_into().ok()?),
        count: u32::try_from(*count).ok()?,
    })
}

fn members(authority: &Block, terms: &[Term]) -> Option<Vec<String>> {
    let [Content::Set(set)] = contents(terms)?[..] else {
        return None;
    };
    set.set
        .iter()
        .map(|term| authority.text_of(term).map(str::to_owned))
        .collect()
}

/// As many pins as names, or the token is none of ours.
fn pinned(names: BTreeSet<String>, terms: &[Term]) -> Option<BTreeMap<String, Pin>> {
    let [Content::Bytes(pins)] = contents(terms)?[..] else {
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
            groups: Vec::new(),
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
    fn a_token_carries_each_of_a_few_tools_with_its_pin() {
        let keys = keys();
        for count in [0, 1, 2, 8] {
            let claims = claims(pinned_tools(count, |n| format!("\"tool\" {}", count - n)));
            let minted = mint(&claims, &keys).unwrap();
            let verified = verify(&bearer(&minted.token), &keys).unwrap();
            assert_eq!(verified.claims(), &claims, "{count}");
        }
    }

    #[test]
    fn a_token_for_many_tools_says_which_choice_it_stands_for() {
        let keys = keys();
        for count in [25, 500, 2000] {
            let tools = pinned_tools(count, |n| format!("a_tool_of_some_{n:05}"));
            let minted = mint(&claims(tools.clone()), &keys).unwrap();
            let verified = verify(&bearer(&minted.token), &keys).unwrap();
            let said = Tools::Kept {
                digest: tools.digest(),
                count: u32::try_from(count).unwrap(),
            };
            assert_eq!(verified.claims(), &claims(said));
            assert!(!verified.allows_tool("a_tool_of_some_00001", true));
        }
    }

    #[test]
    fn a_token_stays_under_1_kib_however_many_tools_it_is_for() {
        for length in [1, 12, 20, 60, 128] {
            for count in [1, 5, 9, 10, 24, 60, 500, 1500] {
                let named = |n: u64| format!("{n:0length$}");
                let tools = pinned_tools(count, named);
                let minted = mint(&claims(tools), &keys()).unwrap();
                let size = minted.token.len();
                println!("{count} tools of {length} characters: {size} bytes");
                assert!(size < 1024, "{count} of {length}: {size}");
            }
        }
    }

    #[test]
    fn a_token_for_500_tools_that_was_narrowed_twice_is_still_short() {
        use crate::access_token::{Check, attenuate};
        let tools = pinned_tools(500, |n| format!("a_tool_of_some_{n:05}"));
        let mut token = mint(&claims(tools), &keys()).unwrap().token;
        let checks = [
            vec![Check::Tool(["a_tool_of_some_00001".to_owned()].into())],
            vec![Check::Before(1_000_000)],
        ];
        for (blocks, most) in [(0, 1040), (1, 1240)] {
            token = attenuate(&bearer(&token), &checks[blocks], false).unwrap();
            println!("{} blocks: {} bytes", blocks + 1, token.len());
            assert!(token.len() < most, "{} blocks: {}", blocks + 1, token.len());
        }
    }

    const DIGEST: &str = "0101010101010101010101010101010101010101010101010101010101010101";

    fn verified(code: &str) -> Result<Tools, TokenError> {
        let keys = keys();
        let facts = "user(\"u\"); user_name(\"u\"); client(\"c\"); grant(\"g\"); resource(\"r\"); \
                     scope(\"mcp\"); issued(1); expires(2);";
        let biscuit = Biscuit::builder()
            .root_key_id(1)
            .code(format!("{facts} {code}"))
            .unwrap()
            .build(keys.signing().unwrap().1)
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
            "granted_digest(hex:01, 1);",
            "granted_digest(\"a\", 1);",
            &format!("granted_digest(hex:{DIGEST});"),
            &format!("granted_digest(hex:{DIGEST}, -1);"),
            &format!("granted_digest(hex:{DIGEST}, 1); granted_digest(hex:{DIGEST}, 2);"),
            &format!("granted_digest(hex:{DIGEST}, 1); granted(\"a\");"),
            &format!("granted_digest(hex:{DIGEST}, 1); pins(hex:0102030405060708);"),
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
            ("granted(\"a\"); granted(\"b\");", only.clone()),
            ("granted_set({\"a\", \"b\"});", only),
            ("", Tools::Only(BTreeSet::new())),
        ] {
            assert_eq!(verified(code), Ok(tools), "{code}");
        }
    }
}
