//! Playlists: pure functions of what has been published.
//!
//! # Invariants
//!
//! * Nothing unpublished is ever named, and nothing behind a gap.
//! * While it grows, a media playlist is only appended to: its head never changes, its last
//!   line is at last `EXT-X-ENDLIST`.
//! * Bandwidths are true to the bytes of the segments, not to what was planned.
//! * Times in the manifest are those of the segments, exactly.

use std::fmt::Write;

use crate::{
    id::RenditionId,
    media::{Init, Kind, Published, Ratio},
};

/// The group that all video renditions take their sound from.
const AUDIO_GROUP: &str = "audio";
/// `EXT-X-MAP` in playlists that are not of I-frames only asks for 6, its use in masters for 7.
const HLS_VERSION: u32 = 7;

/// Where players begin: within the first picture. Shaka takes an offset of 0 for none, and begins
/// at the live edge of a playlist that grows.
const START_S: &str = "0.001";

/// The master playlist: the renditions that have a segment, the largest first.
pub fn hls_master(
    renditions: &[Published],
    uri_of_media: &dyn Fn(&RenditionId) -> String,
) -> String {
    let shown = Shown::of(renditions);
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{HLS_VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let sound = if shown.has_picture {
        shown.audio.first()
    } else {
        None
    };
    if let Some((published, _)) = sound
        && let Kind::Audio { channels, .. } = published.rendition.kind
    {
        line(
            &mut text,
            format_args!(
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{AUDIO_GROUP}\",NAME=\"Audio\",DEFAULT=YES,\
                 AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{}\"",
                uri_of_media(&published.rendition.id)
            ),
        );
    }
    let variants = if shown.has_picture {
        &shown.video
    } else {
        &shown.audio
    };
    for (published, init) in variants {
        let sound = sound.map(|(published, init)| (*published, *init));
        variant(&mut text, published, init, sound);
        line(
            &mut text,
            format_args!("{}", uri_of_media(&published.rendition.id)),
        );
    }
    text
}

/// The playlist of one rendition: growing, or with its end.
pub fn hls_media(published: &Published, complete: bool, uri: &dyn Fn(&str) -> String) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{HLS_VERSION}\n#EXT-X-TARGETDURATION:{}\n\
         #EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-START:TIME-OFFSET={START_S}\n",
        target_duration_s(published)
    );
    if let Some(init) = &published.init {
        line(
            &mut text,
            format_args!("#EXT-X-MAP:URI=\"{}\"", uri(&init.key)),
        );
        for segment in &published.segments {
            let us = micros(segment.duration, init.timescale);
            line(
                &mut text,
                format_args!(
                    "#EXTINF:{}.{:06},\n{}",
                    us / 1_000_000,
                    us % 1_000_000,
                    uri(&segment.key)
                ),
            );
        }
    }
    if complete {
        line(&mut text, format_args!("#EXT-X-ENDLIST"));
    }
    text
}

/// The manifest of a finished video, over the same segments.
pub fn dash(renditions: &[Published], uri: &dyn Fn(&str) -> String) -> String {
    let shown = Shown::of(renditions);
    let duration_ms = presented_ms(renditions);
    let longest_s = renditions.iter().map(target_duration_s).max().unwrap_or(1);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    line(
        &mut text,
        format_args!(
            "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" \
             profiles=\"urn:mpeg:dash:profile:isoff-main:2011\" type=\"static\" \
             mediaPresentationDuration=\"PT{}.{:03}S\" minBufferTime=\"PT{longest_s}S\">",
            duration_ms / 1000,
            duration_ms % 1000
        ),
    );
    line(
        &mut text,
        format_args!("  <Period id=\"0\" start=\"PT0S\">"),
    );
    adaptation_set(&mut text, "video", &shown.video, uri);
    adaptation_set(&mut text, "audio", &shown.audio, uri);
    line(&mut text, format_args!("  </Period>\n</MPD>"));
    text
}

