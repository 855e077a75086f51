//! A prefix that an argument must start with is not left again, whoever reads the argument: what the
//! gateway lets through is put to the parsers of Node, Python and Rust and to their lenient cousins,
//! and none of them may find it outside. What is honest passes.

use std::collections::BTreeSet;
use std::path::Component;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::mcp::{call, send};
use tests::program::{binary, run};

const PREFIXES: &[&str] = &[
    "https://example.com/docs/public/",
    "https://example.com",
    "/srv/public/",
    "C:\\srv\\public\\",
    "public/",
];
const HOSTILE: usize = 1_200;
const HONEST: usize = 250;

const DOTS: &[&str] = &[
    ".",
    "..",
    "...",
    "%2e",
    "%2E%2e",
    ".%2e",
    "%252e%252e",
    "%25252e%25252e",
    "．．",
    "。。",
    "‥",
    "․․",
    "｡｡",
    "%c0%ae%c0%ae",
    "%e0%80%ae%e0%80%ae",
    "%f0%80%80%ae.",
    "%u002e%u002e",
    "%EF%BC%8E%EF%BC%8E",
    "％2e％2e",
    ".\u{200b}.",
    "..\u{ad}",
    "\u{feff}..",
    ".. ",
    " ..",
    "..;a=b",
    "..;",
    "..%00",
    "..%20",
    "..\t",
    ".\n.",
    ".%0a.",
    "..\u{a0}",
    "..%c2%a0",
    "..\u{2028}",
];
const PLAIN: &[&str] = &[
    "a",
    "b.txt",
    "..a",
    "日本",
    "caf%C3%A9",
    "secret",
    "evil.example",
    "x y",
];
const BETWEEN: &[&str] = &[
    "/",
    "/",
    "/",
    "\\",
    "%2f",
    "%2F",
    "%5c",
    "%252f",
    "／",
    "＼",
    "∕",
    "⁄",
    "∖",
    "¥",
    "₩",
    "%c0%af",
    "%EF%BC%8F",
    "//",
    "?",
    "#",
    "?/",
    "#/",
    "%3f",
    "%23/",
    ";",
    "&",
    "@",
    ":",
    "?x=1/",
    "/?",
    "\r/",
];

/// Deterministic, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

fn hostile(prefix: &str, dice: &mut Dice) -> String {
    let mut text = prefix.to_owned();
    for _ in 0..=dice.roll(5) {
        match dice.roll(3) {
            0 => text += dice.pick(PLAIN),
            _ => text += dice.pick(DOTS),
        }
        text += dice.pick(BETWEEN);
    }
    if dice.roll(3) == 0 {
        text += dice.pick(DOTS);
    }
    text
}

fn honest(prefix: &str, dice: &mut Dice) -> String {
    const STEPS: &[&str] = &[
        "report",
        "2026-05",
        "v1.2",
        ".hidden",
        "..data",
        "naïve",
        "日本語",
        "👩\u{200d}🚀.png",
        "a b",
        "caf%C3%A9",
        "100%",
        "x=1",
        "a,b",
        "(1)",
        "it's",
        "C++",
        "~user",
        "a@b",
        "Wait….txt",
        "a..b",
        "half ½",
        "file.tar.gz",
        "%E4%BD%A0",
        "README",
        "v=1;w=2",
    ];
    let slash = if prefix.contains('\\') { "\\" } else { "/" };
    let mut text = prefix.to_owned();
    if !text.ends_with(slash) {
        text += slash;
    }
    let steps = 1 + dice.roll(4);
    let steps: Vec<&str> = (0..steps).map(|_| dice.pick(STEPS)).collect();
    text += &steps.join(slash);
    if prefix.starts_with("https") {
        text += dice.pick(&[
            "",
            "",
            "?q=1",
            "?q=a%2Fb&r=100%25",
            "?next=%2Fx%2Fy",
            "?to=https://example.org/b",
            "#top",
            "?a=1..2#b",
            "?text=a%0Ab",
        ]);
    }
    text
}

