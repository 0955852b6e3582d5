//! What can be wrong with a configuration, each with the name of the file, key or variable at fault.

use std::io;

/// Why a configuration was refused. The text is one line, made to be shown to the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{file}: {source}")]
    Read {
        /// The file, as the operator named it.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not YAML, or a key stands in it twice.
    #[error("{file}: {message}")]
    Syntax {
        /// The file, as the operator named it.
        file: String,
        /// What the parser said, with line and column.
        message: String,
    },
    /// A key that no setting has.
    #[error("{place}: unknown key \"{key}\", did you mean \"{nearest}\"?")]
    UnknownKey {
        /// The file or variable.
        place: String,
        /// The key with its path.
        key: String,
        /// The most similar key that exists.
        nearest: String,
    },
    /// A variable that begins like ours and that no setting has.
    #[error("unknown variable {name}, did you mean {nearest}?")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The most similar variable that exists.
        nearest: String,
    },
    /// A value of the wrong type or outside what the setting takes.
    #[error("{place}: {message}")]
    BadValue {
        /// The file and key, or the variable.
        place: String,
        /// What is wrong with it.
        message: String,
    },
    /// Each value is well formed, but the whole is not a configuration that can work.
    #[error("{0}")]
    Invalid(String),
}

/// Which variable set which key, so that a message can name the variable.
pub(super) type Origins = Vec<(String, String)>;

impl ConfigError {
    /// A wrong value of `key`, blamed on the variable that set it or else on the file.
    pub(super) fn bad_value(file: &str, origins: &Origins, key: &str, message: &str) -> Self {
        let place = match origin(origins, key) {
            Some((set, variable)) if set == key => format!("variable {variable}"),
            Some((_, variable)) => format!("variable {variable}: key \"{key}\""),
            None if key.is_empty() => file.to_owned(),
            None => format!("{file}: key \"{key}\""),
        };
        Self::BadValue { place, message: message.to_owned() }
    }

    /// An unknown key, blamed as in [`Self::bad_value`].
    pub(super) fn unknown_key(file: &str, origins: &Origins, key: String, nearest: String) -> Self {
        let place =
            origin(origins, &key).map_or_else(|| file.to_owned(), |(_, variable)| format!("variable {variable}"));
        Self::UnknownKey { place, key, nearest }
    }
}

/// The variable that set `key` or something that contains it.
fn origin<'a>(origins: &'a Origins, key: &str) -> Option<(&'a str, &'a str)> {
    origins
        .iter()
        .find(|(set, _)| {
            key.strip_prefix(set.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
        .map(|(set, variable)| (set.as_str(), variable.as_str()))
}
