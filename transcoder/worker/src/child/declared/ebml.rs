//! Matroska and WebM: elements with their lengths in front.
//!
//! # Invariants
//!
//! * Reads are bounded: the file's beginning, and of one that was cut off its end.

use super::super::coverage::truncated;
use super::super::front_end::unreadable;
use super::super::source_element::SourceLink;
use super::cut_off;
use crate::failure::Failure;

/// Where the segment says how long it is.
const HEAD_BYTES: u32 = 64 << 10;
/// How much is searched for the beginning of the last cluster, and how much of it at once.
const TAIL_BYTES_MAX: u64 = 32 << 20;
const TAIL_STEP: u64 = 1 << 20;

const SEGMENT: u64 = 0x1853_8067;
const INFO: u64 = 0x1549_a966;
const TIMESTAMP_SCALE: u64 = 0x2a_d7b1;
const DURATION: u64 = 0x4489;
const CLUSTER: u64 = 0x1f43_b675;
const CLUSTER_MARK: [u8; 4] = [0x1f, 0x43, 0xb6, 0x75];
const TIMESTAMP: u64 = 0xe7;
const SIMPLE_BLOCK: u64 = 0xa3;
const BLOCK_GROUP: u64 = 0xa0;
const BLOCK: u64 = 0xa1;

/// Refuses a file that ends before its segment does, unless that was written live.
pub(super) fn check(link: &SourceLink) -> Result<(), Failure> {
    let head = link.read(0, HEAD_BYTES).map_err(|_| unreadable())?;
    let Some(segment) = segment(&head) else {
        return Ok(());
    };
    let Some(size) = segment.size else {
        return Ok(());
    };
    let end = size.saturating_add(segment.begin as u64);
    if end <= link.size {
        return Ok(());
    }
    let Some((scale_ns, declared_ns)) = information(&head[segment.begin..]) else {
        return Err(cut_off(end, link.size));
    };
    match last_timestamp(link)? {
        Some(units) => Err(truncated(declared_ns, units.saturating_mul(scale_ns))),
        None => Err(cut_off(end, link.size)),
    }
}

/// An element whose content begins here; without a size it goes on to the end of the file.
struct Element {
    id: u64,
    begin: usize,
    size: Option<u64>,
}

impl Element {
    fn at(bytes: &[u8], at: usize) -> Option<Element> {
        let (id, id_length) = vint(bytes, at, true)?;
        let (size, size_length) = vint(bytes, at + id_length, false)?;
        let unknown = (1u64 << (7 * size_length)) - 1;
        Some(Element {
            id,
            begin: at + id_length + size_length,
            size: (size != unknown).then_some(size),
        })
    }

    fn content<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let content = bytes.get(self.begin..).unwrap_or_default();
        let size = self.size.and_then(|size| usize::try_from(size).ok());
        &content[..size.unwrap_or(usize::MAX).min(content.len())]
    }

    /// Where the next one begins.
    fn end(&self) -> Option<usize> {
        self.begin.checked_add(usize::try_from(self.size?).ok()?)
    }
}

/// The elements in these bytes, one after the other; at most as many as there are bytes.
fn elements(bytes: &[u8]) -> impl Iterator<Item = Element> {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let element = Element::at(bytes, at?)?;
        at = element.end();
        Some(element)
    })
}

fn segment(head: &[u8]) -> Option<Element> {
    elements(head).take(2).find(|found| found.id == SEGMENT)
}

/// How long a unit of time is in ns, and how long the film.
fn information(segment: &[u8]) -> Option<(u64, u64)> {
    let info = elements(segment).find(|found| found.id == INFO)?;
    let info = info.content(segment);
    let (mut scale_ns, mut units) = (1_000_000, None);
    for element in elements(info) {
        let content = element.content(info);
        match element.id {
            TIMESTAMP_SCALE => scale_ns = unsigned(content),
            DURATION => units = float(content),
            _ => {}
        }
    }
    let declared_ns = units? * scale_ns as f64;
    (declared_ns >= 0.0 && declared_ns < u64::MAX as f64).then_some((scale_ns, declared_ns as u64))
}

