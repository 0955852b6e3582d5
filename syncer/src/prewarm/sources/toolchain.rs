//! Toolchains: which one a `go` and a `toolchain` line ask for, and the module version that the `go` command downloads for it
//! (Go toolchains, "Go version selection").

use super::super::settings::ToolchainSettings;
use crate::prewarm::wanted::Key;

/// The module whose versions are toolchains.
const MODULE: &str = "golang.org/toolchain";

/// A version that can be compared: major, minor, whether it is a release, patch or number of the pre-release.
type Order = (u32, u32, u32, u32);

/// `1.26.3`, `1.26`, `1.26rc1`; with suffixes such as `-custom` it is nobody's to download.
fn order(version: &str) -> Option<Order> {
    let (major, rest) = version.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (minor, rest) = rest.split_at(end);
    let (rank, number) = match rest {
        // A language version, which comes before all of its releases.
        "" => (0, "0"),
        _ if rest.starts_with("beta") => (1, &rest[4..]),
        _ if rest.starts_with("rc") => (2, &rest[2..]),
        _ => (3, rest.strip_prefix('.')?),
    };
    Some((major.parse().ok()?, minor.parse().ok()?, rank, number.parse().ok()?))
}

/// The toolchain that the two lines ask for; none if every Go that knows of toolchains will do.
pub(crate) fn of(go: Option<&str>, toolchain: Option<&str>) -> Option<String> {
    let language = go.filter(|version| order(version).is_some_and(|order| order >= (1, 21, 0, 0))).map(|version| {
        // The first release of a language version has a patch number.
        if order(version).is_some_and(|(_, _, rank, _)| rank == 0) {
            format!("go{version}.0")
        } else {
            format!("go{version}")
        }
    });
    let named = toolchain.filter(|name| is_name(name)).map(str::to_owned);
    newer(language, named)
}

/// The newer of two.
pub(crate) fn newer(one: Option<String>, other: Option<String>) -> Option<String> {
    let order_of = |name: &Option<String>| name.as_deref().and_then(|name| order(name.strip_prefix("go")?));
    if order_of(&other) > order_of(&one) { other } else { one }
}

fn is_name(name: &str) -> bool {
    name.strip_prefix("go").and_then(order).is_some_and(|order| order >= (1, 21, 0, 0))
}

/// The module versions of a toolchain for the platforms.
pub(crate) fn keys(name: &str, settings: &ToolchainSettings) -> Vec<Key> {
    let version = |platform: &String| Key::new(MODULE, &format!("v0.0.1-{name}.{platform}")).ok();
    settings.platforms.iter().filter_map(version).collect()
}

/// What the types of the settings cannot say.
pub(crate) fn check(settings: &ToolchainSettings) -> Result<(), String> {
    for platform in &settings.platforms {
        let is_name =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !platform.split_once('-').is_some_and(|(system, machine)| is_name(system) && is_name(machine)) {
            return Err(format!("prewarm.toolchains.platforms: \"{platform}\" is not as linux-amd64"));
        }
    }
    match settings.versions.iter().find(|name| !is_name(name)) {
        Some(name) => Err(format!("prewarm.toolchains.versions: \"{name}\" is not as go1.26.0, from go1.21 on")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_command_takes_the_newer_line() {
        for (go, toolchain, wanted) in [
            (Some("1.20"), None, None),
            (None, None, None),
            (Some("1.21"), None, Some("go1.21.0")),
            (Some("1.24.3"), None, Some("go1.24.3")),
            (Some("1.24.3"), Some("go1.24.1"), Some("go1.24.3")),
            (Some("1.24.3"), Some("go1.26.0"), Some("go1.26.0")),
            (Some("1.24"), Some("default"), Some("go1.24.0")),
            (Some("1.26rc1"), Some("go1.26rc2"), Some("go1.26rc2")),
            (Some("1.20"), Some("go1.9.2"), None),
            (Some("1.22"), Some("go1.23.1-custom"), Some("go1.22.0")),
        ] {
            assert_eq!(of(go, toolchain).as_deref(), wanted, "{go:?} {toolchain:?}");
        }
    }

    #[test]
    fn a_toolchain_is_a_module_version_for_each_platform() {
        let settings = ToolchainSettings {
            platforms: vec!["linux-amd64".into(), "darwin-arm64".into()],
            versions: vec!["go1.26.0".into()],
            of_projects: false,
        };
        assert_eq!(check(&settings), Ok(()));
        let keys: Vec<String> = keys("go1.26.0", &settings).iter().map(ToString::to_string).collect();
        assert_eq!(
            keys,
            ["golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64", "golang.org/toolchain@v0.0.1-go1.26.0.darwin-arm64"]
        );
        for wrong in ["linux", "linux-", "Linux-amd64"] {
            assert!(check(&ToolchainSettings { platforms: vec![wrong.into()], ..settings.clone() }).is_err());
        }
        assert!(check(&ToolchainSettings { versions: vec!["1.26.0".into()], ..settings }).is_err());
    }
}
