//! Who several members are together: the answer to `server/discover`.

use super::Members;
use crate::meta;
use crate::object::Object;
use crate::revision::STATELESS;

/// What a list of its kind may be announced with.
const LISTS: [&str; 3] = ["tools", "prompts", "resources"];

/// The capabilities that several together can serve.
const SERVED: [&str; 6] = [
    "tools",
    "prompts",
    "resources",
    "completions",
    "logging",
    EXTENSIONS,
];

const EXTENSIONS: &str = "extensions";

/// The extension of interfaces, which are resources.
const UI: &str = "io.modelcontextprotocol/ui";

/// So deep are capabilities united.
const DEPTH: usize = 4;

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

/// All that one of them can do and all together can serve. That lists change is said in any case: a member
/// may go, and come back.
fn capabilities(described: &[Described], is_complete: bool) -> Object {
    let mut all = Object::new();
    for one in described {
        let capabilities = one.result.object("capabilities").unwrap_or_default();
        for name in SERVED {
            let Some(more) = capabilities.object(name) else {
                continue;
            };
            let mut known = all.object(name).unwrap_or_default();
            unite(&mut known, &served(name, more), DEPTH);
            if name != EXTENSIONS || !known.is_empty() {
                all.set(name, &known);
            }
        }
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

/// Of extensions those alone that are about tools and resources as they are passed on: others have methods of
/// their own, which lead to no member, and tasks are not offered together.
fn served(name: &str, capability: Object) -> Object {
    match (name, capability.raw(UI)) {
        (EXTENSIONS, Some(ui)) => Object::new().with(UI, ui),
        (EXTENSIONS, None) => Object::new(),
        _ => capability,
    }
}

/// What one can do counts for all: members of both are united, and `true` is more than `false`. What lies
/// deeper than `depth` is the first one's.
fn unite(all: &mut Object, more: &Object, depth: usize) {
    for (name, value) in more.iter() {
        match (all.object(name), more.object(name)) {
            (Some(mut known), Some(more)) if depth > 0 => {
                unite(&mut known, &more, depth - 1);
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
                r#"{"capabilities":{"tools":{},"logging":{},"tasks":{},"extensions":{"io.modelcontextprotocol/ui":{}}},"instructions":" Ask. "}"#,
            ),
            described(
                1,
                r#"{"capabilities":{"resources":{"subscribe":true},"experimental":{"x":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#,
            ),
        ];
        let all = discovered(&members, &both, true, ("all", "1"));
        assert_eq!(
            all.raw("capabilities").unwrap().get(),
            r#"{"tools":{"listChanged":true},"logging":{},"extensions":{"io.modelcontextprotocol/ui":{}},"resources":{"subscribe":true,"listChanged":true}}"#
        );
        assert_eq!(all.text("instructions").as_deref(), Some("a: Ask."));
        let one = discovered(&members, &both[..1], false, ("all", "1"));
        let capabilities = one.object("capabilities").unwrap();
        assert!(capabilities.has("prompts") && capabilities.has("resources"));
    }

    #[test]
    fn what_is_nested_without_end_is_united_no_deeper_than_a_few_steps() {
        let members = Members::new(vec!["a".to_owned(), "b".to_owned()], "_").unwrap();
        let deep = format!("{}1{}", r#"{"x":"#.repeat(100), "}".repeat(100));
        let result = format!(r#"{{"capabilities":{{"tools":{deep}}}}}"#);
        let both = [described(0, &result), described(1, &result)];
        let all = discovered(&members, &both, true, ("all", "1"));
        assert!(all.object("capabilities").unwrap().has("tools"));
        let (mut one, mut other) = (
            Object::parse(r#"{"a":{"b":{"c":1}}}"#).unwrap(),
            Object::new(),
        );
        other.set("a", &Object::parse(r#"{"b":{"d":2}}"#).unwrap());
        unite(&mut one, &other, 1);
        assert_eq!(one.to_string(), r#"{"a":{"b":{"c":1}}}"#);
        unite(&mut one, &other, 2);
        assert_eq!(one.to_string(), r#"{"a":{"b":{"c":1,"d":2}}}"#);
    }
}