fn unsigned(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().take(8);
    bytes.fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => Some(f64::from(f32::from_be_bytes(bytes.try_into().ok()?))),
        8 => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// When the last piece that is there is to be shown or heard, in units of time.
fn last_timestamp(link: &SourceLink) -> Result<Option<u64>, Failure> {
    let mut tail: Vec<u8> = vec![];
    while (tail.len() as u64) < TAIL_BYTES_MAX.min(link.size) {
        let from = (link.size - tail.len() as u64).saturating_sub(TAIL_STEP);
        let length = link.size - tail.len() as u64 - from;
        let mut more = link.read(from, length as u32).map_err(|_| unreadable())?;
        if more.len() as u64 != length {
            break;
        }
        more.append(&mut tail);
        tail = more;
        let newest = TAIL_STEP as usize + CLUSTER_MARK.len();
        let fresh = &tail[..newest.min(tail.len())];
        let marks = fresh.windows(4).enumerate().rev();
        let mut clusters = marks.filter(|(_, window)| *window == CLUSTER_MARK);
        if let Some(units) = clusters.find_map(|(at, _)| latest_of(&tail[at..])) {
            return Ok(Some(units));
        }
    }
    Ok(None)
}

/// The latest time in a cluster, which may be cut off.
fn latest_of(bytes: &[u8]) -> Option<u64> {
    let cluster = Element::at(bytes, 0).filter(|found| found.id == CLUSTER)?;
    let cluster = cluster.content(bytes);
    let begin = elements(cluster).find(|found| found.id == TIMESTAMP)?;
    begin.end().filter(|end| *end <= cluster.len())?;
    let begin = unsigned(begin.content(cluster));
    let mut latest = begin;
    for element in elements(cluster) {
        let content = element.content(cluster);
        let since = match element.id {
            SIMPLE_BLOCK => since_cluster(content),
            BLOCK_GROUP => elements(content)
                .find(|found| found.id == BLOCK)
                .and_then(|block| since_cluster(block.content(content))),
            _ => None,
        };
        let at = since.and_then(|since| begin.checked_add_signed(i64::from(since)));
        latest = latest.max(at.unwrap_or(0));
    }
    Some(latest)
}

/// A block begins with its track and its time.
fn since_cluster(block: &[u8]) -> Option<i16> {
    let (_, length) = vint(block, 0, false)?;
    let time = block.get(length..length + 2)?;
    Some(i16::from_be_bytes([time[0], time[1]]))
}

/// A number of EBML at this place, with its marker or without, and its length.
fn vint(bytes: &[u8], at: usize, with_marker: bool) -> Option<(u64, usize)> {
    let first = *bytes.get(at)?;
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return None;
    }
    let mut value = u64::from(first);
    if !with_marker {
        value &= (1u64 << (8 - length)) - 1;
    }
    for byte in bytes.get(at + 1..at + length)? {
        value = value << 8 | u64::from(*byte);
    }
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_ebml_have_their_length_in_front() {
        assert_eq!(vint(&[0x81], 0, false), Some((1, 1)));
        assert_eq!(vint(&[0x40, 0x02], 0, false), Some((2, 2)));
        assert_eq!(
            vint(&[0x1a, 0x45, 0xdf, 0xa3], 0, true),
            Some((0x1a45_dfa3, 4))
        );
        assert_eq!(vint(&[0x00], 0, false), None);
        assert_eq!(vint(&[0x40], 0, false), None);
    }

    #[test]
    fn the_latest_time_of_a_cluster_is_that_of_its_last_block() {
        let mut cluster = CLUSTER_MARK.to_vec();
        // 100 bytes long, of which not all are there; it begins at 5000.
        cluster.extend([0x80 | 100, 0xe7, 0x82, 0x13, 0x88]);
        cluster.extend([0xa3, 0x84, 0x81, 0x00, 0x21, 0x80]);
        cluster.extend([0xa0, 0x86, 0xa1, 0x84, 0x81, 0x00, 0x42, 0x80]);
        // Earlier than the one before, and cut off in its middle.
        cluster.extend([0xa3, 0x90, 0x81, 0xff, 0xff, 0x80]);
        assert_eq!(latest_of(&cluster), Some(5066));
        assert_eq!(latest_of(&cluster[..7]), None);
    }

    #[test]
    fn a_segment_says_how_long_it_is() {
        let mut info = vec![0x2a, 0xd7, 0xb1, 0x83, 0x0f, 0x42, 0x40];
        info.extend([0x44, 0x89, 0x88]);
        info.extend(4400.0f64.to_be_bytes());
        let mut segment = vec![0x15, 0x49, 0xa9, 0x66, 0x80 | info.len() as u8];
        segment.extend(info);
        assert_eq!(information(&segment), Some((1_000_000, 4_400_000_000)));
        assert_eq!(information(&segment[..8]), None);
    }
}