/// What may be listed, the largest first.
struct Shown<'a> {
    video: Vec<(&'a Published, &'a Init)>,
    audio: Vec<(&'a Published, &'a Init)>,
    /// Whether there is a picture, or will be: then sound alone is no variant.
    has_picture: bool,
}

impl<'a> Shown<'a> {
    fn of(renditions: &'a [Published]) -> Self {
        let mut shown = Shown {
            video: vec![],
            audio: vec![],
            has_picture: false,
        };
        for published in renditions {
            let list = match published.rendition.kind {
                Kind::Video { .. } => {
                    shown.has_picture = true;
                    &mut shown.video
                }
                Kind::Audio { .. } => &mut shown.audio,
            };
            if let Some(init) = &published.init
                && !published.segments.is_empty()
            {
                list.push((published, init));
            }
        }
        for list in [&mut shown.video, &mut shown.audio] {
            list.sort_by_key(|(published, _)| {
                let rendition = &published.rendition;
                (std::cmp::Reverse(size(&rendition.kind)), &rendition.id)
            });
        }
        shown
    }
}

fn size(kind: &Kind) -> u64 {
    match kind {
        Kind::Video { width, height, .. } => u64::from(*width) * u64::from(*height),
        Kind::Audio { channels, .. } => u64::from(*channels),
    }
}

fn variant(
    text: &mut String,
    published: &Published,
    init: &Init,
    sound: Option<(&Published, &Init)>,
) {
    let mut rate = Rate::of(published, init);
    let mut codecs = init.codec.clone();
    if let Some((sound, init)) = sound {
        let of_sound = Rate::of(sound, init);
        rate.peak_bps += of_sound.peak_bps;
        rate.average_bps += of_sound.average_bps;
        codecs = format!("{codecs},{}", init.codec);
    }
    let _ = write!(
        text,
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{codecs}\"",
        rate.peak_bps, rate.average_bps
    );
    if let Kind::Video {
        width,
        height,
        frame_rate: Ratio { num, den },
    } = published.rendition.kind
    {
        let millis = (u64::from(num) * 1000 + u64::from(den) / 2) / u64::from(den.max(1));
        let _ = write!(
            text,
            ",RESOLUTION={width}x{height},FRAME-RATE={}.{:03}",
            millis / 1000,
            millis % 1000
        );
    }
    if sound.is_some() {
        let _ = write!(text, ",AUDIO=\"{AUDIO_GROUP}\"");
    }
    text.push_str(",CLOSED-CAPTIONS=NONE\n");
}

fn adaptation_set(
    text: &mut String,
    content: &str,
    renditions: &[(&Published, &Init)],
    uri: &dyn Fn(&str) -> String,
) {
    if renditions.is_empty() {
        return;
    }
    line(
        text,
        format_args!(
            "    <AdaptationSet contentType=\"{content}\" mimeType=\"{content}/mp4\" \
             segmentAlignment=\"true\" startWithSAP=\"1\">"
        ),
    );
    for (published, init) in renditions {
        representation(text, published, init, uri);
    }
    line(text, format_args!("    </AdaptationSet>"));
}

