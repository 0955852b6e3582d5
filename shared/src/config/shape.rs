//! The JSON Schema of a configuration, reduced to what the walk, the environment and the reference page need.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// One setting, or a group of them.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// Whether `null` (nothing) may stand here.
    pub(super) nullable: bool,
    /// The doc comment of the field, in one line.
    pub(super) description: String,
    /// The default that the schema names.
    pub(super) default: Option<Value>,
}

/// What may stand at a place.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Named settings.
    Struct(BTreeMap<String, Shape>),
    /// Free names, each with the same kind of value.
    Map(Box<Shape>),
    /// A list.
    List(Box<Shape>),
    /// true or false; also on and off.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Text. `format` names what kind ("duration"); `or_number` accepts a plain number too.
    Text { format: Option<String>, or_number: bool },
    /// One of these words.
    Choice(Vec<String>),
    /// Several forms; serde decides.
    Any,
}

/// The shape of a configuration type.
pub(super) fn of<T: JsonSchema>() -> Shape {
    from_schema(&schema::<T>())
}

/// The JSON Schema of a configuration type, with every part in place instead of behind a reference.
pub(super) fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn from_schema(schema: &Value) -> Shape {
    let mut shape = Shape {
        kind: Kind::Any,
        nullable: false,
        description: schema["description"]
            .as_str()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        default: schema.get("default").cloned(),
    };
    let mut forms = Vec::new();
    if schema.get("properties").is_some()
        || schema.get("type").is_some()
        || schema.get("enum").is_some()
        || schema.get("const").is_some()
    {
        forms.push(plain(schema, &mut shape.nullable));
    }
    for alternative in ["anyOf", "oneOf", "allOf"].iter().filter_map(|word| schema.get(*word)?.as_array()).flatten() {
        if alternative["type"] == "null" {
            shape.nullable = true;
            continue;
        }
        let inner = from_schema(alternative);
        shape.nullable |= inner.nullable;
        if shape.description.is_empty() && !matches!(inner.kind, Kind::Choice(_)) {
            shape.description = inner.description;
        }
        forms.push(inner.kind);
    }
    shape.kind = forms.into_iter().reduce(merge).unwrap_or(Kind::Any);
    if let Kind::Choice(words) = &mut shape.kind {
        // The schema lists documented words apart from the others; messages and the page want one order.
        words.sort_unstable();
    }
    shape
}

/// The kind that a schema's own `type`, `enum`, `properties` say.
fn plain(schema: &Value, nullable: &mut bool) -> Kind {
    if let Some(word) = schema["const"].as_str() {
        return Kind::Choice(vec![word.to_owned()]);
    }
    if let Some(words) = schema["enum"].as_array() {
        *nullable |= words.iter().any(Value::is_null);
        return Kind::Choice(words.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    let mut types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec!["object"],
    };
    if types.contains(&"null") {
        *nullable = true;
        types.retain(|name| *name != "null");
    }
    let format = schema["format"].as_str().map(str::to_owned);
    match types.as_slice() {
        ["object"] => object(schema),
        ["array"] => Kind::List(Box::new(schema.get("items").map_or_else(any, from_schema))),
        ["boolean"] => Kind::Bool,
        ["integer"] => Kind::Integer,
        ["number"] => Kind::Number,
        ["string"] => Kind::Text { format, or_number: false },
        several if several.contains(&"string") => Kind::Text { format, or_number: true },
        _ => Kind::Any,
    }
}

fn object(schema: &Value) -> Kind {
    match (schema["properties"].as_object(), schema.get("additionalProperties")) {
        (Some(fields), _) => {
            Kind::Struct(fields.iter().map(|(name, field)| (name.clone(), from_schema(field))).collect())
        }
        (None, Some(values)) if values.is_object() => Kind::Map(Box::new(from_schema(values))),
        (None, Some(Value::Bool(false))) => Kind::Struct(BTreeMap::new()),
        (None, _) => Kind::Map(Box::new(any())),
    }
}

fn any() -> Shape {
    Shape { kind: Kind::Any, nullable: true, description: String::new(), default: None }
}

/// Two forms of one place: the variants of a tagged enum become one struct with the keys of all; words add up.
fn merge(left: Kind, right: Kind) -> Kind {
    match (left, right) {
        (Kind::Struct(mut fields), Kind::Struct(others)) => {
            for (name, other) in others {
                match fields.remove(&name) {
                    Some(field) => {
                        let kind = merge(field.kind.clone(), other.kind);
                        fields.insert(name, Shape { kind, ..field });
                    }
                    None => {
                        fields.insert(name, other);
                    }
                }
            }
            Kind::Struct(fields)
        }
        (Kind::Choice(mut words), Kind::Choice(others)) => {
            words.extend(others.into_iter().filter(|word| !words.contains(word)).collect::<Vec<_>>());
            Kind::Choice(words)
        }
        (Kind::Text { format, or_number }, Kind::Text { or_number: other, .. }) => {
            Kind::Text { format, or_number: or_number || other }
        }
        (Kind::List(items), Kind::List(_)) => Kind::List(items),
        (Kind::Map(values), Kind::Map(_)) => Kind::Map(values),
        (Kind::Bool, Kind::Bool) => Kind::Bool,
        (Kind::Integer, Kind::Integer) => Kind::Integer,
        (Kind::Number | Kind::Integer, Kind::Number) | (Kind::Number, Kind::Integer) => Kind::Number,
        _ => Kind::Any,
    }
}

impl Shape {
    /// Every setting that can be set by one variable, with its path: all but the groups.
    pub(super) fn leaves(&self) -> Vec<(String, &Self)> {
        fn collect<'a>(shape: &'a Shape, path: &str, leaves: &mut Vec<(String, &'a Shape)>) {
            match &shape.kind {
                Kind::Struct(fields) if !fields.is_empty() => {
                    for (name, field) in fields {
                        collect(field, &join(path, name), leaves);
                    }
                }
                _ => leaves.push((path.to_owned(), shape)),
            }
        }
        let mut leaves = Vec::new();
        collect(self, "", &mut leaves);
        leaves
    }

    /// The shape below a segment of a key's path.
    pub(super) fn below(&self, segment: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Struct(fields) => fields.get(segment),
            Kind::Map(values) => Some(values),
            Kind::List(items) => segment.parse::<usize>().is_ok().then_some(items.as_ref()),
            Kind::Bool | Kind::Integer | Kind::Number | Kind::Text { .. } | Kind::Choice(_) | Kind::Any => None,
        }
    }
}

/// `path.name`, or `name` at the top.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
