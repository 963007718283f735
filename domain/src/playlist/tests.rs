use dash_mpd::MPD;
use m3u8_rs::{MasterPlaylist, MediaPlaylist, MediaPlaylistType, Playlist};

use super::*;
use crate::media::{Rendition, Segment};

/// 29.97 fps: 60 frames are 2.002 s.
const NTSC: Ratio = Ratio {
    num: 30_000,
    den: 1001,
};

#[test]
fn the_master_of_a_video_with_sound() {
    let text = master(&[audio(3), video(360, 3), video(720, 3)]);
    insta::assert_snapshot!(text);

    let parsed = parsed_master(&text);
    let sizes: Vec<(u64, u64)> = parsed
        .variants
        .iter()
        .map(|variant| variant.resolution.map(|r| (r.width, r.height)).unwrap())
        .collect();
    assert_eq!(sizes, [(1280, 720), (640, 360)]);
    for variant in &parsed.variants {
        assert_eq!(variant.audio.as_deref(), Some("audio"));
        assert_eq!(variant.codecs.as_deref(), Some("avc1.64001f,mp4a.40.2"));
        assert_eq!(variant.frame_rate, Some(29.97));
    }
    assert_eq!(parsed.alternatives.len(), 1);
    assert_eq!(parsed.alternatives[0].uri.as_deref(), Some("audio.m3u8"));
    assert_eq!(parsed.alternatives[0].channels.as_deref(), Some("2"));
    assert!(parsed.independent_segments);
}

#[test]
fn bandwidths_are_those_of_the_bytes_with_the_sound() {
    let mut picture = video(360, 3);
    picture.segments[1].size_bytes = 1_000_000;
    let parsed = parsed_master(&master(&[picture, audio(3)]));

    // 60 frames of 1001/30000 s; the sound has 96,000 samples in 32,000 bytes.
    let peak_picture = (1_000_000.0_f64 * 8.0 / 2.002).ceil() as u64;
    let average_picture = (1_200_000.0_f64 * 8.0 / 6.006).ceil() as u64;
    let sound = 32_000 * 8 / 2;
    assert_eq!(parsed.variants[0].bandwidth, peak_picture + sound);
    assert_eq!(
        parsed.variants[0].average_bandwidth,
        Some(average_picture + sound)
    );
}

#[test]
fn a_short_last_segment_is_no_peak_of_its_own() {
    let mut picture = video(360, 2);
    // One frame: 33 ms in which a key frame has all its bytes.
    picture.segments[1].duration = 1001;
    picture.segments[1].size_bytes = 50_000;
    let parsed = parsed_master(&master(&[picture]));
    let both = (150_000.0_f64 * 8.0 * 30_000.0 / 61_061.0).ceil() as u64;
    assert_eq!(parsed.variants[0].bandwidth, both);
}

#[test]
fn a_clip_of_one_frame_has_a_bandwidth() {
    let mut picture = video(360, 1);
    picture.segments[0].duration = 1001;
    let parsed = parsed_master(&master(&[picture]));
    assert_eq!(parsed.variants[0].bandwidth, 23_976_024);
}

#[test]
fn the_master_of_sound_alone() {
    let text = master(&[audio(2)]);
    insta::assert_snapshot!(text);

    let parsed = parsed_master(&text);
    assert_eq!(parsed.variants.len(), 1);
    assert_eq!(parsed.variants[0].uri, "audio.m3u8");
    assert_eq!(parsed.variants[0].codecs.as_deref(), Some("mp4a.40.2"));
    assert_eq!(parsed.variants[0].resolution, None);
    assert!(parsed.alternatives.is_empty());
}

#[test]
fn the_master_of_a_picture_alone() {
    let parsed = parsed_master(&master(&[video(720, 2)]));
    assert_eq!(parsed.variants.len(), 1);
    assert_eq!(parsed.variants[0].codecs.as_deref(), Some("avc1.64001f"));
    assert_eq!(parsed.variants[0].audio, None);
    assert!(parsed.alternatives.is_empty());
}

#[test]
fn a_rendition_without_a_segment_is_not_listed() {
    let parsed = parsed_master(&master(&[video(720, 0), video(360, 1), audio(1)]));
    let listed: Vec<&str> = parsed.variants.iter().map(|v| v.uri.as_str()).collect();
    assert_eq!(listed, ["360p.m3u8"]);
}

#[test]
fn sound_that_is_ahead_of_its_picture_is_not_offered_alone() {
    let text = master(&[video(720, 0), audio(3)]);
    assert!(!text.contains("EXT-X-STREAM-INF"), "{text}");
}