fn representation(
    text: &mut String,
    published: &Published,
    init: &Init,
    uri: &dyn Fn(&str) -> String,
) {
    let id = escape(&published.rendition.id.0);
    let bandwidth = Rate::of(published, init).peak_bps;
    let codecs = escape(&init.codec);
    let head =
        format!("      <Representation id=\"{id}\" bandwidth=\"{bandwidth}\" codecs=\"{codecs}\"");
    match published.rendition.kind {
        Kind::Video {
            width,
            height,
            frame_rate: Ratio { num, den },
        } => line(
            text,
            format_args!(
                "{head} width=\"{width}\" height=\"{height}\" frameRate=\"{num}/{den}\" sar=\"1:1\">"
            ),
        ),
        Kind::Audio {
            channels,
            sample_rate,
        } => line(
            text,
            format_args!(
                "{head} audioSamplingRate=\"{sample_rate}\">\n        \
                 <AudioChannelConfiguration \
                 schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" \
                 value=\"{channels}\"/>"
            ),
        ),
    }
    line(
        text,
        format_args!(
            "        <SegmentList timescale=\"{}\">\n          \
             <Initialization sourceURL=\"{}\"/>\n          <SegmentTimeline>",
            init.timescale,
            escape(&uri(&init.key))
        ),
    );
    // Each by itself, none as a repetition of another: dash.js finds the address of a segment by
    // the number of its `S`, and would play the first one for ever.
    for segment in &published.segments {
        line(
            text,
            format_args!(
                "            <S t=\"{}\" d=\"{}\"/>",
                segment.time, segment.duration
            ),
        );
    }
    line(text, format_args!("          </SegmentTimeline>"));
    for segment in &published.segments {
        line(
            text,
            format_args!(
                "          <SegmentURL media=\"{}\"/>",
                escape(&uri(&segment.key))
            ),
        );
    }
    line(
        text,
        format_args!("        </SegmentList>\n      </Representation>"),
    );
}

/// The longest that a segment of this rendition may be, in whole seconds.
///
/// It may not change while the playlist grows, so it comes from the plan. What was published
/// counts too: a playlist that belies its own segments is not valid.
fn target_duration_s(published: &Published) -> u64 {
    let planned = published.segment_us_max.div_ceil(1_000_000);
    let timescale = published.init.as_ref().map_or(1, |init| init.timescale);
    let longest = published.segments.iter().map(|segment| segment.duration);
    let rounded = (micros(longest.max().unwrap_or(0), timescale) + 500_000) / 1_000_000;
    planned.max(rounded)
}

/// How long the longest rendition lasts, rounded up: where playing ends behind the declared end,
/// dash.js may go back half a second and stop there.
fn presented_ms(renditions: &[Published]) -> u64 {
    let ends = renditions.iter().filter_map(|published| {
        let (init, last) = (published.init.as_ref()?, published.segments.last()?);
        let end = u128::from(last.time + last.duration) * 1000;
        Some(end.div_ceil(u128::from(init.timescale.max(1))) as u64)
    });
    ends.max().unwrap_or(0)
}

/// What a rendition takes of a network.
struct Rate {
    /// The largest of any contiguous segments that last half to one and a half of the target.
    peak_bps: u64,
    average_bps: u64,
}

impl Rate {
    fn of(published: &Published, init: &Init) -> Self {
        let target_us = target_duration_s(published) * 1_000_000;
        let window_us = target_us / 2..=target_us * 3 / 2;
        let segments = &published.segments;
        let bps = |bytes: u64, units: u64| {
            let bits = u128::from(bytes) * 8 * u128::from(init.timescale);
            bits.div_ceil(u128::from(units.max(1))) as u64
        };
        let bytes: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
        let units: u64 = segments.iter().map(|segment| segment.duration).sum();
        let average_bps = bps(bytes, units);
        let mut peak_bps = average_bps;
        for first in 0..segments.len() {
            let (mut bytes, mut units) = (0, 0);
            for segment in &segments[first..] {
                bytes += segment.size_bytes;
                units += segment.duration;
                let us = micros(units, init.timescale);
                if us > *window_us.end() {
                    break;
                }
                if window_us.contains(&us) {
                    peak_bps = peak_bps.max(bps(bytes, units));
                }
            }
        }
        Self {
            peak_bps,
            average_bps,
        }
    }
}

fn micros(units: u64, timescale: u32) -> u64 {
    let timescale = u128::from(timescale.max(1));
    ((u128::from(units) * 1_000_000 + timescale / 2) / timescale) as u64
}

/// For XML, in text and in attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Writing to a `String` cannot fail.
fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{content}");
}

#[cfg(test)]
mod tests;
