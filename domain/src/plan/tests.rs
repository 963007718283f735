use proptest::prelude::*;

use super::*;
use crate::media::{AudioTrack, VideoTrack};

const NTSC: Ratio = Ratio {
    num: 30_000,
    den: 1001,
};

#[test]
fn picture_and_sound_take_four_tasks() {
    let plan = after_probe(&media(12_000), &[], 2).unwrap();
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
fn a_longer_film_is_encoded_in_chunks_and_its_beginning_first() {
    let plan = after_probe(&media(60_000), &[], 2).unwrap();
    let mut tasks: Vec<&Task> = plan.tasks.iter().collect();
    tasks.sort_by_key(|task| task.spec.rank());
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.0.as_str()).collect();
    let first = ["encode-0000-144p", "audio", "encode-0000", "poster"];
    assert_eq!(ids[..4], first);
    let of = |id: &str| &tasks.iter().find(|task| task.id.0 == id).unwrap().spec;
    assert_eq!(of("encode-0000-144p").segments(), 0..2);
    assert_eq!(of("encode-0000").segments(), 0..2);
    assert_eq!(of("encode-0001").segments(), 2..10);
    assert_eq!(of("encode-0004").segments(), 26..u32::MAX);
}

#[test]
fn what_players_can_play_is_not_encoded() {
    let mut media = media(60_000);
    let cuts: Vec<u64> = (0..12).map(|n| n * 5_000_000).collect();
    let video = media.video.as_mut().unwrap();
    video.bitrate_kbps = 700;
    let audio = media.audio.as_mut().unwrap();
    (audio.as_is, audio.bitrate_kbps) = (true, 96);
    let plan = after_probe(&media, &cuts, 2).unwrap();
    assert_eq!(plan.boundaries_us, cuts);
    assert_eq!(plan.tasks[0].id.0, "passthrough");
    let made = |task: &Task| -> Vec<String> {
        let made = plan.renditions.iter().filter(|r| task.spec.makes(&r.id));
        made.map(|r| r.id.0.clone()).collect()
    };
    assert_eq!(made(&plan.tasks[0]), ["360p", "audio"]);
    assert_eq!(
        made(&plan.tasks[1]),
        ["240p", "144p"],
        "and no beginning of its own"
    );
    let kbps: Vec<u32> = plan.renditions.iter().map(|r| r.bitrate_kbps).collect();
    assert_eq!(kbps, [700, 400, 200, 96]);
    assert!(plan.tasks.iter().all(|task| task.spec.name() != "audio"));
}

#[test]
fn sound_alone_may_be_passed_through() {
    let mut media = media(60_000);
    media.audio.as_mut().unwrap().as_is = true;
    let plan = after_probe(&media, &[], 2).unwrap();
    assert_eq!(plan.tasks[0].id.0, "passthrough");
    assert!(plan.tasks.iter().any(|task| task.id.0 == "encode-0000"));
    assert_eq!(
        plan.boundaries_us,
        boundaries(60_000, Some(Ratio { num: 30, den: 1 }))
    );
    media.video = None;
    let plan = after_probe(&media, &[], 2).unwrap();
    let ids: Vec<&str> = plan.tasks.iter().map(|task| task.id.0.as_str()).collect();
    assert_eq!(ids, ["passthrough", "finish"]);
}

