//! Lines of JSON over a Unix socket, with descriptors attached where they are needed.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use super::{ANSWER_PATIENCE, Word};

/// Longest line.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Most descriptors in one message.
const DESCRIPTORS_MAX: usize = 16;

/// One side of the conversation.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
}

impl Channel {
    /// Over a connected socket.
    ///
    /// # Errors
    /// When the socket cannot be set up.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(ANSWER_PATIENCE))?;
        Ok(Self { stream })
    }

    /// Says it.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn say(&mut self, word: &Word) -> io::Result<()> {
        self.say_with(word, &[])
    }

    /// Says it, with descriptors.
    ///
    /// # Errors
    /// When the other side is gone, or there are too many descriptors.
    pub fn say_with(&mut self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut attached = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !attached.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many listeners to hand over"));
        }
        let mut sent = rustix::net::sendmsg(&self.stream, &[IoSlice::new(&line)], &mut attached, SendFlags::NOSIGNAL)?;
        while sent < line.len() {
            let rest = [IoSlice::new(&line[sent..])];
            let mut nothing = SendAncillaryBuffer::default();
            sent += rustix::net::sendmsg(&self.stream, &rest, &mut nothing, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// The next word; `None` when the other side is gone.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] after `patience`; what is no word.
    pub fn hear(&mut self, patience: Duration) -> io::Result<Option<Word>> {
        Ok(self.hear_with(patience)?.map(|(word, _)| word))
    }

    /// The next word and what is attached to it.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub fn hear_with(&mut self, patience: Duration) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
        let deadline = Instant::now() + patience;
        let (mut line, mut descriptors) = (Vec::new(), Vec::new());
        while line.last() != Some(&b'\n') {
            match self.read(deadline, &mut line, &mut descriptors) {
                Ok(0) => return Ok(None),
                Ok(_) if line.len() > LINE_BYTES_MAX => return Err(io::Error::other("too long a line")),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some((serde_json::from_slice(&line)?, descriptors)))
    }

    fn read(&self, deadline: Instant, line: &mut Vec<u8>, descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let timed_out = || io::Error::new(ErrorKind::TimedOut, "the other process does not answer");
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        self.stream.set_read_timeout(Some(left))?;
        // The two speak in turn, so nothing of a next line can come with this one.
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let received = rustix::net::recvmsg(&self.stream, &mut into, &mut attached, RecvFlags::CMSG_CLOEXEC);
        let received = received.map_err(|error| match io::Error::from(error) {
            error if error.kind() == ErrorKind::WouldBlock => timed_out(),
            error => error,
        })?;
        for message in attached.drain() {
            if let RecvAncillaryMessage::ScmRights(given) = message {
                descriptors.extend(given);
            }
        }
        line.extend_from_slice(&bytes[..received.bytes]);
        Ok(received.bytes)
    }
}
