//! A disk that keeps no more than it must.
//!
//! # Invariants
//!
//! * What a sync acknowledged survives every power cut. Of what was written since, any
//!   sectors survive, whole or torn, or none; so do names.
//! * After a sync that failed, what was written is still seen, but a later sync does not
//!   make it durable: it has to be written again.

mod damage;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use super::Random;
use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Clone)]
pub(super) struct SimulatedDisk(Arc<Mutex<State>>);

struct State {
    random: Random,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    trouble: Trouble,
    /// What is said to be durable, in this life of the process.
    said: Option<u64>,
    /// What somebody saw who looked in the middle of something.
    glimpse: Option<Glimpse>,
    /// The process is dead: nothing works until it starts again.
    dead: bool,
}

/// What goes wrong, and when: counted in changes from now.
#[derive(Clone, Copy, Default)]
pub(super) struct Trouble {
    pub(super) crash_in: Option<u64>,
    pub(super) broken_in: Option<u64>,
    /// Bytes until it is full.
    pub(super) room: Option<u64>,
    /// When somebody looks at it from outside.
    pub(super) glimpse_in: Option<u64>,
}

/// The files as another process sees them at one moment, synced or not.
pub(super) struct Glimpse {
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) said: Option<u64>,
}

#[derive(Default)]
struct File {
    /// As it is seen.
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

/// What the next change meets.
enum Fate {
    Done,
    Crash,
    Broken,
}

impl SimulatedDisk {
    pub(super) fn new(random: Random) -> Self {
        Self(Arc::new(Mutex::new(State {
            random,
            files: vec![],
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            trouble: Trouble::default(),
            said: None,
            glimpse: None,
            dead: false,
        })))
    }

    pub(super) fn expect(&self, trouble: Trouble) {
        self.state().trouble = trouble;
    }

    /// Somebody has tidied up.
    pub(super) fn make_room(&self) {
        self.state().trouble.room = None;
    }

    /// What was seen from outside when it was time to look; or else what is seen now.
    pub(super) fn glimpse(&self) -> Glimpse {
        let mut state = self.state();
        state.glimpse.take().unwrap_or_else(|| state.look())
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// The process is started again; the machine went on.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        state.dead = false;
        state.trouble = Trouble::default();
        state.said = None;
    }

    /// The machine lost power, and is there again.
    pub(super) fn lose_power(&self) {
        self.restart();
        let mut state = self.state();
        let State {
            random,
            files,
            names,
            durable_names,
            ..
        } = &mut *state;
        for file in files {
            file.durable = remains(&file.durable, &file.unsynced, random);
            file.now = file.durable.clone();
            file.unsynced.clear();
        }
        let all: BTreeSet<String> = names.keys().chain(durable_names.keys()).cloned().collect();
        for name in all {
            let survivor = match random.one_in(2) {
                true => names.get(&name),
                false => durable_names.get(&name),
            };
            match survivor.copied() {
                Some(file) => {
                    names.insert(name.clone(), file);
                }
                None => {
                    names.remove(&name);
                }
            }
        }
        *durable_names = names.clone();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a panic ends the test")
    }

    fn file(&self, id: usize) -> Arc<dyn DiskFile> {
        let disk = self.clone();
        Arc::new(SimulatedFile { disk, id })
    }
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        Ok(())
    }

    fn look(&self) -> Glimpse {
        let content = |id: &usize| self.files[*id].now.clone();
        let files = self.names.iter();
        Glimpse {
            files: files
                .map(|(name, id)| (name.clone(), content(id)))
                .collect(),
            said: self.said,
        }
    }

    fn fate(&mut self) -> io::Result<Fate> {
        self.alive()?;
        if due(&mut self.trouble.glimpse_in) {
            self.glimpse = Some(self.look());
        }
        if due(&mut self.trouble.crash_in) {
            self.dead = true;
            return Ok(Fate::Crash);
        }
        if due(&mut self.trouble.broken_in) {
            return Ok(Fate::Broken);
        }
        Ok(Fate::Done)
    }

    /// Whether a change that may not get to its end gets there.
    fn gets_through(&mut self, fate: &Fate) -> bool {
        match fate {
            Fate::Done => true,
            Fate::Crash => self.random.one_in(2),
            Fate::Broken => false,
        }
    }
}

fn due(countdown: &mut Option<u64>) -> bool {
    let Some(left) = countdown else {
        return false;
    };
    let due = *left == 0;
    *countdown = left.checked_sub(1);
    due
}

fn ended(fate: &Fate) -> io::Result<()> {
    match fate {
        Fate::Done => Ok(()),
        Fate::Crash => Err(io::Error::other("the process is dead")),
        Fate::Broken => Err(io::Error::other("the disk is broken")),
    }
}

