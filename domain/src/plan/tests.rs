use proptest::prelude::*;

use super::*;
use crate::media::{AudioTrack, VideoTrack};

const NTSC: Ratio = Ratio {
    num: 30_000,
    den: 1001,
};

#[test]
fn picture_and_sound_take_four_tasks() {
    let plan = after_probe(&media(60_000)).unwrap();
    let tasks: Vec<(&str, bool, Vec<&str>)> = plan
        .tasks
        .iter()
        .map(|task| {
            let after = task.after.iter().map(|id| id.0.as_str()).collect();
            (task.id.0.as_str(), task.required, after)
        })
        .collect();
    assert_eq!(
        tasks,
        [
            ("encode", true, vec!["probe"]),
            ("poster", false, vec!["probe"]),
            ("audio", true, vec!["probe"]),
            ("finish", true, vec!["encode", "poster", "audio"]),
        ]
    );
    let renditions: Vec<&str> = plan.renditions.iter().map(|r| r.id.0.as_str()).collect();
    assert_eq!(renditions, ["360p", "240p", "144p", "audio"]);
    let encode = &plan.tasks[0].spec;
    assert!(plan.renditions[..3].iter().all(|r| encode.makes(&r.id)));
    assert!(!encode.makes(&plan.renditions[3].id));
}

#[test]
fn sound_alone_and_picture_alone_take_what_they_need() {
    let ids = |media: &Media| -> Vec<String> {
        let tasks = after_probe(media).unwrap().tasks;
        tasks.into_iter().map(|task| task.id.0).collect()
    };
    let mut podcast = media(60_000);
    podcast.video = None;
    assert_eq!(ids(&podcast), ["audio", "finish"]);
    let mut silent = media(60_000);
    silent.audio = None;
    assert_eq!(ids(&silent), ["encode", "poster", "finish"]);
}

#[test]
fn a_poster_is_taken_early_but_not_from_the_first_frame() {
    let at_ms = |duration_ms| {
        let plan = after_probe(&media(duration_ms)).unwrap();
        match plan.tasks[1].spec {
            Spec::Poster { at_ms, .. } => at_ms,
            _ => panic!("the second task is the poster"),
        }
    };
    assert_eq!(at_ms(33), 3);
    assert_eq!(at_ms(10_000), 1_000);
    assert_eq!(at_ms(3_600_000), 3_000);
}

#[test]
fn sources_past_the_limits_are_refused_with_their_code() {
    let code = |change: fn(&mut Media)| {
        let mut media = media(60_000);
        change(&mut media);
        after_probe(&media).err().map(|(code, message)| {
            assert!(!message.is_empty());
            code
        })
    };
    assert_eq!(code(|_| {}), None);
    assert_eq!(
        code(|it| (it.video, it.audio) = (None, None)),
        Some(Code::SourceNotMedia)
    );
    assert_eq!(code(|it| it.duration_ms = 0), Some(Code::SourceCorrupt));
    assert_eq!(code(|it| it.duration_ms = DURATION_MS_MAX), None);
    assert_eq!(
        code(|it| it.duration_ms = DURATION_MS_MAX + 1),
        Some(Code::SourceTooLong)
    );
    assert_eq!(code(|it| it.tracks = 16), None);
    assert_eq!(code(|it| it.tracks = 17), Some(Code::SourceTooManyTracks));
    let sized = |width, height| {
        let mut media = media(60_000);
        let video = media.video.as_mut().unwrap();
        (video.width, video.height) = (width, height);
        (video.display_width, video.display_height) = (width, height);
        after_probe(&media).err().map(|(code, _)| code)
    };
    assert_eq!(sized(8192, 4320), None);
    assert_eq!(sized(4320, 8192), None);
    assert_eq!(sized(8193, 16), Some(Code::SourceTooLarge));
    assert_eq!(sized(16_000, 8_000), Some(Code::SourceTooLarge));
    assert_eq!(sized(4321, 4321), Some(Code::SourceTooLarge));
    let at = |num, den| {
        let mut media = media(60_000);
        media.video.as_mut().unwrap().frame_rate = Some(Ratio { num, den });
        after_probe(&media).err().map(|(code, _)| code)
    };
    assert_eq!(at(120, 1), None);
    assert_eq!(at(121, 1), Some(Code::SourceUnsupported));
    assert_eq!(at(u32::MAX, 1), Some(Code::SourceUnsupported));
    assert_eq!(at(1, 0), None);
}

