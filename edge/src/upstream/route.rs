//! Which centers a request may go to: the rules, in order.

use crate::config::{RoutingSettings, RuleSettings};

/// What the choice of a center depends on. None of it is in a cache key: every center gives the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RouteKey {
    /// The tenant that is served.
    pub(crate) tenant: String,
    /// The module's path; none for parts of a checksum database.
    pub(crate) module: Option<String>,
    /// What the client's label header says.
    pub(crate) label: Option<String>,
}

/// The rules.
#[derive(Debug)]
pub(super) struct Rules(Vec<RuleSettings>);

/// What a rule must know of a center.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// Milliseconds of the slow end of its probes, if there was one.
    pub(super) p95_ms: Option<f64>,
    /// The part of its probes that was lost.
    pub(super) loss: f64,
}

impl Rules {
    /// The rules as they are configured.
    pub(super) fn new(settings: &RoutingSettings) -> Self {
        Self(settings.rules.clone())
    }

    /// The first rule that fits, with its number.
    pub(super) fn of(&self, key: &RouteKey) -> Option<(usize, &RuleSettings)> {
        self.0.iter().enumerate().find(|(_, rule)| fits(rule, key))
    }
}

fn fits(rule: &RuleSettings, key: &RouteKey) -> bool {
    (rule.tenant.is_empty() || rule.tenant == key.tenant)
        && (rule.label.is_empty() || key.label.as_ref() == Some(&rule.label))
        && (rule.modules.is_empty() || key.module.as_deref().is_some_and(|module| rule.modules.matches(module)))
}

/// Whether the rule lets requests go to the center of this name.
pub(super) fn allows(rule: &RuleSettings, name: &str) -> bool {
    rule.centers.is_empty() || rule.centers.iter().any(|allowed| allowed == name)
}

/// Whether the center keeps the rule's limits. What is not known yet is no reason against it.
pub(super) fn within_limits(rule: &RuleSettings, measured: Measured) -> bool {
    let too_slow =
        |max: shared::config::Period| measured.p95_ms.is_some_and(|p95_ms| p95_ms >= super::rtt::millis(max.get()));
    !rule.p95_max.is_some_and(too_slow) && !rule.loss_max.is_some_and(|max| measured.loss > max)
}

#[cfg(test)]
mod tests {
    use shared::config::Period;
    use shared::module::Patterns;

    use super::*;

    fn patterns(text: &str) -> Patterns {
        Patterns::new([text.to_owned()]).unwrap()
    }

    fn key(tenant: &str, module: &str, label: Option<&str>) -> RouteKey {
        let module = Some(module.to_owned()).filter(|module| !module.is_empty());
        RouteKey { tenant: tenant.into(), module, label: label.map(ToOwned::to_owned) }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = Rules(vec![
            RuleSettings { tenant: "games".into(), ..RuleSettings::default() },
            RuleSettings { modules: patterns("*.corp.example.com,example.org/x"), ..RuleSettings::default() },
            RuleSettings { label: "blue".into(), ..RuleSettings::default() },
        ]);
        let of = |key: &RouteKey| rules.of(key).map(|(number, _)| number);
        assert_eq!(of(&key("games", "git.corp.example.com/a", Some("blue"))), Some(0));
        assert_eq!(of(&key("default", "git.corp.example.com/a", Some("blue"))), Some(1));
        assert_eq!(of(&key("default", "example.org/x/y", None)), Some(1));
        assert_eq!(of(&key("default", "example.org/xy", None)), None);
        assert_eq!(of(&key("default", "example.org/y", Some("blue"))), Some(2));
        assert_eq!(of(&key("default", "example.org/y", Some("green"))), None);
        assert_eq!(of(&key("default", "", None)), None, "a checksum database has no module");
    }

    #[test]
    fn limits_judge_what_is_known() {
        let rule = RuleSettings { p95_max: Some(Period::millis(200)), loss_max: Some(0.03), ..RuleSettings::default() };
        let fits = |p95_ms, loss| within_limits(&rule, Measured { p95_ms, loss });
        assert!(fits(None, 0.0) && fits(Some(199.0), 0.03));
        assert!(!fits(Some(200.0), 0.0) && !fits(Some(20.0), 0.1));
        assert!(within_limits(&RuleSettings::default(), Measured { p95_ms: Some(5000.0), loss: 1.0 }));
    }

    #[test]
    fn a_rule_without_centers_allows_all() {
        let only = RuleSettings { centers: vec!["a".into()], ..RuleSettings::default() };
        assert!(allows(&only, "a") && !allows(&only, "b"));
        assert!(allows(&RuleSettings::default(), "b"));
    }
}
