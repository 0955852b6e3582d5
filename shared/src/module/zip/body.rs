//! Unpacks one file of a zip: local header, stored or deflated data, declared size, CRC-32, data descriptor.

use std::io::{self, Read, Seek};

use flate2::{Decompress, FlushDecompress, Status};

use super::ZipError;
use super::directory::Entry;
use super::source::{Fields, Source};

const LOCAL_HEADER_BYTES: usize = 30;
const LOCAL_HEADER_SIGNATURE: u32 = 0x0403_4b50;
const DESCRIPTOR_SIGNATURE: u32 = 0x0807_4b50;
/// Flag bit: the CRC stands in a descriptor behind the data.
const HAS_DESCRIPTOR: u16 = 1 << 3;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const CHUNK_BYTES: usize = 16 << 10;

/// Gives the file's content to `sink`, chunk by chunk, and fails unless it is what the directory declares.
pub(super) fn unpack<R: Read + Seek>(
    source: &mut Source<R>,
    entry: &Entry,
    sink: impl FnMut(&[u8]),
) -> Result<(), ZipError> {
    let data = seek_to_data(source, entry)?;
    // What reaches beyond the zip ends with it; the sizes then disagree.
    let packed = u64::try_from(entry.packed_size.cast_signed()).unwrap_or(0);
    let packed = packed.min(source.len().saturating_sub(data));
    let mut tally = Tally { entry, size: 0, crc: crc32fast::Hasher::new(), sink };
    match entry.method {
        STORED => copy(source, packed, &mut tally)?,
        DEFLATED => inflate(source, packed, &mut tally)?,
        other => return Err(ZipError::entry(&entry.name, format!("unsupported compression method {other}"))),
    }
    if tally.size != entry.size {
        return Err(ZipError::entry(&entry.name, "shorter than its declared size"));
    }
    check_crc(source, entry, data, tally.crc.finalize())
}

/// A directory entry has no content. Its data is not looked at, as archivers write odd things there.
pub(super) fn check_directory<R: Read + Seek>(source: &mut Source<R>, entry: &Entry) -> Result<(), ZipError> {
    seek_to_data(source, entry)?;
    if entry.size == 0 { Ok(()) } else { Err(ZipError::entry(&entry.name, "directory with content")) }
}

/// Checks the local header's signature and leaves the source at the data behind it; nothing else in it counts.
fn seek_to_data<R: Read + Seek>(source: &mut Source<R>, entry: &Entry) -> Result<u64, ZipError> {
    let mut header = [0; LOCAL_HEADER_BYTES];
    source.seek(entry.header_offset).map_err(|e| read_error(&entry.name, e))?;
    source.read_exact(&mut header).map_err(|e| read_error(&entry.name, e))?;
    let mut fields = Fields(&header);
    if fields.u32() != LOCAL_HEADER_SIGNATURE {
        return Err(ZipError::entry(&entry.name, "no local header where the directory says"));
    }
    fields.skip(22);
    let skipped = u64::from(fields.u16()) + u64::from(fields.u16());
    let data = (source.position() + skipped).min(source.len());
    source.seek(data.cast_signed()).map_err(|e| read_error(&entry.name, e))?;
    Ok(data)
}

/// Counts and checks what is unpacked before it is let out.
struct Tally<'a, S> {
    entry: &'a Entry,
    size: u64,
    crc: crc32fast::Hasher,
    sink: S,
}

impl<S: FnMut(&[u8])> Tally<'_, S> {
    fn add(&mut self, chunk: &[u8]) -> Result<(), ZipError> {
        self.size += chunk.len() as u64;
        if self.size > self.entry.size {
            return Err(ZipError::entry(&self.entry.name, "longer than its declared size"));
        }
        self.crc.update(chunk);
        (self.sink)(chunk);
        Ok(())
    }
}

fn copy<R: Read + Seek>(
    source: &mut Source<R>,
    mut packed: u64,
    tally: &mut Tally<'_, impl FnMut(&[u8])>,
) -> Result<(), ZipError> {
    let mut chunk = [0; CHUNK_BYTES];
    while packed > 0 {
        let count = read_chunk(source, &mut chunk, packed)?;
        if count == 0 {
            return Ok(());
        }
        packed -= count as u64;
        tally.add(&chunk[..count])?;
    }
    Ok(())
}

fn inflate<R: Read + Seek>(
    source: &mut Source<R>,
    mut packed: u64,
    tally: &mut Tally<'_, impl FnMut(&[u8])>,
) -> Result<(), ZipError> {
    let name = &tally.entry.name;
    let mut stream = Decompress::new(false);
    let (mut input, mut output) = ([0; CHUNK_BYTES], [0; CHUNK_BYTES]);
    let (mut from, mut to) = (0, 0);
    loop {
        if from == to {
            to = read_chunk(source, &mut input, packed)?;
            from = 0;
            packed = if to == 0 { 0 } else { packed - to as u64 };
        }
        let (read_before, written_before) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(&input[from..to], &mut output, FlushDecompress::None)
            .map_err(|_| ZipError::entry(name, "damaged compressed data"))?;
        let read = usize::try_from(stream.total_in() - read_before).unwrap_or(usize::MAX);
        let written = usize::try_from(stream.total_out() - written_before).unwrap_or(usize::MAX);
        from += read;
        tally.add(&output[..written])?;
        match status {
            Status::StreamEnd => return Ok(()),
            // Nothing came in and nothing went out: the data ends before the stream does.
            Status::Ok | Status::BufError if read == 0 && written == 0 && packed == 0 && from == to => {
                return Err(ZipError::entry(name, "compressed data ends too early"));
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

fn check_crc<R: Read + Seek>(source: &mut Source<R>, entry: &Entry, data: u64, crc: u32) -> Result<(), ZipError> {
    let mismatch = || ZipError::entry(&entry.name, "checksum error");
    if entry.flags & HAS_DESCRIPTOR == 0 {
        // Without a descriptor Go takes a CRC of zero for one that was not set.
        return if entry.crc == 0 || entry.crc == crc { Ok(()) } else { Err(mismatch()) };
    }
    let end = data.cast_signed().wrapping_add(entry.packed_size.cast_signed());
    let mut descriptor = [0; 16];
    source.seek(end).map_err(|e| read_error(&entry.name, e))?;
    source.read_exact(&mut descriptor[..4]).map_err(|e| read_error(&entry.name, e))?;
    // The signature is optional. Of what follows only the CRC counts, but Go wants 8 bytes behind it.
    let signed = Fields(&descriptor).u32() == DESCRIPTOR_SIGNATURE;
    let (from, to) = if signed { (4, 16) } else { (4, 12) };
    source.read_exact(&mut descriptor[from..to]).map_err(|e| read_error(&entry.name, e))?;
    let declared = Fields(&descriptor[if signed { 4 } else { 0 }..]).u32();
    if declared == entry.crc && declared == crc { Ok(()) } else { Err(mismatch()) }
}

fn read_chunk<R: Read + Seek>(source: &mut Source<R>, chunk: &mut [u8], left: u64) -> io::Result<usize> {
    let wanted = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
    loop {
        match source.read(&mut chunk[..wanted]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// An end of file is the zip's fault, everything else the reader's.
fn read_error(name: &str, error: io::Error) -> ZipError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        ZipError::entry(name, "reaches beyond the end of the zip")
    } else {
        ZipError::Io(error)
    }
}