#[test]
fn boundaries_lie_on_frames() {
    // 60 frames of 1001/30000 s.
    assert_eq!(
        boundaries(7_007, Some(NTSC)),
        [0, 2_002_000, 4_004_000, 6_006_000]
    );
    let pal = Ratio { num: 25, den: 1 };
    assert_eq!(boundaries(6_000, Some(pal)), [0, 2_000_000, 4_000_000]);
    // 24000/1001: the 48th frame is at 2.002 s.
    let film = Ratio {
        num: 24_000,
        den: 1001,
    };
    assert_eq!(boundaries(5_000, Some(film))[1], 2_002_000);
}

#[test]
fn sound_alone_is_cut_every_two_seconds() {
    assert_eq!(boundaries(5_000, None), [0, 2_000_000, 4_000_000]);
}

#[test]
fn a_clip_of_one_frame_is_one_segment() {
    assert_eq!(boundaries(1, Some(NTSC)), [0]);
    assert_eq!(boundaries(33, Some(NTSC)), [0]);
    assert_eq!(after_probe(&media(33)).unwrap().boundaries_us, [0]);
}

#[test]
fn a_short_last_piece_stays_with_the_segment_before() {
    assert_eq!(boundaries(4_500, None), [0, 2_000_000]);
    assert_eq!(boundaries(4_501, None), [0, 2_000_000, 4_000_000]);
    assert_eq!(boundaries(2_400, None), [0]);
}

#[test]
fn ten_hours_do_not_drift() {
    let ten_hours_ms = 10 * 60 * 60 * 1000;
    let all = boundaries(ten_hours_ms, Some(NTSC));
    assert_eq!(all.len(), 18_000);
    for (index, us) in all.iter().enumerate() {
        let off = us - index as u64 * SEGMENT_US;
        assert!(off < 33_367, "{index}: {us}");
    }
}

#[test]
fn pictures_slower_than_segments_have_no_empty_segment() {
    let slow = Ratio { num: 1, den: 5 };
    assert_eq!(
        boundaries(20_000, Some(slow)),
        [0, 5_000_000, 10_000_000, 15_000_000]
    );
}

#[test]
fn a_source_may_be_a_little_shorter_than_it_says() {
    assert_eq!(shorter_ms_max(1_000), 500);
    assert_eq!(shorter_ms_max(100_000), 2_000);
    assert_eq!(shorter_ms_max(DURATION_MS_MAX), 5_000);
}

proptest! {
    #[test]
    fn boundaries_grow_by_no_more_than_a_segment_may_last(
        duration_ms in 1u64..600_000,
        num in 1u32..120_000,
        den in prop_oneof![Just(1u32), Just(1000), Just(1001)],
    ) {
        let rate = Ratio { num, den };
        let all = boundaries(duration_ms, Some(rate));
        prop_assert_eq!(all[0], 0);
        let ends = all.iter().copied().skip(1).chain([duration_ms * 1000]);
        for (begin, end) in all.iter().zip(ends) {
            prop_assert!(*begin < end);
            prop_assert!(end - begin <= segment_us_max(Some(rate)));
        }
    }
}

fn media(duration_ms: u64) -> Media {
    Media {
        container: "video/quicktime".to_owned(),
        duration_ms,
        tracks: 2,
        video: Some(VideoTrack {
            codec: "H.264".to_owned(),
            width: 640,
            height: 360,
            display_width: 640,
            display_height: 360,
            rotation: 0,
            frame_rate: Some(Ratio { num: 30, den: 1 }),
            interlaced: false,
        }),
        audio: Some(AudioTrack {
            codec: "AAC".to_owned(),
            channels: 2,
            sample_rate: 48_000,
        }),
    }
}
