//! What a holder may append to a token, and what it means. The closed form:
//!
//! ```text
//! block = 1 to 16 checks, nothing else
//! check = check if tool("NAME");
//!       | check if tool($x), {"NAME", …}.contains($x);
//!       | check if backend("NAME");
//!       | check if backend($x), {"NAME", …}.contains($x);
//!       | check if time($x), $x < DATE;                     (or <=)
//!       | check if read_only(true);
//!       | check if limit("calls", COUNT);                   (or "calls_per_day")
//!       | check if argument("PATH", VALUE);
//!       | check if argument("PATH", $x), {VALUE, …}.contains($x);
//!       | check if argument("PATH", $x), $x.starts_with("PREFIX");
//! ```
//!
//! A set may as well be an array, `["NAME", …]`; it has 1 to 64 members, a text at most 256 bytes.
//! VALUE is a text, an integer or a boolean. A limit is of calls with this token and all that is made from
//! it, together: they are counted under the id of the block. The order of checks and of blocks means nothing: a
//! call passes when every check holds.
//!
//! Each form is judged by its structure, so nothing that a holder wrote is ever evaluated, and
//! each is a condition, so whatever is appended can only narrow. A Biscuit library that is given
//! the facts of a call (`tool`, `backend`, `time`, `read_only`, `argument`) decides the same; the
//! tests hold the two against each other.
//!
//! `tool` and `argument` speak about `tools/call`: with one of them a token can call these tools,
//! open and keep up a session, list tools, and nothing else. With `read_only` alone it can use, in
//! addition, the methods of MCP that change nothing.

mod budget;

use std::collections::BTreeSet;
use std::fmt;

use biscuit_auth::format::schema::{self, Op, Term, op, op_binary, term::Content};

use super::envelope::Block;
use crate::clock::Timestamp;
use crate::limits::quota::Quota;
use mcp_protocol::arguments::{Arguments, Paths, Value};
use mcp_protocol::path_prefix::stays_below;

pub use self::budget::{Budget, BudgetKind};

/// The first second of the year 10000, which RFC 3339 can't write.
pub(super) const NO_DATE: u64 = 253_402_300_800;

const CHECKS: usize = 16;
const MEMBERS: usize = 64;
const TEXT: usize = 256;

/// A constant that an argument is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Constant {
    /// A text.
    Text(String),
    /// An integer.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
}

/// What an argument must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// One of these.
    OneOf(BTreeSet<Constant>),
    /// A text that starts so, and stays below.
    StartsWith(String),
}

/// One condition. Prints as the Datalog that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// The tool that is called is one of these.
    Tool(BTreeSet<String>),
    /// The backend is one of these.
    Backend(BTreeSet<String>),
    /// It is earlier than this, in seconds since the epoch.
    Before(u64),
    /// What is called says that it changes nothing.
    ReadOnly,
    /// No more calls than this, of what is made from here altogether.
    Limit(BudgetKind, u64),
    /// An argument is as wanted.
    Argument {
        /// The path that leads to it within the arguments of a call.
        path: String,
        /// What it must be.
        is: Match,
    },
}

/// All conditions that the holders of a token appended, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attenuation {
    checks: Vec<Check>,
    budgets: Vec<Budget>,
}

/// A call of a tool, as far as an attenuation asks.
#[derive(Clone, Copy, Debug)]
pub struct ToolCall<'a> {
    /// Its name at the backend.
    pub tool: &'a str,
    /// Whether the backend says that it changes nothing.
    pub read_only: bool,
    /// Its arguments; `None` if the judge did not keep them.
    pub arguments: Option<&'a Arguments>,
}

/// The condition that a call does not meet, by its subject. Says nothing of the call's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FailedCheck(pub &'static str);

impl Attenuation {
    /// The conditions.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// The budgets of calls among them, one of a kind for each block.
    pub fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    /// Adds those of another block, by its number in the token.
    pub(super) fn and(&mut self, number: usize, more: Vec<Check>) {
        for check in &more {
            let Check::Limit(kind, calls) = *check else {
                continue;
            };
            let mut budgets = self.budgets.iter_mut();
            match budgets.find(|other| other.number == number && other.kind == kind) {
                Some(other) => other.calls = other.calls.min(calls),
                None => self.budgets.push(Budget {
                    block: String::new(),
                    kind,
                    calls,
                    number,
                }),
            }
        }
        self.checks.extend(more);
    }

    /// Tells the budgets the ids of the token's blocks.
    pub(super) fn with_ids(mut self, ids: &[String]) -> Self {
        for budget in &mut self.budgets {
            budget.block = ids.get(budget.number).cloned().unwrap_or_default();
        }
        self
    }

    /// The first second in which it allows nothing any more.
    pub fn ends(&self) -> Option<Timestamp> {
        let ends = self.checks.iter().filter_map(|check| match check {
            Check::Before(secs) => Some(*secs),
            _ => None,
        });
        ends.min().map(Timestamp::from_secs)
    }

    /// Whether it still stands for the backend of this name.
    pub fn allows_backend(&self, name: &str) -> bool {
        self.allows_backend_as(|one| one == name)
    }

