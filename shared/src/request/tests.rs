//! Reading of paths: forms, refusals, and that writing is the inverse of reading.

use super::*;

fn parse(path: &str) -> Request {
    Request::parse(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn artefact(path: &str) -> (String, Artefact) {
    match parse(path) {
        Request::Module(ModuleRequest { module, artefact }) => (module.to_string(), artefact),
        Request::Sumdb(_) => panic!("{path} is no module path"),
    }
}

fn version(module: &str, version: &str) -> Version {
    Version::new(&ModulePath::new(module).unwrap(), version).unwrap()
}

#[test]
fn module_forms() {
    let toml = "github.com/BurntSushi/toml";
    let v1 = version(toml, "v1.0.0-RC1");
    for (file, wanted) in [
        ("@v/list", Artefact::List),
        ("@latest", Artefact::Latest),
        ("@v/v1.0.0-!r!c1.info", Artefact::Info(v1.clone())),
        ("@v/v1.0.0-!r!c1.mod", Artefact::Mod(v1.clone())),
        ("@v/v1.0.0-%21r%21c1.zip", Artefact::Zip(v1)),
        ("@v/v1.info", Artefact::Query("v1".into())),
        ("@v/!main.info", Artefact::Query("Main".into())),
        ("@v/v2.0.0.info", Artefact::Query("v2.0.0".into())),
        ("@v/v2.0.0+incompatible.info", Artefact::Info(version(toml, "v2.0.0+incompatible"))),
        ("@v/fix%23 1.info", Artefact::Query("fix#1".into())),
    ] {
        let path = format!("github.com/%21burnt!sushi/toml/{}", file.replace(' ', ""));
        assert_eq!(artefact(&path), (toml.to_owned(), wanted), "{path}");
    }
}

#[test]
fn canonical_path_is_percent_free() {
    let request = parse("github.com/%21burnt%21sushi/toml/@v/v1.0.0.zip");
    assert_eq!(request.to_path(), "github.com/!burnt!sushi/toml/@v/v1.0.0.zip");
}

#[test]
fn sumdb_forms() {
    let lookup = SumdbPart::Lookup { module: ModulePath::new("example.com/A").unwrap(), version: "v1.0.0-!r".into() };
    for (path, name, part) in [
        ("sumdb/sum.golang.org/supported", "sum.golang.org", SumdbPart::Supported),
        ("sumdb/host/a/b/latest", "host/a/b", SumdbPart::Latest),
        ("sumdb/host/a/lookup/example.com/!a@v1.0.0-!r", "host/a", lookup),
        ("sumdb/h/tile/8/0/x001/234", "h", SumdbPart::Tile("tile/8/0/x001/234".into())),
        ("sumdb/h/tile/8/data/005.p/7", "h", SumdbPart::Tile("tile/8/data/005.p/7".into())),
    ] {
        assert_eq!(parse(path), Request::Sumdb(SumdbRequest { name: name.into(), part }), "{path}");
        assert_eq!(parse(path).to_path(), path);
    }
}

#[test]
fn malformed() {
    let long = format!("example.com/{}/@v/list", "a".repeat(PATH_BYTES_MAX));
    for path in [
        "example.com/%zz/@v/list",
        "example.com/%2/@v/list",
        "example.com/%",
        "example.com/%2521a/@v/list",
        "example.com/%25/@v/list",
        "example.com/a%00/@v/list",
        "example.com/a%0a/@v/list",
        "example.com/a\\b/@v/list",
        "example.com/a%5Cb/@v/list",
        "example.com/../@v/list",
        "example.com/%2e%2e/@v/list",
        "example.com/./@v/list",
        "example.com//@v/list",
        "example.com/%2f/@v/list",
        "/example.com/@v/list",
        "example.com/@v/list?x=1",
        "example.com/@v/list#x",
        "example.com/%ff/@v/list",
        long.as_str(),
    ] {
        assert!(matches!(Request::parse(path), Err(ParseError::Malformed(_))), "{path}");
    }
}

#[test]
fn not_found_with_the_reason() {
    for (path, reason) in [
        ("", "no such path \"\""),
        ("example.com/a", "no such path"),
        ("example.com/a/@v/", "no such path"),
        ("example.com/a/@v/list/", "no such path"),
        ("example.com/a/@v/v1.0.0", "no such path"),
        ("example.com/a/@v/v1.0.0.txt", "no such path"),
        ("example.com/a/@latest/x", "no such path"),
        ("@latest", "no such path"),
        ("example.com/A/@v/list", "invalid escaped module path \"example.com/A\""),
        ("nodot/a/@v/list", "missing dot in first path element"),
        ("example.com/a/@v/v1.mod", "version \"v1\" is not canonical"),
        ("example.com/a/@v/main.zip", "version \"main\" is not canonical"),
        ("example.com/a/@v/V1.info", "invalid escaped version \"V1\""),
        ("example.com/a/@v/feature/x.info", "invalid escaped version"),
        ("example.com/a/@v/.info", "invalid escaped version"),
        ("sumdb/supported", "no such path \"sumdb/supported\""),
        ("sumdb/h/nothing", "no such path"),
        ("sumdb/h+1/supported", "no such path"),
        ("sumdb/h/lookup/example.com", "no such path"),
        ("sumdb/h/lookup/example.com/A@v1.0.0", "invalid escaped module path"),
        ("sumdb/h/lookup/example.com/a@v1/go.mod", "invalid escaped version"),
    ] {
        match Request::parse(path) {
            Err(ParseError::NotFound(found)) => assert!(found.contains(reason), "{path}: {found}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn tiles_have_one_spelling() {
    for good in ["tile/1/0/000", "tile/30/63/x123/x456/789", "tile/8/data/000.p/255", "tile/8/1/x001/000.p/1"] {
        assert!(parse_tile(good).is_some(), "{good}");
    }
    for bad in [
        "tile/0/0/000",
        "tile/31/0/000",
        "tile/08/0/000",
        "tile/8/0/0",
        "tile/8/0/x000/001",
        "tile/8/0/001/002",
        "tile/8/0/x001",
        "tile/8/0/000.p/256",
        "tile/8/0/000.p/0",
        "tile/8/0/000.p/01",
        "tile/8/0/000.p",
        "tile/8/0",
        "tile/8/x/000",
        "tile/8/0/000/x",
        "tile/8/-1/000",
        "tile/8/0/000.p/1/2",
        "tile/8/data",
        "tile/8/000.p/1",
    ] {
        assert!(parse_tile(bad).is_none(), "{bad}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn module() -> impl Strategy<Value = String> {
        "[a-z]{1,6}\\.(com|org)(/[A-Za-z0-9_.~-]{1,8}){0,3}(/v[2-9])?"
            .prop_filter("a valid module path", |path| module::check_path(path).is_ok())
    }

    fn file() -> impl Strategy<Value = String> {
        let version = "v[0-9]{1,2}(\\.[0-9]{1,2}){0,2}(-[A-Za-z0-9.]{1,6})?(\\+incompatible)?|[A-Za-z0-9#^~{} -]{1,9}";
        let valid = version.prop_filter_map("an escapable version", |v| module::escape_version(&v).ok());
        prop_oneof![
            Just("@v/list".to_owned()),
            Just("@latest".to_owned()),
            (valid, "info|mod|zip").prop_map(|(v, extension)| format!("@v/{v}.{extension}")),
        ]
    }

    proptest! {
        #[test]
        fn writing_is_the_inverse_of_reading(module in module(), file in file()) {
            let escaped = module::escape_path(&module).unwrap();
            let raw = format!("{escaped}/{file}").replace('#', "%23");
            match Request::parse(&raw) {
                Ok(request) => prop_assert_eq!(Request::parse(&request.to_path()), Ok(request)),
                Err(error) => prop_assert!(matches!(error, ParseError::NotFound(_)), "{}", error),
            }
        }

        #[test]
        fn no_path_panics_and_what_is_read_is_written(raw in "[a-z./@v%!0-9A-F#-]{0,40}|.{0,30}") {
            if let Ok(request) = Request::parse(&raw) {
                prop_assert_eq!(Request::parse(&request.to_path()), Ok(request));
            }
        }
    }
}
