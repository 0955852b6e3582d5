//! Two configurations, setting by setting.

use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its path: `freshness.hot`.
    pub setting: String,
    /// The running value; secrets hidden.
    pub old: String,
    /// What the file says; secrets hidden.
    pub new: String,
    /// Whether it waits for the next start.
    pub needs_restart: bool,
}

impl Difference {
    /// As JSON.
    pub(super) fn report(&self) -> Value {
        json!({ "setting": self.setting, "old": self.old, "new": self.new, "needs_restart": self.needs_restart })
    }
}

/// What differs, in the order of the settings' names.
pub(super) fn differences<C: Serialize>(running: &C, new: &C, fixed: &[&str]) -> Result<Vec<Difference>, String> {
    let (mut from, mut to) = (Map::new(), Map::new());
    flatten("", value_of(running)?, &mut from);
    flatten("", value_of(new)?, &mut to);
    let mut settings: Vec<_> = from.keys().chain(to.keys()).cloned().collect();
    settings.sort_unstable();
    settings.dedup();
    let differ = settings.into_iter().filter(|setting| from.get(setting) != to.get(setting));
    let shown = |values: &Map<String, Value>, setting: &str| {
        values.get(setting).map_or_else(|| "nothing".to_owned(), |value| shown(setting, value))
    };
    Ok(differ
        .map(|setting| Difference {
            old: shown(&from, &setting),
            new: shown(&to, &setting),
            needs_restart: fixed.iter().any(|fixed| is_below(&setting, fixed)),
            setting,
        })
        .collect())
}

/// `new`, but with the running values of the settings in `fixed`.
pub(super) fn with_running<C>(new: &C, running: &C, fixed: &[&str]) -> Result<C, String>
where
    C: Serialize + DeserializeOwned,
{
    let (mut value, running) = (value_of(new)?, value_of(running)?);
    for path in fixed {
        let pointer = format!("/{}", path.replace('.', "/"));
        if let (Some(place), Some(kept)) = (value.pointer_mut(&pointer), running.pointer(&pointer)) {
            *place = kept.clone();
        }
    }
    serde_json::from_value(value).map_err(|error| format!("settings: {error}"))
}

fn value_of<C: Serialize>(config: &C) -> Result<Value, String> {
    serde_json::to_value(config).map_err(|error| format!("settings: {error}"))
}

/// Groups are taken apart, lists are not: an entry that is put in front would otherwise change all behind it.
fn flatten(path: &str, value: Value, flat: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let below = if path.is_empty() { name } else { format!("{path}.{name}") };
                flatten(&below, value, flat);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            flat.insert(path.to_owned(), value);
        }
    }
}

fn is_below(setting: &str, group: &str) -> bool {
    setting.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A value for the log.
fn shown(setting: &str, value: &Value) -> String {
    let name = setting.rsplit('.').next().unwrap_or(setting);
    let is_secret = ["password", "secret", "token", "access_key", "account_key"].iter().any(|word| name.contains(word))
        && !name.contains("file");
    if is_secret { "***".to_owned() } else { without_credentials(value.clone()).to_string() }
}

/// URLs in it lose their user names and passwords.
fn without_credentials(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(hide(text)),
        Value::Array(items) => items.into_iter().map(without_credentials).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, without_credentials(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

fn hide(text: String) -> String {
    let Ok(mut url) = Url::parse(&text) else {
        // No URL, and yet something that looks like one with a credential in it: better nothing of it.
        return if text.contains("://") && text.contains('@') { "***".to_owned() } else { text };
    };
    if url.username().is_empty() && url.password().is_none() {
        return text;
    }
    match url.set_username("***").and_then(|()| url.set_password(None)) {
        Ok(()) => url.to_string(),
        Err(()) => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    const FIXED: [&str; 2] = ["redis", "listen"];

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Config {
        listen: String,
        servers: Vec<String>,
        freshness: Freshness,
        redis: Redis,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Freshness {
        hot: String,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Redis {
        url: String,
    }

    fn config() -> Config {
        Config {
            listen: "127.0.0.1:3000".into(),
            servers: vec!["http://127.0.0.1:8081".into()],
            freshness: Freshness { hot: "15m".into() },
            redis: Redis { url: String::new() },
        }
    }

    #[test]
    fn settings_are_compared_one_by_one() {
        let running = config();
        let mut new = Config { listen: "127.0.0.1:1".into(), ..config() };
        new.freshness.hot = "7s".into();
        new.servers.insert(0, "http://server:1".into());
        let found = differences(&running, &new, &FIXED).unwrap();
        let told: Vec<_> =
            found.iter().map(|one| (one.setting.as_str(), one.new.as_str(), one.needs_restart)).collect();
        assert_eq!(
            told,
            [
                ("freshness.hot", "\"7s\"", false),
                ("listen", "\"127.0.0.1:1\"", true),
                ("servers", r#"["http://server:1","http://127.0.0.1:8081"]"#, false),
            ]
        );
        assert_eq!(found[1].old, "\"127.0.0.1:3000\"");
        let effective = with_running(&new, &running, &FIXED).unwrap();
        assert_eq!((effective.listen.as_str(), effective.servers.len()), ("127.0.0.1:3000", 2));
        assert_eq!(differences(&running, &running, &FIXED).unwrap(), []);
    }

    #[test]
    fn no_credential_is_shown() {
        let running = Config { redis: Redis { url: "redis://u:hidden@h:1/0".into() }, ..config() };
        let new = Config { servers: vec!["http://bob:hidden@server:1".into()], ..config() };
        let found = differences(&running, &new, &FIXED).unwrap();
        assert_eq!(found.len(), 2);
        let told = format!("{found:?}");
        assert!(!told.contains("hidden") && !told.contains("bob") && told.contains("server:1"), "{told}");
        assert_eq!(shown("a.api_token", &json!("x")), "***");
        assert_eq!(shown("a.tokens_file", &json!("x")), "\"x\"");
        assert_eq!(hide("redis://:hidden@ba d".into()), "***");
    }
}
