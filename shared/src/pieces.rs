//! Pieces of files on their way to a client, read into memory that is used again.
//!
//! A thousand clients of one large body take and give back a buffer for every piece, on different threads. An allocator keeps what
//! was given back for a while, per arena: several hundred megabytes for such a crowd. Here it is what is on its way at one time.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::{ReadWriteFlags, preadv2};

/// The most that one piece has: large enough that the hop to a blocking thread does not count, small enough for memory.
pub const PIECE_BYTES: usize = 32 * 1024;

/// Buffers kept for later: 16 MiB.
const KEPT_MAX: usize = 512;

static KEPT: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer that comes back when the last reader of its bytes is done.
struct Piece {
    buffer: Box<[u8]>,
    len: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Piece {
    /// Room for `wanted` bytes, at most [`PIECE_BYTES`].
    fn of(wanted: usize) -> Self {
        let kept = KEPT.lock().pop();
        let buffer = kept.unwrap_or_else(|| vec![0; PIECE_BYTES].into_boxed_slice());
        Self { buffer, len: wanted.min(PIECE_BYTES) }
    }

    fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.len).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut kept = KEPT.lock();
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// What the kernel has in memory of the `wanted` bytes from `position` on, at most [`PIECE_BYTES`]. Waits for no disk: `None` where one
/// has to be waited for, where the file ends, and where its file system cannot tell. [`read`] knows more then.
pub fn at_hand(file: &File, position: u64, wanted: usize) -> Option<Bytes> {
    let mut piece = Piece::of(wanted);
    let read = preadv2(file, &mut [IoSliceMut::new(piece.room())], position, ReadWriteFlags::NOWAIT);
    piece.len = read.ok().filter(|len| *len > 0)?;
    Some(Bytes::from_owner(piece))
}

/// Reads `wanted` bytes from `position` on, at most [`PIECE_BYTES`]. Blocks.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] where the file ends before; what reading says.
pub fn read(file: &File, position: u64, wanted: usize) -> io::Result<Bytes> {
    let mut piece = Piece::of(wanted);
    file.read_exact_at(piece.room(), position)?;
    Ok(Bytes::from_owner(piece))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pieces_are_what_the_file_has_and_their_memory_is_used_again_within_bounds() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..PIECE_BYTES + 100).map(|i| u8::try_from(i % 251).unwrap()).collect();
        file.write_all(&content).unwrap();
        assert_eq!(read(&file, 3, 5).unwrap(), content[3..8]);
        assert_eq!(read(&file, 100, usize::MAX).unwrap(), content[100..], "a piece has at most so many bytes");
        assert_eq!(read(&file, 101, PIECE_BYTES).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        // A shorter piece in a buffer that held a longer one shows nothing of it.
        assert_eq!(read(&file, 0, 1).unwrap().len(), 1);

        // What was just written is in the system's memory, if it can tell; what lies beyond the end is nowhere.
        let can_tell = preadv2(&file, &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT).is_ok();
        let mut now = Vec::new();
        while let Some(piece) = at_hand(&file, now.len() as u64, usize::MAX) {
            assert!((1..=PIECE_BYTES).contains(&piece.len()));
            now.extend_from_slice(&piece);
        }
        assert_eq!(now, content[..if can_tell { content.len() } else { 0 }]);
        assert_eq!(at_hand(&file, 3, 5).map(|piece| piece.to_vec()), can_tell.then(|| content[3..8].to_vec()));

        let many: Vec<_> = (0..2 * KEPT_MAX).map(|_| read(&file, 0, 1).unwrap()).collect();
        assert!(KEPT.lock().len() <= KEPT_MAX);
        let clones = many.clone();
        drop(many);
        assert!(KEPT.lock().len() <= KEPT_MAX);
        drop(clones);
        assert!((1..=KEPT_MAX).contains(&KEPT.lock().len()));
    }
}