/// Those that the gateway lets through with a token narrowed to a prefix.
async fn accepted(fixture: &Fixture, token: &str, values: &[String]) -> Result<BTreeSet<String>> {
    let mut workers = Vec::new();
    let size = values.len().div_ceil(4).max(1);
    for part in values.chunks(size) {
        let (url, token, part) = (fixture.url("/mcp"), token.to_owned(), part.to_vec());
        workers.push(tokio::spawn(async move {
            let mut accepted = Vec::new();
            for value in part {
                let reply = send(&url, &token, &call(1, "search", &json!({"at": value}))).await?;
                let answer = reply.json();
                let reason = answer["result"]["_meta"]["reason"].as_str();
                match (reply.status, reason) {
                    (200, None) => accepted.push(value),
                    (200, Some("token_narrowed" | "policy_failed" | "policy_denied")) => {}
                    _ => anyhow::bail!("{value:?}: {} {}", reply.status, reply.text),
                }
            }
            Ok(accepted)
        }));
    }
    let mut all = BTreeSet::new();
    for worker in workers {
        all.extend(worker.await??);
    }
    Ok(all)
}

async fn narrowed(token: &str, prefix: &str) -> Result<String> {
    let argument = format!("at={prefix}");
    let words = ["token", "narrow", "--argument", &argument];
    let (code, out, errors) = run(&binary("gateway"), &words, token).await?;
    anyhow::ensure!(code == 0, "{errors}");
    Ok(out.trim().to_owned())
}

