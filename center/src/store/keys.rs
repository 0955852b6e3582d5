//! Keys of the metadata: parts joined by NUL, which no repository name, module path or version can contain.

/// Key of a version of a repository; without a version, the prefix of all of a module's.
pub(super) fn version(repository: &str, module: &str, version: &str) -> Vec<u8> {
    joined(&[repository, module, version])
}

/// Key of the identity of a version, wherever it comes from.
pub(super) fn identity(module: &str, version: &str) -> Vec<u8> {
    joined(&[module, version])
}

/// Key of a mutable answer, or of a recorded absence. `name` is the artefact's file name.
pub(super) fn mutable(repository: &str, module: &str, name: &str) -> Vec<u8> {
    joined(&[repository, module, name])
}

/// Prefix of the manifest's lines of a bucket.
pub(super) fn bucket(repository: &str, bucket: usize) -> Vec<u8> {
    joined(&[repository, &format!("{bucket:02x}"), ""])
}

/// Key of the manifest's lines of a version.
pub(super) fn line(repository: &str, bucket: usize, module: &str, version: &str) -> Vec<u8> {
    joined(&[repository, &format!("{bucket:02x}"), module, version])
}

/// Key of a module of a repository.
pub(super) fn module(repository: &str, module: &str) -> Vec<u8> {
    joined(&[repository, module])
}

/// Key of the generation of a bucket.
pub(super) fn generation(repository: &str, bucket: usize) -> Vec<u8> {
    joined(&[repository, &format!("{bucket:02x}")])
}

/// Prefix of everything of a repository.
pub(super) fn repository(name: &str) -> Vec<u8> {
    joined(&[name, ""])
}

/// Key of a change record: numbers sort as they count.
pub(super) fn change(repository: &str, seq: u64) -> Vec<u8> {
    let mut key = self::repository(repository);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// Takes the repository, the module and the version (or artefact name) out of a key.
pub(super) fn parts(key: &[u8]) -> Option<(&str, &str, &str)> {
    let mut parts = std::str::from_utf8(key).ok()?.split('\0');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// Takes the module and the version (or artefact name) out of a key of the repository.
pub(super) fn split(key: &[u8]) -> Option<(&str, &str)> {
    let mut parts = std::str::from_utf8(key).ok()?.split('\0').skip(1);
    Some((parts.next()?, parts.next()?))
}

fn joined(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}