impl Disk for SimulatedDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.alive()?;
        let id = *state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(self.file(id))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let fate = state.fate()?;
        if state.trouble.room == Some(0) && state.random.one_in(2) {
            return Err(ErrorKind::StorageFull.into());
        }
        let through = state.gets_through(&fate);
        let known = state.names.get(name).copied();
        let id = known.unwrap_or(state.files.len());
        if through && known.is_some() {
            state.files[id].change(Change::Truncate { len: 0 });
        } else if through {
            state.files.push(File::default());
            state.names.insert(name.into(), id);
        }
        ended(&fate)?;
        Ok(self.file(id))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.fate()?;
        if state.gets_through(&fate) && state.names.remove(name).is_none() {
            return Err(ErrorKind::NotFound.into());
        }
        ended(&fate)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.fate()?;
        if state.gets_through(&fate) {
            let id = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
            state.names.insert(to.into(), id);
        }
        ended(&fate)
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.fate()?;
        if state.gets_through(&fate) {
            state.durable_names = state.names.clone();
        }
        ended(&fate)
    }

    fn durable(&self, position: u64) {
        self.state().said = Some(position);
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    id: usize,
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive()?;
        Ok(state.files[self.id].now.len() as u64)
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        state.alive()?;
        let from = usize::try_from(offset).expect("files here are small");
        let found = state.files[self.id].now.get(from..from + into.len());
        into.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.fate()?;
        let at = usize::try_from(offset).expect("files here are small");
        let fits = state.trouble.room.map_or(bytes.len(), |room| {
            usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len())
        });
        let written = match fate {
            Fate::Done => fits,
            Fate::Crash | Fate::Broken => state.random.index(fits + 1),
        };
        if let Some(room) = &mut state.trouble.room {
            *room -= written as u64;
        }
        let full = fits < bytes.len();
        let bytes = bytes[..written].to_vec();
        state.files[self.id].change(Change::Write { at, bytes });
        ended(&fate)?;
        if full {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.fate()?;
        if state.gets_through(&fate) {
            let len = usize::try_from(len).expect("files here are small");
            state.files[self.id].change(Change::Truncate { len });
        }
        ended(&fate)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.fate()?;
        let through = state.gets_through(&fate);
        let State { random, files, .. } = &mut *state;
        let file = &mut files[self.id];
        if through {
            // Not all that is seen: what a failed sync forgot stays forgotten.
            for change in std::mem::take(&mut file.unsynced) {
                apply(&mut file.durable, &change);
            }
        } else if matches!(fate, Fate::Broken) {
            file.forget(random);
        }
        ended(&fate)
    }
}

impl File {
    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.unsynced.push(change);
    }

    /// A sync failed: some pages went out, and the kernel calls all of them clean.
    fn forget(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.unsynced) {
            match &change {
                Change::Write { at, bytes } => {
                    write_some(&mut self.durable, *at, bytes, random);
                }
                Change::Truncate { .. } => apply(&mut self.durable, &change),
            }
        }
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => write(content, *at, bytes),
        Change::Truncate { len } => content.truncate(*len),
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// What a power cut leaves of a file.
fn remains(durable: &[u8], unsynced: &[Change], random: &mut Random) -> Vec<u8> {
    let mut content = durable.to_vec();
    match random.within(0..5) {
        0 => {}
        1 => unsynced
            .iter()
            .for_each(|change| apply(&mut content, change)),
        // In order, up to some point.
        2 => {
            let whole = random.index(unsynced.len() + 1);
            unsynced[..whole]
                .iter()
                .for_each(|change| apply(&mut content, change));
            if let Some(Change::Write { at, bytes }) = unsynced.get(whole) {
                let torn = random.index(bytes.len() + 1);
                write(&mut content, *at, &bytes[..torn]);
            }
        }
        // In no order at all; sometimes with what stood on the disk before.
        kind => {
            for change in unsynced {
                match change {
                    Change::Write { at, bytes } => {
                        write_some(&mut content, *at, bytes, random);
                    }
                    Change::Truncate { .. } if random.one_in(2) => apply(&mut content, change),
                    Change::Truncate { .. } => {}
                }
            }
            if kind == 4 && content.len() > durable.len() {
                let from = durable.len() + random.index(content.len() - durable.len());
                let len = random.index((content.len() - from).min(SECTOR) + 1);
                let garbage = random.bytes(len);
                write(&mut content, from, &garbage);
            }
        }
    }
    content
}

/// Any sectors of what was written, some of them torn.
fn write_some(content: &mut Vec<u8>, at: usize, bytes: &[u8], random: &mut Random) {
    let mut from = 0;
    while from < bytes.len() {
        let len = (SECTOR - (at + from) % SECTOR).min(bytes.len() - from);
        let kept = match random.within(0..8) {
            0..=3 => len,
            4 => random.index(len + 1),
            _ => 0,
        };
        write(content, at + from, &bytes[from..from + kept]);
        from += len;
    }
}
