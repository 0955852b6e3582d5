//! Which versions are to be carried, and the sums that they must have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use reqwest::Method;
use serde::Deserialize;
use shared::go_sum;
use shared::module::zip::verify_zip;
use shared::module::{ModulePath, Version, h1};

use crate::cli::client::Client;

/// Lines of the index, and modules of a catalog, that are asked for at once.
const PAGE: usize = 1000;

/// Versions, each with whether its zip is wanted too.
pub(super) type Wanted = BTreeMap<(ModulePath, Version), bool>;

/// Reads a list: `module@version` or `module version`, one a line; `#` begins a comment.
pub(super) fn read_list(file: &Path, wanted: &mut Wanted) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let at = || format!("{}:{}: {line:?}", file.display(), number + 1);
        let (module, version) = line.split_once(['@', ' ']).with_context(at)?;
        let module = ModulePath::new(module).with_context(at)?;
        let version = Version::new(&module, version.trim()).with_context(at)?;
        wanted.insert((module, version), true);
    }
    Ok(())
}

/// The sums of go.sum files. Where none was given, everything passes.
#[derive(Debug, Default)]
pub(super) struct Sums {
    by_version: BTreeMap<(ModulePath, Version), go_sum::Entry>,
}

impl Sums {
    /// Reads go.sum files.
    pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut sums = Self::default();
        for file in files {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            for entry in go_sum::parse(&text).map_err(|error| anyhow::anyhow!("{}:{error}", file.display()))? {
                let key = (entry.module.clone(), entry.version.clone());
                match sums.by_version.get_mut(&key) {
                    Some(known) => {
                        known.zip.extend(entry.zip);
                        known.gomod.extend(entry.gomod);
                    }
                    None => drop(sums.by_version.insert(key, entry)),
                }
            }
        }
        Ok(sums)
    }

    /// What they name.
    pub(super) fn want(&self, wanted: &mut Wanted) {
        for (key, entry) in &self.by_version {
            *wanted.entry(key.clone()).or_default() |= !entry.zip.is_empty();
        }
    }

    /// Proves a zip against its sum, if it has one; returns its `h1:`.
    pub(super) fn check_zip(&self, module: &ModulePath, version: &Version, zip: &Path) -> anyhow::Result<String> {
        let file = File::open(zip).with_context(|| zip.display().to_string())?;
        let len = file.metadata()?.len();
        let found = verify_zip(file, len, module, version)?.h1;
        self.check(module, version, &found, |entry| &entry.zip)?;
        Ok(found)
    }

    /// Proves a go.mod against its sum, if it has one; returns its `h1:`.
    pub(super) fn check_gomod(&self, module: &ModulePath, version: &Version, body: &[u8]) -> anyhow::Result<String> {
        let found = h1::hash1_gomod(body);
        self.check(module, version, &found, |entry| &entry.gomod)?;
        Ok(found)
    }

    fn check(
        &self,
        module: &ModulePath,
        version: &Version,
        found: &str,
        of: impl Fn(&go_sum::Entry) -> &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let Some(known) = self.by_version.get(&(module.clone(), version.clone())).map(of) else { return Ok(()) };
        let stated = known.iter().next().map_or("", String::as_str);
        ensure!(known.is_empty() || known.contains(found), "{module}@{version} has {found}, its go.sum says {stated}");
        Ok(())
    }
}

/// A line of an index, or an entry of a catalog.
#[derive(Deserialize)]
struct Named {
    #[serde(alias = "Path")]
    module: String,
    #[serde(alias = "Version")]
    version: String,
    #[serde(default, rename = "Timestamp")]
    timestamp: String,
}

impl Named {
    fn add_to(&self, wanted: &mut Wanted) {
        // Whoever lists what is no module offers nothing that could be fetched.
        if let Ok(module) = ModulePath::new(&self.module)
            && let Ok(version) = Version::new(&module, &self.version)
        {
            wanted.insert((module, version), true);
        }
    }
}

/// Everything that a center's repository has listed since a time (empty: ever).
pub(super) async fn since(root: &Client, repository: &str, since: &str, wanted: &mut Wanted) -> anyhow::Result<()> {
    let mut since = since.to_owned();
    loop {
        let mut request = root.request(Method::GET, "index")?.query(&[("limit", PAGE.to_string().as_str())]);
        for (name, value) in [("repo", repository), ("since", since.as_str())] {
            if !value.is_empty() {
                request = request.query(&[(name, value)]);
            }
        }
        let text = root.send(request).await?.text().await.context("the index")?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Named>, _>>().context("the index")?;
        let before = wanted.len();
        for line in &lines {
            line.add_to(wanted);
        }
        match lines.last() {
            Some(last) if lines.len() >= PAGE => {
                // A page of one and the same time would be asked for again and again.
                ensure!(last.timestamp != since || wanted.len() > before, "the index does not get past {since}");
                since.clone_from(&last.timestamp);
            }
            _ => return Ok(()),
        }
    }
}

/// Everything in a catalog as Athens has it: `catalog?token=&pagesize=`. A center has it for each of its repositories.
pub(super) async fn catalog(proxy: &Client, repository: &str, wanted: &mut Wanted) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        modules: Vec<Named>,
        #[serde(default)]
        next: String,
    }
    let mut token = String::new();
    loop {
        let mut request = proxy.request(Method::GET, "catalog")?.query(&[("pagesize", PAGE.to_string().as_str())]);
        for (name, value) in [("token", token.as_str()), ("repo", repository)] {
            if !value.is_empty() {
                request = request.query(&[(name, value)]);
            }
        }
        let text = proxy.send(request).await?.text().await.context("the catalog")?;
        let page: Page = serde_json::from_str(&text).context("the catalog")?;
        for named in &page.modules {
            named.add_to(wanted);
        }
        if page.next.is_empty() {
            return Ok(());
        }
        if page.next == token {
            bail!("the catalog does not get past {token}");
        }
        token = page.next;
    }
}
