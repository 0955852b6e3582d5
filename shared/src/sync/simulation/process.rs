//! A process: a task that can be stopped (SIGSTOP), go on, and be killed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::task::JoinHandle;

/// Whether it is stopped, and who is to be woken when it goes on.
#[derive(Default)]
struct Gate {
    stopped: bool,
    waker: Option<Waker>,
}

struct Gated<F> {
    gate: Arc<Mutex<Gate>>,
    inner: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Gated<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.waker = Some(context.waker().clone());
            if gate.stopped {
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(context)
    }
}

/// A running process. It is killed when it is dropped.
pub(super) struct Process {
    gate: Arc<Mutex<Gate>>,
    task: JoinHandle<()>,
}

impl Process {
    pub(super) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        let gate = Arc::<Mutex<Gate>>::default();
        let task = tokio::spawn(Gated { gate: Arc::clone(&gate), inner: Box::pin(work) });
        Self { gate, task }
    }

    pub(super) fn stop(&self) {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
    }

    pub(super) fn go_on(&self) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.stopped = false;
        if let Some(waker) = gate.waker.take() {
            waker.wake();
        }
    }

    /// Whether it ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.task.abort();
    }
}
