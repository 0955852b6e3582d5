//! The loader on a configuration that has every kind of setting.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    /// Address of
    /// the service.
    listen: String,
    /// Cache | sizes.
    cache: Cache,
    redis: Option<Redis>,
    centers: Vec<String>,
    ports: Vec<u16>,
    verify: bool,
    mode: Mode,
    repositories: Vec<Repository>,
    rules: BTreeMap<String, Rule>,
    ratio: f64,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3000".into(),
            cache: Cache::default(),
            redis: None,
            centers: vec!["http://127.0.0.1:8081".into()],
            ports: Vec::new(),
            verify: true,
            mode: Mode::Human,
            repositories: vec![
                Repository::Local { name: "l".into(), owns: Vec::new() },
                Repository::Remote { name: "r".into(), url: "http://old.example".into() },
            ],
            rules: BTreeMap::from([("all".into(), Rule { weight: 1 })]),
            ratio: 0.5,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Cache {
    /// Memory budget.
    memory_bytes: ByteSize,
    refresh: Period,
    shards: u16,
}

impl Default for Cache {
    fn default() -> Self {
        Self { memory_bytes: ByteSize::mib(64), refresh: Period::secs(30), shards: 8 }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Redis {
    url: String,
    user: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    weight: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// For people.
    Human,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Repository {
    Local {
        name: String,
        #[serde(default)]
        owns: Vec<String>,
    },
    Remote {
        name: String,
        url: String,
    },
}

fn parse_text(text: &str, env: &[(&str, &str)]) -> Result<Sample, String> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let aliases = [("MODTIER_UPSTREAM", "repositories.1.url"), ("MODTIER_WEIGHT", "rules.all.weight")];
    parse("edge", Some(("edge.yaml", text)), env, &aliases).map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(parse_text("", &[]).unwrap(), Sample::default());
    assert_eq!(
        parse_text("# nothing\n", &[("PATH", "/bin"), ("MODTIER_CENTER_LISTEN", "x")]).unwrap(),
        Sample::default()
    );
    assert_eq!(parse::<Sample>("edge", None, [], &[]).unwrap(), Sample::default());
}

#[test]
fn the_defaults_survive_being_written_and_read() {
    let text = serde_yaml::to_string(&Sample::default()).unwrap();
    assert_eq!(parse_text(&text, &[]).unwrap(), Sample::default());
}

#[test]
fn a_file_sets_what_it_names_and_nothing_else() {
    let sample = parse_text(
        "cache: {memory_bytes: 1GiB, shards: 3}\nredis: {url: 'redis://r'}\nverify: off\nmode: json\nports: [1, 2]\nratio: 1\n",
        &[],
    )
    .unwrap();
    assert_eq!(sample.cache, Cache { memory_bytes: ByteSize::gib(1), shards: 3, ..Cache::default() });
    assert_eq!(sample.redis.unwrap().url, "redis://r");
    assert!(!sample.verify);
    assert_eq!(sample.mode, Mode::Json);
    assert_eq!(sample.ports, [1, 2]);
    assert_eq!(sample.centers, Sample::default().centers);
}

#[test]
fn variables_win_over_the_file() {
    let sample = parse_text(
        "cache: {memory_bytes: 1GiB}\nlisten: a:1\n",
        &[
            ("MODTIER_EDGE_LISTEN", "127.0.0.1:0"),
            ("MODTIER_EDGE_CACHE_MEMORY_BYTES", "4096"),
            ("MODTIER_EDGE_CACHE_REFRESH", "1m 5s"),
            ("MODTIER_EDGE_REDIS_URL", "redis://h"),
            ("MODTIER_EDGE_CENTERS", "http://a, http://b"),
            ("MODTIER_EDGE_PORTS", "[7, 8]"),
            ("MODTIER_EDGE_VERIFY", "off"),
            ("MODTIER_EDGE_MODE", "json"),
            ("MODTIER_EDGE_REPOSITORIES", "[{type: local, name: x, owns: [a]}]"),
            ("MODTIER_EDGE_RATIO", "0.25"),
        ],
    )
    .unwrap();
    assert_eq!(sample.listen, "127.0.0.1:0");
    assert_eq!(sample.cache.memory_bytes.bytes(), 4096);
    assert_eq!(sample.cache.refresh.get(), Duration::from_secs(65));
    assert_eq!(sample.redis, Some(Redis { url: "redis://h".into(), user: None }));
    assert_eq!(sample.centers, ["http://a", "http://b"]);
    assert_eq!(sample.ports, [7, 8]);
    assert!(!sample.verify);
    assert_eq!(sample.mode, Mode::Json);
    assert_eq!(sample.repositories, [Repository::Local { name: "x".into(), owns: vec!["a".into()] }]);
    assert!((sample.ratio - 0.25).abs() < f64::EPSILON);
}

#[test]
fn an_empty_variable_is_an_empty_list_or_nothing() {
    let sample =
        parse_text("redis: {user: u}\n", &[("MODTIER_EDGE_CENTERS", ""), ("MODTIER_EDGE_REDIS_USER", "")]).unwrap();
    assert!(sample.centers.is_empty());
    assert_eq!(sample.redis, Some(Redis::default()));
}

#[test]
fn an_alias_reaches_into_a_list_and_a_map_and_keeps_their_other_entries() {
    let sample = parse_text("", &[("MODTIER_UPSTREAM", "http://new.example"), ("MODTIER_WEIGHT", "9")]).unwrap();
    assert_eq!(sample.repositories.len(), 2);
    assert_eq!(sample.repositories[1], Repository::Remote { name: "r".into(), url: "http://new.example".into() });
    assert_eq!(sample.rules["all"].weight, 9);
    let error = parse_text("repositories: []\n", &[("MODTIER_UPSTREAM", "u")]).unwrap_err();
    assert_eq!(error, "variable MODTIER_UPSTREAM: there is no key \"repositories.1.url\"");
}

#[test]
fn what_is_wrong_is_named() {
    for (text, message) in [
        (
            "cache: {memory_byts: 1}",
            "edge.yaml: unknown key \"cache.memory_byts\", did you mean \"cache.memory_bytes\"?",
        ),
        ("memory_bytes: 1", "edge.yaml: unknown key \"memory_bytes\", did you mean \"cache.memory_bytes\"?"),
        ("lisen: a", "edge.yaml: unknown key \"lisen\", did you mean \"listen\"?"),
        ("redis: {ulr: a}", "edge.yaml: unknown key \"redis.ulr\", did you mean \"redis.url\"?"),
        (
            "repositories: [{type: local, nam: a}]",
            "edge.yaml: unknown key \"repositories[0].nam\", did you mean \"repositories[0].name\"?",
        ),
        ("rules: {a: {wait: 1}}", "edge.yaml: unknown key \"rules.a.wait\", did you mean \"rules.a.weight\"?"),
        ("listen: 3000", "edge.yaml: key \"listen\": expected text, found the number 3000"),
        ("ports: 1", "edge.yaml: key \"ports\": expected a list, found the number 1"),
        ("ports: [1, x]", "edge.yaml: key \"ports[1]\": expected a whole number, found \"x\""),
        ("ports: [70000]", "edge.yaml: key \"ports[0]\": invalid value: integer `70000`, expected u16"),
        ("verify: maybe", "edge.yaml: key \"verify\": expected true or false, found \"maybe\""),
        ("mode: xml", "edge.yaml: key \"mode\": expected one of human, json, found \"xml\""),
        ("cache: 1", "edge.yaml: key \"cache\": expected keys and values, found the number 1"),
        (
            "cache: {memory_bytes: lots}",
            "edge.yaml: key \"cache.memory_bytes\": \"lots\" is not a size, which is a whole number with a unit such as KiB, MiB or GiB",
        ),
        (
            "cache: {refresh: '30'}",
            "edge.yaml: key \"cache.refresh\": \"30\" is not a length of time, which is a number with a unit such as ms, s, m, h or d",
        ),
        ("repositories: [{type: remote, name: a}]", "edge.yaml: key \"repositories[0]\": missing field `url`"),
        ("- a", "edge.yaml: expected keys and values at the top of the file"),
    ] {
        assert_eq!(parse_text(text, &[]).unwrap_err(), message, "{text}");
    }
}

#[test]
fn a_wrong_variable_is_named_and_not_the_file() {
    for (name, value, message) in [
        ("MODTIER_EDGE_LISTN", "a", "unknown variable MODTIER_EDGE_LISTN, did you mean MODTIER_EDGE_LISTEN?"),
        ("MODTIER_EDGE_CACHE_SHARDS", "x", "variable MODTIER_EDGE_CACHE_SHARDS: expected a whole number, found \"x\""),
        (
            "MODTIER_EDGE_CACHE_SHARDS",
            "70000",
            "variable MODTIER_EDGE_CACHE_SHARDS: invalid value: integer `70000`, expected u16",
        ),
        ("MODTIER_EDGE_VERIFY", "perhaps", "variable MODTIER_EDGE_VERIFY: expected true or false, found \"perhaps\""),
        ("MODTIER_EDGE_MODE", "xml", "variable MODTIER_EDGE_MODE: expected one of human, json, found \"xml\""),
        (
            "MODTIER_EDGE_REPOSITORIES",
            "[{type: local, nam: a}]",
            "variable MODTIER_EDGE_REPOSITORIES: unknown key \"repositories[0].nam\", did you mean \"repositories[0].name\"?",
        ),
        ("MODTIER_EDGE_PORTS", "1,b", "variable MODTIER_EDGE_PORTS: expected a whole number, found \"b\""),
        (
            "MODTIER_EDGE_PORTS",
            "[1, b]",
            "variable MODTIER_EDGE_PORTS: key \"ports[1]\": expected a whole number, found \"b\"",
        ),
    ] {
        assert_eq!(parse_text("", &[(name, value)]).unwrap_err(), message, "{name}={value}");
    }
}

#[test]
fn broken_yaml_and_duplicate_keys_are_refused_with_their_place() {
    let twice = parse_text("listen: a\nlisten: b\n", &[]).unwrap_err();
    assert!(twice.starts_with("edge.yaml: ") && twice.contains("duplicate") && twice.contains("listen"), "{twice}");
    let nested = parse_text("cache: {shards: 1, shards: 2}\n", &[]).unwrap_err();
    assert!(nested.contains("duplicate"), "{nested}");
    let broken = parse_text("listen: [a\n", &[]).unwrap_err();
    assert!(broken.starts_with("edge.yaml: ") && broken.contains("line"), "{broken}");
}

#[test]
fn a_missing_file_is_named() {
    let error = load::<Sample>("edge", Some(Path::new("/nonexistent/edge.yaml")), &[]).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/edge.yaml: "), "{error}");
}

#[test]
fn the_reference_has_a_row_for_every_setting() {
    let page = reference_markdown::<Sample>("edge");
    for row in [
        "| `listen` | `MODTIER_EDGE_LISTEN` | text | `127.0.0.1:3000` | Address of the service. |",
        "| `cache.memory_bytes` | `MODTIER_EDGE_CACHE_MEMORY_BYTES` | size | `64MiB` | Memory budget. |",
        "| `cache.refresh` | `MODTIER_EDGE_CACHE_REFRESH` | duration | `30s` |  |",
        "| `redis.url` | `MODTIER_EDGE_REDIS_URL` | text |  |  |",
        "| `centers` | `MODTIER_EDGE_CENTERS` | list of text | `[\"http://127.0.0.1:8081\"]` |  |",
        "| `mode` | `MODTIER_EDGE_MODE` | `human` or `json` | `human` |  |",
        "| `repositories[].url` |  | text |  |  |",
        "| `rules.<name>.weight` |  | whole number |",
    ] {
        assert!(page.contains(row), "no row {row} in\n{page}");
    }
}

#[test]
fn the_schema_refuses_unknown_keys_too() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema::<Sample>()).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["cache"]["properties"]["refresh"]["format"], "period");
}

#[test]
fn sizes_are_read_and_written() {
    for (text, bytes, shown) in [
        ("0", 0, "0B"),
        ("17", 17, "17B"),
        ("64MiB", 64 << 20, "64MiB"),
        ("64 mib", 64 << 20, "64MiB"),
        ("1024KiB", 1 << 20, "1MiB"),
        ("5kB", 5000, "5kB"),
        ("2TiB", 2 << 40, "2TiB"),
    ] {
        let size: ByteSize = text.parse().unwrap();
        assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown), "{text}");
        assert_eq!(shown.parse::<ByteSize>().unwrap(), size);
    }
    for text in ["", "MiB", "1.5GiB", "-1", "1XB", "99999999999TiB"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}
