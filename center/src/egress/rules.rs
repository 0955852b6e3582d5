//! Which hosts and ports may be reached, and where they are found.

use std::collections::{BTreeMap, BTreeSet};

use super::EgressSettings;

/// The ports of a host that is listed without one: https and ssh.
const PORTS: [u16; 2] = [443, 22];

/// The configured rules, in a form to be asked.
#[derive(Debug)]
pub(super) struct Rules {
    hosts: BTreeSet<(String, u16)>,
    internal: BTreeSet<(String, u16)>,
    connect_to: BTreeMap<(String, u16), (String, u16)>,
}

/// Where to go for a host that may be reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Name or address to resolve.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// Whether internal addresses will do.
    pub(super) internal: bool,
    /// Whether nothing is configured that says where it is.
    pub(super) is_outside: bool,
}

impl Rules {
    pub(super) fn new(settings: &EgressSettings) -> Result<Self, String> {
        let mut connect_to = BTreeMap::new();
        for (from, to) in &settings.connect_to {
            let place = |text: &str| {
                let (host, port) = split(text).map_err(|why| format!("egress.connect_to: {why}"))?;
                let port = port.ok_or_else(|| format!("egress.connect_to: {text:?} has no port"))?;
                Ok::<_, String>((host, port))
            };
            connect_to.insert(place(from)?, place(to)?);
        }
        Ok(Self {
            hosts: listed("egress.hosts", &settings.hosts)?,
            internal: listed("egress.internal_hosts", &settings.internal_hosts)?,
            connect_to,
        })
    }

    /// Where to go, or why not.
    pub(super) fn route(&self, host: &str, port: u16) -> Result<Route, String> {
        let asked = (normal(host), port);
        let internal = self.internal.contains(&asked);
        let is_listed = internal || self.hosts.contains(&asked);
        if !is_listed && !self.hosts.is_empty() {
            return Err(format!("{host}:{port} is not on egress.hosts"));
        }
        if !is_listed && !PORTS.contains(&port) {
            return Err(format!("{host}:{port}: another port than 443 and 22 must be listed in egress.hosts"));
        }
        let placed = self.connect_to.get(&asked);
        let is_outside = !internal && placed.is_none();
        let (host, port) = placed.cloned().unwrap_or(asked);
        Ok(Route { host, port, internal, is_outside })
    }
}

fn listed(key: &str, entries: &[String]) -> Result<BTreeSet<(String, u16)>, String> {
    let mut places = BTreeSet::new();
    for entry in entries {
        let (host, port) = split(entry).map_err(|why| format!("{key}: {why}"))?;
        match port {
            Some(port) => places.extend([(host, port)]),
            None => places.extend(PORTS.map(|port| (host.clone(), port))),
        }
    }
    Ok(places)
}

/// `host`, `host:port`, `[v6]:port` or a bare v6 address.
pub(super) fn split(text: &str) -> Result<(String, Option<u16>), String> {
    let malformed = || format!("{text:?} is neither a host nor host:port");
    let is_bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 && !port.ends_with(']') => {
            (host, Some(port.parse().map_err(|_| malformed())?))
        }
        _ => (text, None),
    };
    let host = normal(host);
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    if is_host { Ok((host, port)) } else { Err(malformed()) }
}

fn normal(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], internal: &[&str], connect_to: &[(&str, &str)]) -> Rules {
        let owned = |list: &[&str]| list.iter().map(|&entry| entry.to_owned()).collect();
        let connect_to = connect_to.iter().map(|&(from, to)| (from.to_owned(), to.to_owned())).collect();
        let (hosts, internal_hosts) = (owned(hosts), owned(internal));
        Rules::new(&EgressSettings { hosts, internal_hosts, connect_to, ..EgressSettings::default() }).unwrap()
    }

    #[test]
    fn without_a_list_every_host_is_reached_by_https_and_ssh() {
        let rules = rules(&[], &[], &[]);
        assert_eq!(
            rules.route("Git.Corp.Test.", 443).unwrap(),
            Route { host: "git.corp.test".to_owned(), port: 443, internal: false, is_outside: true }
        );
        assert!(rules.route("git.corp.test", 22).is_ok());
        assert!(rules.route("git.corp.test", 6379).unwrap_err().contains("egress.hosts"));
    }

    #[test]
    fn a_list_ends_the_rest() {
        let rules = rules(&["a.test", "b.test:8443"], &["c.test"], &[]);
        for (host, port, ok) in [
            ("a.test", 443, true),
            ("a.test", 8443, false),
            ("b.test", 8443, true),
            ("b.test", 443, false),
            ("c.test", 22, true),
            ("d.test", 443, false),
            ("sub.a.test", 443, false),
        ] {
            assert_eq!(rules.route(host, port).is_ok(), ok, "{host}:{port}");
        }
        assert!(rules.route("c.test", 443).unwrap().internal);
        assert!(!rules.route("a.test", 443).unwrap().internal);
    }

    #[test]
    fn a_host_may_be_found_elsewhere_without_becoming_internal() {
        let rules = rules(&[], &["b.test:443"], &[("a.test:443", "127.0.0.1:1"), ("b.test:443", "[::1]:2")]);
        let route = |host: &str, port, internal, is_outside| {
            let host = host.to_owned();
            Route { host, port, internal, is_outside }
        };
        assert_eq!(rules.route("a.test", 443).unwrap(), route("127.0.0.1", 1, false, false));
        assert_eq!(rules.route("b.test", 443).unwrap(), route("::1", 2, true, false));
        assert_eq!(rules.route("a.test", 22).unwrap(), route("a.test", 22, false, true));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for entry in ["", "a b", "a:port", "a:99999", "https://a", "a/b"] {
            assert!(split(entry).is_err(), "{entry}");
        }
        assert_eq!(split("[2001:db8::1]:443").unwrap(), ("2001:db8::1".to_owned(), Some(443)));
        assert_eq!(split("2001:db8::1").unwrap(), ("2001:db8::1".to_owned(), None));
    }
}
