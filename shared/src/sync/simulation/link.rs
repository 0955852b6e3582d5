//! A way between two machines that can be cut.

use std::sync::Arc;

use super::Chance;
use super::watched::Watched;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Up,
    /// Refused at once.
    Cut,
    /// Swallowed.
    Silent,
}

/// One way.
#[derive(Clone)]
pub(super) struct Link {
    state: Arc<Watched<State>>,
    chance: Chance,
}

impl Link {
    pub(super) fn new(chance: &Chance) -> Self {
        Self { state: Arc::new(Watched::new(State::Up)), chance: chance.clone() }
    }

    pub(super) fn set(&self, state: State) {
        self.state.set(state);
    }

    /// Crosses it, or says why not. What was swallowed is lost also when the way is there again.
    pub(super) async fn cross(&self) -> Result<(), String> {
        self.chance.latency().await;
        match self.state.get() {
            State::Up => Ok(()),
            State::Cut => Err("refused".to_owned()),
            State::Silent => {
                self.state.wait_for(|state| state != State::Silent).await;
                Err("reset".to_owned())
            }
        }
    }
}
