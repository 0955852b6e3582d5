//! The central directory, found and read as Go's `archive/zip` does, its tolerance for odd archivers included.

use std::io::{self, Read, Seek};

use super::source::{Fields, Source};
use super::{ENTRIES_MAX, NAMES_BYTES_MAX, ZipError};

const END_BYTES: usize = 22;
const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const LOCATOR64_BYTES: usize = 20;
const LOCATOR64_SIGNATURE: u32 = 0x0706_4b50;
const END64_BYTES: usize = 56;
const END64_SIGNATURE: u32 = 0x0606_4b50;
const HEADER_BYTES: usize = 46;
const HEADER_SIGNATURE: u32 = 0x0201_4b50;
const ZIP64_EXTRA: u16 = 1;

/// One entry, as the directory declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed_size: u64,
    pub(super) size: u64,
    /// May lie outside the zip; then reading the local header fails.
    pub(super) header_offset: i64,
    /// Whether it says of itself that it is a link, a device or another thing that is neither file nor directory.
    pub(super) irregular: bool,
}

/// The end record: where the directory should be.
#[derive(Debug, Clone, Copy)]
struct End {
    entries: u64,
    size: u64,
    offset: u64,
}

/// Why a header could not be read. The difference decides whether the directory ends here or the zip is broken.
enum HeaderError {
    /// No header, or an incomplete one: the directory ends.
    End,
    Fatal(ZipError),
}

/// All entries, in the directory's order.
pub(super) fn read<R: Read + Seek>(source: &mut Source<R>) -> Result<Vec<Entry>, ZipError> {
    let (end, base) = read_end(source)?;
    // `read_end` has made sure that this lies in the zip.
    source.seek(base.wrapping_add(end.offset.cast_signed())).map_err(read_error)?;
    let mut entries = Vec::new();
    let mut names_bytes = 0;
    loop {
        match read_header(source) {
            Ok(mut entry) => {
                entry.header_offset = entry.header_offset.wrapping_add(base);
                names_bytes += entry.name.len();
                if entries.len() >= ENTRIES_MAX || names_bytes > NAMES_BYTES_MAX {
                    let limits = format!("over {ENTRIES_MAX} entries or {NAMES_BYTES_MAX} bytes of names");
                    return Err(ZipError::TooLarge(limits));
                }
                entries.push(entry);
            }
            Err(HeaderError::End) => break,
            Err(HeaderError::Fatal(error)) => return Err(error),
        }
    }
    // The count has 16 bits in old zips, however many entries there are.
    if entries.len() as u64 & 0xffff != end.entries & 0xffff {
        return Err(ZipError::format("the directory has not the number of entries that its end record says"));
    }
    Ok(entries)
}

/// Finds the end record in the last KiB, else in the last 65 KiB, and the offset by which the zip is shifted.
fn read_end<R: Read + Seek>(source: &mut Source<R>) -> Result<(End, i64), ZipError> {
    let len = source.len();
    let mut found = None;
    for window in [1 << 10, 65 << 10] {
        let start = len.saturating_sub(window);
        let mut tail = Vec::new();
        source.seek(start.cast_signed()).map_err(read_error)?;
        source.by_ref().take(window).read_to_end(&mut tail)?;
        if let Some(at) = find_end(&tail) {
            found = Some((tail, at, start));
            break;
        }
        if start == 0 {
            break;
        }
    }
    let (tail, at, start) = found.ok_or_else(|| ZipError::format("not a zip"))?;
    let mut fields = Fields(&tail[at + 10..]);
    let entries = u64::from(fields.u16());
    let mut end = End { entries, size: fields.u32().into(), offset: fields.u32().into() };
    let mut end_offset = (start + at as u64).cast_signed();
    // The second number is Go's own: a 32-bit size compared with 16 bits of ones.
    let may_be_zip64 = end.entries == 0xffff || end.size == 0xffff || end.offset == 0xffff_ffff;
    if may_be_zip64 && let Some((end64, offset)) = read_end64(source, end_offset)? {
        end = end64;
        end_offset = offset;
    }
    if i64::try_from(end.size).is_err() || i64::try_from(end.offset).is_err() {
        return Err(ZipError::format("impossible size of the directory"));
    }
    let base = end_offset.wrapping_sub(end.size.cast_signed()).wrapping_sub(end.offset.cast_signed());
    let directory = base.wrapping_add(end.offset.cast_signed());
    if u64::try_from(directory).map_or(true, |directory| directory >= len) {
        return Err(ZipError::format("the directory lies outside the zip"));
    }
    // Some archivers write a wrong offset or size; a header at the plain offset tells that nothing is shifted.
    let unshifted = base > 0 && { source.seek(end.offset.cast_signed()).is_ok() && read_header(source).is_ok() };
    Ok((end, if unshifted { 0 } else { base }))
}

/// The last end record whose comment fits. A truncated comment on the last signature is an error.
fn find_end(tail: &[u8]) -> Option<usize> {
    let last = tail.len().checked_sub(END_BYTES)?;
    let at = (0..=last).rev().find(|&at| tail[at..].starts_with(&END_SIGNATURE))?;
    let comment = Fields(&tail[at + END_BYTES - 2..]).u16();
    (at + END_BYTES + usize::from(comment) <= tail.len()).then_some(at)
}

