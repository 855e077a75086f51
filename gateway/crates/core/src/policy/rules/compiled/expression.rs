//! Conditions of rules, as trees over slots, and what they come to.

use std::rc::Rc;

use biscuit_auth::builder::Binary;
use regex::Regex;

use super::frame::{EvaluationError, Frame};
use super::operators;
use crate::policy::rules::patterns::{self, NamePattern};
use crate::policy::rules::value::{Array, Constant, Value};

/// A condition, or a part of one.
#[derive(Debug)]
pub(super) enum Expression {
    Constant(Constant),
    /// A variable.
    Slot(usize),
    Not(Box<Expression>),
    Length(Box<Expression>),
    TypeOf(Box<Expression>),
    /// Of two values, one after the other.
    Binary(Binary, Box<[Expression; 2]>),
    /// `&&`: the second only where the first holds.
    And(Box<[Expression; 2]>),
    /// `||`: the second only where the first does not hold.
    Or(Box<[Expression; 2]>),
    /// Of a collection and what is asked of its members, each in a slot: whether all answer `true`, or one
    /// does. With the answer of a member that decides.
    Members(Box<[Expression; 2]>, usize, bool),
    /// What to take where the first can't be evaluated.
    TryOr(Box<[Expression; 2]>),
    Matches(Box<Expression>, Regex),
    /// Of two texts, as this policy means it.
    Text(TextTest, Box<[Expression; 2]>),
    NameContains(Box<[Expression; 2]>),
    NameMatches(Box<Expression>, NamePattern),
    /// What can never be evaluated.
    Fails,
}

/// A test of a text by another one.
#[derive(Clone, Copy, Debug)]
pub(super) enum TextTest {
    Prefix,
    NamePrefix,
    NameSuffix,
}

impl Expression {
    /// Its value for what is in the slots.
    pub(super) fn evaluate<'f>(
        &'f self,
        frame: &mut Frame<'f>,
    ) -> Result<Value<'f>, EvaluationError> {
        match self {
            Self::Constant(constant) => Ok(Value::from(constant)),
            Self::Slot(slot) => Ok(frame.slots[*slot].clone()),
            Self::Not(of) => Ok(Value::Bool(!of.holds(frame)?)),
            Self::Length(of) => operators::length(&of.evaluate(frame)?),
            Self::TypeOf(of) => Ok(Value::text(operators::type_of(&of.evaluate(frame)?))),
            Self::Binary(operator, of) => {
                let (left, right) = both(of, frame)?;
                operators::binary(operator, left, right)
            }
            Self::And(of) => {
                if of[0].holds(frame)? {
                    of[1].evaluate(frame)
                } else {
                    Ok(Value::Bool(false))
                }
            }
            Self::Or(of) => {
                if of[0].holds(frame)? {
                    Ok(Value::Bool(true))
                } else {
                    of[1].evaluate(frame)
                }
            }
            Self::Members(of, slot, decisive) => {
                let whole = of[0].evaluate(frame)?;
                each(&whole, &of[1], *slot, *decisive, frame)
            }
            Self::TryOr(of) => {
                let instead = of[1].evaluate(frame)?;
                match of[0].evaluate(frame) {
                    Err(EvaluationError::Undefined) => Ok(instead),
                    other => other,
                }
            }
            Self::Matches(of, pattern) => match of.evaluate(frame)? {
                Value::Text(text) => Ok(Value::Bool(pattern.is_match(&text))),
                _ => Err(EvaluationError::Undefined),
            },
            Self::Text(test, of) => test_text(*test, of, frame),
            Self::NameContains(of) => {
                let (left, right) = both(of, frame)?;
                operators::name_contains(&left, &right)
            }
            Self::NameMatches(of, pattern) => match of.evaluate(frame)? {
                Value::Text(name) => told(pattern.matches(&name)),
                _ => Err(EvaluationError::Undefined),
            },
            Self::Fails => Err(EvaluationError::Undefined),
        }
    }

    /// Whether it holds: it has to be `true` or `false`.
    pub(super) fn holds<'f>(&'f self, frame: &mut Frame<'f>) -> Result<bool, EvaluationError> {
        match self.evaluate(frame)? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(EvaluationError::Undefined),
        }
    }
}

