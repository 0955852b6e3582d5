//! The cache's key: a repository and a request, and how both stand in the index.
//!
//! ```text
//! <module> 00 <repository> 00 <kind> …      kind: a list · b latest · q query · s lookup · v version
//! ```
//! The module stands first, so that all of a module is one range of the index; mutables come before versions in it, so that they are a
//! range as well. Nothing in a request holds a NUL: the parser refuses it. What belongs to no module has an empty one.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use shared::artefact::Artefact;
use shared::module::ModulePath;
use shared::request::{Request, SumdbPart};

const LIST: u8 = b'a';
const LATEST: u8 = b'b';
const QUERY: u8 = b'q';
const LOOKUP: u8 = b's';
const TILE: u8 = b't';
const VERSION: u8 = b'v';

/// What an entry is held under. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Key(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    bytes: Box<[u8]>,
    module: Option<ModulePath>,
    version: Option<Box<str>>,
    repo_len: usize,
    mutable: bool,
    hash: u64,
}

impl Key {
    /// The key of what `request` asks of `repo`. It comes from nothing else.
    pub(crate) fn of(repo: &str, request: &Request) -> Self {
        let (module, version, kind) = match request {
            Request::Module(request) => {
                let kind = artefact_bytes(&request.artefact);
                let version = request.artefact.version().map(|version| version.as_str().into());
                (Some(request.module.clone()), version, kind)
            }
            Request::Sumdb(request) => {
                let name = request.name.as_str();
                match &request.part {
                    SumdbPart::Supported => (None, None, joined(QUERY, &[name, "supported"])),
                    SumdbPart::Latest => (None, None, joined(QUERY, &[name, "latest"])),
                    SumdbPart::Tile(tile) => (None, None, joined(TILE, &[name, tile])),
                    // Under its module: a new version ends "not found" for its record, too.
                    SumdbPart::Lookup { module, version } => {
                        (Some(module.clone()), None, joined(LOOKUP, &[name, version]))
                    }
                }
            }
        };
        let path = module.as_ref().map_or("", ModulePath::as_str);
        let mut bytes = module_prefix(path, repo);
        bytes.extend_from_slice(&kind);
        let mutable = matches!(kind.first(), Some(&(LIST | LATEST | QUERY)));
        let hash = hash_of(path);
        Self(Arc::new(Parts { bytes: bytes.into(), module, version, repo_len: repo.len(), mutable, hash }))
    }

    /// The module that it belongs to.
    pub(crate) fn module(&self) -> Option<&ModulePath> {
        self.0.module.as_ref()
    }

    /// Whether another answer may be right tomorrow.
    pub(crate) fn is_mutable(&self) -> bool {
        self.0.mutable
    }

    /// The canonical version, if it is an artefact of one.
    pub(super) fn version(&self) -> Option<&str> {
        self.0.version.as_deref()
    }

    pub(super) fn repo(&self) -> &str {
        let start = self.module_path().len() + 1;
        // Cut out of what was built from `str`s at their very borders.
        std::str::from_utf8(&self.0.bytes[start..start + self.0.repo_len]).unwrap_or_default()
    }

    pub(super) fn module_path(&self) -> &str {
        self.module().map_or("", ModulePath::as_str)
    }

    /// The key in the index.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Another one for each key, the same in every process.
    pub(super) fn own_hash(&self) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(&self.0.bytes)
    }

    /// The same for all keys of a module, and as [`hash_of`] its path.
    pub(super) fn module_hash(&self) -> u64 {
        self.0.hash
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.bytes.hash(state);
    }
}

/// The start of all keys of a module in all repositories.
pub(super) fn everywhere_prefix(module: &str) -> Vec<u8> {
    [module.as_bytes(), &[0]].concat()
}

/// The start of all keys of a module in a repository.
pub(super) fn module_prefix(module: &str, repo: &str) -> Vec<u8> {
    [module.as_bytes(), &[0], repo.as_bytes(), &[0]].concat()
}

/// The starts of the keys of a module's mutables.
pub(super) fn mutable_prefixes(module: &str, repo: &str) -> [Vec<u8>; 3] {
    [LIST, LATEST, QUERY].map(|kind| with(module, repo, &[kind]))
}

/// The key of a module's list.
pub(super) fn list_key(module: &str, repo: &str) -> Vec<u8> {
    with(module, repo, &[LIST])
}

/// The key of a module's latest version.
pub(super) fn latest_key(module: &str, repo: &str) -> Vec<u8> {
    with(module, repo, &[LATEST])
}

/// The start of one query's key, or of all queries' of the module.
pub(super) fn query_prefix(module: &str, repo: &str, query: Option<&str>) -> Vec<u8> {
    match query {
        Some(query) => with(module, repo, &joined(QUERY, &[query])),
        None => with(module, repo, &[QUERY]),
    }
}

