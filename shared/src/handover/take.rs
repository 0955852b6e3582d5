//! The new side: finds the running process and takes its place.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::channel::Channel;
use super::{ANSWER_PATIENCE, Listeners, OPEN_PATIENCE, PROTOCOL, SOCKET, SocketPath, Word};

/// How long the running process may take to close its database.
const CLOSE_PATIENCE: Duration = Duration::from_secs(15);

/// The running process, whose place is taken.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    listeners: Listeners,
}

/// Asks the process that runs in `data_dir` for its listening sockets; `None` when there is none.
///
/// # Errors
/// Why it does not give them, in one line.
pub fn find(data_dir: &Path) -> Result<Option<Predecessor>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot take over in {}: {error}", data_dir.display());
    let connected = SocketPath::of(data_dir).and_then(|at| UnixStream::connect(at.path(SOCKET)));
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut channel = Channel::new(stream).map_err(|error| failed(&error))?;
    let hello = Word::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into(), pid: std::process::id() };
    let heard = channel.say(&hello).and_then(|()| channel.hear_with(ANSWER_PATIENCE));
    match heard.map_err(|error| failed(&error))? {
        Some((Word::Listeners { protocol: PROTOCOL, names }, sockets)) if names.len() == sockets.len() => {
            let listeners = Listeners::given(names.into_iter().zip(sockets.into_iter().map(TcpListener::from)));
            Ok(Some(Predecessor { channel, listeners }))
        }
        Some((Word::Kept { reason }, _)) => Err(failed(&reason)),
        Some((other, _)) => Err(failed(&format!("it answered {other:?}"))),
        // It ended at this moment, so there is nobody any more.
        None => Ok(None),
    }
}

impl Predecessor {
    /// Its listening sockets, to be had once.
    pub fn listeners(&mut self) -> Listeners {
        std::mem::take(&mut self.listeners)
    }

    /// Has it accept no more and close its database. To be called when all that can be checked before is right.
    ///
    /// # Errors
    /// When it goes on itself.
    pub fn release(&mut self) -> Result<(), String> {
        self.turn(&Word::Take, &Word::Closed, CLOSE_PATIENCE)
    }

    /// Tells it that the database is open here; after this it never accepts again.
    ///
    /// # Errors
    /// When it goes on itself.
    pub fn replace(mut self) -> Result<(), String> {
        self.turn(&Word::Opened, &Word::Go, OPEN_PATIENCE)
    }

    fn turn(&mut self, say: &Word, expect: &Word, patience: Duration) -> Result<(), String> {
        // One that is gone cannot be told; that is heard as well.
        let _ = self.channel.say(say);
        match self.channel.hear(patience) {
            Ok(Some(word)) if word == *expect => Ok(()),
            Ok(Some(Word::Kept { reason })) => Err(format!("the running process goes on: {reason}")),
            Ok(Some(other)) => Err(format!("the running process said {other:?}")),
            // It died, and so holds nothing any more: this process is the only one that can serve.
            Ok(None) => {
                tracing::warn!("the running process has died during the hand-over; going on without it");
                Ok(())
            }
            Err(error) => Err(format!("the running process: {error}")),
        }
    }
}
