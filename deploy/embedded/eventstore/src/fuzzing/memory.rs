//! A folder in memory, and a log to begin with.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use uuid::Uuid;

use crate::disk::{Disk, DiskFile};
use crate::record::{self, Draft, Hash, Place, Record};
use crate::segment::{self, Header};
use crate::store::{Direction, Store};
use crate::unreadable::Unreadable;

#[derive(Default)]
pub(super) struct Memory {
    files: Mutex<BTreeMap<String, Arc<Contents>>>,
}

struct Contents(Mutex<Vec<u8>>);

impl Memory {
    pub(super) fn with(name: &str, contents: Vec<u8>) -> Self {
        let memory = Self::default();
        memory.put(name, contents);
        memory
    }

    /// All files as they are now.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::default();
        for (name, contents) in &*lock(&self.files) {
            copy.put(name, lock(&contents.0).clone());
        }
        copy
    }

    /// Changes what a file has.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(contents) = lock(&self.files).get(name) {
            change(&mut lock(&contents.0));
        }
    }

    pub(super) fn put(&self, name: &str, contents: Vec<u8>) {
        let contents = Arc::new(Contents(Mutex::new(contents)));
        lock(&self.files).insert(name.to_owned(), contents);
    }
}

impl Disk for Memory {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        match lock(&self.files).get(name) {
            Some(file) => Ok(file.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.put(name, vec![]);
        self.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match lock(&self.files).remove(name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Contents {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let contents = lock(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = contents.get(from..).and_then(|it| it.get(..into.len()));
        into.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut contents = lock(&self.0);
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let end = contents.len().max(from + bytes.len());
        contents.resize(end, 0);
        contents[from..from + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        lock(&self.0).resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A segment's file being written, right or wrong.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) chain: Hash,
}

impl Written {
    /// The first segment.
    pub(super) fn begin() -> Self {
        Self::after(0, 0, [0; 32])
    }

    pub(super) fn after(number: u32, after: u64, chain: Hash) -> Self {
        let header = Header {
            number,
            after,
            created: 1,
            chain,
        };
        Self {
            bytes: header.encode().to_vec(),
            chain,
        }
    }

    pub(super) fn add(&mut self, stream: &str, kind: &str, data: &[u8], place: Place) {
        let draft = Draft {
            id: Uuid::from_u128(place.position.into()),
            kind: kind.to_owned(),
            content_type: "application/json".to_owned(),
            metadata: Bytes::new(),
            data: Bytes::copy_from_slice(data),
        };
        self.chain = record::encode(&mut self.bytes, stream, &draft, place, &self.chain);
    }
}

/// A small log that has something of everything.
pub(super) fn example() -> Memory {
    let events: [(&str, u64, &str, &[u8]); 10] = [
        ("a", 0, "x", b"0"),
        ("a", 1, "y", b"{}"),
        ("a", 2, "x", b"2"),
        ("$$a", 0, "$metadata", br#"{"$maxCount":2}"#),
        ("links", 0, "$>", b"1@a"),
        ("links", 1, "$>", b"9@b"),
        ("gone", 0, "x", b""),
        ("$$gone", 0, "$metadata", br#"{"$tb":9223372036854775807}"#),
        ("ended", 0, "x", b""),
        ("ended", i64::MAX as u64, "$streamDeleted", b""),
    ];
    let mut segment = Written::begin();
    for (position, (stream, revision, kind, data)) in (1..).zip(events) {
        let place = Place {
            position,
            durable: position - 1,
            revision,
            created: position,
            batch_index: 0,
            batch_count: 1,
        };
        segment.add(stream, kind, data, place);
    }
    Memory::with(&segment::name(0), segment.bytes)
}

/// All that a reader can see, in log order.
pub(super) fn all(store: &Store) -> Result<Vec<Record>, Unreadable> {
    let runs = store.entries(0, Direction::Forwards, usize::MAX)?;
    let entries = runs.iter().flat_map(|run| &run.entries);
    let spots: Vec<_> = entries.map(|entry| entry.spot).collect();
    store.load(&spots)
}