/// The zip64 end record that a locator just before the end record points to, and its offset.
fn read_end64<R: Read + Seek>(source: &mut Source<R>, end_offset: i64) -> Result<Option<(End, i64)>, ZipError> {
    let Some(locator) = end_offset.checked_sub_unsigned(LOCATOR64_BYTES as u64).filter(|&at| at >= 0) else {
        return Ok(None);
    };
    let mut record = [0; LOCATOR64_BYTES];
    source.seek(locator).map_err(read_error)?;
    source.read_exact(&mut record).map_err(read_error)?;
    let mut fields = Fields(&record);
    let (signature, disk, offset, disks) = (fields.u32(), fields.u32(), fields.u64(), fields.u32());
    let offset = offset.cast_signed();
    if signature != LOCATOR64_SIGNATURE || disk != 0 || disks != 1 || offset < 0 {
        return Ok(None);
    }
    let mut record = [0; END64_BYTES];
    source.seek(offset).map_err(read_error)?;
    source.read_exact(&mut record).map_err(read_error)?;
    let mut fields = Fields(&record);
    if fields.u32() != END64_SIGNATURE {
        return Err(ZipError::format("no zip64 end record where its locator says"));
    }
    fields.skip(28);
    Ok(Some((End { entries: fields.u64(), size: fields.u64(), offset: fields.u64() }, offset)))
}

fn read_header<R: Read + Seek>(source: &mut Source<R>) -> Result<Entry, HeaderError> {
    let mut header = [0; HEADER_BYTES];
    read_part(source, &mut header)?;
    let mut fields = Fields(&header);
    if fields.u32() != HEADER_SIGNATURE {
        return Err(HeaderError::End);
    }
    let made_by = fields.u16();
    fields.skip(2);
    let (flags, method) = (fields.u16(), fields.u16());
    fields.skip(4);
    let (crc, packed, size) = (fields.u32(), fields.u32(), fields.u32());
    let (name_len, extra_len, comment_len) = (fields.u16(), fields.u16(), fields.u16());
    fields.skip(4);
    let (attributes, offset) = (fields.u32(), fields.u32());
    let mut variable = vec![0; usize::from(name_len) + usize::from(extra_len) + usize::from(comment_len)];
    read_part(source, &mut variable)?;
    let (name, rest) = variable.split_at(name_len.into());
    let mut wide = Wide { packed: packed.into(), size: size.into(), offset: offset.into() };
    wide.read_extra(&rest[..usize::from(extra_len)])?;
    // A name that is no UTF-8 is a valid file path in no module zip; the replacement keeps it invalid.
    let name = String::from_utf8_lossy(name).into_owned().into_boxed_str();
    let header_offset = wide.offset.cast_signed();
    let irregular = is_irregular(made_by, attributes);
    Ok(Entry { name, flags, method, crc, packed_size: wide.packed, size: wide.size, header_offset, irregular })
}

/// The file type of Unix, which archivers there put into the upper half of the attributes.
fn is_irregular(made_by: u16, attributes: u32) -> bool {
    const UNIX: u16 = 3;
    const MACOS: u16 = 19;
    let kind = (attributes >> 16) & 0o170_000;
    matches!(made_by >> 8, UNIX | MACOS) && !matches!(kind, 0 | 0o040_000 | 0o100_000)
}

/// The three fields that an archiver moves to an extra field when 32 bits are too few.
struct Wide {
    packed: u64,
    size: u64,
    offset: u64,
}

impl Wide {
    fn read_extra(&mut self, mut extra: &[u8]) -> Result<(), HeaderError> {
        const MOVED: u64 = 0xffff_ffff;
        let mut needs = [self.size == MOVED, self.packed == MOVED, self.offset == MOVED];
        while extra.len() >= 4 {
            let mut fields = Fields(extra);
            let (tag, len) = (fields.u16(), usize::from(fields.u16()));
            let Some((field, rest)) = fields.0.split_at_checked(len) else { break };
            extra = rest;
            if tag != ZIP64_EXTRA {
                continue;
            }
            let mut field = Fields(field);
            for (need, target) in needs.iter_mut().zip([&mut self.size, &mut self.packed, &mut self.offset]) {
                if std::mem::take(need) {
                    if field.0.len() < 8 {
                        return Err(HeaderError::End);
                    }
                    *target = field.u64();
                }
            }
        }
        // A size of exactly 2³²−1 may be meant; a packed size or an offset of that value cannot.
        if needs[1] || needs[2] { Err(HeaderError::End) } else { Ok(()) }
    }
}

/// Fills `part`. Nothing at all where something must be is a broken zip, part of it the end of the directory.
fn read_part<R: Read + Seek>(source: &mut Source<R>, part: &mut [u8]) -> Result<(), HeaderError> {
    let at_end = source.position() >= source.len() && !part.is_empty();
    if at_end {
        return Err(HeaderError::Fatal(ZipError::format("the directory ends too early")));
    }
    source.read_exact(part).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => HeaderError::End,
        _ => HeaderError::Fatal(ZipError::Io(error)),
    })
}

fn read_error(error: io::Error) -> ZipError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ZipError::format("a record reaches beyond the end of the zip"),
        _ => ZipError::Io(error),
    }
}
