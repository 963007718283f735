//! CMAF bytes: what a player needs to know of an init segment and a fragment.
//!
//! # Invariants
//!
//! * Times are sums: the decode time of a fragment is the sum of the durations before it.
//!   The muxer rounds each on its own, which leaves gaps of one tick; `place` corrects it.
//! * Pictures are shown `delay` after they are decoded, and an edit in the init segment takes
//!   it back: time 0 is the first picture. The muxer's negative offsets say the same, but
//!   common players read them as a late picture.
//! * Nothing here trusts a length: every read is checked against the box it is in.

mod alike;

pub use alike::{is_constant, undate};

/// What an init segment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    pub codec: String,
    pub timescale: u32,
}

/// What a fragment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    pub time: u64,
    pub duration: u64,
    pub samples: u32,
}

/// Reads timescale and codec of a single-track init segment.
pub fn read_init(bytes: &[u8]) -> Option<Init> {
    let mdia = path(bytes, &[b"moov", b"trak", b"mdia"])?;
    let mdhd = child(mdia, b"mdhd")?;
    let timescale = match mdhd.first()? {
        1 => be32(mdhd, 20)?,
        _ => be32(mdhd, 12)?,
    };
    let stsd = path(mdia, &[b"minf", b"stbl", b"stsd"])?;
    let (kind, entry) = Boxes(stsd.get(8..)?).next()?;
    let codec = match &kind {
        b"avc1" | b"avc3" => avc_codec(&kind, entry)?,
        b"mp4a" => "mp4a.40.2".to_owned(),
        _ => return None,
    };
    Some(Init { codec, timescale })
}

/// `avc1.PPCCLL` from the decoder configuration.
fn avc_codec(kind: &[u8; 4], entry: &[u8]) -> Option<String> {
    // A visual sample entry has 78 bytes before its boxes.
    let avcc = child(entry.get(78..)?, b"avcC")?;
    let (profile, constraints, level) = (avcc.get(1)?, avcc.get(2)?, avcc.get(3)?);
    let kind = String::from_utf8_lossy(kind);
    Some(format!("{kind}.{profile:02x}{constraints:02x}{level:02x}"))
}

/// An init segment whose presentation begins `delay` into the media.
pub fn with_delay(init: &[u8], delay: u32) -> Option<Vec<u8>> {
    let mut bytes = init.to_vec();
    if delay == 0 {
        return Some(bytes);
    }
    let mut edit = Vec::with_capacity(EDIT_BYTES);
    edit.extend((EDIT_BYTES as u32).to_be_bytes());
    edit.extend(b"edts");
    edit.extend((EDIT_BYTES as u32 - 8).to_be_bytes());
    edit.extend(b"elst");
    // Version and flags, one entry, of unknown length, from `delay` on, at normal speed.
    for value in [0, 1, 0, delay, 0x0001_0000] {
        edit.extend(u32::to_be_bytes(value));
    }

    let moov = offset(init, child(init, b"moov")?);
    let trak = offset(init, path(init, &[b"moov", b"trak"])?);
    let tkhd = path(init, &[b"moov", b"trak", b"tkhd"])?;
    let at = offset(init, tkhd) + tkhd.len();
    for content in [moov, trak] {
        let size = be32(&bytes, content - 8)?.checked_add(EDIT_BYTES as u32)?;
        bytes
            .get_mut(content - 8..content - 4)?
            .copy_from_slice(&size.to_be_bytes());
    }
    bytes.splice(at..at, edit);
    // This brand promises that there is no edit; the other one allows it.
    let brand = bytes.get_mut(8..12)?;
    if brand == b"cmf2" {
        brand.copy_from_slice(b"cmfc");
    }
    Some(bytes)
}

/// `edts` with an `elst` of one entry.
const EDIT_BYTES: usize = 36;

