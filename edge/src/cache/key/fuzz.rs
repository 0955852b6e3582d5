//! Two keys are equal exactly where repository and request are: over names that differ only in where one ends and the next
//! begins.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzz;

fn identity() -> impl Strategy<Value = (String, Request)> {
    let repository = select(vec!["r", "s", "rr", "golang-virtual", "golang", "a", "v", "q"]);
    let module = prop_oneof![
        select(vec!["a.b", "a.b/c", "a.b/r", "a.b/v", "a.b/v2", "a.bc", "a.b/!c", "a.b/c/d"]).prop_map(str::to_owned),
        "[a-c]\\.[a-c](/(!?[a-c]){1,2}){0,2}",
    ];
    let version = prop_oneof![
        select(vec![
            "v1.0.0",
            "v1.0.01",
            "v1.0.0-a",
            "v1.0.0-!a",
            "v2.0.0",
            "v2.0.0+incompatible",
            "v",
            "q",
            "i",
            "z",
            "r"
        ])
        .prop_map(str::to_owned),
        "[abqsv0-9.]{1,4}",
    ];
    let file = prop_oneof![
        Just("@v/list".to_owned()),
        Just("@latest".to_owned()),
        (version.clone(), select(vec!["info", "mod", "zip"]))
            .prop_map(|(version, kind)| format!("@v/{version}.{kind}")),
    ];
    let artefact = (module.clone(), file).prop_map(|(module, file)| format!("{module}/{file}"));
    let part = prop_oneof![
        select(vec!["supported", "latest", "tile/8/0/000", "tile/8/1/000", "tile/8/data/000"]).prop_map(str::to_owned),
        (module, version).prop_map(|(module, version)| format!("lookup/{module}@{version}")),
    ];
    let sumdb = (select(vec!["h", "h/latest", "h/a", "supported"]), part)
        .prop_map(|(name, part)| format!("sumdb/{name}/{part}"));
    let path = prop_oneof![3 => artefact, 1 => sumdb];
    (repository, path).prop_filter_map("a path that is a request", |(repository, path)| {
        Request::parse(&path).ok().map(|request| (repository.to_owned(), request))
    })
}

#[test]
fn fuzz_keys() {
    fuzz::run("keys", &(identity(), identity()), |(one, other)| {
        let keys = [&one, &other].map(|(repository, request)| Key::of(repository, request));
        prop_assert_eq!(keys[0] == keys[1], one == other, "{:?} and {:?}", one, other);
        prop_assert_eq!(keys[0].bytes() == keys[1].bytes(), one == other);
        prop_assert_eq!(keys[0].repo(), one.0.as_str());
        // In the index too: a key of a module in a repository stands below that module and repository only.
        let below = keys[0].bytes().starts_with(&module_prefix(keys[1].module_path(), keys[1].repo()));
        prop_assert_eq!(below, keys[0].module_path() == keys[1].module_path() && one.0 == other.0);
        Ok(())
    });
}