#[test]
fn a_picture_that_players_cannot_take_as_it_is_is_encoded() {
    let is_passed = |cuts: &[u64], change: fn(&mut VideoTrack)| {
        let mut media = media(30_000);
        change(media.video.as_mut().unwrap());
        let plan = after_probe(&media, cuts, 2).unwrap();
        plan.tasks[0].id.0 == "passthrough"
    };
    let cuts = [0, 10_000_000, 20_000_000];
    assert!(is_passed(&cuts, |_| {}));
    assert!(!is_passed(&cuts, |video| video.rotation = 180));
    assert!(!is_passed(&cuts, |video| video.display_width = 720));
    assert!(!is_passed(&cuts, |video| video.interlaced = true));
    assert!(!is_passed(&cuts, |video| video.frame_rate = None));
    assert!(!is_passed(&cuts, |video| video.frame_rate =
        Some(Ratio { num: 120, den: 1 })));
    assert!(!is_passed(&cuts, |video| {
        (video.width, video.display_width) = (641, 641);
    }));
    assert!(!is_passed(&[], |_| {}));
    assert!(
        !is_passed(&cuts[1..], |_| {}),
        "the first cut is the beginning"
    );
    assert!(!is_passed(&cuts[..2], |_| {}), "the last piece is too long");
    assert!(!is_passed(&[0, 11_000_000, 20_000_000], |_| {}));
    assert!(!is_passed(
        &[0, 10_000_000, 9_000_000, 19_000_000, 25_000_000],
        |_| {}
    ));
    assert!(
        !is_passed(&[0, 10_000_000, 20_000_000, 30_000_000], |_| {}),
        "behind the end"
    );
}

#[test]
fn a_short_last_cut_stays_with_the_segment_before() {
    let cuts = [0, 10_000_000, 20_000_000, 29_700_000];
    let plan = after_probe(&media(30_000), &cuts, 2).unwrap();
    assert_eq!(plan.boundaries_us, cuts[..3]);
}

#[test]
fn sound_alone_and_picture_alone_take_what_they_need() {
    let ids = |media: &Media| -> Vec<String> {
        let tasks = after_probe(media, &[], 2).unwrap().tasks;
        tasks.into_iter().map(|task| task.id.0).collect()
    };
    let mut podcast = media(12_000);
    podcast.video = None;
    assert_eq!(ids(&podcast), ["audio", "finish"]);
    let mut silent = media(12_000);
    silent.audio = None;
    assert_eq!(ids(&silent), ["encode", "poster", "finish"]);
}

#[test]
fn a_poster_is_taken_early_but_not_from_the_first_frame() {
    let at_ms = |duration_ms| {
        let plan = after_probe(&media(duration_ms), &[], 2).unwrap();
        let poster = plan.tasks.iter().find_map(|task| match task.spec {
            Spec::Poster { at_ms, .. } => Some(at_ms),
            _ => None,
        });
        poster.expect("there is a picture")
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
        after_probe(&media, &[], 2).err().map(|(code, message)| {
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
        after_probe(&media, &[], 2).err().map(|(code, _)| code)
    };
    assert_eq!(sized(8192, 4320), None);
    assert_eq!(sized(4320, 8192), None);
    assert_eq!(sized(8193, 16), Some(Code::SourceTooLarge));
    assert_eq!(sized(16_000, 8_000), Some(Code::SourceTooLarge));
    assert_eq!(sized(4321, 4321), Some(Code::SourceTooLarge));
    let at = |num, den| {
        let mut media = media(60_000);
        media.video.as_mut().unwrap().frame_rate = Some(Ratio { num, den });
        after_probe(&media, &[], 2).err().map(|(code, _)| code)
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
    assert_eq!(after_probe(&media(33), &[], 2).unwrap().boundaries_us, [0]);
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
        let frame_us = 1 + 1_000_000 * u64::from(den) / u64::from(num);
        let longest = segment_us_max(&all, duration_ms, Some(rate));
        let ends = all.iter().copied().skip(1).chain([duration_ms * 1000]);
        for (begin, end) in all.iter().zip(ends) {
            prop_assert!(*begin < end);
            prop_assert!(end - begin <= (SEGMENT_US + LAST_PIECE_US_MIN).max(frame_us) + frame_us);
            prop_assert!(end - begin <= longest);
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
            bitrate_kbps: 0,
        }),
        audio: Some(AudioTrack {
            codec: "AAC".to_owned(),
            channels: 2,
            sample_rate: 48_000,
            bitrate_kbps: 0,
            as_is: false,
        }),
    }
}
