//! What makes the pieces of a rendition that were made apart as if they were made at once.
//!
//! # Invariants
//!
//! * An init segment says nothing of when it was made: any of them serves all pieces.
//! * Every picture lasts the same number of ticks, so that times can be counted in pictures.

use super::{Boxes, Run, be32, child, default_sample_duration, offset, path};

/// Takes out when the init segment was made: those of chunks made apart are the same.
pub fn undate(init: &mut [u8]) -> Option<()> {
    let headers: [&[&[u8; 4]]; 3] = [
        &[b"moov", b"mvhd"],
        &[b"moov", b"trak", b"tkhd"],
        &[b"moov", b"trak", b"mdia", b"mdhd"],
    ];
    for kinds in headers {
        let header = path(init, kinds)?;
        // When it was made and when it was changed, behind version and flags.
        let length = if header.first()? == &1 { 16 } else { 8 };
        let at = offset(init, header) + 4;
        init.get_mut(at..at + length)?.fill(0);
    }
    Some(())
}

/// Whether each picture of a fragment lasts so many ticks and is shown at a whole multiple of
/// them, not before it is decoded.
pub fn is_constant(fragment: &[u8], ticks: u32) -> bool {
    let read = || -> Option<bool> {
        let traf = path(fragment, &[b"moof", b"traf"])?;
        let default_duration = child(traf, b"tfhd").and_then(default_sample_duration);
        let mut constant = true;
        for (kind, trun) in Boxes(traf) {
            if &kind == b"trun" {
                constant &= is_run_constant(trun, default_duration, ticks)?;
            }
        }
        Some(constant)
    };
    read().unwrap_or(false)
}

fn is_run_constant(trun: &[u8], default_duration: Option<u32>, ticks: u32) -> Option<bool> {
    let run = Run::of(trun)?;
    let composition = run.offset_of_composition();
    for sample in 0..run.samples as usize {
        let at = run.first + sample * run.stride;
        let duration = match run.flags & 0x100 {
            0 => default_duration?,
            _ => be32(trun, at)?,
        };
        let shown = match composition {
            Some(place) => be32(trun, at + place)? as i32,
            None => 0,
        };
        let whole = u32::try_from(shown).is_ok_and(|shown| shown.is_multiple_of(ticks.max(1)));
        if duration != ticks || !whole {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::place;
    use crate::fragment::tests::{boxed, fragment};

    #[test]
    fn pictures_of_one_length_are_told_from_others() {
        let mut even = fragment(&[100, 100]);
        assert!(is_constant(&even, 100));
        place(&mut even, 0, 200).unwrap();
        assert!(is_constant(&even, 100));
        assert!(!is_constant(&even, 50));
        let mut odd = even.clone();
        place(&mut odd, 0, 30).unwrap();
        assert!(!is_constant(&odd, 100), "shown between two pictures");
        assert!(!is_constant(&fragment(&[100, 101]), 100));
        assert!(!is_constant(&[], 100));
    }

    #[test]
    fn an_init_segment_does_not_say_when_it_was_made() {
        let init = |made: u8| {
            let headed = |kind, version| {
                let mut header = vec![7; 100];
                header[0] = version;
                header[4..20].fill(made);
                boxed(kind, &header)
            };
            let mdia = boxed(b"mdia", &headed(b"mdhd", 1));
            let trak = boxed(b"trak", &[headed(b"tkhd", 1), mdia].concat());
            boxed(b"moov", &[headed(b"mvhd", 1), trak].concat())
        };
        let (mut one, mut other) = (init(1), init(2));
        assert_ne!(one, other);
        undate(&mut one).unwrap();
        undate(&mut other).unwrap();
        assert_eq!(one, other);
        assert_eq!(undate(&mut boxed(b"moov", &[])), None);
    }
}
