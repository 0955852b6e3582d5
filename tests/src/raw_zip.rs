//! Zips written byte by byte, so that every field can lie.

#![expect(missing_docs, reason = "the fields bear the names of the ZIP specification (APPNOTE.TXT 4.3, 4.4)")]

use std::io::Write as _;

/// A file of a zip. Fields that are `None` are what they should be.
#[derive(Debug, Clone, Default)]
pub struct RawFile {
    pub name: Vec<u8>,
    pub content: Vec<u8>,
    /// Compressed, with a data descriptor behind it, of that many signature bytes (0 or 4) if any.
    pub deflated: bool,
    pub descriptor: Option<Descriptor>,
    pub method: Option<u16>,
    pub crc: Option<u32>,
    pub size: Option<u32>,
    pub packed_size: Option<u32>,
    pub offset: Option<u32>,
    pub flags: u16,
    pub extra: Vec<u8>,
    pub local_extra: Vec<u8>,
    pub comment: Vec<u8>,
    pub external: u32,
    pub local_signature: Option<[u8; 4]>,
}

/// A record behind the data that repeats the checksum.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    pub signed: bool,
    pub crc: Option<u32>,
}

/// A zip. Fields that are `None` are what they should be.
#[derive(Debug, Clone, Default)]
pub struct RawZip {
    pub files: Vec<RawFile>,
    pub before: Vec<u8>,
    pub between: Vec<u8>,
    pub comment: Vec<u8>,
    pub comment_len: Option<u16>,
    pub entries: Option<u16>,
    pub directory_size: Option<u32>,
    pub directory_offset: Option<u32>,
    /// Whether offsets count from behind `before`.
    pub shifted: bool,
    pub zip64: Option<Zip64>,
    pub after: Vec<u8>,
}

/// The end records of a zip64.
#[derive(Debug, Clone, Copy, Default)]
pub struct Zip64 {
    pub entries: Option<u64>,
    pub directory_size: Option<u64>,
    pub directory_offset: Option<u64>,
    pub locator: Option<u64>,
    pub disks: u32,
}

impl RawFile {
    pub fn new(name: &str, content: &[u8]) -> Self {
        Self { name: name.into(), content: content.into(), ..Self::default() }
    }

    #[must_use]
    pub fn deflated(mut self) -> Self {
        self.deflated = true;
        self
    }

    fn packed(&self) -> Vec<u8> {
        if !self.deflated {
            return self.content.clone();
        }
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&self.content).expect("a vector takes everything");
        encoder.finish().expect("a vector takes everything")
    }

    fn common(&self, packed: usize, out: &mut Vec<u8>) {
        let descriptor = if self.descriptor.is_some() { 1 << 3 } else { 0 };
        let method = self.method.unwrap_or(if self.deflated { 8 } else { 0 });
        for field in [self.flags | descriptor, method, 0, 0x21] {
            out.extend(field.to_le_bytes());
        }
        let crc = self.crc.unwrap_or_else(|| crc32fast::hash(&self.content));
        for field in [crc, self.packed_size.unwrap_or(low(packed)), self.size.unwrap_or(low(self.content.len()))] {
            out.extend(field.to_le_bytes());
        }
        out.extend(short(self.name.len()).to_le_bytes());
    }

    fn write_local(&self, out: &mut Vec<u8>) {
        let packed = self.packed();
        out.extend(self.local_signature.unwrap_or(*b"PK\x03\x04"));
        out.extend(20_u16.to_le_bytes());
        self.common(packed.len(), out);
        out.extend(short(self.local_extra.len()).to_le_bytes());
        out.extend(&self.name);
        out.extend(&self.local_extra);
        out.extend(&packed);
        if let Some(descriptor) = self.descriptor {
            out.extend(if descriptor.signed { b"PK\x07\x08".as_slice() } else { b"" });
            out.extend(descriptor.crc.unwrap_or_else(|| crc32fast::hash(&self.content)).to_le_bytes());
            out.extend(low(packed.len()).to_le_bytes());
            out.extend(low(self.content.len()).to_le_bytes());
        }
    }

    fn write_header(&self, offset: usize, out: &mut Vec<u8>) {
        out.extend(b"PK\x01\x02");
        out.extend([20, 3, 20, 0]);
        self.common(self.packed().len(), out);
        out.extend(short(self.extra.len()).to_le_bytes());
        out.extend(short(self.comment.len()).to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.external.to_le_bytes());
        out.extend(self.offset.unwrap_or(low(offset)).to_le_bytes());
        out.extend(&self.name);
        out.extend(&self.extra);
        out.extend(&self.comment);
    }
}

impl RawZip {
    pub fn of(files: Vec<RawFile>) -> Self {
        Self { files, ..Self::default() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.before.clone();
        let origin = if self.shifted { out.len() } else { 0 };
        let mut offsets = Vec::new();
        for file in &self.files {
            offsets.push(out.len() - origin);
            file.write_local(&mut out);
        }
        out.extend(&self.between);
        let directory = out.len();
        for (file, &offset) in self.files.iter().zip(&offsets) {
            file.write_header(offset, &mut out);
        }
        let size = out.len() - directory;
        if let Some(zip64) = self.zip64 {
            zip64.write(self.files.len(), size, directory - origin, &mut out);
        }
        out.extend(b"PK\x05\x06\0\0\0\0");
        let entries = self.entries.unwrap_or(short(self.files.len()));
        out.extend(entries.to_le_bytes());
        out.extend(entries.to_le_bytes());
        out.extend(self.directory_size.unwrap_or(low(size)).to_le_bytes());
        out.extend(self.directory_offset.unwrap_or(low(directory - origin)).to_le_bytes());
        out.extend(self.comment_len.unwrap_or(short(self.comment.len())).to_le_bytes());
        out.extend(&self.comment);
        out.extend(&self.after);
        out
    }
}

impl Zip64 {
    fn write(self, entries: usize, size: usize, offset: usize, out: &mut Vec<u8>) {
        let at = out.len() as u64;
        out.extend(b"PK\x06\x06");
        out.extend(44_u64.to_le_bytes());
        out.extend([45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let entries = self.entries.unwrap_or(entries as u64);
        let size = self.directory_size.unwrap_or(size as u64);
        for field in [entries, entries, size, self.directory_offset.unwrap_or(offset as u64)] {
            out.extend(field.to_le_bytes());
        }
        out.extend(b"PK\x06\x07\0\0\0\0");
        out.extend(self.locator.unwrap_or(at).to_le_bytes());
        out.extend(self.disks.to_le_bytes());
    }
}

/// The zip64 extra field with these values.
pub fn zip64_extra(values: &[u64]) -> Vec<u8> {
    let mut extra = vec![1, 0];
    extra.extend(short(values.len() * 8).to_le_bytes());
    extra.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    extra
}

fn low(value: usize) -> u32 {
    u32::try_from(value).expect("test zips are small")
}

fn short(value: usize) -> u16 {
    u16::try_from(value).expect("test names are short")
}
