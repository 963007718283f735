//! The journal: an append-only file of checksummed frames, one frame per group of records.
//!
//! # Invariants
//!
//! * A frame is acknowledged only after its `fdatasync`; the next is written only after that.
//!   So what a crash can tear is the last frame, and nothing valid follows a torn one.
//! * A bad frame with a valid one behind it is damage, not a torn tail: the store does not open.
//! * An `fdatasync` that failed is never tried again: what is on disk is unknown from then on.
//! * What `open` replays is durable when it returns: the last frame, whose sync may be what
//!   failed or never came, is written once more and synced.
//! * A write that found the disk full is taken back, and the journal goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::full::is_full;
use crate::record::Record;

const MAGIC: &[u8; 4] = b"KOJ1";
/// Magic, length of the payload, CRC-32 of the payload.
const HEADER_BYTES: usize = 12;
/// A frame is a group of changes; the largest single change (10,000 parts) takes 1 MiB.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Records per frame when the journal is rewritten.
const REWRITE_RECORDS: usize = 1_000;

pub(crate) struct Journal {
    dir: PathBuf,
    file: File,
    len: u64,
}

/// Why records were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the journal has no room and is as it was")]
    Full(#[source] io::Error),
    /// Nothing more may be acknowledged.
    #[error("it is not known what of the journal is on disk")]
    Broken(#[source] io::Error),
}

impl Journal {
    /// Opens or begins the journal in `dir`, hands every record to `replay`, cuts a torn tail.
    /// Nothing may be done about the records before it has returned.
    pub(crate) fn open(
        dir: &Path,
        mut replay: impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let path = dir.join("journal");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("failed to open {}", path.display()))?;
        let size = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut len = 0;
        let mut last = None;
        while let Some(payload) = read_frame(&mut reader)? {
            let records: Vec<Record> = serde_json::from_slice(&payload)
                .with_context(|| format!("failed to read the journal's records at byte {len}"))?;
            for record in records {
                replay(record)?;
            }
            let at = len;
            len += (HEADER_BYTES + payload.len()) as u64;
            last = Some((at, payload));
        }
        if len < size {
            refuse_damage(&file, len)?;
            tracing::warn!(
                bytes = size - len,
                "cut a torn tail of {} bytes",
                size - len
            );
            file.set_len(len)?;
            file.sync_all()?;
        }
        harden(&mut file, last).context("failed to make the end of the journal durable")?;
        sync_dir(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            file,
            len,
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Writes encoded records as one frame and returns when they are on disk.
    pub(crate) fn append(&mut self, records: &[Vec<u8>]) -> Result<(), AppendError> {
        let frame = frame(records);
        let written = self
            .file
            .seek(SeekFrom::Start(self.len))
            .and_then(|_| self.file.write_all(&frame));
        if let Err(error) = written {
            let taken_back = self
                .file
                .set_len(self.len)
                .and_then(|()| self.file.sync_all());
            if is_full(&error) && taken_back.is_ok() {
                return Err(AppendError::Full(error));
            }
            return Err(AppendError::Broken(error));
        }
        self.file.sync_data().map_err(AppendError::Broken)?;
        self.len += frame.len() as u64;
        Ok(())
    }

    /// Replaces the journal by `records`, atomically. `Full` leaves it as it was.
    pub(crate) fn rewrite(
        &mut self,
        records: impl Iterator<Item = Record>,
    ) -> Result<(), AppendError> {
        let path = self.dir.join("journal.new");
        let (file, len) = write_new(&path, records).map_err(AppendError::Full)?;
        // From here on it is not known which of the two a crash would leave.
        std::fs::rename(&path, self.dir.join("journal"))
            .and_then(|()| sync_dir(&self.dir))
            .map_err(AppendError::Broken)?;
        self.file = file;
        self.len = len;
        Ok(())
    }
}

/// Makes the last frame durable. Its pages may be clean and yet not on disk: a sync alone
/// would say yes.
fn harden(file: &mut File, last: Option<(u64, Vec<u8>)>) -> io::Result<()> {
    let Some((at, payload)) = last else {
        return Ok(());
    };
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&framed(payload))?;
    file.sync_data()
}

fn write_new(path: &Path, records: impl Iterator<Item = Record>) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let mut len = 0;
    let mut group = Vec::with_capacity(REWRITE_RECORDS);
    for record in records {
        group.push(encode(&record));
        if group.len() == REWRITE_RECORDS {
            len += write_frame(&mut file, &group)?;
            group.clear();
        }
    }
    if !group.is_empty() {
        len += write_frame(&mut file, &group)?;
    }
    file.sync_all()?;
    Ok((file, len))
}

