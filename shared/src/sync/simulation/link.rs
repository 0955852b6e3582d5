//! A way between two machines that can be cut.

use std::sync::Arc;

use tokio::sync::watch;

use super::Chance;

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
    state: Arc<watch::Sender<State>>,
    chance: Chance,
}

impl Link {
    pub(super) fn new(chance: &Chance) -> Self {
        Self { state: Arc::new(watch::Sender::new(State::Up)), chance: chance.clone() }
    }

    pub(super) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    pub(super) fn is_up(&self) -> bool {
        *self.state.borrow() == State::Up
    }

    /// Crosses it, or says why not. What was swallowed is lost also when the way is there again.
    pub(super) async fn cross(&self) -> Result<(), String> {
        self.chance.latency().await;
        let mut state = self.state.subscribe();
        let now = *state.borrow_and_update();
        match now {
            State::Up => Ok(()),
            State::Cut => Err("refused".to_owned()),
            State::Silent => {
                let _ = state.wait_for(|state| *state != State::Silent).await;
                Err("reset".to_owned())
            }
        }
    }
}