#[test]
fn a_growing_media_playlist() {
    let text = media(&video(720, 2), false);
    insta::assert_snapshot!(text);

    let parsed = parsed_media(&text);
    assert_eq!(parsed.playlist_type, Some(MediaPlaylistType::Event));
    // Said, but not 0; and within the first picture at any rate.
    let begins = parsed.start.as_ref().unwrap().time_offset;
    assert!(begins > 0.0 && begins < 1.0 / 120.0, "{begins}");
    assert_eq!(parsed.segments.len(), 2);
    assert_eq!(parsed.segments[0].duration, 2.002);
    let map = parsed.segments[0].map.as_ref().unwrap();
    assert_eq!(map.uri, "job/encode/1/720p-init.mp4");
    assert!(!parsed.end_list);
    assert_eq!(parsed.version, Some(7));
}

#[test]
fn a_complete_media_playlist_has_its_end() {
    let text = media(&audio(2), true);
    insta::assert_snapshot!(text);

    let parsed = parsed_media(&text);
    assert!(parsed.end_list);
    assert_eq!(parsed.segments[1].uri, "job/audio/1/audio-1.m4s");
}

#[test]
fn a_media_playlist_is_only_appended_to() {
    let whole = media(&video(720, 6), true);
    for count in 0..=6 {
        let growing = media(&video(720, count), false);
        // Before its first segment a playlist has no map yet, and nobody is told of it.
        assert!(whole.starts_with(&growing), "{growing}\n{whole}");
    }
}

#[test]
fn the_target_is_the_longest_segment_that_is_planned() {
    let mut empty = video(360, 0);
    for (segment_us_max, target_s) in [(2_533_334, 3), (3_000_000, 3), (10_033_334, 11)] {
        empty.segment_us_max = segment_us_max;
        assert_eq!(target_duration_s(&empty), target_s);
    }
}

#[test]
fn a_segment_longer_than_planned_keeps_the_playlist_valid() {
    let mut long = video(360, 2);
    long.segments[1].duration = 30_000 * 9;
    let parsed = parsed_media(&media(&long, true));
    assert_eq!(parsed.target_duration, 9);
}

#[test]
fn no_time_in_the_manifest_stands_for_two_segments() {
    let text = manifest(&[audio(4), video(720, 4)]);
    assert_eq!(text.matches("<S ").count(), 8);
    assert_eq!(text.matches("<SegmentURL ").count(), 8);
    assert!(!text.contains(" r="), "{text}");
}

#[test]
fn the_manifest_has_the_exact_times() {
    let mut picture = video(720, 4);
    picture.segments[3].duration = 30_030;
    let text = manifest(&[audio(4), picture, video(360, 4)]);
    insta::assert_snapshot!(text);

    let parsed = dash_mpd::parse(&text).unwrap();
    assert_eq!(parsed.mpdtype.as_deref(), Some("static"));
    assert_eq!(
        parsed.mediaPresentationDuration,
        Some(std::time::Duration::from_millis(8_008))
    );
    let sets = &parsed.periods[0].adaptations;
    assert_eq!(sets.len(), 2);
    let largest = &sets[0].representations[0];
    assert_eq!(largest.id.as_deref(), Some("720p"));
    assert_eq!(largest.frameRate.as_deref(), Some("30000/1001"));
    assert_eq!(
        times(&parsed, 0),
        [
            (0, 60_060),
            (60_060, 60_060),
            (120_120, 60_060),
            (180_180, 30_030),
        ]
    );
    let list = largest.SegmentList.as_ref().unwrap();
    assert_eq!(list.timescale, Some(30_000));
    assert_eq!(list.segment_urls.len(), 4);
    assert_eq!(
        list.segment_urls[3].media.as_deref(),
        Some("job/encode/1/720p-3.m4s")
    );
    assert_eq!(times(&parsed, 1).len(), 4);
}

#[test]
fn the_manifest_lasts_until_its_longest_rendition_has_ended() {
    let mut sound = audio(4);
    // 8.021333 s; the picture is done after 8.008 s.
    sound.segments[3].duration = 97_024;
    let parsed = dash_mpd::parse(&manifest(&[video(720, 4), sound])).unwrap();
    assert_eq!(
        parsed.mediaPresentationDuration,
        Some(std::time::Duration::from_millis(8_022))
    );
}

