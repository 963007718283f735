//! What of a source players play as it is: where its picture can be cut, and whether its
//! sound need not be encoded. Told by the index of an MP4 or MOV file and a few of its samples.
//!
//! A picture is cut as it is when it is H.264 that every player plays ([`Avc`]), upright, in
//! square pixels, at a constant rate of at most 60 a second, shown from its first key frame on
//! to its end, with key frames that begin closed groups of pictures at most 10 s apart.
//! Sound passes when it is AAC-LC, mono or stereo, at 44.1 or 48 kHz, at most 320 kb/s, without
//! gaps. Whatever else a file has is encoded; so are all other containers, and files whose
//! index is larger than 64 MiB or in fragments.
//!
//! # Invariants
//!
//! * Behind a cut nothing is shown that belongs before it, and nothing before it needs what
//!   is behind: that is computed from the whole index, and seen in samples of it.
//! * Memory: 40 bytes per key frame that begins a closed group, besides the index.

mod survey;

use super::front_end::unreadable;
use super::index::aac::{Aac, FRAME_SAMPLES};
use super::index::avc::Avc;
use super::index::{Edit, Entry, Index, Track};
use super::source_element::SourceLink;
use crate::failure::Failure;
use crate::wire;
use survey::{Key, Survey};

/// Cuts are at least so far apart, in seconds: shorter segments cost more requests than they help.
const GAP_SECONDS_MIN: i64 = 2;
/// And at most so far, and a picture: players wait for a whole segment.
const GAP_SECONDS_MAX: i64 = 10;
/// A last piece shorter than this stays with the one before it, in ms.
const LAST_PIECE_MS_MIN: i64 = 500;
const PICTURES_PER_SECOND_MAX: u64 = 60;
/// Durations may differ by one unit where that is rounding: where a picture has this many.
const ROUNDED_UNITS_MIN: u32 = 10;
/// How much of a segment's frame over the socket is not samples, in bytes.
const HEADERS_BYTES_MAX: u64 = 1 << 20;
/// The largest segment that is passed through.
pub(crate) const SEGMENT_BYTES_MAX: u64 = wire::BODY_BYTES_MAX as u64 - HEADERS_BYTES_MAX;
/// Key frames between the first and the last that are looked at.
const LOOKED_AT_MAX: usize = 16;
/// How much of a key frame is looked at: first a little, at most so much, in bytes.
const LOOK_BYTES: u32 = 4 << 10;
const LOOK_BYTES_MAX: u32 = 256 << 10;

const AUDIO_KBPS_MAX: u32 = 320;
/// How much a frame of sound may be longer or shorter than it is: clocks of cameras.
const JITTER_UNITS: u32 = 16;
/// How much the end of the sound may be cut by an edit: what its encoder filled up with.
const PADDING_UNITS_MAX: u64 = 4 * FRAME_SAMPLES as u64;

/// The picture that can be passed through, as far as the headers tell.
pub(crate) fn picture(index: &Index) -> Option<(&Track, &Avc)> {
    let track = index.video.as_ref()?;
    let Entry::Avc(avc) = &track.entry else {
        return None;
    };
    let alike = |shown: u32, coded: u32| shown == 0 || shown.abs_diff(coded) <= 1;
    let is_unscaled = alike(track.shown_width, avc.width) && alike(track.shown_height, avc.height);
    (track.is_plain && is_unscaled && track.origin().is_some()).then_some((track, avc))
}

/// The sound that can be passed through, as far as the headers tell.
pub(crate) fn sound(index: &Index) -> Option<(&Track, &Aac)> {
    let track = index.audio.as_ref()?;
    let Entry::Aac(aac) = &track.entry else {
        return None;
    };
    let is_usual = matches!(aac.sample_rate, 44_100 | 48_000) && track.timescale == aac.sample_rate;
    (track.is_plain && is_usual && track.origin().is_some()).then_some((track, aac))
}

/// When segments can begin, in µs. The first is 0; none: the picture has to be encoded.
pub(crate) fn cuts_us(link: &SourceLink, index: &Index) -> Result<Vec<u64>, Failure> {
    let Some((track, avc)) = picture(index) else {
        return Ok(vec![]);
    };
    let Some(survey) = Survey::of(track, link.size)? else {
        return Ok(vec![]);
    };
    if !is_constant(&survey, track) || !is_shown_whole(&survey, track) {
        return Ok(vec![]);
    }
    let sound_end_ns = index
        .audio
        .as_ref()
        .map_or(0, |audio| audio.to_ns(audio.samples.duration()));
    let cuts = cuts(&survey, track, sound_end_ns);
    for key in looked_at(&cuts) {
        if !begins_anew(link, avc, key)? {
            return Ok(vec![]);
        }
    }
    let us = cuts.iter().map(|key| track.us(key.shown));
    Ok(us.collect::<Option<_>>().unwrap_or_default())
}