fn both<'f>(
    of: &'f [Expression; 2],
    frame: &mut Frame<'f>,
) -> Result<(Value<'f>, Value<'f>), EvaluationError> {
    Ok((of[0].evaluate(frame)?, of[1].evaluate(frame)?))
}

fn told<'f>(result: Result<bool, &'static str>) -> Result<Value<'f>, EvaluationError> {
    result
        .map(Value::Bool)
        .map_err(|_| EvaluationError::Undefined)
}

fn test_text<'f>(
    test: TextTest,
    of: &'f [Expression; 2],
    frame: &mut Frame<'f>,
) -> Result<Value<'f>, EvaluationError> {
    match (test, both(of, frame)?) {
        (TextTest::Prefix, (Value::Text(text), Value::Text(prefix))) => {
            told(patterns::starts_with(&text, &prefix))
        }
        (TextTest::Prefix, (Value::Array(array), Value::Array(prefix))) => {
            Ok(Value::Bool(operators::array_starts_with(&array, &prefix)))
        }
        (TextTest::NamePrefix, (Value::Text(name), Value::Text(prefix))) => {
            told(patterns::name_starts_with(&name, &prefix))
        }
        (TextTest::NameSuffix, (Value::Text(name), Value::Text(suffix))) => {
            told(patterns::name_ends_with(&name, &suffix))
        }
        _ => Err(EvaluationError::Undefined),
    }
}

/// Whether `asked` comes to `wanted` for one member; else the contrary.
fn each<'f>(
    whole: &Value<'f>,
    asked: &'f Expression,
    slot: usize,
    wanted: bool,
    frame: &mut Frame<'f>,
) -> Result<Value<'f>, EvaluationError> {
    let mut is_wanted = |member: Value<'f>| {
        frame.step()?;
        frame.slots[slot] = member;
        Ok(asked.holds(frame)? == wanted)
    };
    match whole {
        Value::Array(array) => {
            for member in array.elements() {
                if is_wanted(member)? {
                    return Ok(Value::Bool(wanted));
                }
            }
            Ok(Value::Bool(!wanted))
        }
        Value::Set(set) => in_any_order(wanted, set.len(), |at| {
            // A set that was made here is gone after the question.
            let member = operators::member(set, at).ok_or(EvaluationError::Unsure)?;
            is_wanted(member)
        }),
        Value::Map(map) => {
            let mut entries = map.entries();
            in_any_order(wanted, map.len(), |_| {
                let (key, value) = entries.next().ok_or(EvaluationError::Unsure)?;
                is_wanted(Value::Array(Array::Entry(Rc::new([key, value]))))
            })
        }
        _ => Err(EvaluationError::Undefined),
    }
}

/// The reference goes through sets and maps in the order in which it met their texts. Where some
/// members decide and others fail, that order decides.
fn in_any_order<'f>(
    wanted: bool,
    count: usize,
    mut is_wanted: impl FnMut(usize) -> Result<bool, EvaluationError>,
) -> Result<Value<'f>, EvaluationError> {
    let (mut found, mut failed) = (false, false);
    for at in 0..count {
        match is_wanted(at) {
            Ok(is_it) => found |= is_it,
            Err(EvaluationError::Undefined) => failed = true,
            Err(EvaluationError::Unsure) => return Err(EvaluationError::Unsure),
        }
    }
    match (found, failed) {
        (true, true) => Err(EvaluationError::Unsure),
        (false, true) => Err(EvaluationError::Undefined),
        (found, false) => Ok(Value::Bool(found == wanted)),
    }
}
