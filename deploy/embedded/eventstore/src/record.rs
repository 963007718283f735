//! One event as bytes on disk.
//!
//! All numbers are little-endian. See the crate's README for the table.
//!
//! # Invariants
//!
//! * The header's checksum covers the header and the names behind it; the payload
//!   (metadata and data) has its own. Each can be checked without the other.
//! * The chain hash covers what is true of the event for ever (header, names, digest of
//!   the payload) and the chain hash before it; neither the payload itself, nor where or
//!   when it was flushed. So a payload can be erased later, and the chain stays valid.
//! * Decoding any bytes ends in a record or a [`Damage`], never in a panic.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::limits;
use crate::little_endian::{array_at, u16_at, u32_at, u64_at};

pub(crate) const HEADER_BYTES: usize = 152;
pub(crate) const CHECKSUM_BYTES: usize = 4;
pub(crate) const MAGIC: [u8; 4] = *b"KREC";
const VERSION: u16 = 1;

/// The payload is gone; its digest, its lengths and the chain are what they were.
const FLAG_ERASED: u16 = 1;
const FLAGS_KNOWN: u16 = FLAG_ERASED;

/// Where the chained part of the header begins (after magic, version, flags, length and
/// the flush mark, which may all differ in a scavenged copy) and ends (before the chain).
const CHAINED_FROM: usize = 20;
const CHAIN_AT: usize = 116;
const HEADER_CHECKSUM_AT: usize = 148;

/// Positions and revisions, which the protocol sometimes counts with a sign.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// A frame is at most this long; a longer length is damage, not a reason to allocate.
pub(crate) const FRAME_BYTES_MAX: usize =
    NAMED_HEADER_BYTES_MAX + limits::EVENT_BYTES_MAX + CHECKSUM_BYTES;

/// A header with the longest names.
pub(crate) const NAMED_HEADER_BYTES_MAX: usize = HEADER_BYTES
    + limits::STREAM_NAME_BYTES_MAX
    + limits::EVENT_TYPE_BYTES_MAX
    + limits::CONTENT_TYPE_BYTES_MAX;

pub(crate) type Hash = [u8; 32];

/// An event as somebody asks for it to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) content_type: String,
    pub(crate) metadata: Bytes,
    pub(crate) data: Bytes,
}

/// Where a draft ends up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    /// The last position known to be durable when this one was written: if this record
    /// is there, everything up to that one must be.
    pub(crate) durable: u64,
    pub(crate) revision: u64,
    /// 100 ns since 1970.
    pub(crate) created: u64,
    pub(crate) batch_index: u32,
    pub(crate) batch_count: u32,
}

/// A record read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) stream: String,
    pub(crate) draft: Draft,
    pub(crate) erased: bool,
    pub(crate) digest: Hash,
    pub(crate) chain: Hash,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("the record is cut short")]
    Short,
    #[error("no record begins here")]
    Magic,
    #[error("the record's version or flags are unknown")]
    Version,
    #[error("the record's lengths disagree")]
    Length,
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    #[error("the payload's checksum does not match")]
    PayloadChecksum,
    #[error("the record's numbers are not what any writer writes")]
    Place,
    #[error("a name is not UTF-8")]
    Name,
    #[error("the chain of hashes is broken")]
    Chain,
    #[error("the position does not follow the one before")]
    Position,
    #[error("the batch is not whole")]
    Batch,
    #[error("the revision does not follow the stream's one before")]
    Revision,
}

/// How long the frame of this event will be.
pub(crate) fn frame_bytes(stream: &str, draft: &Draft) -> usize {
    HEADER_BYTES
        + stream.len()
        + draft.kind.len()
        + draft.content_type.len()
        + draft.metadata.len()
        + draft.data.len()
        + CHECKSUM_BYTES
}