/// Whether the sound need not be encoded.
pub(crate) fn is_sound(link: &SourceLink, index: &Index) -> Result<bool, Failure> {
    let Some((track, _)) = sound(index) else {
        return Ok(false);
    };
    let Some(survey) = Survey::of(track, link.size)? else {
        return Ok(false);
    };
    let is_frame = |units: u32| units.abs_diff(FRAME_SAMPLES) <= JITTER_UNITS;
    let is_last = survey.last.duration <= FRAME_SAMPLES + JITTER_UNITS;
    let is_even = is_frame(survey.shortest) && is_frame(survey.longest) && is_last;
    let is_whole = match track.edit {
        Edit::Absent => true,
        Edit::From { start, end } => {
            let is_padding = |end: u64| end.saturating_add(PADDING_UNITS_MAX) >= survey.end;
            start < survey.end && end.is_none_or(is_padding)
        }
        Edit::Other => false,
    };
    Ok(is_even && is_whole && !survey.is_reordered && track.bitrate_kbps() <= AUDIO_KBPS_MAX)
}

/// At a constant rate that players keep up with, but for how long the last picture is shown.
fn is_constant(survey: &Survey, track: &Track) -> bool {
    let (shortest, longest) = (survey.shortest, survey.longest);
    let is_rounded = longest - shortest <= 1 && shortest >= ROUNDED_UNITS_MIN;
    let is_slow_enough = u64::from(track.timescale) <= PICTURES_PER_SECOND_MAX * u64::from(longest);
    (shortest == longest || is_rounded) && is_slow_enough
}

/// From the first picture on, which is a key frame, to the last.
fn is_shown_whole(survey: &Survey, track: &Track) -> bool {
    let Some(first) = survey.keys.first().filter(|key| key.number == 0) else {
        return false;
    };
    let begins = track.us(first.shown) == Some(0);
    let is_end = |end: u64| {
        let end = i64::try_from(end).unwrap_or(i64::MAX);
        survey.shown_end.saturating_sub(end) < i64::from(survey.longest)
    };
    begins
        && match track.edit {
            Edit::Absent => true,
            Edit::From { end, .. } => end.is_none_or(is_end),
            Edit::Other => false,
        }
}

/// The key frames that segments begin with; none where that would make one too long or large.
fn cuts(survey: &Survey, track: &Track, sound_end_ns: u64) -> Vec<Key> {
    let scale = i64::from(track.timescale);
    let gap_max = i128::from(GAP_SECONDS_MAX * scale + i64::from(survey.longest));
    let mut cuts: Vec<Key> = vec![];
    for key in survey.keys.iter().filter(|key| key.is_behind_all) {
        let is_far = |last: &Key| key.shown - last.shown >= GAP_SECONDS_MIN * scale;
        if cuts.last().is_none_or(is_far) {
            cuts.push(*key);
        }
    }
    // Sound that goes on for longer than the picture is in its last segment.
    let sound = i128::from(sound_end_ns) * i128::from(scale) / 1_000_000_000;
    let begin = cuts.first().map_or(0, |key| key.shown);
    let end = i128::from(survey.shown_end).max(i128::from(begin) + sound);
    let lasts = |key: &Key, end: i128| end - i128::from(key.shown);

    if let [.., before, last] = cuts.as_slice()
        && lasts(last, end) * 1000 < i128::from(LAST_PIECE_MS_MIN * scale)
        && lasts(before, end) <= gap_max
    {
        cuts.pop();
    }
    let ends = cuts.iter().skip(1);
    let ends = ends.map(|key| (i128::from(key.shown), key.bytes_before));
    let ends = ends.chain([(end, survey.bytes)]);
    let fits = cuts.iter().zip(ends).all(|(key, (end, bytes))| {
        lasts(key, end) <= gap_max && bytes - key.bytes_before <= SEGMENT_BYTES_MAX
    });
    if fits { cuts } else { vec![] }
}

/// The first, the last, and some between.
fn looked_at(cuts: &[Key]) -> impl Iterator<Item = &Key> {
    let step = cuts.len().div_ceil(LOOKED_AT_MAX + 1).max(1);
    cuts.iter().step_by(step).chain(cuts.last())
}

/// Whether this sample is what the index says it is.
fn begins_anew(link: &SourceLink, avc: &Avc, key: &Key) -> Result<bool, Failure> {
    for length in [LOOK_BYTES, LOOK_BYTES_MAX] {
        let bytes = link.read(key.offset, length.min(key.size));
        if let Some(told) = avc.begins_anew(&bytes.map_err(|_| unreadable())?) {
            return Ok(told);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
