//! Index files that say something else than the log, or nothing any more.

use std::sync::{Arc, OnceLock};

use super::Cursor;
use super::memory::{Memory, Written, all};
use crate::disk::Disk;
use crate::part::encode::covered_by;
use crate::record::{Place, Record, crc32};
use crate::recovery;
use crate::segment;
use crate::store::{Direction, Store, StreamPage};
use crate::unreadable::Unreadable;

/// What the segments of the log have, roughly: several index files each, then one.
const SEGMENT_BYTES: u64 = 4096;
const SEGMENTS: u32 = 3;
const RECORDS_PER_SEGMENT: u64 = 24;
const STREAMS: [&str; 5] = ["a", "$$a", "b", "none", "c"];
const PAGE_BYTES: usize = 4096;

/// Changes the index files of a log as the bytes say, then reads all of it in every way.
/// What is shown stands in the log; unless the checksums were put right again, it is also
/// what is to be shown.
pub fn index(bytes: &[u8]) {
    static LOG: OnceLock<(Memory, Shown)> = OnceLock::new();
    let (log, truth) = LOG.get_or_init(|| {
        let disk = Arc::new(example());
        let shown = shown(&open(&disk).expect("the example is a log"));
        (disk.copy(), shown)
    });
    let disk = Arc::new(log.copy());
    let mut script = Cursor(bytes);
    let honest = script.byte() & 1 == 0;
    change(&disk, &mut script, honest);
    match open(&disk) {
        Ok(store) => {
            for (shown, right) in shown(&store).iter().zip(truth) {
                let right = right.as_ref().expect("the example can be read");
                assert!(!honest || shown.as_ref().map_or(true, |it| it == right));
            }
        }
        Err(error) => assert!(!honest, "{error:#}"),
    }
}

type Shown = Vec<Result<Vec<Record>, Unreadable>>;

fn open(disk: &Arc<Memory>) -> anyhow::Result<Arc<Store>> {
    let disk: Arc<dyn Disk> = disk.clone();
    Ok(recovery::open(&disk, SEGMENT_BYTES)?.0)
}

/// All that can be asked of the index, page by page.
fn shown(store: &Store) -> Shown {
    let mut shown = vec![all(store)];
    for position in [0, 1, 7, RECORDS_PER_SEGMENT + 1, u64::MAX] {
        for direction in [Direction::Forwards, Direction::Backwards] {
            shown.push(log_page(store, position, direction));
        }
    }
    for stream in STREAMS {
        shown.push(store.last_record(stream).map(Vec::from_iter));
        for revision in [0, 3, u64::MAX] {
            for direction in [Direction::Forwards, Direction::Backwards] {
                shown.push(stream_page(store, stream, revision, direction));
            }
            let spot = store.spot(stream, revision);
            shown.push(spot.and_then(|spot| store.load(spot.as_slice())));
        }
    }
    shown
}

fn log_page(store: &Store, from: u64, direction: Direction) -> Result<Vec<Record>, Unreadable> {
    let mut records = vec![];
    for run in store.entries(from, direction, 9)? {
        for entry in &run.entries {
            let record = store.load(&[entry.spot])?.remove(0);
            // What a filter asks for.
            run.part.stream_name(entry.stream)?;
            run.part.kind_name(entry.kind)?;
            records.push(record);
        }
    }
    Ok(records)
}

fn stream_page(
    store: &Store,
    stream: &str,
    from: u64,
    direction: Direction,
) -> Result<Vec<Record>, Unreadable> {
    match store.stream_page(stream, from, direction, 5)? {
        StreamPage::Missing | StreamPage::Tombstoned => Ok(vec![]),
        StreamPage::Found { spots, .. } => store.load(&spots),
    }
}

/// Cuts the index files, or changes bytes of them.
fn change(disk: &Memory, script: &mut Cursor<'_>, honest: bool) {
    let names = disk.names().expect("a folder in memory has names");
    let files: Vec<_> = names.iter().filter(|it| covered_by(it).is_some()).collect();
    while !script.is_empty() {
        let name = files[usize::from(script.byte()) % files.len()];
        disk.change(name, |bytes| {
            let page = usize::from(script.byte());
            let [high, low] = [script.byte(), script.byte()].map(usize::from);
            let at = page * PAGE_BYTES + high * 256 + low;
            let len = usize::from(script.byte());
            let new = script.bytes(len & 0x1f);
            if len >> 7 == 1 {
                bytes.truncate(at);
            }
            for (byte, new) in bytes.iter_mut().skip(at).zip(new) {
                *byte = *new;
            }
            if !honest {
                seal(bytes);
            }
        });
    }
}

/// Puts the checksums of all pages right.
fn seal(bytes: &mut [u8]) {
    for page in bytes.chunks_exact_mut(PAGE_BYTES) {
        let checksum = crc32(&[&page[..PAGE_BYTES - 4]]);
        page[PAGE_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn example() -> Memory {
    let disk = Memory::default();
    let mut segment = Written::begin();
    let mut next = [0; STREAMS.len()];
    let mut position = 0;
    for number in 0..SEGMENTS {
        for _ in 0..RECORDS_PER_SEGMENT {
            position += 1;
            let (at, kind, data) = match position % 12 {
                5 => (1, "$metadata", r#"{"$maxCount":9}"#),
                0 | 3 | 7 => (2, "y", "{}"),
                11 => (4, "z", "rather more than the others have"),
                _ => (0, "x", "1"),
            };
            let place = Place {
                position,
                durable: position - 1,
                revision: next[at],
                created: position,
                batch_index: 0,
                batch_count: 1,
            };
            next[at] += 1;
            segment.add(STREAMS[at], kind, data.as_bytes(), place);
        }
        let after = Written::after(number + 1, position, segment.chain);
        let bytes = std::mem::replace(&mut segment, after).bytes;
        disk.put(&segment::name(number), bytes);
    }
    disk
}