    /// Whether it still stands for a backend that goes by several names: each condition has to name one.
    pub fn allows_backend_as(&self, is_name: impl Fn(&str) -> bool) -> bool {
        self.checks.iter().all(|check| match check {
            Check::Backend(names) => names.iter().any(|name| is_name(name)),
            _ => true,
        })
    }

    /// Whether a tool can be called at all, with some arguments.
    pub fn allows_tool(&self, name: &str, read_only: bool) -> bool {
        self.checks.iter().all(|check| match check {
            Check::Tool(names) => names.contains(name),
            Check::ReadOnly => read_only,
            _ => true,
        })
    }

    /// Whether this call of a tool meets every condition on calls.
    pub fn allows_call(&self, call: &ToolCall<'_>) -> Result<(), FailedCheck> {
        for check in &self.checks {
            let (subject, met) = match check {
                Check::Tool(names) => ("tool", names.contains(call.tool)),
                Check::ReadOnly => ("read_only", call.read_only),
                Check::Argument { path, is } => {
                    let value = call.arguments.and_then(|arguments| arguments.get(path));
                    ("argument", value.is_some_and(|value| is.holds(value)))
                }
                Check::Backend(_) | Check::Before(_) | Check::Limit(..) => continue,
            };
            if !met {
                return Err(FailedCheck(subject));
            }
        }
        Ok(())
    }

    /// Whether it allows a method that calls no tool. `opening`: it only opens or keeps up a
    /// session, or lists tools. `read_only`: it changes nothing.
    pub fn allows_method(&self, opening: bool, read_only: bool) -> bool {
        opening
            || self.checks.iter().all(|check| match check {
                Check::Tool(_) | Check::Argument { .. } => false,
                Check::ReadOnly => read_only,
                Check::Backend(_) | Check::Before(_) | Check::Limit(..) => true,
            })
    }

    /// Whether it asks for arguments, so that the judge must keep them.
    pub fn asks_for_arguments(&self) -> bool {
        self.checks
            .iter()
            .any(|check| matches!(check, Check::Argument { .. }))
    }

    /// The paths of the arguments that it asks for.
    pub fn argument_paths(&self) -> Paths {
        let path = |check: &Check| match check {
            Check::Argument { path, .. } => Some(path.clone()),
            _ => None,
        };
        self.checks.iter().filter_map(path).collect()
    }

    /// Whether it asks what tools say about their effects.
    pub fn asks_for_effects(&self) -> bool {
        self.checks.contains(&Check::ReadOnly)
    }
}

impl Match {
    /// Whether a value is as wanted. For a prefix a text must also stay below whatever it starts
    /// with: `/public/` is not met by `/public/../secret`.
    pub fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::OneOf(constants), Value::Text(text)) => constants
                .iter()
                .any(|constant| matches!(constant, Constant::Text(wanted) if wanted == text)),
            (Self::OneOf(constants), Value::Integer(number)) => {
                constants.contains(&Constant::Integer(*number))
            }
            (Self::OneOf(constants), Value::Bool(value)) => {
                constants.contains(&Constant::Bool(*value))
            }
            (Self::StartsWith(prefix), Value::Text(text)) => {
                text.starts_with(prefix.as_str()) && stays_below(text, prefix)
            }
            _ => false,
        }
    }
}

/// The conditions of a block, if it is of the closed form.
pub(super) fn judge(block: &Block) -> Option<Vec<Check>> {
    let count = block.content.checks.len();
    if !block.is_plain() || !block.content.facts.is_empty() || !(1..=CHECKS).contains(&count) {
        return None;
    }
    block
        .content
        .checks
        .iter()
        .map(|check| judge_check(block, check))
        .collect()
}

fn judge_check(block: &Block, check: &schema::Check) -> Option<Check> {
    let is_check_if = matches!(check.kind, None | Some(0));
    let [query] = check.queries.as_slice() else {
        return None;
    };
    let [body] = query.body.as_slice() else {
        return None;
    };
    let head_is_query = block.name_of(&query.head) == Some("query") && query.head.terms.is_empty();
    if !is_check_if || !head_is_query || !query.scope.is_empty() {
        return None;
    }
    let expression = match query.expressions.as_slice() {
        [] => None,
        [expression] => Some(expression.ops.as_slice()),
        _ => return None,
    };
    match (block.name_of(body)?, body.terms.as_slice(), expression) {
        ("tool", [term], expression) => names(block, term, expression).map(Check::Tool),
        ("backend", [term], expression) => names(block, term, expression).map(Check::Backend),
        ("time", [term], Some(expression)) => before(term, expression).map(Check::Before),
        ("read_only", [term], None) => {
            (term.content == Some(Content::Bool(true))).then_some(Check::ReadOnly)
        }
        ("limit", [kind, calls], None) => {
            let kind = BudgetKind::parse(block.text_of(kind)?)?;
            let Some(Content::Integer(calls)) = calls.content else {
                return None;
            };
            let calls = u64::try_from(calls).ok()?;
            (calls <= Quota::MOST).then_some(Check::Limit(kind, calls))
        }
        ("argument", [path, term], expression) => Some(Check::Argument {
            path: short_text(block, path).filter(|path| !path.is_empty())?,
            is: argument(block, term, expression)?,
        }),
        _ => None,
    }
}

