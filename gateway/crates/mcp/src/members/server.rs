//! Who several members are together: the answer to `server/discover`.

use super::Members;
use crate::meta;
use crate::object::Object;
use crate::revision::STATELESS;

/// What a list of its kind may be announced with.
const LISTS: [&str; 3] = ["tools", "prompts", "resources"];

/// What one member says of itself.
#[derive(Clone, Debug)]
pub struct Described {
    /// The member's place.
    pub member: usize,
    /// The result of its `server/discover`.
    pub result: Object,
}

/// The result of `server/discover` for all that answered. Where some did not (`is_complete` is false), it
/// is announced what they may have: they come back by themselves, and a client asks only once.
pub fn discovered(
    members: &Members,
    described: &[Described],
    is_complete: bool,
    (name, version): (&str, &str),
) -> Object {
    let info = Object::new().with("name", name).with("version", version);
    let result = Object::new()
        .with("resultType", "complete")
        .with("supportedVersions", &[STATELESS])
        .with("capabilities", &capabilities(described, is_complete));
    let result = match instructions(members, described) {
        Some(words) => result.with("instructions", &words),
        None => result,
    };
    result
        .with("ttlMs", &0)
        .with("cacheScope", "private")
        .with("_meta", &Object::new().with(meta::SERVER_INFO, &info))
}

/// All that one of them can do. That lists change is said in any case: a member may go, and come back.
fn capabilities(described: &[Described], is_complete: bool) -> Object {
    let mut all = Object::new();
    for one in described {
        let capabilities = one.result.object("capabilities").unwrap_or_default();
        unite(&mut all, &capabilities);
    }
    for list in LISTS {
        if all.has(list) || !is_complete {
            let mut flags = all.object(list).unwrap_or_default();
            flags.set("listChanged", &true);
            all.set(list, &flags);
        }
    }
    all
}

/// What one can do counts for all: members of both are united, and `true` is more than `false`.
fn unite(all: &mut Object, more: &Object) {
    for (name, value) in more.iter() {
        match (all.object(name), more.object(name)) {
            (Some(mut known), Some(more)) => {
                unite(&mut known, &more);
                all.set(name, &known);
            }
            _ if all.has(name) && value.get() != "true" => {}
            _ => all.set(name, value),
        }
    }
}

/// What each says to models, under its name.
fn instructions(members: &Members, described: &[Described]) -> Option<String> {
    let each = described.iter().filter_map(|one| {
        let words = one.result.text("instructions")?;
        let words = words.trim();
        let name = &members.names()[one.member];
        (!words.is_empty()).then(|| format!("{name}: {words}"))
    });
    let all: Vec<String> = each.collect();
    (!all.is_empty()).then(|| all.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(member: usize, result: &str) -> Described {
        let result = Object::parse(result).unwrap();
        Described { member, result }
    }

    #[test]
    fn what_one_can_do_all_can() {
        let members = Members::new(vec!["a".to_owned(), "b".to_owned()], "_").unwrap();
        let both = [
            described(
                0,
                r#"{"capabilities":{"tools":{},"logging":{},"extensions":{"x/ui":{}}},"instructions":" Ask. "}"#,
            ),
            described(
                1,
                r#"{"capabilities":{"resources":{"subscribe":true},"extensions":{"x/tasks":{}}}}"#,
            ),
        ];
        let all = discovered(&members, &both, true, ("all", "1"));
        assert_eq!(
            all.raw("capabilities").unwrap().get(),
            r#"{"tools":{"listChanged":true},"logging":{},"extensions":{"x/ui":{},"x/tasks":{}},"resources":{"subscribe":true,"listChanged":true}}"#
        );
        assert_eq!(all.text("instructions").as_deref(), Some("a: Ask."));
        let one = discovered(&members, &both[..1], false, ("all", "1"));
        let capabilities = one.object("capabilities").unwrap();
        assert!(capabilities.has("prompts") && capabilities.has("resources"));
    }
}
