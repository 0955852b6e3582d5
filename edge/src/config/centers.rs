//! The centers: what is said of each, which requests go where, how they are probed, and when one is left alone.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::access::Bearer;
use shared::config::Period;
use shared::module::Patterns;

use super::Config;

/// What is said of one center.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CenterSettings {
    /// Name in rules, figures and operator actions; empty: host and port of the URL.
    pub(crate) name: String,
    /// How much it is preferred: a center of weight 2 may cost twice as much as one of weight 1.
    pub(crate) weight: f64,
    /// Labels; a request that names one of them in the label header goes to these centers first.
    pub(crate) labels: Vec<String>,
}

impl Default for CenterSettings {
    fn default() -> Self {
        Self { name: String::new(), weight: 1.0, labels: Vec::new() }
    }
}

/// Which requests go to which centers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RoutingSettings {
    /// Request header whose value is the label; empty: none. A label chooses among centers and changes no bytes.
    pub(crate) label_header: String,
    /// Rules in order; the first one that fits a request decides. Without one, every center may be asked.
    pub(crate) rules: Vec<RuleSettings>,
    /// How much cheaper, in parts of the present center's cost, another one must be to be preferred.
    pub(crate) hysteresis: f64,
    /// Requests that may be repeated at another center, in parts of all requests.
    pub(crate) retry_share: f64,
    /// Repeats that may come at once, such as when a center dies with requests under way.
    pub(crate) retry_burst: u32,
}

impl Default for RoutingSettings {
    fn default() -> Self {
        Self { label_header: "X-Env".into(), rules: Vec::new(), hysteresis: 0.1, retry_share: 0.2, retry_burst: 200 }
    }
}

/// A rule: whom it is for, and where they may go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RuleSettings {
    /// For this tenant only; empty: for all.
    pub(crate) tenant: String,
    /// For modules that these patterns match, as in GOPRIVATE; empty: for all, and for checksum databases.
    pub(crate) modules: Patterns,
    /// For requests with this label only; empty: for all.
    pub(crate) label: String,
    /// Names of the centers that may be asked, and no others; empty: all.
    pub(crate) centers: Vec<String>,
    /// Centers whose probes are slower (95th percentile of the last ten) come after the others; empty: no limit.
    pub(crate) p95_max: Option<Period>,
    /// Centers that lose more of their probes, in parts of the last ten, come after the others; empty: no limit.
    pub(crate) loss_max: Option<f64>,
    /// Weights instead of the centers' own, by name.
    pub(crate) weights: BTreeMap<String, f64>,
}

/// How centers are probed: by `HEAD /healthz`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProbeSettings {
    /// Time between two probes of a center, give or take a fifth. A fifth of it while what they say changes.
    pub(crate) interval: Period,
    /// How long a probe may take; one that takes longer is lost and counts as 5 s.
    pub(crate) timeout: Period,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self { interval: Period::secs(5), timeout: Period::secs(5) }
    }
}

/// When a center that fails is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BreakerSettings {
    /// Failures in a row that open the breaker.
    pub(crate) failures: u32,
    /// Part of the requests within `window` that must have failed or been slow to open it.
    pub(crate) rate: f64,
    /// Requests within `window` from which on their rate counts.
    pub(crate) requests_min: u32,
    /// How far back the rate looks.
    pub(crate) window: Period,
    /// A first byte that takes longer is slow. Slowness counts only while another center can take over.
    pub(crate) slow: Period,
    /// How long it stays open before one request is tried; doubled each time that one fails.
    pub(crate) open: Period,
    /// The longest that it stays open.
    pub(crate) open_max: Period,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: 5,
            rate: 0.5,
            requests_min: 20,
            window: Period::secs(10),
            slow: Period::secs(2),
            open: Period::secs(30),
            open_max: Period::secs(300),
        }
    }
}

