//! Turns statements into what is evaluated: variables become slots, names of facts relations, conditions
//! trees. Says why where it can't.

use std::collections::BTreeMap;

use biscuit_auth::builder::{Binary, Op, Predicate, Rule, Term, Unary};
use regex::Regex;

use super::expression::{Expression, TextTest};
use super::frame::SLOTS;
use super::relation::{Atom, Pattern, Relations};
use crate::policy::rules::patterns::{self, NamePattern};
use crate::policy::rules::value::Constant;

/// Why a statement is left to the reference.
pub(in crate::policy::rules) type Uncovered = &'static str;

/// A statement that is not compiled, by its number among those of its kind, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy::rules) enum NotCompiled {
    Rule(usize, Uncovered),
    Check(usize, Uncovered),
    Policy(usize, Uncovered),
    Fact(usize, Uncovered),
}

/// Facts that have to be there, and what has to hold of them.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) body: Vec<Atom>,
    pub(super) conditions: Vec<Expression>,
    /// So many slots have a use in it.
    pub(super) slots: usize,
}

/// How deep a condition may go, and how many facts a statement may join: evaluation recurses.
const DEEPEST: usize = 64;

const TOO_DEEP: Uncovered = "it is nested too deeply";
const MANY_VARIABLES: Uncovered = "it has too many variables";
pub(super) const VARIABLE_WITHIN: Uncovered = "there is a variable or parameter within a value";
const UNKNOWN_FACT: Uncovered = "it asks for a fact that is not compiled";
const UNKNOWN_OPERATION: Uncovered = "it has an operation that is not compiled";

/// The variables of one statement.
#[derive(Default)]
struct Scope<'r> {
    slots: BTreeMap<&'r str, usize>,
    used: usize,
}

impl<'r> Scope<'r> {
    fn slot(&mut self) -> Result<usize, Uncovered> {
        self.used += 1;
        if self.used > SLOTS {
            Err(MANY_VARIABLES)
        } else {
            Ok(self.used - 1)
        }
    }

    /// What a term of the body asks for: the first place of a variable binds it.
    fn pattern(&mut self, term: &'r Term) -> Result<Pattern, Uncovered> {
        let Term::Variable(name) = term else {
            return constant(term).map(Pattern::Is);
        };
        if let Some(slot) = self.slots.get(name.as_str()) {
            return Ok(Pattern::Same(*slot));
        }
        let slot = self.slot()?;
        self.slots.insert(name, slot);
        Ok(Pattern::Bind(slot))
    }

    fn atom(&mut self, predicate: &'r Predicate, known: &Relations) -> Result<Atom, Uncovered> {
        let (name, arity) = (predicate.name.as_str(), predicate.terms.len());
        let relation = known.named(name, arity).ok_or(UNKNOWN_FACT)?;
        let terms = predicate.terms.iter().map(|term| self.pattern(term));
        Ok(Atom {
            relation,
            terms: terms.collect::<Result<_, _>>()?,
        })
    }
}

fn constant(term: &Term) -> Result<Constant, Uncovered> {
    Constant::from_term(term).ok_or(VARIABLE_WITHIN)
}

/// A body with its conditions, and what its head says.
pub(super) fn query(rule: &Rule, known: &Relations) -> Result<(Query, Vec<Pattern>), Uncovered> {
    if rule.body.len() > DEEPEST {
        return Err(TOO_DEEP);
    }
    let mut scope = Scope::default();
    let body = rule.body.iter().map(|atom| scope.atom(atom, known));
    let body = body.collect::<Result<_, _>>()?;
    let mut conditions = Vec::with_capacity(rule.expressions.len());
    for expression in &rule.expressions {
        conditions.push(whole(&expression.ops, &mut scope)?.0);
    }
    let bound = |term| match scope.pattern(term)? {
        Pattern::Bind(_) => Err(VARIABLE_WITHIN),
        pattern => Ok(pattern),
    };
    let head = rule.head.terms.iter().map(bound);
    let head = head.collect::<Result<_, _>>()?;
    let slots = scope.used;
    let query = Query {
        body,
        conditions,
        slots,
    };
    Ok((query, head))
}

/// What stands on the stack of Biscuit's evaluator, and how deep it goes.
enum Operand {
    Value(Expression, usize),
    /// What is evaluated where it is needed.
    Delayed(Expression, usize),
    /// What is asked of each member.
    Function(Expression, usize, usize),
    /// A function whose parameter is a variable already.
    Shadowing,
}

/// One condition: operations in the order of Biscuit's evaluator.
fn whole<'r>(ops: &'r [Op], scope: &mut Scope<'r>) -> Result<(Expression, usize), Uncovered> {
    let mut operands: Vec<Operand> = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let operand = match op {
            Op::Value(Term::Variable(name)) => {
                let slot = scope.slots.get(name.as_str()).ok_or(VARIABLE_WITHIN)?;
                Operand::Value(Expression::Slot(*slot), 1)
            }
            Op::Value(term) => Operand::Value(Expression::Constant(constant(term)?), 1),
            Op::Unary(operation) => unary(operation, operands.pop())?,
            Op::Closure(parameters, ops) => closure(parameters, ops, scope)?,
            Op::Binary(operation) => {
                let right = operands.pop().ok_or(UNKNOWN_OPERATION)?;
                let left = operands.pop().ok_or(UNKNOWN_OPERATION)?;
                binary(operation, left, right, ops.get(at.wrapping_sub(1)))?
            }
        };
        if matches!(&operand, Operand::Value(_, depth) if *depth > DEEPEST) {
            return Err(TOO_DEEP);
        }
        operands.push(operand);
    }
    match (operands.pop(), operands.is_empty()) {
        (Some(Operand::Value(expression, depth)), true) => Ok((expression, depth)),
        _ => Err(UNKNOWN_OPERATION),
    }
}

