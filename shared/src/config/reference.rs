//! The reference page and the JSON Schema, generated from the declarations.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::env::variable_of;
use super::shape::{Kind, Shape, join, of, schema};

/// A Markdown table of every setting: key, variable, type, default, meaning.
pub fn reference_markdown<T: Serialize + Default + JsonSchema>(binary: &str) -> String {
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let mut page =
        format!("## modtier-{binary}\n\n| key | variable | type | default | meaning |\n|---|---|---|---|---|\n");
    rows(&mut page, &Scope { binary: Some(binary), defaults: Some(&defaults) }, &of::<T>(), "");
    page
}

/// The JSON Schema (2020-12) of a configuration file, for editors.
pub fn json_schema<T: JsonSchema>() -> String {
    let mut text = serde_json::to_string_pretty(&schema::<T>()).unwrap_or_default();
    text.push('\n');
    text
}

/// Where a row stands: inside a list or map there is no variable and the defaults are those of one entry.
struct Scope<'a> {
    binary: Option<&'a str>,
    defaults: Option<&'a Value>,
}

fn rows(page: &mut String, scope: &Scope<'_>, shape: &Shape, path: &str) {
    if let Kind::Struct(fields) = &shape.kind
        && !fields.is_empty()
    {
        for (name, field) in fields {
            let inner = Scope { binary: scope.binary, defaults: scope.defaults.map(|defaults| &defaults[name]) };
            rows(page, &inner, field, &join(path, name));
        }
        return;
    }
    let variable = scope.binary.map_or_else(String::new, |binary| format!("`{}`", variable_of(binary, path)));
    let default = scope.defaults.or(shape.default.as_ref()).map_or_else(String::new, default_of).replace('|', "\\|");
    let meaning = shape.description.replace('|', "\\|");
    // Writing to a String cannot fail.
    let _ =
        writeln!(page, "| `{path}` | {variable} | {} | {default} | {meaning} |", type_of(shape).replace('|', "\\|"));
    let (entry, below) = match &shape.kind {
        Kind::List(items) => (items, format!("{path}[]")),
        Kind::Map(values) => (values, format!("{path}.<name>")),
        Kind::Struct(_)
        | Kind::Bool
        | Kind::Integer
        | Kind::Number
        | Kind::Text { .. }
        | Kind::Choice(_)
        | Kind::Any => return,
    };
    if matches!(entry.kind, Kind::Struct(_)) {
        rows(page, &Scope { binary: None, defaults: None }, entry, &below);
    }
}

fn type_of(shape: &Shape) -> String {
    match &shape.kind {
        Kind::Struct(_) => "group".to_owned(),
        Kind::Map(values) => format!("map of {}", type_of(values)),
        Kind::List(items) => format!("list of {}", type_of(items)),
        Kind::Bool => "true or false".to_owned(),
        Kind::Integer => "whole number".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Text { format: Some(format), .. } if format == "byte-size" => "size".to_owned(),
        Kind::Text { format: Some(format), .. } if format == "period" => "duration".to_owned(),
        Kind::Text { .. } => "text".to_owned(),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        Kind::Any => "value".to_owned(),
    }
}

fn default_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::String(text) => format!("`{text}`"),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            format!("`{}`", value.to_string().replace('|', "\\|"))
        }
    }
}
