//! What edges are asked for most: the latest version of it is kept warm at every edge, also where nobody asked yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use shared::module::ModulePath;
use tokio::time::sleep;

use super::{Rounds, Sources};
use crate::prewarm::wanted::{Cause, CauseKind};
use crate::url::reason;

/// How long an edge may take for its list.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
struct Hot {
    modules: Vec<HotModule>,
}

#[derive(Debug, Deserialize)]
struct HotModule {
    module: ModulePath,
}

impl Sources {
    /// Wants what is hot anywhere. Whether every edge said what is.
    pub(super) async fn want_hot(&self, anew: bool) -> bool {
        if self.settings.hot_modules == 0 {
            return true;
        }
        let mut is_whole = true;
        let mut by_module: BTreeMap<String, String> = BTreeMap::new();
        for (label, base) in &self.edges {
            match self.hot_of(base).await {
                Ok(hot) => {
                    for module in hot {
                        by_module.entry(format!("{}@latest", module.module)).or_insert_with(|| label.clone());
                    }
                }
                Err(reason) => is_whole = self.fail(CauseKind::Hot, &format!("{label}: {reason}")),
            }
        }
        // An edge that does not answer has not cooled down.
        if is_whole || !by_module.is_empty() {
            *self.hot.lock() = by_module.keys().map(|name| name.trim_end_matches("@latest").to_owned()).collect();
        }
        for (name, edge) in by_module {
            let closure = self.closure_of_names(&BTreeSet::from([name])).await;
            is_whole &= self.want(closure, &Cause::new(CauseKind::Hot, &edge), anew).await;
        }
        is_whole
    }

    async fn hot_of(&self, base: &str) -> Result<Vec<HotModule>, String> {
        let path = format!("api/v1/hot?n={}", self.settings.hot_modules);
        let answer = self.client.get(base, &path).timeout(ANSWER_TIMEOUT).send().await.map_err(reason)?;
        let answer = answer.error_for_status().map_err(reason)?;
        answer.json::<Hot>().await.map(|hot| hot.modules).map_err(reason)
    }

    /// Asks the edges for good.
    pub(super) async fn watch_hot(&self) {
        if self.settings.hot_modules == 0 {
            return;
        }
        let mut rounds = Rounds::new(self.settings.again_every.get(), self.settings.look_every.get());
        loop {
            let anew = rounds.is_anew();
            let is_whole = self.want_hot(anew).await;
            sleep(rounds.wait(is_whole)).await;
        }
    }
}
