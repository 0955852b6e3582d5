//! What both centers serve, and what every client therefore knows to be right.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{Origin, Seed};

const MODULES: u64 = 240;
const HOT_MODULES: u64 = 30;
const FILES_EACH: usize = 4;

/// All artefacts, four of each module: zip, mod, info, list.
pub(super) struct Content {
    artefacts: Vec<Artefact>,
}

/// A path and the only right bytes of it.
pub(super) struct Artefact {
    pub(super) path: String,
    pub(super) bytes: Bytes,
    pub(super) etag: String,
    /// Whether parts of it may be asked for.
    pub(super) ranges: bool,
}

impl Content {
    /// The same for equal seeds; some 60 MB, several times what the edge may keep.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Seed::of(seed);
        let mut artefacts = Vec::new();
        for module in 0..MODULES {
            // Below and above what is proven before it is sent, and above what is kept in the index.
            let len = match module % 10 {
                0 => random.within(1_000_000..3_000_000),
                1..=3 => random.within(100_000..300_000),
                _ => random.within(100..20_000),
            };
            let base = format!("soak.example/m{module}");
            let zip = random.bytes(usize::try_from(len).expect("a length is small"));
            let go_mod = format!("module {base}\n// {}\n", "x".repeat(usize::try_from(len % 3000).unwrap_or_default()));
            let files = [
                ("@v/v1.0.0.zip", zip),
                ("@v/v1.0.0.mod", go_mod.into_bytes()),
                ("@v/v1.0.0.info", br#"{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z"}"#.to_vec()),
                ("@v/list", b"v1.0.0\n".to_vec()),
            ];
            artefacts.extend(files.map(|(file, bytes)| Artefact::new(&base, file, bytes)));
        }
        Self { artefacts }
    }

    pub(super) fn publish(&self, center: &Origin) {
        for artefact in &self.artefacts {
            center.set(&artefact.path, artefact.bytes.clone());
        }
    }

    pub(super) fn all(&self) -> &[Artefact] {
        &self.artefacts
    }

    /// Seven times of ten one of few that everybody asks for, otherwise any.
    pub(super) fn draw(&self, random: &mut Seed) -> &Artefact {
        let modules = if random.within(0..10) < 7 { HOT_MODULES } else { MODULES };
        let at = random.within(0..modules * FILES_EACH as u64);
        &self.artefacts[usize::try_from(at).expect("an index is small")]
    }
}

impl Artefact {
    fn new(base: &str, file: &str, bytes: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", hex::encode(Sha256::digest(&bytes)));
        Self { path: format!("{base}/{file}"), bytes: bytes.into(), etag, ranges: file == "@v/v1.0.0.zip" }
    }
}
