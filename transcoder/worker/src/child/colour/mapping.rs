//! What a colour becomes on an ordinary screen: 8-bit SDR of BT.709.
//!
//! HDR is mapped as it would look on a reference display of 1,000 nits: PQ is the light itself,
//! HLG goes through its OOTF with a system gamma of 1.2 (BT.2100). Light is then compressed by
//! the EETF of BT.2390 (section 5.4.1, no lift of black) into a screen whose white is the 203
//! nits of BT.2408's reference white; the brightest of a colour's three components decides, and
//! all three shrink alike, so that hues stay. What the smaller gamut lacks is mixed with the
//! grey that is as bright until it fits.
//!
//! # Invariants
//!
//! * Greys stay grey, and what is brighter is never mapped darker.
//! * The same colour means the same in every picture and every chunk: mastering metadata,
//!   which comes and goes within a stream, is not looked at.

use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoTransferFunction,
};

/// The screen that HDR is taken to be made for, in nits. What is brighter is white.
const SOURCE_PEAK_NITS: f64 = 1000.0;
/// The white of the screen that SDR is made for: HDR reference white of BT.2408.
const SDR_PEAK_NITS: f64 = 203.0;
/// HLG's system gamma for a screen of 1,000 nits.
const HLG_GAMMA: f64 = 1.2;
/// What an SDR screen makes of a signal: BT.1886 with a perfect black.
const SDR_GAMMA: f64 = 2.4;

type Matrix = [[f64; 3]; 3];

/// How a source's colours get to BT.709.
pub(super) struct Mapping {
    kr: f64,
    kb: f64,
    transfer: VideoTransferFunction,
    /// Luminance of the source's primaries.
    luminance: [f64; 3],
    to_bt709: Matrix,
}

/// Luma and chroma of BT.709: what these colours come out as.
const KR: f64 = 0.2126;
const KB: f64 = 0.0722;

impl Mapping {
    pub(super) fn of(colorimetry: &VideoColorimetry) -> Self {
        let hdr = is_hdr(colorimetry.transfer());
        let wide = hdr || colorimetry.matrix() == VideoColorMatrix::Bt2020;
        let primaries = match colorimetry.primaries() {
            VideoColorPrimaries::Unknown if wide => VideoColorPrimaries::Bt2020,
            known => known,
        };
        let (kr, kb) = match colorimetry.matrix() {
            VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
            VideoColorMatrix::Bt709 => (KR, KB),
            VideoColorMatrix::Smpte240m => (0.212, 0.087),
            VideoColorMatrix::Fcc => (0.30, 0.11),
            VideoColorMatrix::Unknown if hdr => (0.2627, 0.0593),
            _ => (0.299, 0.114),
        };
        let to_xyz = rgb_to_xyz(chromaticities(primaries));
        let from_xyz = inverse(rgb_to_xyz(chromaticities(VideoColorPrimaries::Bt709)));
        Mapping {
            kr,
            kb,
            transfer: colorimetry.transfer(),
            luminance: to_xyz[1],
            to_bt709: product(from_xyz, to_xyz),
        }
    }

    /// From a source's luma (0 to 1) and chroma (-0.5 to 0.5) to those of BT.709.
    pub(super) fn map(&self, [luma, blue, red]: [f64; 3]) -> [f64; 3] {
        let r = luma + 2.0 * (1.0 - self.kr) * red;
        let b = luma + 2.0 * (1.0 - self.kb) * blue;
        let g = (luma - self.kr * r - self.kb * b) / (1.0 - self.kr - self.kb);
        let light = self.light([r, g, b].map(|signal| signal.clamp(0.0, 1.0)));
        let light = within_gamut(times(self.to_bt709, light));
        let [r, g, b] = light.map(|light| light.powf(1.0 / SDR_GAMMA));
        let luma = KR * r + (1.0 - KR - KB) * g + KB * b;
        [
            luma,
            (b - luma) / (2.0 * (1.0 - KB)),
            (r - luma) / (2.0 * (1.0 - KR)),
        ]
    }

