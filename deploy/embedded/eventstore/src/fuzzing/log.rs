//! A whole log: records whose checksums are right and whose contents may be anything, then
//! damage to their bytes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Cursor;
use super::memory::{Memory, Written, all};
use crate::disk::Disk;
use crate::record::{Place, Record};
use crate::recovery;
use crate::segment;

/// Short, so that what is opened gets index files too.
const SEGMENT_BYTES: u64 = 2048;
const STREAMS: [&str; 4] = ["a", "b", "$$a", "$$"];
const KINDS: [&str; 4] = ["x", "$metadata", "$streamDeleted", "$>"];

/// Opens the log that the bytes describe. One that opens can be read whole, and opens
/// again as what it was.
pub fn log(bytes: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(described(&mut Cursor(bytes)));
    let Some(events) = opened(&disk) else {
        return;
    };
    assert_eq!(opened(&disk), Some(events));
}

fn opened(disk: &Arc<dyn Disk>) -> Option<Vec<Record>> {
    let (store, _) = recovery::open(disk, SEGMENT_BYTES).ok()?;
    Some(all(&store).expect("what is shown can be read"))
}

fn described(script: &mut Cursor<'_>) -> Memory {
    let disk = Memory::default();
    let raw = script.byte();
    if raw & 1 == 1 {
        let mut segment = Written::begin();
        segment.bytes.extend_from_slice(script.0);
        disk.put(&segment::name(0), segment.bytes);
        return disk;
    }
    let segments = u32::from(raw >> 1 & 1) + 1;
    let mut writer = Writer::default();
    let mut segment = Written::begin();
    for number in 0..segments {
        for _ in 0..script.byte() & 0x1f {
            writer.write(&mut segment, script);
        }
        let next = Written::after(number + 1, writer.position, segment.chain);
        let mut bytes = std::mem::replace(&mut segment, next).bytes;
        damage(&mut bytes, script);
        disk.put(&segment::name(number), bytes);
    }
    disk
}

/// What the node's own writer would know.
#[derive(Default)]
struct Writer {
    position: u64,
    next: HashMap<&'static str, u64>,
    batch: (u32, u32),
}

impl Writer {
    fn write(&mut self, segment: &mut Written, script: &mut Cursor<'_>) {
        let [names, odd] = [script.byte(), script.byte()];
        let stream = STREAMS[usize::from(names & 3)];
        let kind = KINDS[usize::from(names >> 2 & 3)];
        let mut chosen = |bit: u8, usual: u64| match odd >> bit & 1 {
            1 => script.number(),
            _ => usual,
        };
        let next = self.next.entry(stream).or_default();
        if self.batch.0 >= self.batch.1 {
            self.batch = (0, u32::from(names >> 4 & 3) + 1);
        }
        let [index, count] = [self.batch.0, self.batch.1].map(u64::from);
        let place = Place {
            position: chosen(0, self.position.saturating_add(1)),
            revision: chosen(1, *next),
            durable: chosen(2, self.position.saturating_sub(index)),
            created: chosen(3, 5),
            batch_index: truncated(chosen(4, index)),
            batch_count: truncated(chosen(5, count)),
        };
        (self.position, *next) = (place.position, place.revision.saturating_add(1));
        self.batch.0 += 1;
        if odd >> 6 & 1 == 1 {
            segment.chain[0] ^= 1;
        }
        let len = usize::from(script.byte());
        segment.add(stream, kind, script.bytes(len), place);
    }
}

fn truncated(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).expect("it was cut to 32 bits")
}

/// Cuts the bytes, or changes one of them, or neither.
fn damage(bytes: &mut Vec<u8>, script: &mut Cursor<'_>) {
    let how = script.byte();
    let at = usize::try_from(script.number() % (bytes.len() as u64 + 1)).unwrap_or_default();
    match how & 3 {
        1 => bytes.truncate(at),
        2 => bytes
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte ^= how >> 2 | 1),
        _ => {}
    }
}
