//! The walk of a value against its shape, before serde sees it: unknown keys and wrong types, named by their path.

use serde_json::Value;

use super::error::{ConfigError, Origins};
use super::shape::{Kind, Shape, join};

/// What the walk found, at which key.
#[derive(Debug)]
pub(super) enum Problem {
    /// No setting has this key.
    Unknown { key: String, nearest: String },
    /// Something of another type stands here.
    Type { key: String, message: String },
}

impl Problem {
    pub(super) fn into_error(self, file: &str, origins: &Origins) -> ConfigError {
        match self {
            Self::Unknown { key, nearest } => ConfigError::unknown_key(file, origins, key, nearest),
            Self::Type { key, message } => ConfigError::bad_value(file, origins, &key, &message),
        }
    }
}

/// Checks the whole value; turns the words `on` and `off` into booleans where one belongs.
pub(super) fn check(value: &mut Value, shape: &Shape) -> Result<(), Problem> {
    Walk { root: shape }.step(value, shape, "")
}

struct Walk<'a> {
    root: &'a Shape,
}

impl Walk<'_> {
    fn step(&self, value: &mut Value, shape: &Shape, path: &str) -> Result<(), Problem> {
        let wrong = |expected: &str, value: &Value| Problem::Type {
            key: path.to_owned(),
            message: format!("expected {expected}, found {}", name_of(value)),
        };
        if value.is_null() && shape.nullable {
            return Ok(());
        }
        match &shape.kind {
            Kind::Any => Ok(()),
            Kind::Struct(fields) => {
                let Value::Object(object) = value else { return Err(wrong("keys and values", value)) };
                for (name, inner) in object {
                    let key = join(path, name);
                    let Some(field) = fields.get(name) else {
                        let nearest = self.nearest(path, name, fields.keys());
                        return Err(Problem::Unknown { key, nearest });
                    };
                    self.step(inner, field, &key)?;
                }
                Ok(())
            }
            Kind::Map(values) => {
                let Value::Object(object) = value else { return Err(wrong("keys and values", value)) };
                object.iter_mut().try_for_each(|(name, inner)| self.step(inner, values, &join(path, name)))
            }
            Kind::List(items) => {
                let Value::Array(array) = value else { return Err(wrong("a list", value)) };
                array
                    .iter_mut()
                    .enumerate()
                    .try_for_each(|(index, inner)| self.step(inner, items, &format!("{path}[{index}]")))
            }
            Kind::Bool => {
                if let Some(flag) = value.as_str().and_then(flag_of) {
                    *value = Value::Bool(flag);
                }
                if value.is_boolean() { Ok(()) } else { Err(wrong("true or false", value)) }
            }
            Kind::Integer => {
                if value.is_u64() || value.is_i64() {
                    Ok(())
                } else {
                    Err(wrong("a whole number", value))
                }
            }
            Kind::Number => {
                if value.is_number() {
                    Ok(())
                } else {
                    Err(wrong("a number", value))
                }
            }
            Kind::Text { or_number, .. } => {
                if value.is_string() || (*or_number && value.is_number()) {
                    Ok(())
                } else {
                    Err(wrong("text", value))
                }
            }
            Kind::Choice(words) => choice(value, words).map_err(|expected| wrong(&expected, value)),
        }
    }

    /// The key most like the unknown one: among its siblings by name, in the whole tree by path.
    fn nearest<'k>(&self, path: &str, name: &str, siblings: impl Iterator<Item = &'k String>) -> String {
        let key = join(path, name);
        let beside =
            siblings.map(|sibling| (strsim::normalized_damerau_levenshtein(sibling, name), join(path, sibling)));
        let anywhere = self.root.leaves().into_iter().map(|(leaf, _)| {
            let last = leaf.rsplit('.').next().unwrap_or(&leaf);
            // A key in the wrong group counts for less than a misspelt one in the right group.
            let moved = 0.8 * strsim::normalized_damerau_levenshtein(last, name);
            (moved.max(strsim::normalized_damerau_levenshtein(&leaf, &key)), leaf)
        });
        best(beside.chain(anywhere))
    }
}

/// The candidate with the highest score; the first of equals.
pub(super) fn best(candidates: impl Iterator<Item = (f64, String)>) -> String {
    candidates.reduce(|best, next| if next.0 > best.0 { next } else { best }).map_or_else(String::new, |(_, name)| name)
}

/// The words that stand for a boolean.
pub(super) fn flag_of(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// YAML reads `off` as text but `true` as a flag: a word among the choices may arrive as either.
fn choice(value: &mut Value, words: &[String]) -> Result<(), String> {
    if let Value::Bool(flag) = value {
        *value = Value::String(flag.to_string());
    }
    match value.as_str() {
        Some(word) if words.iter().any(|known| known == word) => Ok(()),
        Some(_) | None => Err(format!("one of {}", words.join(", "))),
    }
}

/// What stands there, for a message. Numbers, flags and short words are quoted; they are no secrets where they are wrong.
fn name_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.len() <= 40 => format!("\"{text}\""),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "keys and values".to_owned(),
    }
}