#[test]
fn a_gap_between_segments_stays_a_gap() {
    let mut picture = video(720, 3);
    picture.segments[2].time += 7;
    let parsed = dash_mpd::parse(&manifest(&[picture])).unwrap();
    assert_eq!(times(&parsed, 0)[2], (120_127, 60_060));
}

#[test]
fn names_are_escaped_in_the_manifest() {
    let mut picture = video(720, 1);
    picture.rendition.id = RenditionId("\"7<2>0'&p".to_owned());
    let text = dash(&[picture], &|key| format!("{key}?a=1&b=\"<2>\""));
    let parsed = dash_mpd::parse(&text).unwrap();
    let representation = &parsed.periods[0].adaptations[0].representations[0];
    assert_eq!(representation.id.as_deref(), Some("\"7<2>0'&p"));
    let list = representation.SegmentList.as_ref().unwrap();
    assert_eq!(
        list.segment_urls[0].media.as_deref(),
        Some("videos/v/job/encode/1/720p-0.m4s?a=1&b=\"<2>\"")
    );
}

#[test]
fn the_manifest_of_sound_alone_has_one_set() {
    let parsed = dash_mpd::parse(&manifest(&[audio(2)])).unwrap();
    assert_eq!(parsed.periods[0].adaptations.len(), 1);
    let set = &parsed.periods[0].adaptations[0];
    assert_eq!(set.contentType.as_deref(), Some("audio"));
    assert_eq!(
        set.representations[0].audioSamplingRate.as_deref(),
        Some("48000")
    );
}

/// `(t, d)` of every segment of the first representation of a set.
fn times(mpd: &MPD, set: usize) -> Vec<(u64, u64)> {
    let representation = &mpd.periods[0].adaptations[set].representations[0];
    let list = representation.SegmentList.as_ref().unwrap();
    let mut times = vec![];
    for s in &list.SegmentTimeline.as_ref().unwrap().segments {
        for repeat in 0..=s.r.unwrap_or(0) as u64 {
            times.push((s.t.unwrap() + repeat * s.d, s.d));
        }
    }
    times
}

fn master(renditions: &[Published]) -> String {
    hls_master(renditions, &|id| format!("{id}.m3u8"))
}

fn media(published: &Published, complete: bool) -> String {
    hls_media(published, complete, &stripped)
}

fn manifest(renditions: &[Published]) -> String {
    dash(renditions, &stripped)
}

fn stripped(key: &str) -> String {
    key.strip_prefix("videos/v/").unwrap().to_owned()
}

fn parsed_master(text: &str) -> MasterPlaylist {
    match m3u8_rs::parse_playlist_res(text.as_bytes()).unwrap() {
        Playlist::MasterPlaylist(master) => master,
        Playlist::MediaPlaylist(_) => panic!("not a master: {text}"),
    }
}

fn parsed_media(text: &str) -> MediaPlaylist {
    match m3u8_rs::parse_playlist_res(text.as_bytes()).unwrap() {
        Playlist::MediaPlaylist(media) => media,
        Playlist::MasterPlaylist(_) => panic!("not a media playlist: {text}"),
    }
}

fn video(height: u32, segments: u64) -> Published {
    let kind = Kind::Video {
        width: height * 16 / 9,
        height,
        frame_rate: NTSC,
    };
    published(
        &format!("{height}p"),
        "encode",
        kind,
        (30_000, 60_060),
        100_000,
        segments,
    )
}

fn audio(segments: u64) -> Published {
    let kind = Kind::Audio {
        channels: 2,
        sample_rate: 48_000,
    };
    published("audio", "audio", kind, (48_000, 96_000), 32_000, segments)
}

fn published(
    id: &str,
    task: &str,
    kind: Kind,
    (timescale, duration): (u32, u64),
    size_bytes: u64,
    segments: u64,
) -> Published {
    let codec = match kind {
        Kind::Video { .. } => "avc1.64001f",
        Kind::Audio { .. } => "mp4a.40.2",
    };
    let segment = |index| Segment {
        key: format!("videos/v/job/{task}/1/{id}-{index}.m4s"),
        size_bytes,
        time: index * duration,
        duration,
        samples: 60,
    };
    let init = Init {
        key: format!("videos/v/job/{task}/1/{id}-init.mp4"),
        size_bytes: 700,
        codec: codec.to_owned(),
        timescale,
    };
    let rendition = Rendition {
        id: RenditionId(id.to_owned()),
        bitrate_kbps: 800,
        kind,
    };
    Published {
        init: (segments > 0).then_some(init),
        segments: (0..segments).map(segment).collect(),
        ..Published::nothing_of(rendition, 2_533_334)
    }
}
