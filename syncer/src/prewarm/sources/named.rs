//! Versions that are named one by one: in the configuration, in lists, and toolchains.

use std::collections::BTreeSet;

use shared::module::ModulePath;
use tokio::time::sleep;

use super::tree::Unit;
use super::{Rounds, Sources, toolchain};
use crate::prewarm::closure::{self, Closure, Project};
use crate::prewarm::wanted::{Cause, CauseKind, Key, Parts};

/// The names in a list: one a line, `#` begins a comment.
pub(super) fn lines(text: &str) -> BTreeSet<String> {
    let names = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl Sources {
    /// What programs would load that require these, each by itself.
    pub(super) async fn closure_of_names(&self, names: &BTreeSet<String>) -> Closure {
        let mut whole = Closure::default();
        for name in names {
            match self.key_of(name).await {
                Ok(key) => {
                    let one = closure::resolve(&self.mods, &Project::of_requirement(key.clone())).await;
                    for (key, parts) in one.wanted {
                        whole.add(key, parts);
                    }
                    whole.flaws.extend(one.flaws);
                    whole.add(key, Parts::ALL);
                }
                Err(flaw) => whole.flaws.push(flaw),
            }
        }
        whole
    }

    /// `module@version` or `module@latest`.
    async fn key_of(&self, name: &str) -> Result<Key, String> {
        let Some(module) = name.strip_suffix("@latest") else { return name.parse() };
        let module = ModulePath::new(module).map_err(|error| error.to_string())?;
        let version = self.mods.latest(&module).await?;
        Ok(Key { module, version })
    }

    /// Wants everything that is named. Whether all of it could be found out.
    pub(super) async fn want_names(&self, anew: bool) -> bool {
        let mut is_whole = true;
        if !self.settings.modules.is_empty() {
            let closure = self.closure_of_names(&self.settings.modules.iter().cloned().collect()).await;
            is_whole &= self.want(closure, &Cause::new(CauseKind::List, "modules"), anew).await;
        }
        for file in &self.settings.lists {
            is_whole &= self.want_unit(&Unit::List(file.clone()), None, anew).await;
        }
        let mut toolchains = Closure::default();
        for name in &self.settings.toolchains.versions {
            toolchains.add_all(toolchain::keys(name, &self.settings.toolchains), Parts::ALL);
        }
        if !toolchains.wanted.is_empty() {
            is_whole &= self.want(toolchains, &Cause::new(CauseKind::Toolchain, "versions"), anew).await;
        }
        is_whole
    }

    /// Looks at what is named for good.
    pub(super) async fn watch_names(&self) {
        let mut rounds = Rounds::new(self.settings.again_every.get(), self.settings.look_every.get());
        loop {
            let anew = rounds.is_anew();
            let is_whole = self.want_names(anew).await;
            sleep(rounds.wait(is_whole)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_comments() {
        let names = lines("# all of ours\nexample.com/a@v1.0.0 # why\n\n  example.com/b@latest\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["example.com/a@v1.0.0", "example.com/b@latest"]);
    }
}
