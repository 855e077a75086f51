//! What `gateway check` prints of the configuration.

use url::Url;

use crate::config::layers::{Layers, Origin, Raw};
use crate::config::schema::Kind;

/// One line of `gateway check`: path, value with secrets masked, origin.
pub fn printed(layers: &Layers) -> Vec<(String, String, Origin)> {
    let mut lines = Vec::new();
    for key in layers.schema.keys() {
        let of_list = key.path.split_once("[].");
        let paths: Vec<String> = match (of_list, key.path.split_once(".NAME.")) {
            (Some((list, rest)), _) => (0..layers.count(list))
                .map(|index| format!("{list}.{index}.{rest}"))
                .collect(),
            (_, Some((table, rest))) => layers
                .names(table)
                .iter()
                .map(|name| format!("{table}.{name}.{rest}"))
                .collect(),
            (None, None) => vec![key.path.to_owned()],
        };
        for path in paths {
            let (value, origin) = match layers.value(&path) {
                Some((raw, origin)) => (masked(key.kind, raw), origin.clone()),
                None => (key.default.to_owned(), Origin::Default),
            };
            lines.push((path, value, origin));
        }
    }
    lines
}

fn masked(kind: Kind, raw: &Raw) -> String {
    match (kind, raw) {
        (Kind::Secret | Kind::Secrets, _) => "********".to_owned(),
        (Kind::SecretMap, Raw::Map(pairs)) => joined(pairs, |(name, _)| format!("{name}=********")),
        (Kind::SecretList, Raw::List(items)) => joined(items, |item| match item.split_once('=') {
            Some((name, _)) => format!("{name}=********"),
            None => item.clone(),
        }),
        (Kind::SecretList, Raw::Scalar(_)) => "********".to_owned(),
        (_, Raw::Map(pairs)) => joined(pairs, |(name, value)| format!("{name}={value}")),
        (_, Raw::List(items)) => items.join(", "),
        (_, Raw::Scalar(text)) => match Url::parse(text) {
            // A password can hide in a URL.
            Ok(mut url) if url.password().is_some() => {
                let _ = url.set_password(Some("********"));
                url.to_string()
            }
            _ => text.clone(),
        },
    }
}

fn joined<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    let texts: Vec<String> = items.iter().map(text).collect();
    texts.join(", ")
}