/// Appends the frame to `out` and returns the new chain hash. The lengths have been
/// checked against the limits before, so that they fit their fields.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    stream: &str,
    draft: &Draft,
    place: Place,
    previous: &Hash,
) -> Hash {
    let mut header = [0u8; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(4, &VERSION.to_le_bytes());
    put(6, &0u16.to_le_bytes());
    put(8, &fit_u32(frame_bytes(stream, draft)).to_le_bytes());
    put(12, &place.durable.to_le_bytes());
    put(20, &place.position.to_le_bytes());
    put(28, &place.revision.to_le_bytes());
    put(36, &place.created.to_le_bytes());
    put(44, draft.id.as_bytes());
    put(60, &place.batch_index.to_le_bytes());
    put(64, &place.batch_count.to_le_bytes());
    put(68, &fit_u16(stream.len()).to_le_bytes());
    put(70, &fit_u16(draft.kind.len()).to_le_bytes());
    put(72, &fit_u16(draft.content_type.len()).to_le_bytes());
    put(76, &fit_u32(draft.metadata.len()).to_le_bytes());
    put(80, &fit_u32(draft.data.len()).to_le_bytes());
    put(84, &digest(&draft.metadata, &draft.data));

    let names = [stream, &draft.kind, &draft.content_type].map(str::as_bytes);
    let chain = link(previous, &header, names);
    header[CHAIN_AT..HEADER_CHECKSUM_AT].copy_from_slice(&chain);
    let checksum = checksum([&header[..HEADER_CHECKSUM_AT]].into_iter().chain(names));
    header[HEADER_CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());

    out.extend_from_slice(&header);
    for name in names {
        out.extend_from_slice(name);
    }
    out.extend_from_slice(&draft.metadata);
    out.extend_from_slice(&draft.data);
    let payload = crc32(&[&draft.metadata, &draft.data]);
    out.extend_from_slice(&payload.to_le_bytes());
    chain
}

/// The length of the frame that begins with these bytes, believable but not yet proven.
pub(crate) fn frame_len(header: &[u8]) -> Result<usize, Damage> {
    if header.len() < HEADER_BYTES {
        return Err(Damage::Short);
    }
    if header[..4] != MAGIC {
        return Err(Damage::Magic);
    }
    let flags = u16_at(header, 6);
    if u16_at(header, 4) != VERSION || flags & !FLAGS_KNOWN != 0 {
        return Err(Damage::Version);
    }
    let lengths = Lengths::of(header);
    let len = u32_at(header, 8) as usize;
    if len > FRAME_BYTES_MAX || len != lengths.frame() {
        return Err(Damage::Length);
    }
    Ok(len)
}

/// Reads the record at the beginning of `frame`, all checksums verified.
pub(crate) fn decode(frame: &Bytes) -> Result<Record, Damage> {
    let len = frame_len(frame)?;
    if frame.len() < len {
        return Err(Damage::Short);
    }
    verify_header(&frame[..len])?;
    let lengths = Lengths::of(frame);
    let payload_at = HEADER_BYTES + lengths.names();
    let payload = &frame[payload_at..len - CHECKSUM_BYTES];
    if crc32(&[payload]) != u32_at(frame, len - CHECKSUM_BYTES) {
        return Err(Damage::PayloadChecksum);
    }
    let mut at = HEADER_BYTES;
    let mut name = |len: usize| {
        at += len;
        std::str::from_utf8(&frame[at - len..at])
            .map(str::to_owned)
            .map_err(|_| Damage::Name)
    };
    let stream = name(lengths.stream)?;
    let kind = name(lengths.kind)?;
    let content_type = name(lengths.content_type)?;
    let (metadata, data) = if lengths.erased {
        (Bytes::new(), Bytes::new())
    } else {
        let data_at = payload_at + lengths.metadata;
        (
            frame.slice(payload_at..data_at),
            frame.slice(data_at..data_at + lengths.data),
        )
    };
    Ok(Record {
        place: place(frame),
        stream,
        draft: Draft {
            id: Uuid::from_bytes(array_at(frame, 44)),
            kind,
            content_type,
            metadata,
            data,
        },
        erased: lengths.erased,
        digest: array_at(frame, 84),
        chain: array_at(frame, CHAIN_AT),
    })
}

/// Whether a record begins here whose header is intact; then where it stands.
/// Used to tell a torn tail from damage in the middle.
pub(crate) fn intact_place(bytes: &[u8]) -> Option<Place> {
    frame_len(bytes).ok()?;
    verify_header(bytes).ok()?;
    Some(place(bytes))
}

/// The same of a record that is known to begin here, and its id.
pub(crate) fn intact_identity(bytes: &[u8]) -> Option<(Place, Uuid)> {
    let place = intact_place(bytes)?;
    Some((place, Uuid::from_bytes(array_at(bytes, 44))))
}

/// The chain hash this frame must carry after a record with `previous`.
pub(crate) fn expected_chain(frame: &[u8], previous: &Hash) -> Hash {
    let lengths = Lengths::of(frame);
    let names = &frame[HEADER_BYTES..HEADER_BYTES + lengths.names()];
    link(previous, &frame[..HEADER_BYTES], [names])
}

pub(crate) fn digest(metadata: &[u8], data: &[u8]) -> Hash {
    Sha256::new()
        .chain_update(fit_u32(metadata.len()).to_le_bytes())
        .chain_update(metadata)
        .chain_update(data)
        .finalize()
        .into()
}

struct Lengths {
    stream: usize,
    kind: usize,
    content_type: usize,
    metadata: usize,
    data: usize,
    erased: bool,
}

impl Lengths {
    fn of(header: &[u8]) -> Self {
        Self {
            stream: usize::from(u16_at(header, 68)),
            kind: usize::from(u16_at(header, 70)),
            content_type: usize::from(u16_at(header, 72)),
            metadata: u32_at(header, 76) as usize,
            data: u32_at(header, 80) as usize,
            erased: u16_at(header, 6) & FLAG_ERASED != 0,
        }
    }

    fn names(&self) -> usize {
        self.stream + self.kind + self.content_type
    }

    fn frame(&self) -> usize {
        let payload = if self.erased {
            0
        } else {
            self.metadata + self.data
        };
        HEADER_BYTES + self.names() + payload + CHECKSUM_BYTES
    }
}

fn verify_header(bytes: &[u8]) -> Result<(), Damage> {
    let names = HEADER_BYTES + Lengths::of(bytes).names();
    if bytes.len() < names {
        return Err(Damage::Short);
    }
    let actual = crc32(&[&bytes[..HEADER_CHECKSUM_AT], &bytes[HEADER_BYTES..names]]);
    if actual != u32_at(bytes, HEADER_CHECKSUM_AT) {
        return Err(Damage::HeaderChecksum);
    }
    let place = place(bytes);
    if place.position.max(place.revision) > NUMBER_MAX || place.batch_index >= place.batch_count {
        return Err(Damage::Place);
    }
    Ok(())
}

fn place(header: &[u8]) -> Place {
    Place {
        durable: u64_at(header, 12),
        position: u64_at(header, 20),
        revision: u64_at(header, 28),
        created: u64_at(header, 36),
        batch_index: u32_at(header, 60),
        batch_count: u32_at(header, 64),
    }
}

fn link<'a>(previous: &Hash, header: &[u8], names: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(&header[CHAINED_FROM..CHAIN_AT]);
    for name in names {
        hash.update(name);
    }
    hash.finalize().into()
}

fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

pub(crate) fn crc32(parts: &[&[u8]]) -> u32 {
    checksum(parts.iter().copied())
}

fn fit_u16(len: usize) -> u16 {
    u16::try_from(len).expect("names are shorter than their limits, which fit 16 bits")
}

fn fit_u32(len: usize) -> u32 {
    u32::try_from(len).expect("payloads are shorter than their limit, which fits 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Hash = [7; 32];

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let (frame, chain) = written(&draft(b"{\"a\":1}"));
        let record = decode(&frame).unwrap();

        assert_eq!(record.place, PLACE);
        assert_eq!(record.stream, "video-1");
        assert_eq!(record.draft, draft(b"{\"a\":1}"));
        assert_eq!(record.digest, digest(b"{}", b"{\"a\":1}"));
        assert_eq!(record.chain, chain);
        assert_eq!(expected_chain(&frame, &START), chain);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (frame, _) = written(&draft(b"payload"));
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged.into()).is_err(), "bit {bit} was not found");
        }
    }

    #[test]
    fn numbers_that_nothing_can_follow_are_damage_though_their_checksum_is_right() {
        let placed = |numbers: fn(&mut Place)| {
            let mut place = PLACE;
            numbers(&mut place);
            place
        };
        let impossible = [
            placed(|it| it.position = u64::MAX),
            placed(|it| it.revision = u64::MAX),
            placed(|it| (it.batch_index, it.batch_count) = (u32::MAX, u32::MAX)),
            placed(|it| it.batch_count = 0),
        ];
        for place in impossible {
            let mut frame = Vec::new();
            encode(&mut frame, "video-1", &draft(b"{}"), place, &START);
            assert_eq!(decode(&frame.into()), Err(Damage::Place), "{place:?}");
        }
    }

    #[test]
    fn an_erased_payload_leaves_digest_and_chain_valid() {
        let (frame, chain) = written(&draft(b"somebody's name"));
        let erased = erase(&frame);
        let record = decode(&erased).unwrap();

        assert!(record.erased && record.draft.data.is_empty());
        assert_eq!(record.digest, digest(b"{}", b"somebody's name"));
        assert_eq!(expected_chain(&erased, &START), chain);
        assert!(!erased.windows(8).any(|window| window == b"somebody"));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..512), magic: bool) {
            if magic && bytes.len() >= 8 {
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[4..8].copy_from_slice(&[1, 0, 0, 0]);
            }
            intact_place(&bytes);
            prop_assert!(decode(&bytes.into()).is_err());
        }

        #[test]
        fn any_cut_is_found(cut in 0usize..200) {
            let (frame, _) = written(&draft(b"payload"));
            let cut = cut.min(frame.len() - 1);
            prop_assert!(decode(&frame.slice(..cut)).is_err());
        }
    }

    const PLACE: Place = Place {
        position: 9,
        durable: 8,
        revision: 3,
        created: 1_700_000_000 * 10_000_000,
        batch_index: 0,
        batch_count: 1,
    };

    fn draft(data: &'static [u8]) -> Draft {
        Draft {
            id: Uuid::from_u128(5),
            kind: "video.upload-requested.v1".into(),
            content_type: "application/json".into(),
            metadata: Bytes::from_static(b"{}"),
            data: Bytes::from_static(data),
        }
    }

    fn written(draft: &Draft) -> (Bytes, Hash) {
        let mut out = Vec::new();
        let chain = encode(&mut out, "video-1", draft, PLACE, &START);
        assert_eq!(out.len(), frame_bytes("video-1", draft));
        (out.into(), chain)
    }

    /// What a scavenge will do to a record.
    fn erase(frame: &Bytes) -> Bytes {
        let names = HEADER_BYTES + Lengths::of(frame).names();
        let mut erased = frame[..names].to_vec();
        erased[6..8].copy_from_slice(&FLAG_ERASED.to_le_bytes());
        erased[8..12].copy_from_slice(&fit_u32(names + CHECKSUM_BYTES).to_le_bytes());
        let header = crc32(&[&erased[..HEADER_CHECKSUM_AT], &erased[HEADER_BYTES..]]);
        erased[HEADER_CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&header.to_le_bytes());
        erased.extend_from_slice(&crc32(&[]).to_le_bytes());
        erased.into()
    }
}