    /// The light that these signals stand for; 1 is the white of an SDR screen.
    fn light(&self, signals: [f64; 3]) -> [f64; 3] {
        match self.transfer {
            VideoTransferFunction::Smpte2084 => compressed(signals.map(pq_to_nits)),
            VideoTransferFunction::AribStdB67 => {
                let scene = signals.map(hlg_to_scene);
                let luminance: f64 = self.luminance.iter().zip(scene).map(|(k, e)| k * e).sum();
                let gain = SOURCE_PEAK_NITS * luminance.max(0.0).powf(HLG_GAMMA - 1.0);
                compressed(scene.map(|light| light * gain))
            }
            VideoTransferFunction::Gamma10 => signals,
            VideoTransferFunction::Gamma18 => signals.map(|signal| signal.powf(1.8)),
            VideoTransferFunction::Gamma20 => signals.map(|signal| signal.powf(2.0)),
            VideoTransferFunction::Gamma22
            | VideoTransferFunction::Srgb
            | VideoTransferFunction::Adobergb => signals.map(|signal| signal.powf(2.2)),
            VideoTransferFunction::Gamma28 => signals.map(|signal| signal.powf(2.8)),
            // Whatever the camera's curve was, it was judged on such a screen.
            _ => signals.map(|signal| signal.powf(SDR_GAMMA)),
        }
    }
}

/// Whether light is coded for brighter screens than SDR's.
pub(super) fn is_hdr(transfer: VideoTransferFunction) -> bool {
    matches!(
        transfer,
        VideoTransferFunction::Smpte2084 | VideoTransferFunction::AribStdB67
    )
}

/// Whether these colours are shown rightly as they are, when they are tagged so: the gamuts
/// and curves of SD and HD television.
pub(super) fn is_ordinary(colorimetry: &VideoColorimetry) -> bool {
    let primaries = matches!(
        colorimetry.primaries(),
        VideoColorPrimaries::Unknown
            | VideoColorPrimaries::Bt709
            | VideoColorPrimaries::Bt470bg
            | VideoColorPrimaries::Smpte170m
            | VideoColorPrimaries::Smpte240m
            | VideoColorPrimaries::Ebu3213
    );
    let matrix = matches!(
        colorimetry.matrix(),
        VideoColorMatrix::Unknown | VideoColorMatrix::Bt709 | VideoColorMatrix::Bt601
    );
    let transfer = matches!(
        colorimetry.transfer(),
        VideoTransferFunction::Unknown
            | VideoTransferFunction::Bt709
            | VideoTransferFunction::Bt601
            | VideoTransferFunction::Srgb
            | VideoTransferFunction::Gamma22
            | VideoTransferFunction::Gamma28
            | VideoTransferFunction::Bt202010
            | VideoTransferFunction::Bt202012
    );
    primaries && matrix && transfer
}

pub(super) fn is_limited(colorimetry: &VideoColorimetry) -> bool {
    colorimetry.range() != VideoColorRange::Range0_255
}

/// The EETF of BT.2390, decided by the brightest component.
fn compressed(nits: [f64; 3]) -> [f64; 3] {
    let brightest = nits.iter().copied().fold(0.0, f64::max);
    if brightest <= 0.0 {
        return [0.0; 3];
    }
    let scale = eetf_nits(brightest) / brightest / SDR_PEAK_NITS;
    nits.map(|nits| nits * scale)
}

fn eetf_nits(nits: f64) -> f64 {
    let source_peak = nits_to_pq(SOURCE_PEAK_NITS);
    let signal = (nits_to_pq(nits) / source_peak).min(1.0);
    let target = nits_to_pq(SDR_PEAK_NITS) / source_peak;
    let knee = 1.5 * target - 0.5;
    if signal < knee {
        return nits;
    }
    let t = (signal - knee) / (1.0 - knee);
    let (t2, t3) = (t * t, t * t * t);
    let spline = (2.0 * t3 - 3.0 * t2 + 1.0) * knee
        + (t3 - 2.0 * t2 + t) * (1.0 - knee)
        + (3.0 * t2 - 2.0 * t3) * target;
    pq_to_nits(spline * source_peak)
}

