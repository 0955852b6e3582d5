//! Paths: reading never panics, writing is its inverse, what is refused stays refused in every spelling, and a tenant's path is
//! read as nobody else's.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzz;

const TENANT: &str = "default";

/// What tries to mean two things, or something that is not there.
const TOKENS: &[&str] = &[
    "/",
    "//",
    "/./",
    "/../",
    "..",
    "%2e%2e",
    "%2f",
    "%5c",
    "\\",
    "%",
    "%25",
    "%252e",
    "%00",
    "\0",
    "\r\n",
    "?",
    "#",
    "@",
    "@v",
    "/@v/",
    "/@latest",
    "!",
    "!!",
    "%21",
    "A",
    "\u{e9}",
    "%c3%a9",
    "%ff",
    "~1",
    "default/",
    "other/",
    "sumdb/",
    "tile/",
    "lookup/",
    "x001/",
    ".p/",
    "v2",
    "+incompatible",
    ".info",
    ".mod",
    ".zip",
    ";",
    "&",
    "+",
    " ",
    "con",
    "v1.0.0",
];

fn sound() -> impl Strategy<Value = String> {
    let module = select(vec![
        "example.com/a",
        "example.com/a/v2",
        "github.com/!burnt!sushi/toml",
        "gopkg.in/yaml.v3",
        "a.b",
        "x.y/z-w_q.t~u",
    ]);
    let version = select(vec![
        "v1.0.0",
        "v2.0.0",
        "v1.0.0-!r!c1",
        "v2.0.0+incompatible",
        "v0.0.0-20240102030405-abcdefabcdef",
        "main",
        "v1",
        "!feature",
        "abc123",
    ]);
    let file = prop_oneof![
        Just("@v/list".to_owned()),
        Just("@latest".to_owned()),
        (version, select(vec!["info", "mod", "zip"])).prop_map(|(version, kind)| format!("@v/{version}.{kind}")),
    ];
    let artefact = (module, file).prop_map(|(module, file)| format!("{module}/{file}"));
    let sumdb = select(vec![
        "sumdb/sum.golang.org/supported",
        "sumdb/sum.golang.org/latest",
        "sumdb/host/a/b/lookup/example.com/!a@v1.0.0",
        "sumdb/sum.golang.org/tile/8/0/x001/234",
        "sumdb/sum.golang.org/tile/8/data/005.p/7",
    ]);
    let path = prop_oneof![4 => artefact, 1 => sumdb.prop_map(str::to_owned)];
    (select(vec!["", "", "", "default/", "other/", "api/"]), path).prop_map(|(tenant, path)| format!("{tenant}{path}"))
}

fn paths() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => fuzz::damaged(sound(), TOKENS),
        1 => fuzz::damaged("[a-z./@v%!0-9A-F#-]{0,40}", TOKENS),
        1 => any::<String>(),
    ]
}

/// What an edge makes of a path: whose it is and what it asks.
fn read(path: &str) -> Result<Request, EdgeError> {
    Ok(Request::parse(below_tenant(path, TENANT)?)?)
}

/// The bytes that a path stands for, one step of percent-encoding undone; written apart from the code that is tested.
fn undone(path: &str) -> Vec<u8> {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// Every byte percent-encoded but slashes: the longest spelling.
fn encoded(path: &str) -> String {
    path.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02X}") }).collect()
}

#[test]
fn fuzz_paths() {
    fuzz::run("paths", &paths(), |path| {
        let Ok(request) = read(&path) else { return Ok(()) };
        let written = request.to_path();
        prop_assert_eq!(Request::parse(&written), Ok(request.clone()), "{:?} is written {:?}", path, written);
        prop_assert_eq!(read(&written).ok(), Some(request.clone()), "{:?} is written {:?}", path, written);

        let bytes = undone(&path);
        let text = String::from_utf8(bytes).unwrap();
        let forbidden = ["//", "\\", "%", "\0", "\r", "\n"];
        prop_assert!(!forbidden.iter().any(|token| text.contains(token)), "{:?} is read", path);
        prop_assert!(!text.split('/').any(|part| part == "." || part == ".."), "{:?} is read", path);
        prop_assert!(!path.contains(['?', '#']) && !text.starts_with('/'), "{:?} is read", path);
        // Below its tenant's name it is the decoded path, letter for letter: nothing was dropped or added on the way.
        let below = text.strip_prefix("default/").unwrap_or(&text);
        prop_assert_eq!(request.to_string(), below, "{:?}", path);

        let (rest, tenant) = path.strip_prefix("default/").map_or((path.as_str(), ""), |rest| (rest, "default/"));
        let other = format!("{tenant}{}", encoded(&String::from_utf8(undone(rest)).unwrap()));
        prop_assert_eq!(read(&other).ok(), Some(request), "{:?} is another spelling of {:?}", other, path);
        Ok(())
    });
}

#[test]
fn fuzz_tenants() {
    let tenant = "[a-z]{1,4}(-[a-z0-9]{1,3})?"
        .prop_filter("a tenant's name is not reserved", |name| !RESERVED.contains(&name.as_str()));
    fuzz::run("tenants", &(tenant.clone(), tenant, paths()), |(ours, theirs, path)| {
        let _ = below_tenant(&path, &ours);
        let Ok(request) = Request::parse(&path) else { return Ok(()) };
        let own = below_tenant(&format!("{ours}/{path}"), &ours).map(ToOwned::to_owned);
        prop_assert_eq!(own.ok(), Some(path.clone()));
        prop_assert_eq!(read(&format!("{TENANT}/{path}")).ok(), Some(request));
        if ours != theirs {
            for spelling in [format!("{theirs}/{path}"), format!("{}/{path}", encoded(&theirs))] {
                let refused = below_tenant(&spelling, &ours);
                prop_assert!(matches!(refused, Err(EdgeError::Blocked(_))), "{:?}: {:?}", spelling, refused);
            }
        }
        Ok(())
    });
}
