//! `modtier-center move-storage`: everything of a center that is stopped, from one storage to another.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use shared::config;
use shared::progress::Progress;

use crate::BINARY;
use crate::config::{ALIASES, Config};
use crate::store::{Stage, StoreConfig, move_store};

/// What to move. Where to is what the configuration says: what the center is to be started with afterwards.
#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The configuration file with the old `data_dir` and `storage`; environment variables do not count for it
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

impl Move {
    /// Does it; returns what was moved.
    pub(super) async fn run(self, config: Option<&Path>) -> anyhow::Result<String> {
        let name = self.from.display().to_string();
        let text = std::fs::read_to_string(&self.from).with_context(|| name.clone())?;
        let old: Config = config::parse(BINARY, Some((&name, &text)), [], &ALIASES)?;
        let new: Config = config::load(BINARY, config, &ALIASES)?;
        for (config, name) in [(&old, name.as_str()), (&new, "the new configuration")] {
            config.storage.check().map_err(|why| anyhow::anyhow!("{name}: storage.{why}"))?;
        }
        let is_same = (&old.data_dir, &old.storage) == (&new.data_dir, &new.storage);
        ensure!(!is_same, "{name}: it names the storage that the new configuration names");
        let (from, to) = (StoreConfig::new(old.data_dir), StoreConfig::new(new.data_dir));
        let mut shown = Shown::default();
        let mut watch = |stage, steps| shown.step(stage, steps);
        let moved = move_store((&from, &old.storage), (&to, &new.storage), &mut watch).await?;
        Ok(format!(
            "moved: {} records, {} changes, {} bodies ({} written now); read again and found equal\n\
             the old storage is marked as moved: no center starts on it\n",
            moved.records, moved.changes, moved.bodies, moved.written
        ))
    }
}

/// How far a move is.
#[derive(Default)]
struct Shown(Option<(Stage, Progress)>);

impl Shown {
    fn step(&mut self, stage: Stage, steps: usize) {
        if self.0.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            if let Some((_, progress)) = &self.0 {
                progress.finish();
            }
            let unit = match stage {
                Stage::Bodies => "bodies copied",
                Stage::Records => "kinds of records copied",
                Stage::Changes => "change logs copied",
                Stage::Proof => "bodies read again",
            };
            self.0 = Some((stage, Progress::start(steps, unit)));
        }
        if let Some((_, progress)) = &self.0 {
            progress.step();
        }
    }
}
