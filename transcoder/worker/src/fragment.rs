//! CMAF bytes: what a player needs to know of an init segment and a fragment.
//!
//! # Invariants
//!
//! * Times are sums: the decode time of a fragment is the sum of the durations before it.
//!   The muxer rounds each on its own, which leaves gaps of one tick; `place` corrects it.
//! * Nothing here trusts a length: every read is checked against the box it is in.

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

/// Reads time, duration and samples of a fragment, and moves it to `time`.
pub fn place(bytes: &mut [u8], time: u64) -> Option<Fragment> {
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
    let tfdt = child(traf, b"tfdt")?;
    let wide = *tfdt.first()? == 1;
    let at = tfdt.get(4..)?.as_ptr() as usize - bytes.as_ptr() as usize;
    if wide {
        bytes
            .get_mut(at..at + 8)?
            .copy_from_slice(&time.to_be_bytes());
    } else {
        let time = u32::try_from(time).ok()?;
        bytes
            .get_mut(at..at + 4)?
            .copy_from_slice(&time.to_be_bytes());
    }
    Some(Fragment {
        time,
        duration,
        samples,
    })
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
    let flags = be32(trun, 0)? & 0x00ff_ffff;
    let samples = be32(trun, 4)?;
    let first = 8 + if flags & 0x01 != 0 { 4 } else { 0 } + if flags & 0x04 != 0 { 4 } else { 0 };
    if flags & 0x100 == 0 {
        let each = u64::from(default_duration?);
        return Some((each * u64::from(samples), samples));
    }
    let stride = 4 * (flags & 0xf00).count_ones() as usize;
    let mut duration = 0u64;
    for sample in 0..samples as usize {
        duration += u64::from(be32(trun, first + sample * stride)?);
    }
    Some((duration, samples))
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
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = (8 + content.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(content);
        bytes
    }

    fn fragment(durations: &[u32]) -> Vec<u8> {
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
        let placed = place(&mut bytes, 4200).unwrap();
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
    fn a_box_longer_than_its_parent_ends_the_walk() {
        let mut bytes = fragment(&[100]);
        bytes[0..4].copy_from_slice(&4096u32.to_be_bytes());
        assert_eq!(place(&mut bytes, 0), None);
    }

    #[test]
    fn a_run_that_claims_more_samples_than_it_holds_is_refused() {
        let mut bytes = fragment(&[100]);
        let at = bytes.len() - 16;
        bytes[at..at + 4].copy_from_slice(&1_000_000u32.to_be_bytes());
        assert_eq!(place(&mut bytes, 0), None);
    }
}