impl Config {
    /// What is said of the center at `url`, its name filled in.
    pub(crate) fn center(&self, url: &Url) -> CenterSettings {
        let given = self.center_settings.iter().find(|(key, _)| Url::parse(key).is_ok_and(|key| is_same(&key, url)));
        let mut settings = given.map_or_else(CenterSettings::default, |(_, settings)| settings.clone());
        if settings.name.is_empty() {
            let host = url.host_str().unwrap_or("center");
            settings.name = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        }
        settings
    }

    /// The header with the label, if a label can make a difference.
    pub(crate) fn label_header(&self) -> Option<&str> {
        let used = self.routing.rules.iter().any(|rule| !rule.label.is_empty())
            || self.center_settings.values().any(|center| !center.labels.is_empty());
        Some(self.routing.label_header.as_str()).filter(|name| used && !name.is_empty())
    }

    /// What the types cannot say of the centers; the answer names the setting.
    pub(super) fn check_centers(&self) -> Result<(), String> {
        if self.centers.is_empty() {
            return Err("centers: name at least one center's URL (MODTIER_EDGE_CENTERS)".into());
        }
        // No message shows a URL with its credential.
        Bearer::check("centers_token", &self.centers_token, &self.centers_token_file)?;
        let has_token = !self.centers_token.is_empty() || !self.centers_token_file.as_os_str().is_empty();
        let mut urls = BTreeSet::new();
        let mut names = BTreeSet::new();
        for (index, center) in self.centers.iter().enumerate() {
            let url = Url::parse(center).map_err(|error| format!("centers[{index}]: not a URL: {error}"))?;
            if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                return Err(format!("centers[{index}]: not an http or https URL with a host"));
            }
            let public = without_credential(&url);
            if has_token && public != url {
                return Err(format!(
                    "centers[{index}]: the URL of {public} has a credential, and centers_token is named as well"
                ));
            }
            let settings = self.center(&url);
            if !is_weight(settings.weight) {
                return Err(format!("center_settings: {:?}: weight must be above 0 and at most 1000", settings.name));
            }
            if !urls.insert(public.clone()) {
                return Err(format!("centers[{index}]: {public} is named twice"));
            }
            if !names.insert(settings.name.clone()) {
                return Err(format!("center_settings: two centers are named {:?}: give one a name", settings.name));
            }
        }
        let mut settled = BTreeSet::new();
        for key in self.center_settings.keys() {
            let url = Url::parse(key).map_err(|error| format!("center_settings: a key is not a URL: {error}"))?;
            let public = without_credential(&url);
            if !urls.contains(&public) {
                return Err(format!("center_settings: {public} is none of the URLs in centers"));
            }
            if !settled.insert(public.clone()) {
                return Err(format!("center_settings: {public} is named twice"));
            }
        }
        self.routing.check(&names)?;
        self.breaker.check()?;
        if self.probes.interval.get().is_zero() || self.probes.timeout.get().is_zero() {
            return Err("probes: interval and timeout must be above 0".into());
        }
        Ok(())
    }
}

impl RoutingSettings {
    fn check(&self, names: &BTreeSet<String>) -> Result<(), String> {
        if !self.label_header.is_empty() && http::HeaderName::try_from(&self.label_header).is_err() {
            return Err(format!("routing.label_header: {:?} is no header's name", self.label_header));
        }
        if !(0.0..1.0).contains(&self.hysteresis) || !(0.0..=1.0).contains(&self.retry_share) {
            return Err("routing: hysteresis and retry_share must be from 0 to 1".into());
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let place = format!("routing.rules[{index}]");
            if let Some(name) = rule.centers.iter().chain(rule.weights.keys()).find(|name| !names.contains(*name)) {
                return Err(format!("{place}: no center is named {name:?}"));
            }
            if !rule.weights.values().all(|weight| is_weight(*weight)) {
                return Err(format!("{place}.weights: weights must be above 0 and at most 1000"));
            }
            if rule.loss_max.is_some_and(|loss| !(0.0..=1.0).contains(&loss)) {
                return Err(format!("{place}.loss_max: must be from 0 to 1"));
            }
        }
        Ok(())
    }
}

