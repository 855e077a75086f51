//! What operators of Datalog make of values, as Biscuit's evaluation has it.

use std::borrow::Cow;

use biscuit_auth::builder::Binary;

use super::frame::EvaluationError;
use crate::policy::rules::patterns;
use crate::policy::rules::value::{Array, Constant, Value, includes};

/// Of two values.
pub(super) fn binary<'f>(
    operator: &Binary,
    left: Value<'f>,
    right: Value<'f>,
) -> Result<Value<'f>, EvaluationError> {
    match operator {
        Binary::Equal | Binary::NotEqual => {
            let equal = left.equals(&right).ok_or(EvaluationError::Undefined)?;
            Ok(Value::Bool(equal == (*operator == Binary::Equal)))
        }
        Binary::HeterogeneousEqual => Ok(Value::Bool(left.is(&right))),
        Binary::HeterogeneousNotEqual => Ok(Value::Bool(!left.is(&right))),
        Binary::LessThan | Binary::GreaterThan | Binary::LessOrEqual | Binary::GreaterOrEqual => {
            compare(operator, &left, &right)
        }
        Binary::Contains => contains(&left, &right),
        Binary::Suffix => ends_with(&left, &right),
        Binary::Get => get(&left, &right),
        Binary::Intersection | Binary::Union => combine(operator, &left, &right),
        _ => calculate(operator, left, right),
    }
}

fn compare<'f>(
    operator: &Binary,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<Value<'f>, EvaluationError> {
    let order = match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
        (Value::Date(left), Value::Date(right)) => left.cmp(right),
        _ => return Err(EvaluationError::Undefined),
    };
    Ok(Value::Bool(match operator {
        Binary::LessThan => order.is_lt(),
        Binary::GreaterThan => order.is_gt(),
        Binary::LessOrEqual => order.is_le(),
        _ => order.is_ge(),
    }))
}

fn calculate<'f>(
    operator: &Binary,
    left: Value<'f>,
    right: Value<'f>,
) -> Result<Value<'f>, EvaluationError> {
    let (left, right) = match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => (left, right),
        (Value::Text(left), Value::Text(right)) if *operator == Binary::Add => {
            return Ok(Value::Text(Cow::Owned(left.into_owned() + &right)));
        }
        _ => return Err(EvaluationError::Undefined),
    };
    let result = match operator {
        Binary::Add => left.checked_add(right),
        Binary::Sub => left.checked_sub(right),
        Binary::Mul => left.checked_mul(right),
        Binary::Div => left.checked_div(right),
        Binary::BitwiseAnd => Some(left & right),
        Binary::BitwiseOr => Some(left | right),
        Binary::BitwiseXor => Some(left ^ right),
        _ => None,
    };
    result.map(Value::Integer).ok_or(EvaluationError::Undefined)
}

fn contains<'f>(whole: &Value<'_>, part: &Value<'_>) -> Result<Value<'f>, EvaluationError> {
    Ok(Value::Bool(match (whole, part) {
        (Value::Text(whole), Value::Text(part)) => whole.contains(&**part),
        (Value::Set(_), Value::Null | Value::Array(_) | Value::Map(_)) => {
            return Err(EvaluationError::Undefined);
        }
        (Value::Set(_) | Value::Array(_), _) => has(whole, part),
        (Value::Map(map), key) => map.get(key).is_some(),
        _ => return Err(EvaluationError::Undefined),
    }))
}

/// Whether a set or an array has a member, or a set all members of another one.
fn has(whole: &Value<'_>, part: &Value<'_>) -> bool {
    match (whole, part) {
        (Value::Set(whole), Value::Set(part)) => includes(whole, part),
        (Value::Set(whole), part) => whole.iter().any(|member| Value::from(member).is(part)),
        (Value::Array(whole), part) => whole.elements().any(|member| member.is(part)),
        _ => false,
    }
}

