//! `MODTIER_<BINARY>_<PATH>`: a variable for every setting.

use serde_json::{Map, Value};

use super::document::from_yaml;
use super::error::{ConfigError, Origins};
use super::shape::{Kind, Shape};
use super::walk::{best, flag_of};

/// The variable of the setting at `path`.
pub(super) fn variable_of(binary: &str, path: &str) -> String {
    let path: String = path
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' })
        .collect();
    format!("MODTIER_{}_{path}", binary.to_ascii_uppercase())
}

/// What the environment is read against.
pub(super) struct Overrides<'a> {
    pub(super) binary: &'a str,
    pub(super) shape: &'a Shape,
    /// The defaults as a value: what a group, map or list holds before one entry of it is set.
    pub(super) defaults: &'a Value,
    pub(super) aliases: &'a [super::Alias<'a>],
}

impl Overrides<'_> {
    /// Writes every variable of ours into `value` and says which key each has set.
    pub(super) fn apply(
        &self,
        env: impl IntoIterator<Item = (String, String)>,
        value: &mut Value,
    ) -> Result<Origins, ConfigError> {
        let mut known: Vec<(String, String)> =
            self.shape.leaves().into_iter().map(|(path, _)| (variable_of(self.binary, &path), path)).collect();
        known.extend(self.aliases.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())));
        let prefix = format!("MODTIER_{}_", self.binary.to_ascii_uppercase());
        let mut origins = Origins::new();
        let mut env: Vec<(String, String)> = env.into_iter().collect();
        env.sort();
        for (name, text) in env {
            let Some((_, path)) = known.iter().find(|(known, _)| *known == name) else {
                if name.starts_with(&prefix) {
                    let nearest = best(
                        known
                            .iter()
                            .map(|(known, _)| (strsim::normalized_damerau_levenshtein(known, &name), known.clone())),
                    );
                    return Err(ConfigError::UnknownVariable { name, nearest });
                }
                continue;
            };
            if path.is_empty() {
                continue;
            }
            self.set(value, path, &text)
                .map_err(|message| ConfigError::BadValue { place: format!("variable {name}"), message })?;
            origins.push((written(self.shape, path), name));
        }
        Ok(origins)
    }

    fn set(&self, value: &mut Value, path: &str, text: &str) -> Result<(), String> {
        let (mut place, mut shape, mut default) = (value, self.shape, self.defaults);
        for segment in path.split('.') {
            if place.is_null() {
                *place = match default {
                    Value::Object(_) | Value::Array(_) => default.clone(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Object(Map::new()),
                };
            }
            shape = shape.below(segment).ok_or_else(|| format!("there is no key \"{path}\""))?;
            (place, default) = match place {
                Value::Object(object) => (object.entry(segment).or_insert(Value::Null), &default[segment]),
                Value::Array(array) => {
                    let index: usize = segment.parse().map_err(|_| format!("there is no key \"{path}\""))?;
                    (array.get_mut(index).ok_or_else(|| format!("there is no key \"{path}\""))?, &Value::Null)
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(format!("sets \"{path}\", but the file has a plain value above it"));
                }
            };
        }
        *place = value_of(text, shape)?;
        Ok(())
    }
}

/// The path as messages write it: list entries in brackets.
fn written(shape: &Shape, path: &str) -> String {
    let (mut shape, mut out) = (Some(shape), String::new());
    for segment in path.split('.') {
        if matches!(shape.map(|shape| &shape.kind), Some(Kind::List(_))) {
            out = format!("{out}[{segment}]");
        } else {
            out = super::shape::join(&out, segment);
        }
        shape = shape.and_then(|shape| shape.below(segment));
    }
    out
}

/// A variable's text as the type of its setting. Lists are `[a, b]` or `a,b`; lists of groups and maps are YAML.
fn value_of(text: &str, shape: &Shape) -> Result<Value, String> {
    if shape.nullable && text.is_empty() {
        return Ok(Value::Null);
    }
    match &shape.kind {
        Kind::Text { .. } | Kind::Choice(_) => Ok(Value::String(text.to_owned())),
        Kind::Bool => flag_of(text).map(Value::Bool).ok_or_else(|| format!("expected true or false, found \"{text}\"")),
        Kind::Integer => match (text.parse::<u64>(), text.parse::<i64>()) {
            (Ok(number), _) => Ok(Value::from(number)),
            (Err(_), Ok(number)) => Ok(Value::from(number)),
            (Err(_), Err(_)) => Err(format!("expected a whole number, found \"{text}\"")),
        },
        Kind::Number => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| format!("expected a number, found \"{text}\"")),
        Kind::List(items) => list_of(text, items),
        Kind::Struct(_) | Kind::Map(_) | Kind::Any => from_yaml(text),
    }
}

fn list_of(text: &str, items: &Shape) -> Result<Value, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    let plain = !matches!(items.kind, Kind::Struct(_) | Kind::Map(_) | Kind::List(_));
    if plain && !text.starts_with('[') && !text.starts_with("- ") && !text.contains('\n') {
        return text.split(',').map(|item| value_of(item.trim(), items)).collect::<Result<_, _>>().map(Value::Array);
    }
    from_yaml(text)
}