impl BreakerSettings {
    fn check(&self) -> Result<(), String> {
        if self.failures == 0 || self.requests_min == 0 {
            return Err("breaker: failures and requests_min must be above 0".into());
        }
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            return Err("breaker.rate: must be above 0 and at most 1".into());
        }
        if self.window.get().is_zero() || self.open.get().is_zero() || self.open_max < self.open {
            return Err("breaker: window and open must be above 0, and open_max not below open".into());
        }
        Ok(())
    }
}

/// A URL as it may be shown.
pub(crate) fn without_credential(url: &Url) -> Url {
    let mut public = url.clone();
    // Both fail for a URL without a host alone, which has none.
    let _ = public.set_username("");
    let _ = public.set_password(None);
    public
}

fn is_same(one: &Url, other: &Url) -> bool {
    without_credential(one) == without_credential(other)
}

fn is_weight(weight: f64) -> bool {
    weight > 0.0 && weight <= 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Config {
        let centers = vec!["http://a:1".to_owned(), "http://b:1/".to_owned()];
        let named = CenterSettings { name: "second".into(), labels: vec!["blue".into()], ..CenterSettings::default() };
        Config { centers, center_settings: [("http://b:1".to_owned(), named)].into(), ..Config::default() }
    }

    #[test]
    fn settings_belong_to_a_url_however_it_is_written() {
        let config = two();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.center(&Url::parse("http://b:1/").unwrap()).name, "second");
        assert_eq!(config.center(&Url::parse("http://a:1").unwrap()).name, "a:1");
        assert_eq!(config.center(&Url::parse("https://a").unwrap()).name, "a");
    }

    #[test]
    fn a_label_is_read_only_where_it_makes_a_difference() {
        assert_eq!(two().label_header(), Some("X-Env"));
        assert_eq!(Config::default().label_header(), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        type Change = fn(&mut Config);
        let wrong: [(Change, &str); 15] = [
            (|config| config.centers.push("http://u:secret@a:1/".into()), "centers[2]: "),
            (|config| config.centers[0] = "center:secret".into(), "centers[0]: "),
            (|config| config.centers[0] = "http://u:secret@a:99999".into(), "centers[0]: "),
            (|config| config.centers = vec!["http://a:1".into()], "center_settings: http://b:1/"),
            (
                |config| {
                    config.centers[0] = "http://u:secret@a:1".into();
                    config.centers_token = "secret".into();
                },
                "centers[0]: the URL of http://a:1/",
            ),
            (|config| config.centers_token = "secret\n".into(), "centers_token: "),
            (|config| config.center_settings.values_mut().for_each(|c| c.name = "a:1".into()), "center_settings: two"),
            (|config| config.center_settings.values_mut().for_each(|c| c.weight = 0.0), "center_settings: \"second\""),
            (|config| config.routing.label_header = "a b".into(), "routing.label_header"),
            (|config| config.routing.hysteresis = 1.0, "routing: hysteresis"),
            (
                |config| {
                    config.routing.rules.push(RuleSettings { centers: vec!["c".into()], ..RuleSettings::default() });
                },
                "routing.rules[0]: no center",
            ),
            (
                |config| config.routing.rules.push(RuleSettings { loss_max: Some(3.0), ..RuleSettings::default() }),
                "routing.rules[0].loss_max",
            ),
            (|config| config.probes.interval = Period::secs(0), "probes"),
            (|config| config.breaker.rate = f64::NAN, "breaker.rate"),
            (|config| config.breaker.open_max = Period::secs(1), "breaker: "),
        ];
        for (change, beginning) in wrong {
            let mut config = two();
            change(&mut config);
            let error = config.check().unwrap_err();
            assert!(error.starts_with(beginning) && !error.contains("secret"), "{error}");
        }
    }
}