// The constants of SMPTE ST 2084.
const M1: f64 = 2610.0 / 16384.0;
const M2: f64 = 2523.0 / 4096.0 * 128.0;
const C1: f64 = 3424.0 / 4096.0;
const C2: f64 = 2413.0 / 4096.0 * 32.0;
const C3: f64 = 2392.0 / 4096.0 * 32.0;

fn pq_to_nits(signal: f64) -> f64 {
    let power = signal.max(0.0).powf(1.0 / M2);
    10_000.0 * ((power - C1).max(0.0) / (C2 - C3 * power)).powf(1.0 / M1)
}

fn nits_to_pq(nits: f64) -> f64 {
    let power = (nits.max(0.0) / 10_000.0).powf(M1);
    ((C1 + C2 * power) / (1.0 + C3 * power)).powf(M2)
}

/// The inverse of BT.2100's OETF of HLG, from 0 to 1.
fn hlg_to_scene(signal: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    const B: f64 = 1.0 - 4.0 * A;
    const C: f64 = 0.559_910_73;
    if signal <= 0.5 {
        return signal * signal / 3.0;
    }
    (((signal - C) / A).exp() + B) / 12.0
}

/// Mixed with the grey of the same luminance until no component is out of reach.
fn within_gamut(light: [f64; 3]) -> [f64; 3] {
    let grey = (KR * light[0] + (1.0 - KR - KB) * light[1] + KB * light[2]).clamp(0.0, 1.0);
    let mut share: f64 = 1.0;
    for component in light {
        let away = component - grey;
        if component > 1.0 {
            share = share.min((1.0 - grey) / away);
        } else if component < 0.0 {
            share = share.min(-grey / away);
        }
    }
    light.map(|component| (grey + (component - grey) * share).clamp(0.0, 1.0))
}

/// Red, green, blue and white, as x and y.
fn chromaticities(primaries: VideoColorPrimaries) -> [[f64; 2]; 4] {
    const D65: [f64; 2] = [0.3127, 0.3290];
    const C: [f64; 2] = [0.310, 0.316];
    match primaries {
        VideoColorPrimaries::Bt2020 => [[0.708, 0.292], [0.170, 0.797], [0.131, 0.046], D65],
        VideoColorPrimaries::Smpterp431 => {
            let white = [0.314, 0.351];
            [[0.680, 0.320], [0.265, 0.690], [0.150, 0.060], white]
        }
        VideoColorPrimaries::Smpteeg432 => [[0.680, 0.320], [0.265, 0.690], [0.150, 0.060], D65],
        VideoColorPrimaries::Adobergb => [[0.64, 0.33], [0.21, 0.71], [0.15, 0.06], D65],
        VideoColorPrimaries::Smpte170m | VideoColorPrimaries::Smpte240m => {
            [[0.630, 0.340], [0.310, 0.595], [0.155, 0.070], D65]
        }
        VideoColorPrimaries::Bt470bg => [[0.64, 0.33], [0.29, 0.60], [0.15, 0.06], D65],
        VideoColorPrimaries::Ebu3213 => [[0.630, 0.340], [0.295, 0.605], [0.155, 0.077], D65],
        VideoColorPrimaries::Bt470m => [[0.67, 0.33], [0.21, 0.71], [0.14, 0.08], C],
        VideoColorPrimaries::Film => [[0.681, 0.319], [0.243, 0.692], [0.145, 0.049], C],
        _ => [[0.640, 0.330], [0.300, 0.600], [0.150, 0.060], D65],
    }
}

