//! The log: lines for people or JSON with the field names of the Elastic Common Schema, on stderr.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

use super::ecs::Ecs;

/// How a log line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object a line, with ECS field names.
    Json,
}

/// The log settings of a binary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line is written: `human` for people, `json` with ECS field names for collectors.
    pub format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or by target as in `info,modtier_edge::upstream=debug`.
    pub level: LogFilter,
}

/// A filter of log lines, known to be well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl LogFilter {
    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for LogFilter {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a log level, which is error, warn, info, debug or trace, or a list such as info,target=debug")]
pub struct LogFilterError(String);

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A lone word that is no level would be taken for a target and silence everything else.
        let lone_word_is_level = text.split(',').all(|part| {
            let part = part.trim();
            !part.is_empty()
                && (part.contains(['=', '[', ':']) || part.parse::<tracing_subscriber::filter::LevelFilter>().is_ok())
        });
        if lone_word_is_level && EnvFilter::builder().parse(text).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(LogFilterError(text.to_owned()))
        }
    }
}

impl Serialize for LogFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for LogFilter {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LogFilter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Keeps the log going; dropped at the end of `main`, it waits until the last lines are written.
#[derive(Debug)]
#[must_use = "without it the log ends at once"]
pub struct LogGuard(#[expect(dead_code, reason = "it works by being dropped")] WorkerGuard);

/// Lines that may wait for a slow stderr. More are dropped: a full pipe or disk must not stop a serving thread.
const WAITING_LINES_MAX: usize = 32_768;

/// Starts the log of this process. A second call changes nothing. `level` comes from a [`LogFilter`]; should it not be
/// one, `info` is taken. Lines are written by a thread of their own.
pub fn init(format: LogFormat, level: &str) -> LogGuard {
    let filter = EnvFilter::builder().parse(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES_MAX).finish(std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // A second start fails because a log is there already: that one stays.
    let _ = match format {
        LogFormat::Human => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(Ecs).try_init(),
    };
    LogGuard(guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_directives_are_a_filter_and_a_typo_is_not() {
        for text in
            ["info", "WARN", "off", "info,modtier_edge=debug", "modtier_edge::upstream=trace", "warn,[request]=debug"]
        {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
        for text in ["", "inof", "info,", "info,a=loud", "info, verbose"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text}");
        }
    }

    #[test]
    fn starting_twice_does_not_panic() {
        let _first = init(LogFormat::Json, "info");
        let _second = init(LogFormat::Human, "debug");
    }
}
