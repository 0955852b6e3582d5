//! YAML text to a JSON value: the same tree for the file, for variables and for the schema walk.

use serde_json::{Map, Number, Value};

use super::error::ConfigError;

/// Reads a configuration file; an empty one is an empty mapping. A key that stands twice is refused.
pub(super) fn read(file: &str, text: &str) -> Result<Value, ConfigError> {
    let syntax = |message: String| ConfigError::Syntax { file: file.to_owned(), message };
    match from_yaml(text).map_err(syntax)? {
        Value::Null => Ok(Value::Object(Map::new())),
        value @ Value::Object(_) => Ok(value),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(syntax("expected keys and values at the top of the file".to_owned()))
        }
    }
}

/// Any YAML value as JSON.
pub(super) fn from_yaml(text: &str) -> Result<Value, String> {
    // By way of YAML's own value, whose mappings refuse a duplicate key; JSON's would keep the last one.
    let yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    convert(yaml)
}

fn convert(yaml: serde_yaml::Value) -> Result<Value, String> {
    Ok(match yaml {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(flag) => Value::Bool(flag),
        serde_yaml::Value::Number(number) => number_of(&number)?,
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Sequence(items) => Value::Array(items.into_iter().map(convert).collect::<Result<_, _>>()?),
        serde_yaml::Value::Mapping(mapping) => {
            let mut object = Map::new();
            for (key, value) in mapping {
                object.insert(key_of(key)?, convert(value)?);
            }
            Value::Object(object)
        }
        serde_yaml::Value::Tagged(tagged) => return Err(format!("the tag {} has no meaning here", tagged.tag)),
    })
}

fn number_of(number: &serde_yaml::Number) -> Result<Value, String> {
    if let Some(whole) = number.as_u64() {
        return Ok(Value::from(whole));
    }
    if let Some(whole) = number.as_i64() {
        return Ok(Value::from(whole));
    }
    number
        .as_f64()
        .and_then(Number::from_f64)
        .map(Value::Number)
        .ok_or_else(|| format!("{number} is not a number that can be used"))
}

fn key_of(key: serde_yaml::Value) -> Result<String, String> {
    match key {
        serde_yaml::Value::String(text) => Ok(text),
        serde_yaml::Value::Bool(flag) => Ok(flag.to_string()),
        serde_yaml::Value::Number(number) => Ok(number.to_string()),
        serde_yaml::Value::Null
        | serde_yaml::Value::Sequence(_)
        | serde_yaml::Value::Mapping(_)
        | serde_yaml::Value::Tagged(_) => Err("a key must be text".to_owned()),
    }
}