/// Where a part of these bytes begins.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Reads time, duration and samples of a fragment, moves it to `time` and its pictures
/// `delay` behind their decoding.
pub fn place(bytes: &mut Vec<u8>, time: u64, delay: u32) -> Option<Fragment> {
    let traf = path(bytes, &[b"moof", b"traf"])?;
    let default_duration = child(traf, b"tfhd").and_then(default_sample_duration);
    let (mut duration, mut samples) = (0u64, 0u32);
    for (kind, trun) in Boxes(traf) {
        if &kind == b"trun" {
            let (d, s) = run_length(trun, default_duration)?;
            duration += d;
            samples += s;
        }
    }
    move_to(bytes, time)?;
    if delay > 0 {
        // From the last to the first: a run that grows does not move those before it.
        for run in runs(bytes)?.into_iter().rev() {
            with_compositions(bytes, run)?;
            delay_run(bytes.get_mut(run..)?, delay)?;
        }
    }
    Some(Fragment {
        time,
        duration,
        samples,
    })
}

/// Where the runs of a fragment begin.
fn runs(bytes: &[u8]) -> Option<Vec<usize>> {
    let traf = path(bytes, &[b"moof", b"traf"])?;
    let runs = Boxes(traf).filter(|(kind, _)| kind == b"trun");
    Some(runs.map(|(_, trun)| offset(bytes, trun)).collect())
}

/// Writes the decode time; the muxer's has 32 bits where that is enough for it.
fn move_to(bytes: &mut Vec<u8>, time: u64) -> Option<()> {
    let tfdt = path(bytes, &[b"moof", b"traf", b"tfdt"])?;
    let at = offset(bytes, tfdt);
    let wide = *tfdt.first()? == 1;
    if let (false, Ok(time)) = (wide, u32::try_from(time)) {
        bytes
            .get_mut(at + 4..at + 8)?
            .copy_from_slice(&time.to_be_bytes());
        return Some(());
    }
    if !wide {
        *bytes.get_mut(at)? = 1;
        bytes.splice(at + 4..at + 4, [0; 4]);
        grow(bytes, at - 8, 4)?;
        grow_around(bytes, 4)?;
    }
    bytes
        .get_mut(at + 4..at + 12)?
        .copy_from_slice(&time.to_be_bytes());
    Some(())
}

/// Adds to a number.
fn grow(bytes: &mut [u8], at: usize, by: u32) -> Option<()> {
    let value = be32(bytes, at)?.checked_add(by)?;
    bytes
        .get_mut(at..at + 4)?
        .copy_from_slice(&value.to_be_bytes());
    Some(())
}

/// Tells the boxes around one that has grown by so much, and the runs whose data moved.
fn grow_around(bytes: &mut [u8], by: u32) -> Option<()> {
    let moof = offset(bytes, child(bytes, b"moof")?);
    let traf = offset(bytes, path(bytes, &[b"moof", b"traf"])?);
    for content in [traf, moof] {
        grow(bytes, content - 8, by)?;
    }
    for run in runs(bytes)? {
        // The data begins behind the movie fragment, which has grown.
        if Run::of(bytes.get(run..)?)?.flags & 0x01 != 0 {
            grow(bytes, run + 8, by)?;
        }
    }
    Some(())
}

/// Gives a `trun` composition offsets where it has none because they are all 0.
fn with_compositions(bytes: &mut Vec<u8>, at: usize) -> Option<()> {
    let run = Run::of(bytes.get(at..)?)?;
    if run.flags & 0x800 != 0 {
        return Some(());
    }
    let mut samples = Vec::new();
    let mut end = at + run.first;
    for _ in 0..run.samples {
        samples.extend_from_slice(bytes.get(end..end + run.stride)?);
        samples.extend_from_slice(&[0; 4]);
        end += run.stride;
    }
    let grown = u32::try_from(samples.len() - (end - at - run.first)).ok()?;
    bytes.splice(at + run.first..end, samples);

    // Signed offsets are of version 1.
    let flags = 0x0100_0000 | run.flags | 0x800;
    bytes
        .get_mut(at..at + 4)?
        .copy_from_slice(&flags.to_be_bytes());
    grow(bytes, at - 8, grown)?;
    grow_around(bytes, grown)
}