fn rgb_to_xyz(chromaticities: [[f64; 2]; 4]) -> Matrix {
    let [red, green, blue, white] = chromaticities.map(|[x, y]| [x / y, 1.0, (1.0 - x - y) / y]);
    let columns = [
        [red[0], green[0], blue[0]],
        [red[1], green[1], blue[1]],
        [red[2], green[2], blue[2]],
    ];
    let gains = times(inverse(columns), white);
    columns.map(|row| [row[0] * gains[0], row[1] * gains[1], row[2] * gains[2]])
}

fn times(matrix: Matrix, v: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

fn product(a: Matrix, b: Matrix) -> Matrix {
    let column = |n: usize| times(a, [b[0][n], b[1][n], b[2][n]]);
    let columns = [column(0), column(1), column(2)];
    [0, 1, 2].map(|row| [columns[0][row], columns[1][row], columns[2][row]])
}

/// By its adjugate; the matrices of primaries that enclose an area have one.
fn inverse(m: Matrix) -> Matrix {
    let minor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
    [0, 1, 2].map(|row| [0, 1, 2].map(|column| minor(column, row) / determinant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(colorimetry: &str) -> Mapping {
        gstreamer::init().unwrap();
        Mapping::of(&colorimetry.parse().unwrap())
    }

    fn grey(mapping: &Mapping, signal: f64) -> f64 {
        let [luma, blue, red] = mapping.map([signal, 0.0, 0.0]);
        assert!(
            blue.abs() < 0.001 && red.abs() < 0.001,
            "{signal} is tinted"
        );
        luma
    }

    #[test]
    fn the_reference_white_of_hdr_is_nearly_the_white_of_sdr() {
        let pq = grey(&mapping("bt2100-pq"), nits_to_pq(203.0));
        assert!((0.88..0.95).contains(&pq), "{pq}");
        // HLG has its reference white at 75 %.
        let hlg = grey(&mapping("bt2100-hlg"), 0.75);
        assert!((pq - hlg).abs() < 0.01, "{pq} and {hlg}");
    }

    #[test]
    fn black_stays_black_and_the_brightest_is_white() {
        for name in ["bt2100-pq", "bt2100-hlg", "bt2020-10"] {
            let mapping = mapping(name);
            assert!(grey(&mapping, 0.0) < 0.001, "{name}");
            assert!((grey(&mapping, 1.0) - 1.0).abs() < 0.001, "{name}");
        }
    }

    #[test]
    fn what_is_brighter_is_never_darker() {
        for name in ["bt2100-pq", "bt2100-hlg", "bt2020-10"] {
            let mapping = mapping(name);
            let greys: Vec<f64> = (0..=1000)
                .map(|step| grey(&mapping, f64::from(step) / 1000.0))
                .collect();
            assert!(
                greys.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9),
                "{name}"
            );
        }
    }

    #[test]
    fn sdr_of_the_same_gamut_is_left_as_it_is() {
        let mapping = mapping("bt709");
        for colour in [[0.5, 0.1, -0.2], [0.3, 0.0, 0.1], [0.9, -0.05, 0.02]] {
            let mapped = mapping.map(colour);
            for (was, is) in colour.iter().zip(mapped) {
                assert!((was - is).abs() < 0.002, "{colour:?} became {mapped:?}");
            }
        }
    }

    #[test]
    fn the_purest_green_of_bt2020_is_the_green_of_bt709() {
        // In BT.2020's own luma and chroma.
        let green = [
            0.6780,
            -0.6780 / (2.0 * (1.0 - 0.0593)),
            -0.6780 / (2.0 * (1.0 - 0.2627)),
        ];
        let [luma, blue, red] = mapping("bt2020-10").map(green);
        let r = luma + 2.0 * (1.0 - KR) * red;
        let b = luma + 2.0 * (1.0 - KB) * blue;
        let g = (luma - KR * r - KB * b) / (1.0 - KR - KB);
        assert!(
            g > 0.9 && r < 0.5 && b < 0.6 && g <= 1.0 + 1e-9,
            "{r} {g} {b}"
        );
        assert!(r >= -1e-9 && b >= -1e-9, "{r} {g} {b}");
    }
}
