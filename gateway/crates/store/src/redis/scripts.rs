//! The scripts, one for each promise.

use std::sync::LazyLock;

use redis::Script;

pub(super) static VALUES: LazyLock<Script> =
    LazyLock::new(|| with_indexes(include_str!("values.lua")));
pub(super) static ENTER: LazyLock<Script> =
    LazyLock::new(|| with_indexes(include_str!("enter.lua")));
pub(super) static LIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("list.lua")));
pub(super) static SIZES: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("sizes.lua")));
pub(super) static COUNT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("count.lua")));
pub(super) static DRAW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("draw.lua")));
pub(super) static HEAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("head.lua")));
pub(super) static REVOKE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("revoke.lua")));
pub(super) static SWEEP: LazyLock<Script> =
    LazyLock::new(|| with_indexes(include_str!("sweep.lua")));

/// A script that keeps indexes, after what it needs for that.
fn with_indexes(script: &str) -> Script {
    Script::new(&format!("{}{script}", include_str!("indexes.lua")))
}