/// Adds to the composition offset of every sample in a `trun`.
fn delay_run(trun: &mut [u8], delay: u32) -> Option<()> {
    let run = Run::of(trun)?;
    let place = run.offset_of_composition()?;
    for sample in 0..run.samples as usize {
        let at = run.first + sample * run.stride + place;
        let offset = be32(trun, at)? as i32;
        let moved = offset.checked_add(i32::try_from(delay).ok()?)?;
        trun.get_mut(at..at + 4)?
            .copy_from_slice(&moved.to_be_bytes());
    }
    Some(())
}

/// How a `trun` is laid out.
struct Run {
    flags: u32,
    samples: u32,
    first: usize,
    stride: usize,
}

impl Run {
    fn of(trun: &[u8]) -> Option<Run> {
        let flags = be32(trun, 0)? & 0x00ff_ffff;
        let first =
            8 + if flags & 0x01 != 0 { 4 } else { 0 } + if flags & 0x04 != 0 { 4 } else { 0 };
        Some(Run {
            flags,
            samples: be32(trun, 4)?,
            first,
            stride: 4 * (flags & 0xf00).count_ones() as usize,
        })
    }

    /// Duration, size and flags stand before it.
    fn offset_of_composition(&self) -> Option<usize> {
        (self.flags & 0x800 != 0).then(|| 4 * (self.flags & 0x700).count_ones() as usize)
    }
}

fn default_sample_duration(tfhd: &[u8]) -> Option<u32> {
    let flags = be32(tfhd, 0)? & 0x00ff_ffff;
    if flags & 0x08 == 0 {
        return None;
    }
    let mut at = 8;
    at += if flags & 0x01 != 0 { 8 } else { 0 };
    at += if flags & 0x02 != 0 { 4 } else { 0 };
    be32(tfhd, at)
}

/// The sum of the durations in a `trun`, and how many samples it has.
fn run_length(trun: &[u8], default_duration: Option<u32>) -> Option<(u64, u32)> {
    let run = Run::of(trun)?;
    if run.flags & 0x100 == 0 {
        let each = u64::from(default_duration?);
        return Some((each * u64::from(run.samples), run.samples));
    }
    let mut duration = 0u64;
    for sample in 0..run.samples as usize {
        duration += u64::from(be32(trun, run.first + sample * run.stride)?);
    }
    Some((duration, run.samples))
}

/// The boxes side by side in these bytes: kind and content.
pub(crate) struct Boxes<'a>(pub &'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = be32(self.0, 0)? as usize;
        let kind = self.0.get(4..8)?.try_into().ok()?;
        let (start, size) = match size {
            0 => (8, self.0.len()),
            1 => (16, usize::try_from(be64(self.0, 8)?).ok()?),
            _ => (8, size),
        };
        let content = self.0.get(start..size)?;
        self.0 = &self.0[size..];
        Some((kind, content))
    }
}

/// The content of the first box of this kind.
pub(crate) fn child<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    Boxes(bytes).find(|(k, _)| k == kind).map(|(_, c)| c)
}

