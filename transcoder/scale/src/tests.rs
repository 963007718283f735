use super::*;

fn size(width: usize, height: usize) -> Size {
    Size { width, height }
}

/// Scales a picture that is drawn by its columns and rows.
fn scaled(from: Size, to: Size, draw: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let stride = from.width + 5;
    let mut bytes = vec![255; stride * from.height];
    for y in 0..from.height {
        for x in 0..from.width {
            bytes[y * stride + x] = draw(x, y);
        }
    }
    let plane = Plane {
        bytes: &bytes,
        stride,
    };
    let mut out = vec![1; to.width * to.height];
    Scaler::new(from, to).scale(plane, &mut out, to.width);
    out
}

const SIZES: [(usize, usize); 9] = [
    (1920, 1080),
    (1280, 720),
    (854, 480),
    (640, 360),
    (426, 240),
    (256, 144),
    (40, 30),
    (3, 2),
    (1, 1),
];

#[test]
fn one_value_stays_this_value_at_any_size() {
    for (width, height) in SIZES {
        for value in [0, 16, 127, 235, 255] {
            let out = scaled(size(321, 181), size(width, height), |_, _| value);
            assert!(out.iter().all(|one| *one == value), "{width}x{height}");
        }
    }
}

#[test]
fn nothing_moves() {
    // A slope stays this slope, whatever the size.
    for (width, height) in [(640, 360), (480, 270), (426, 240), (320, 180), (128, 72)] {
        let (from, to) = (size(960, 540), size(width, height));
        let along = scaled(from, to, |x, _| (x / 4) as u8);
        let down = scaled(from, to, |_, y| (y * 255 / 540) as u8);
        for number in height / 4..height * 3 / 4 {
            let x = (number as f64 + 0.5) * 960.0 / width as f64 - 0.5;
            let got = f64::from(along[width * (height / 2) + number]);
            assert!((got - (x - 1.5) / 4.0).abs() < 1.0, "{width}: {got} at {x}");
            let y = (number as f64 + 0.5) * 540.0 / height as f64 - 0.5;
            let got = f64::from(down[width * number + width / 2]);
            assert!(
                (got - (y * 255.0 - 270.0) / 540.0).abs() < 1.0,
                "{height}: {got} at {y}"
            );
        }
    }
}

#[test]
fn a_mirrored_picture_gives_a_mirrored_result() {
    let (from, to) = (size(333, 77), size(100, 41));
    let draw = |x: usize, y: usize| ((x * x / 7 + y * 31) % 256) as u8;
    let plain = scaled(from, to, draw);
    let mirrored = scaled(from, to, |x, y| draw(332 - x, 76 - y));
    let worst = plain.iter().zip(mirrored.iter().rev());
    let worst = worst.map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(1), "{worst:?}");
}

#[test]
fn finer_than_the_result_is_grey_and_coarser_is_left() {
    let (from, to) = (size(1920, 64), size(640, 64));
    let fine = scaled(from, to, |x, _| if x % 2 == 0 { 0 } else { 200 });
    assert!(fine.iter().all(|one| (70..=130).contains(one)));
    let coarse = scaled(from, to, |x, _| if x / 60 % 2 == 0 { 0 } else { 200 });
    for (x, one) in coarse.iter().take(640).enumerate() {
        let inside = (3..17).contains(&(x % 20));
        let drawn = if x / 20 % 2 == 0 { 0 } else { 200 };
        assert!(!inside || one.abs_diff(drawn) <= 2, "{one} at {x}");
    }
}

#[test]
fn overshooting_ends_at_black_and_white() {
    let out = scaled(
        size(64, 64),
        size(128, 128),
        |x, _| if x < 32 { 0 } else { 255 },
    );
    assert!(out.contains(&0) && out.contains(&255));
    assert!(out[..40].iter().all(|one| *one == 0));
}

#[test]
fn all_processors_give_the_same() {
    let (from, to) = (size(501, 299), size(223, 131));
    let draw = |x: usize, y: usize| ((x * 37 + y * 101 + x * y) % 256) as u8;
    let bytes: Vec<u8> = (0..501 * 299).map(|at| draw(at % 501, at / 501)).collect();
    let plane = Plane {
        bytes: &bytes,
        stride: 501,
    };
    let mut plain = vec![0; 223 * 131];
    Scaler::new(from, to).scale_anywhere(plane, &mut plain, 223);
    assert_eq!(scaled(from, to, draw), plain);
}