const NODE: &str = r#"
const {prefix, values} = JSON.parse(require('fs').readFileSync(0));
const path = require('path');
const isUrl = prefix.includes('://');
const once = t => { try { return decodeURIComponent(t) } catch { return unescape(t) } };
const fit = t => t.replace(/[\u2044\u2215]/g, '/').replace(/[\u2216\u00a5\u20a9]/g, '\\').replace(/[\u3002\uff61\u2024]/g, '.');
const strip = t => t.replace(/[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, '');
const windows = t => t.split(/([\\/])/).map(s => /^[. ]+$/.test(s) && s.includes('..') ? '..' : s).join('');
const params = t => t.split('/').map(s => s.split(';')[0]).join('/');
const readings = text => {
  const all = new Set([text]);
  for (const f of [once, t => once(once(t)), t => t.normalize('NFKC'), fit, strip, windows, params])
    for (const t of [...all]) if (all.size < 200) all.add(f(t));
  return all;
};
const outside = [];
// Newer versions put `.\\` before a relative path with a colon.
const plain = (kind, t) => kind.normalize(t).replace(/^\.[\\/]/, '');
const inside = (kind, t, p) => plain(kind, t).startsWith(plain(kind, p));
for (const value of values) for (const text of readings(value)) {
  let out = '';
  if (isUrl) {
    const p = new URL(prefix);
    let u; try { u = new URL(text) } catch { continue }
    if (u.host !== p.host || u.username || u.protocol !== p.protocol) out = 'host';
    for (const t of [u.pathname, once(u.pathname), u.pathname + u.search + u.hash])
      for (const kind of [path.posix, path.win32])
        if (!inside(kind, t, p.pathname)) out = 'path';
  } else {
    for (const t of [text, text.split('?')[0], text.split('#')[0]])
      for (const kind of [path.posix, path.win32])
        if (!(kind === path.posix && prefix.includes('\\')) && !inside(kind, t, prefix)) out = 'path';
  }
  if (out) { outside.push([value, text, out]); break }
}
console.log(JSON.stringify(outside));
"#;

const PYTHON: &str = r#"
import json, sys, posixpath, ntpath, pathlib, unicodedata
from urllib.parse import urlsplit, urljoin, unquote
asked = json.load(sys.stdin)
prefix, values = asked["prefix"], asked["values"]
is_url = "://" in prefix
readings = lambda t: {t, unquote(t), unquote(unquote(t)), unicodedata.normalize("NFKC", t),
    unicodedata.normalize("NFKC", unquote(t)), unquote(t, "latin-1"), unquote(t, errors="ignore")}
def within(paths, text, base):
    slash = "/" if paths is posixpath else "\\"
    base = paths.normpath(base)
    text = paths.normpath(text)
    return text == base or text.startswith(base.rstrip(slash) + slash)
outside = []
for value in values:
    for text in readings(value):
        out = ""
        try:
            if is_url:
                base = urlsplit(prefix)
                for t in (text, urljoin(prefix, text)):
                    u = urlsplit(t)
                    if u.netloc != base.netloc or u.scheme != base.scheme: out = "host"
                    for p in (u.path, unquote(u.path), t.split("://", 1)[1].partition("/")[2]):
                        p = "/" + p.lstrip("/")
                        if not within(posixpath, p, base.path or "/"): out = "path"
                        if not within(ntpath, p, base.path or "/"): out = "path"
            else:
                kinds = [ntpath] if "\\" in prefix else [posixpath, ntpath]
                for paths in kinds:
                    if not within(paths, text, prefix): out = "path"
                if ".." in pathlib.PurePosixPath(text).parts or ".." in pathlib.PureWindowsPath(text).parts:
                    out = "parts"
        except ValueError:
            continue
        if out:
            outside.append([value, text, out])
            break
print(json.dumps(outside))
"#;

async fn oracle(
    program: &str,
    script: &str,
    prefix: &str,
    values: &BTreeSet<String>,
) -> Result<()> {
    let asked = json!({"prefix": prefix, "values": values}).to_string();
    let flag = if program == "node" { "-e" } else { "-c" };
    let path = std::path::Path::new(program);
    let (code, out, errors) = run(path, &[flag, script], &asked).await?;
    anyhow::ensure!(code == 0, "{program}: {errors}");
    let outside: Value = serde_json::from_str(&out).context(out.clone())?;
    assert_eq!(
        outside,
        json!([]),
        "{program} finds these outside of {prefix}"
    );
    Ok(())
}

fn rust_oracle(prefix: &str, values: &BTreeSet<String>) -> Result<()> {
    for value in values {
        if let Ok(base) = url::Url::parse(prefix).and_then(|base| {
            if base.has_host() {
                Ok(base)
            } else {
                Err(url::ParseError::EmptyHost)
            }
        }) {
            let parsed = url::Url::parse(value).with_context(|| value.clone())?;
            assert_eq!(parsed.host_str(), base.host_str(), "{value:?}");
            assert_eq!(parsed.port(), base.port(), "{value:?}");
            assert!(
                parsed.path().starts_with(base.path()),
                "{value:?} is {parsed}"
            );
        }
        let up = std::path::Path::new(value).components();
        let goes_up = up.filter(|part| *part == Component::ParentDir).count();
        assert_eq!(goes_up, 0, "{value:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_starts_with_a_prefix_is_below_it_for_every_reader() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let mut dice = Dice(2026);
    let (mut tried, mut let_through, mut honest_ones) = (0, 0, 0);
    for prefix in PREFIXES {
        let token = narrowed(&token, prefix).await?;
        let mut values: Vec<String> = (0..HOSTILE).map(|_| hostile(prefix, &mut dice)).collect();
        let first = "https://example.com/docs/public/..?delete=all";
        values.push(first.to_owned());
        let passed = accepted(&fixture, &token, &values).await?;
        assert!(!passed.contains(first));
        oracle("node", NODE, prefix, &passed).await?;
        oracle("python3", PYTHON, prefix, &passed).await?;
        rust_oracle(prefix, &passed)?;
        tried += values.len();
        let_through += passed.len();
        let values: Vec<String> = (0..HONEST).map(|_| honest(prefix, &mut dice)).collect();
        let passed = accepted(&fixture, &token, &values).await?;
        let refused: Vec<&String> = values.iter().filter(|it| !passed.contains(*it)).collect();
        assert_eq!(refused, Vec::<&String>::new(), "honest values of {prefix}");
        oracle("node", NODE, prefix, &passed).await?;
        honest_ones += values.len();
    }
    println!(
        "{tried} hostile forms of {} prefixes, {let_through} let through, none outside for Node, Python \
         and Rust; {honest_ones} honest values, all let through",
        PREFIXES.len()
    );
    Ok(())
}

#[tokio::test]
async fn a_policy_and_a_narrowed_token_judge_a_prefix_alike() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    let prefix = PREFIXES[0];
    let policy = format!(
        "allow if harmless(true);\nallow if argument(\"at\", $at), $at.starts_with(\"{prefix}\");\n"
    );
    std::fs::write(&file, policy)?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    let ruled = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
    let (_, by_policy) = ruled.signed_in().await?;
    let free = Fixture::start().await?;
    let (_, token) = free.signed_in().await?;
    let token = narrowed(&token, prefix).await?;
    let mut dice = Dice(7);
    let hostile_ones = (0..300).map(|_| hostile(prefix, &mut dice));
    let mut values: Vec<String> = hostile_ones.collect();
    values.extend((0..100).map(|_| honest(prefix, &mut dice)));
    let one = accepted(&ruled, &by_policy, &values).await?;
    let other = accepted(&free, &token, &values).await?;
    assert_eq!(one, other);
    println!("{} values: policy and token judge them alike", values.len());
    Ok(())
}