/// The content of the box at the end of this path.
pub(crate) fn path<'a>(bytes: &'a [u8], kinds: &[&[u8; 4]]) -> Option<&'a [u8]> {
    kinds.iter().try_fold(bytes, |at, kind| child(at, kind))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(eight.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = (8 + content.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(content);
        bytes
    }

    pub(crate) fn fragment(durations: &[u32]) -> Vec<u8> {
        let tfhd = boxed(b"tfhd", &[0, 2, 0, 0, 0, 0, 0, 1]);
        let tfdt = boxed(b"tfdt", &[0, 0, 0, 0, 0, 0, 0, 7]);
        let mut trun = vec![1, 0, 3, 1];
        trun.extend((durations.len() as u32).to_be_bytes());
        trun.extend([0; 4]);
        for duration in durations {
            trun.extend(duration.to_be_bytes());
            trun.extend(99u32.to_be_bytes());
        }
        let traf = boxed(b"traf", &[tfhd, tfdt, boxed(b"trun", &trun)].concat());
        boxed(b"moof", &traf)
    }

    #[test]
    fn a_fragment_is_moved_to_its_sum() {
        let mut bytes = fragment(&[100, 101]);
        let placed = place(&mut bytes, 4200, 0).unwrap();
        assert_eq!(
            placed,
            Fragment {
                time: 4200,
                duration: 201,
                samples: 2
            }
        );
        let tfdt = path(&bytes, &[b"moof", b"traf", b"tfdt"]).unwrap();
        assert_eq!(be32(tfdt, 4), Some(4200));
    }

    #[test]
    fn a_time_beyond_32_bits_gets_room() {
        let mut bytes = fragment(&[100, 101]);
        let before = bytes.len();
        let late = u64::from(u32::MAX) + 7;
        assert_eq!(place(&mut bytes, late, 200).unwrap().time, late);
        assert_eq!(bytes.len(), before + 4 + 8);
        assert_eq!(be32(&bytes, 0), Some(bytes.len() as u32));
        let tfdt = path(&bytes, &[b"moof", b"traf", b"tfdt"]).unwrap();
        assert_eq!((tfdt[0], be64(tfdt, 4)), (1, Some(late)));
        let trun = path(&bytes, &[b"moof", b"traf", b"trun"]).unwrap();
        assert_eq!(be32(trun, 8), Some(12), "the data moved with the box");
        assert_eq!(run_length(trun, None), Some((201, 2)));
    }

    #[test]
    fn a_box_longer_than_its_parent_ends_the_walk() {
        let mut bytes = fragment(&[100]);
        bytes[0..4].copy_from_slice(&4096u32.to_be_bytes());
        assert_eq!(place(&mut bytes, 0, 0), None);
    }

    #[test]
    fn a_run_that_claims_more_samples_than_it_holds_is_refused() {
        let mut bytes = fragment(&[100]);
        let at = bytes.len() - 16;
        bytes[at..at + 4].copy_from_slice(&1_000_000u32.to_be_bytes());
        assert_eq!(place(&mut bytes, 0, 0), None);
    }

    #[test]
    fn a_run_without_offsets_gets_them() {
        let mut bytes = fragment(&[100, 101]);
        let before = bytes.len();
        let placed = place(&mut bytes, 0, 200).unwrap();
        assert_eq!((placed.duration, placed.samples), (201, 2));
        assert_eq!(bytes.len(), before + 8);
        let trun = path(&bytes, &[b"moof", b"traf", b"trun"]).unwrap();
        assert_eq!(be32(trun, 8), Some(8), "the data moved with the box");
        assert_eq!((be32(trun, 20), be32(trun, 32)), (Some(200), Some(200)));
        assert_eq!(run_length(trun, None), Some((201, 2)));
    }

    #[test]
    fn a_delay_is_added_to_pictures_and_taken_back_by_an_edit() {
        let mut trun = vec![1, 0, 8, 0, 0, 0, 0, 2];
        trun.extend(0i32.to_be_bytes());
        trun.extend((-100i32).to_be_bytes());
        delay_run(&mut trun, 200).unwrap();
        assert_eq!((be32(&trun, 8), be32(&trun, 12)), (Some(200), Some(100)));

        let trak = boxed(b"trak", &boxed(b"tkhd", &[0; 84]));
        let init = [boxed(b"ftyp", b"cmf2"), boxed(b"moov", &trak)].concat();
        let edited = with_delay(&init, 200).unwrap();
        let elst = path(&edited, &[b"moov", b"trak", b"edts", b"elst"]).unwrap();
        assert_eq!(be32(elst, 12), Some(200));
        assert_eq!(&edited[8..12], b"cmfc");
        assert_eq!(edited.len(), init.len() + 36);
    }
}