/// `contains` over a name, in all its readings. Of a collection the names that it has.
pub(super) fn name_contains<'f>(
    whole: &Value<'_>,
    part: &Value<'_>,
) -> Result<Value<'f>, EvaluationError> {
    Ok(Value::Bool(match (whole, part) {
        (Value::Text(whole), Value::Text(part)) => {
            patterns::name_contains(whole, part).map_err(|_| EvaluationError::Undefined)?
        }
        (Value::Set(_) | Value::Array(_), part) => has(whole, part),
        (Value::Map(map), Value::Text(_)) => map.get(part).is_some(),
        _ => return Err(EvaluationError::Undefined),
    }))
}

fn ends_with<'f>(whole: &Value<'_>, end: &Value<'_>) -> Result<Value<'f>, EvaluationError> {
    match (whole, end) {
        (Value::Text(whole), Value::Text(end)) => Ok(Value::Bool(whole.ends_with(&**end))),
        (Value::Array(whole), Value::Array(end)) => {
            let (length, of_end) = (whole.len(), end.len());
            let is_so = length >= of_end && {
                let last = whole.elements().skip(length - of_end);
                last.zip(end.elements()).all(|(one, other)| one.is(&other))
            };
            Ok(Value::Bool(is_so))
        }
        _ => Err(EvaluationError::Undefined),
    }
}

pub(super) fn array_starts_with(whole: &Array<'_>, start: &Array<'_>) -> bool {
    let mut both = whole.elements().zip(start.elements());
    whole.len() >= start.len() && both.all(|(one, other)| one.is(&other))
}

/// Where nothing stands there, `null`.
fn get<'f>(whole: &Value<'f>, key: &Value<'f>) -> Result<Value<'f>, EvaluationError> {
    let found = match (whole, key) {
        (Value::Array(array), Value::Integer(index)) => usize::try_from(*index)
            .ok()
            .and_then(|index| array.get(index)),
        (Value::Map(map), Value::Integer(_) | Value::Text(_)) => map.get(key),
        _ => return Err(EvaluationError::Undefined),
    };
    Ok(found.unwrap_or(Value::Null))
}

fn combine<'f>(
    operator: &Binary,
    left: &Value<'f>,
    right: &Value<'f>,
) -> Result<Value<'f>, EvaluationError> {
    let (Value::Set(left), Value::Set(right)) = (left, right) else {
        return Err(EvaluationError::Undefined);
    };
    let is_common = |member: &&Constant| right.contains(member);
    let made: Vec<Constant> = match operator {
        Binary::Intersection => left.iter().filter(is_common).cloned().collect(),
        _ => {
            let others = right.iter().filter(|member| !left.contains(member));
            left.iter().chain(others).cloned().collect()
        }
    };
    Ok(Value::Set(Cow::Owned(made)))
}

/// A member of a set, as a value that outlasts the set. `None`: of one that was just made, a
/// collection.
pub(super) fn member<'f>(set: &Cow<'f, [Constant]>, at: usize) -> Option<Value<'f>> {
    match set {
        Cow::Borrowed(set) => set.get(at).map(Value::from),
        Cow::Owned(set) => match set.get(at)? {
            Constant::Null => Some(Value::Null),
            Constant::Bool(value) => Some(Value::Bool(*value)),
            Constant::Integer(number) => Some(Value::Integer(*number)),
            Constant::Date(seconds) => Some(Value::Date(*seconds)),
            Constant::Text(text) => Some(Value::Text(Cow::Owned(text.clone()))),
            _ => None,
        },
    }
}

/// Of a text in bytes, of a collection in members.
pub(super) fn length<'f>(of: &Value<'_>) -> Result<Value<'f>, EvaluationError> {
    let length = match of {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Set(set) => set.len(),
        Value::Array(array) => array.len(),
        Value::Map(map) => map.len(),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Date(_) => {
            return Err(EvaluationError::Undefined);
        }
    };
    i64::try_from(length)
        .map(Value::Integer)
        .map_err(|_| EvaluationError::Unsure)
}

pub(super) const fn type_of(of: &Value<'_>) -> &'static str {
    match of {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Integer(_) => "integer",
        Value::Date(_) => "date",
        Value::Text(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::Set(_) => "set",
        Value::Array(_) => "array",
        Value::Map(_) => "map",
    }
}
