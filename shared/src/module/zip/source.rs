//! The bytes of a zip at any offset, through one buffer, so that neighbouring entries cost one read.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A reader that knows where it stands and how long the zip is.
pub(super) struct Source<R> {
    reader: BufReader<R>,
    /// `None` before the first seek: the reader may stand anywhere.
    position: Option<u64>,
    len: u64,
}

impl<R: Read + Seek> Source<R> {
    pub(super) fn new(reader: R, len: u64) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER_BYTES, reader), position: None, len }
    }

    /// Length of the zip in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Moves to `offset`. An offset beyond the end is an end of file, as for Go.
    pub(super) fn seek(&mut self, offset: i64) -> io::Result<()> {
        let target = u64::try_from(offset).ok().filter(|&target| target <= self.len);
        let target = target.ok_or(io::ErrorKind::UnexpectedEof)?;
        match self.position {
            Some(position) => {
                // Both lie within a zip of at most 500 MiB.
                let distance = target.cast_signed() - position.cast_signed();
                self.reader.seek_relative(distance)?;
            }
            None => {
                self.reader.seek(SeekFrom::Start(target))?;
            }
        }
        self.position = Some(target);
        Ok(())
    }

    /// Where the next read begins.
    pub(super) fn position(&self) -> u64 {
        self.position.unwrap_or(0)
    }
}

impl<R: Read + Seek> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let position = self.position();
        let left = usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.reader.read(&mut buffer[..wanted])?;
        self.position = Some(position + count as u64);
        Ok(count)
    }
}

/// Little-endian fields, taken one after another from a record of known length.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        if let Some((head, rest)) = self.0.split_at_checked(N) {
            field.copy_from_slice(head);
            self.0 = rest;
        }
        field
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
