//! Configuration of the three binaries: one struct tree each, read from a YAML file and then from the environment.
//!
//! A setting is declared once, as a documented field with a default. From that declaration come the parser (serde), the
//! check for unknown keys, the name of its environment variable, the reference page and the JSON Schema (schemars).
//!
//! Order, later wins: the defaults of the struct, the YAML file, `MODTIER_<BINARY>_<PATH>` with the path's segments
//! joined by `_`. A key or a variable that is not declared is refused, because a misspelt setting that is silently
//! ignored is found in production.

mod document;
mod env;
mod error;
mod period;
mod reference;
mod shape;
mod size;
mod walk;

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::error::ConfigError;
pub use self::period::Period;
pub use self::reference::{json_schema, reference_markdown};
pub use self::size::ByteSize;

/// A further name of an environment variable and the key that it sets, such as `("MODTIER_UPSTREAM", "upstream.url")`.
/// The key may name an entry of a map or, by number, of a list. With an empty key the variable is known, and sets nothing.
pub type Alias<'a> = (&'a str, &'a str);

/// Reads the configuration of `binary` ("edge", "center", "syncer"): `file` if there is one, then the environment.
pub fn load<T>(binary: &str, file: Option<&Path>, aliases: &[Alias<'_>]) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned + Default + JsonSchema,
{
    // A variable that is not UTF-8 has a name or value that no setting can have; its name decides whether it is ours.
    let env = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    match file {
        None => parse(binary, None, env, aliases),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { file: path.display().to_string(), source })?;
            parse(binary, Some((&path.display().to_string(), &text)), env, aliases)
        }
    }
}

/// As [`load`], of a text with the name it has in messages, and of given variables: the pure part.
pub fn parse<T>(
    binary: &str,
    file: Option<(&str, &str)>,
    env: impl IntoIterator<Item = (String, String)>,
    aliases: &[Alias<'_>],
) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned + Default + JsonSchema,
{
    let shape = shape::of::<T>();
    let name = file.map_or("configuration", |(name, _)| name);
    let mut value = match file {
        Some((name, text)) => document::read(name, text)?,
        None => Value::Object(serde_json::Map::new()),
    };
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let origins = env::Overrides { binary, shape: &shape, defaults: &defaults, aliases }.apply(env, &mut value)?;
    walk::check(&mut value, &shape).map_err(|problem| problem.into_error(name, &origins))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." { String::new() } else { path };
        ConfigError::bad_value(name, &origins, &key, &error.into_inner().to_string())
    })
}

#[cfg(test)]
mod tests;