/// `("NAME")`, or `($x), {…}.contains($x)`, of texts.
fn names(block: &Block, term: &Term, expression: Option<&[Op]>) -> Option<BTreeSet<String>> {
    one_of(block, term, expression)?
        .into_iter()
        .map(|constant| match constant {
            Constant::Text(text) => Some(text),
            _ => None,
        })
        .collect()
}

fn argument(block: &Block, term: &Term, expression: Option<&[Op]>) -> Option<Match> {
    if let (Some(Content::Variable(variable)), Some([subject, prefix, operator])) =
        (&term.content, expression)
        && is_variable(subject, *variable)
        && is_operator(operator, op_binary::Kind::Prefix)
    {
        return short_text(block, value(prefix)?).map(Match::StartsWith);
    }
    one_of(block, term, expression).map(Match::OneOf)
}

/// A constant, or a variable that some set or array contains.
fn one_of(block: &Block, term: &Term, expression: Option<&[Op]>) -> Option<BTreeSet<Constant>> {
    match (&term.content, expression) {
        (Some(Content::Variable(variable)), Some([members, subject, operator]))
            if is_variable(subject, *variable)
                && is_operator(operator, op_binary::Kind::Contains) =>
        {
            let members = match value(members)?.content.as_ref()? {
                Content::Set(set) => set.set.as_slice(),
                Content::Array(array) => array.array.as_slice(),
                _ => return None,
            };
            if !(1..=MEMBERS).contains(&members.len()) {
                return None;
            }
            members.iter().map(|term| constant(block, term)).collect()
        }
        (Some(Content::Variable(_)), _) | (_, Some(_)) => None,
        (_, None) => constant(block, term).map(|constant| BTreeSet::from([constant])),
    }
}

/// `$x < DATE` or `$x <= DATE`, as the first second that is too late.
fn before(term: &Term, expression: &[Op]) -> Option<u64> {
    let (Some(Content::Variable(variable)), [subject, date, operator]) =
        (&term.content, expression)
    else {
        return None;
    };
    if !is_variable(subject, *variable) {
        return None;
    }
    let secs = match value(date)?.content {
        Some(Content::Date(secs)) if secs < NO_DATE => secs,
        _ => return None,
    };
    if is_operator(operator, op_binary::Kind::LessThan) {
        return Some(secs);
    }
    is_operator(operator, op_binary::Kind::LessOrEqual).then_some(secs + 1)
}

fn value(op: &Op) -> Option<&Term> {
    match &op.content {
        Some(op::Content::Value(term)) => Some(term),
        _ => None,
    }
}

fn is_variable(op: &Op, variable: u32) -> bool {
    value(op).is_some_and(|term| term.content == Some(Content::Variable(variable)))
}

fn is_operator(op: &Op, kind: op_binary::Kind) -> bool {
    matches!(
        &op.content,
        Some(op::Content::Binary(binary)) if binary.kind == kind as i32 && binary.ffi_name.is_none()
    )
}

fn constant(block: &Block, term: &Term) -> Option<Constant> {
    match term.content {
        Some(Content::String(_)) => short_text(block, term).map(Constant::Text),
        Some(Content::Integer(number)) => Some(Constant::Integer(number)),
        Some(Content::Bool(value)) => Some(Constant::Bool(value)),
        _ => None,
    }
}

fn short_text(block: &Block, term: &Term) -> Option<String> {
    block
        .text_of(term)
        .filter(|text| text.len() <= TEXT)
        .map(str::to_owned)
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |names: &BTreeSet<String>| -> Vec<String> {
            names.iter().map(|name| quoted(name)).collect()
        };
        match self {
            Self::Tool(names) => write_one_of(f, "tool(", &quoted(names)),
            Self::Backend(names) => write_one_of(f, "backend(", &quoted(names)),
            Self::Before(secs) => {
                write!(
                    f,
                    "check if time($x), $x < {}",
                    Timestamp::from_secs((*secs).min(NO_DATE - 1))
                )
            }
            Self::ReadOnly => f.write_str("check if read_only(true)"),
            Self::Limit(kind, calls) => write!(f, "check if limit(\"{}\", {calls})", kind.name()),
            Self::Argument { path, is } => {
                let start = format!("argument({}, ", self::quoted(path));
                match is {
                    Match::OneOf(constants) => {
                        let constants: Vec<_> = constants.iter().map(ToString::to_string).collect();
                        write_one_of(f, &start, &constants)
                    }
                    Match::StartsWith(prefix) => write!(
                        f,
                        "check if {start}$x), $x.starts_with({})",
                        self::quoted(prefix)
                    ),
                }
            }
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Integer(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
        }
    }
}

fn write_one_of(f: &mut fmt::Formatter<'_>, start: &str, constants: &[String]) -> fmt::Result {
    match constants {
        [constant] => write!(f, "check if {start}{constant})"),
        _ => write!(
            f,
            "check if {start}$x), {{{}}}.contains($x)",
            constants.join(", ")
        ),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
pub(super) mod tests;