pub(crate) fn encode(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has string keys only")
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_frame(file: &mut File, records: &[Vec<u8>]) -> io::Result<u64> {
    let frame = frame(records);
    file.write_all(&frame)?;
    Ok(frame.len() as u64)
}

fn frame(records: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(records.iter().map(|r| r.len() + 1).sum::<usize>() + 2);
    payload.push(b'[');
    payload.extend_from_slice(&records.join(&b','));
    payload.push(b']');
    framed(payload)
}

fn framed(mut payload: Vec<u8>) -> Vec<u8> {
    assert!(
        payload.len() <= FRAME_BYTES_MAX,
        "the writer bounds its groups"
    );
    let len = u32::try_from(payload.len()).expect("bounded above");
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    frame.append(&mut payload);
    frame
}

/// The next payload; `None` where no whole, valid frame begins.
fn read_frame(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER_BYTES];
    if !read_whole(reader, &mut header)? {
        return Ok(None);
    }
    let Some((len, crc)) = parse_header(&header) else {
        return Ok(None);
    };
    let mut payload = vec![0; len];
    if !read_whole(reader, &mut payload)? || crc32fast::hash(&payload) != crc {
        return Ok(None);
    }
    Ok(Some(payload))
}

fn parse_header(header: &[u8]) -> Option<(usize, u32)> {
    let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    if header.get(..4)? != MAGIC {
        return None;
    }
    let len = usize::try_from(word(4)?).ok()?;
    (len <= FRAME_BYTES_MAX).then_some((len, word(8)?))
}

fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Fails if a valid frame stands anywhere behind `offset`.
fn refuse_damage(mut file: &File, offset: u64) -> anyhow::Result<()> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.read_to_end(&mut tail)?;
    for at in 1..tail.len() {
        if tail[at..].starts_with(MAGIC) && read_frame(&mut &tail[at..])?.is_some() {
            bail!(
                "the journal is damaged at byte {offset}: valid records follow at byte {}; \
                 restore it from a copy",
                offset + at as u64
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(key: &str) -> Record {
        Record::Deleted { key: key.into() }
    }

    fn keys(dir: &Path) -> anyhow::Result<Vec<String>> {
        let mut keys = vec![];
        Journal::open(dir, |record| {
            let Record::Deleted { key } = record else {
                panic!("not what was written")
            };
            keys.push(key);
            Ok(())
        })?;
        Ok(keys)
    }

    fn written(dir: &Path, names: &[&str]) {
        let mut journal = Journal::open(dir, |_| Ok(())).unwrap();
        for name in names {
            journal.append(&[encode(&deleted(name))]).unwrap();
        }
    }

    #[test]
    fn every_cut_of_the_last_frame_leaves_the_frames_before_it() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), &["a"]);
        let path = dir.path().join("journal");
        let whole = std::fs::metadata(&path).unwrap().len();
        written(dir.path(), &["b"]);
        let both = std::fs::read(&path).unwrap();
        for len in usize::try_from(whole).unwrap()..both.len() {
            std::fs::write(&path, &both[..len]).unwrap();
            assert_eq!(keys(dir.path()).unwrap(), ["a"]);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
        }
    }

    #[test]
    fn damage_before_valid_frames_is_not_taken_for_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), &["a", "b"]);
        let path = dir.path().join("journal");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER_BYTES + 2] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(
            keys(dir.path())
                .unwrap_err()
                .to_string()
                .contains("damaged at byte 0")
        );
    }

    #[test]
    fn the_last_frame_is_written_again_when_it_opens() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), &["a", "b"]);
        let path = dir.path().join("journal");
        let bytes = std::fs::read(&path).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(long_ago).unwrap();
        assert_eq!(keys(dir.path()).unwrap(), ["a", "b"]);
        assert_ne!(file.metadata().unwrap().modified().unwrap(), long_ago);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_rewritten_journal_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), &["a", "b"]);
        let mut journal = Journal::open(dir.path(), |_| Ok(())).unwrap();
        journal.rewrite([deleted("b")].into_iter()).unwrap();
        journal.append(&[encode(&deleted("c"))]).unwrap();
        assert_eq!(keys(dir.path()).unwrap(), ["b", "c"]);
    }
}