/// The start of the keys of a version's info, mod and zip, or of all versions'.
pub(super) fn version_prefix(module: &str, repo: &str, version: Option<&str>) -> Vec<u8> {
    match version {
        Some(version) => with(module, repo, &joined(VERSION, &[version])),
        None => with(module, repo, &[VERSION]),
    }
}

/// The key of a version's zip.
pub(super) fn zip_key(module: &str, repo: &str, version: &str) -> Vec<u8> {
    let mut key = version_prefix(module, repo, Some(version));
    key.push(b'z');
    key
}

/// One number for each module path, the same in every process.
pub(super) fn hash_of(module: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(module)
}

fn with(module: &str, repo: &str, kind: &[u8]) -> Vec<u8> {
    let mut key = module_prefix(module, repo);
    key.extend_from_slice(kind);
    key
}

/// A kind and its words; each word ends with NUL, so that none is the start of another.
fn joined(kind: u8, words: &[&str]) -> Vec<u8> {
    let mut bytes = vec![kind];
    for word in words {
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn artefact_bytes(artefact: &Artefact) -> Vec<u8> {
    let of_version = |version: &str, kind| {
        let mut bytes = joined(VERSION, &[version]);
        bytes.push(kind);
        bytes
    };
    match artefact {
        Artefact::List => vec![LIST],
        Artefact::Latest => vec![LATEST],
        Artefact::Query(query) => joined(QUERY, &[query]),
        Artefact::Info(version) => of_version(version.as_str(), b'i'),
        Artefact::Mod(version) => of_version(version.as_str(), b'm'),
        Artefact::Zip(version) => of_version(version.as_str(), b'z'),
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Key {
        Key::of("r", &Request::parse(path).unwrap())
    }

    #[test]
    fn a_key_knows_what_it_stands_for() {
        let zip = key("example.com/!a/@v/v1.0.0.zip");
        assert_eq!((zip.module_path(), zip.version(), zip.repo()), ("example.com/A", Some("v1.0.0"), "r"));
        assert!(!zip.is_mutable() && key("example.com/!a/@v/list").is_mutable());
        assert_eq!(zip.bytes(), zip_key("example.com/A", "r", "v1.0.0"));
        assert_eq!(zip.module_hash(), hash_of("example.com/A"));
        assert_eq!(key("example.com/a/@v/list").bytes(), list_key("example.com/a", "r"));
        assert_eq!(key("example.com/a/@latest").bytes(), latest_key("example.com/a", "r"));
        assert!(key("sumdb/sum.golang.org/latest").is_mutable());
        assert!(key("sumdb/sum.golang.org/latest").module().is_none());
        assert!(!key("sumdb/sum.golang.org/lookup/example.com/a@v1.0.0").is_mutable());
    }

    #[test]
    fn spellings_and_repositories() {
        assert_eq!(key("example.com/%21a/@v/list"), key("example.com/!a/@v/list"));
        assert_ne!(key("example.com/a/@v/list"), key("example.com/!a/@v/list"));
        let request = Request::parse("example.com/a/@v/list").unwrap();
        assert_ne!(Key::of("r", &request), Key::of("s", &request));
    }

    #[test]
    fn ranges_hold_their_own_and_no_others() {
        let all = [
            "example.com/a/@v/list",
            "example.com/a/@latest",
            "example.com/a/@v/main.info",
            "example.com/a/@v/main2.info",
            "example.com/a/@v/v1.0.0.info",
            "example.com/a/@v/v1.0.0.zip",
            "example.com/a/@v/v1.0.0-rc.mod",
            "example.com/a/b/@v/list",
            "example.com/aa/@v/list",
            "sumdb/sum.golang.org/lookup/example.com/a@v1.0.0",
            "sumdb/sum.golang.org/tile/8/0/000",
        ];
        let below = |prefix: &[u8]| -> Vec<usize> {
            (0..all.len()).filter(|i| key(all[*i]).bytes().starts_with(prefix)).collect()
        };
        let a = "example.com/a";
        assert_eq!(below(&module_prefix(a, "r")), [0, 1, 2, 3, 4, 5, 6, 9]);
        assert_eq!(below(&everywhere_prefix(a)), [0, 1, 2, 3, 4, 5, 6, 9]);
        assert_eq!(below(&query_prefix(a, "r", Some("main"))), [2]);
        assert_eq!(below(&query_prefix(a, "r", None)), [2, 3]);
        assert_eq!(below(&version_prefix(a, "r", Some("v1.0.0"))), [4, 5]);
        assert_eq!(below(&version_prefix(a, "r", None)), [4, 5, 6]);
        let mutables: Vec<usize> = mutable_prefixes(a, "r").iter().flat_map(|prefix| below(prefix)).collect();
        assert_eq!(mutables, [0, 1, 2, 3]);
    }
}
