use super::*;

#[test]
fn the_ladder_of_each_rung_is_the_table() {
    // (short side, kb/s) of DESIGN, for a source of exactly that size.
    let table = [
        (144, 200),
        (240, 400),
        (360, 800),
        (480, 1400),
        (720, 2800),
        (1080, 5000),
        (1440, 9000),
        (2160, 16_000),
    ];
    for (index, (side, _)) in table.iter().enumerate() {
        let expected: Vec<(u32, u32)> = table[..=index].iter().rev().copied().collect();
        let source = track(side * 16 / 9, *side, 30);
        assert_eq!(rungs(&source), expected, "{side}");
    }
}

#[test]
fn above_thirty_frames_a_second_takes_half_as_much_again() {
    let bitrates: Vec<u32> = of(&track(640, 360, 60))
        .iter()
        .map(|r| r.bitrate_kbps)
        .collect();
    assert_eq!(bitrates, [1200, 600, 300]);
    let at_thirty: Vec<u32> = of(&track(640, 360, 30))
        .iter()
        .map(|r| r.bitrate_kbps)
        .collect();
    assert_eq!(at_thirty, [800, 400, 200]);
    // 29.97 is not above.
    let mut ntsc = track(640, 360, 30);
    ntsc.frame_rate = ratio(30_000, 1001);
    assert_eq!(of(&ntsc)[0].bitrate_kbps, 800);
}

#[test]
fn frame_rates_are_capped_at_sixty() {
    assert_eq!(frame_rate(&track(640, 360, 120)), Ratio { num: 60, den: 1 });
    assert_eq!(frame_rate(&track(640, 360, 60)), Ratio { num: 60, den: 1 });
    assert_eq!(frame_rate(&track(640, 360, 50)), Ratio { num: 50, den: 1 });
    let mut source = track(640, 360, 0);
    for unknown in [None, ratio(0, 1), ratio(30, 0)] {
        source.frame_rate = unknown;
        assert_eq!(frame_rate(&source), Ratio { num: 30, den: 1 });
    }
    // What a header claims must not overflow.
    source.frame_rate = ratio(u32::MAX, u32::MAX);
    assert_eq!(
        frame_rate(&source),
        Ratio {
            num: u32::MAX,
            den: u32::MAX
        }
    );
}

#[test]
fn a_size_between_two_rungs_is_the_top_rung() {
    let source = track(1600, 900, 30);
    let sides: Vec<u32> = rungs(&source).iter().map(|(side, _)| *side).collect();
    assert_eq!(sides, [900, 720, 480, 360, 240, 144]);
    // Half the way from 720 to 1080.
    assert_eq!(of(&source)[0].bitrate_kbps, 3900);
    assert_eq!(of(&source)[0].id.0, "900p");
}

#[test]
fn a_size_under_the_lowest_rung_is_the_only_one() {
    assert_eq!(sizes(&track(160, 90, 30)), [(160, 90)]);
    assert_eq!(of(&track(160, 90, 30))[0].bitrate_kbps, 200);
    assert_eq!(sizes(&track(2, 2, 30)), [(2, 2)]);
}

#[test]
fn nothing_is_above_the_highest_rung() {
    assert_eq!(sizes(&track(7680, 4320, 30))[0], (3840, 2160));
    assert_eq!(sizes(&track(5120, 2880, 30))[0], (3840, 2160));
}

#[test]
fn a_portrait_goes_by_its_width() {
    assert_eq!(
        sizes(&track(1080, 1920, 30))[..2],
        [(1080, 1920), (720, 1280)]
    );
    // As shown, not as coded.
    let mut turned = track(1080, 1920, 30);
    (turned.width, turned.height, turned.rotation) = (1920, 1080, 90);
    assert_eq!(sizes(&turned)[0], (1080, 1920));
}

#[test]
fn odd_sizes_become_even_and_are_no_rung_of_their_own() {
    assert_eq!(sizes(&track(853, 481, 30))[..2], [(852, 480), (638, 360)]);
    assert_eq!(sizes(&track(641, 361, 30))[0], (640, 360));
    assert_eq!(sizes(&track(1, 1, 30)), [(2, 2)]);
}

#[test]
fn whatever_the_source_the_ladder_keeps_its_invariants() {
    for width in (2..5000).step_by(97) {
        for height in (2..5000).step_by(89) {
            let source = track(width, height, 30);
            let sizes = sizes(&source);
            assert!(!sizes.is_empty(), "{width}x{height}");
            for (w, h) in &sizes {
                assert!(*w <= width && *h <= height, "{width}x{height}: {w}x{h}");
                assert!(w % 2 == 0 && h % 2 == 0, "{width}x{height}: {w}x{h}");
                // Kept to a pixel and a half on the longer side, where the shorter is not tiny.
                let exact = f64::from(width) * f64::from(*h) / f64::from(height);
                let error = (exact - f64::from(*w)).abs() * f64::from(height)
                    / f64::from(width.max(height));
                assert!(
                    error <= 2.0 + 1e-9 || *h.min(w) < 20,
                    "{width}x{height}: {w}x{h}"
                );
            }
            let mut unique = sizes.clone();
            unique.dedup();
            assert_eq!(unique, sizes);
            let poster = poster_size(&source);
            assert!(poster.0.min(poster.1) <= 720 && poster.0 <= width && poster.1 <= height);
        }
    }
}

#[test]
fn sound_is_one_rendition() {
    let audio = audio();
    assert_eq!(audio.bitrate_kbps, 128);
    assert_eq!(
        audio.kind,
        Kind::Audio {
            channels: 2,
            sample_rate: 48_000
        }
    );
}

fn track(width: u32, height: u32, fps: u32) -> VideoTrack {
    VideoTrack {
        codec: "H.264".to_owned(),
        width,
        height,
        display_width: width,
        display_height: height,
        rotation: 0,
        frame_rate: ratio(fps, 1),
        interlaced: false,
        bitrate_kbps: 0,
    }
}

fn ratio(num: u32, den: u32) -> Option<Ratio> {
    Some(Ratio { num, den })
}

fn sizes(source: &VideoTrack) -> Vec<(u32, u32)> {
    let size = |rendition: Rendition| match rendition.kind {
        Kind::Video { width, height, .. } => (width, height),
        Kind::Audio { .. } => panic!("a picture's ladder has no sound"),
    };
    of(source).into_iter().map(size).collect()
}

/// Short side and kb/s.
fn rungs(source: &VideoTrack) -> Vec<(u32, u32)> {
    let bitrates = of(source)
        .into_iter()
        .map(|rendition| rendition.bitrate_kbps);
    sizes(source)
        .into_iter()
        .map(|(width, height)| width.min(height))
        .zip(bitrates)
        .collect()
}