fn unary(operation: &Unary, operand: Option<Operand>) -> Result<Operand, Uncovered> {
    let Some(Operand::Value(of, depth)) = operand else {
        return Err(UNKNOWN_OPERATION);
    };
    let made = match operation {
        Unary::Parens => return Ok(Operand::Value(of, depth)),
        Unary::Negate => Expression::Not(Box::new(of)),
        Unary::Length => Expression::Length(Box::new(of)),
        Unary::TypeOf => Expression::TypeOf(Box::new(of)),
        Unary::Ffi(_) => return Err(UNKNOWN_OPERATION),
    };
    Ok(Operand::Value(made, depth + 1))
}

fn closure<'r>(
    parameters: &'r [String],
    ops: &'r [Op],
    scope: &mut Scope<'r>,
) -> Result<Operand, Uncovered> {
    match parameters {
        [] => whole(ops, scope).map(|(body, depth)| Operand::Delayed(body, depth)),
        [parameter] if scope.slots.contains_key(parameter.as_str()) => Ok(Operand::Shadowing),
        [parameter] => {
            let slot = scope.slot()?;
            scope.slots.insert(parameter, slot);
            let body = whole(ops, scope);
            scope.slots.remove(parameter.as_str());
            let (body, depth) = body?;
            Ok(Operand::Function(body, slot, depth))
        }
        _ => Err(UNKNOWN_OPERATION),
    }
}

fn binary(
    operation: &Binary,
    left: Operand,
    right: Operand,
    written: Option<&Op>,
) -> Result<Operand, Uncovered> {
    let (made, depth) = match (left, right) {
        (Operand::Value(left, one), Operand::Value(right, other)) => {
            let made = of_values(operation, left, right, written)?;
            (made, one.max(other))
        }
        (Operand::Value(left, one), Operand::Delayed(right, other)) => {
            let of = Box::new([left, right]);
            let made = match operation {
                Binary::LazyAnd => Expression::And(of),
                Binary::LazyOr => Expression::Or(of),
                _ => return Err(UNKNOWN_OPERATION),
            };
            (made, one.max(other))
        }
        (Operand::Delayed(left, one), Operand::Value(right, other))
            if *operation == Binary::TryOr =>
        {
            (Expression::TryOr(Box::new([left, right])), one.max(other))
        }
        (Operand::Value(left, one), Operand::Function(asked, slot, other)) => {
            let decisive = match operation {
                Binary::All => false,
                Binary::Any => true,
                _ => return Err(UNKNOWN_OPERATION),
            };
            let of = Box::new([left, asked]);
            (Expression::Members(of, slot, decisive), one.max(other))
        }
        (Operand::Value(..), Operand::Shadowing) => (Expression::Fails, 0),
        _ => return Err(UNKNOWN_OPERATION),
    };
    Ok(Operand::Value(made, depth + 1))
}

/// `written`: what stands right before the operation, for a pattern.
fn of_values(
    operation: &Binary,
    left: Expression,
    right: Expression,
    written: Option<&Op>,
) -> Result<Expression, Uncovered> {
    let pattern = match written {
        Some(Op::Value(Term::Str(pattern))) => Some(pattern.as_str()),
        _ => None,
    };
    let text = |test, left, right| Expression::Text(test, Box::new([left, right]));
    Ok(match operation {
        Binary::Regex => {
            // The lint took it, so it is one.
            let pattern = pattern.and_then(|pattern| Regex::new(pattern).ok());
            Expression::Matches(Box::new(left), pattern.ok_or(UNKNOWN_OPERATION)?)
        }
        Binary::Ffi(name) => match name.as_str() {
            patterns::STARTS_WITH => text(TextTest::Prefix, left, right),
            patterns::NAME_STARTS_WITH => text(TextTest::NamePrefix, left, right),
            patterns::NAME_ENDS_WITH => text(TextTest::NameSuffix, left, right),
            patterns::NAME_CONTAINS => Expression::NameContains(Box::new([left, right])),
            patterns::NAME_MATCHES => {
                let pattern = pattern.map(NamePattern::new).ok_or(UNKNOWN_OPERATION)?;
                Expression::NameMatches(Box::new(left), pattern)
            }
            _ => return Err(UNKNOWN_OPERATION),
        },
        Binary::LessThan
        | Binary::GreaterThan
        | Binary::LessOrEqual
        | Binary::GreaterOrEqual
        | Binary::Equal
        | Binary::NotEqual
        | Binary::HeterogeneousEqual
        | Binary::HeterogeneousNotEqual
        | Binary::Contains
        | Binary::Suffix
        | Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Div
        | Binary::Intersection
        | Binary::Union
        | Binary::BitwiseAnd
        | Binary::BitwiseOr
        | Binary::BitwiseXor
        | Binary::Get => Expression::Binary(operation.clone(), Box::new([left, right])),
        _ => return Err(UNKNOWN_OPERATION),
    })
}
