//! A mapping of colours as tables, and the loop over a picture that looks them up.
//!
//! # Invariants
//!
//! * Tables hold 1/64 of a code; an ordered dither decides the rest, the same in every picture.
//! * Greys lie on the table's own grid: they are never tinted by the way between two nodes.
//! * Chroma is looked up once for the (at most) four pixels that share it.

use super::mapping::Mapping;

/// Codes of 10 bits: those of 8 bits are read as four times as much.
const CODES: usize = 1024;
/// Steps of the grid: 16 codes of luma, 32 of chroma; 512, which is no colour, is a node.
const LUMA_SHIFT: usize = 4;
const CHROMA_SHIFT: usize = 5;
const LUMA_NODES: usize = (CODES >> LUMA_SHIFT) + 1;
const CHROMA_NODES: usize = (CODES >> CHROMA_SHIFT) + 1;
/// Parts of a code in the tables.
const PARTS: f64 = 64.0;
/// Weights of a look-up sum up to this power of two.
const WEIGHT_SHIFT: u32 = (LUMA_SHIFT + 2 * CHROMA_SHIFT) as u32;

/// What the codes of a source stand for.
#[derive(Clone, Copy)]
pub(super) struct Codes {
    pub(super) limited: bool,
    pub(super) ten_bits: bool,
}

impl Codes {
    fn luma(self, code: usize) -> f64 {
        match self.limited {
            true => (code as f64 - 64.0) / 876.0,
            false => code as f64 / self.largest(),
        }
    }

    fn chroma(self, code: usize) -> f64 {
        match self.limited {
            true => (code as f64 - 512.0) / 896.0,
            false => (code as f64 - 512.0) / self.largest(),
        }
    }

    /// 255 of 8 bits is read as 1020.
    fn largest(self) -> f64 {
        match self.ten_bits {
            true => 1023.0,
            false => 1020.0,
        }
    }
}

/// Limited 8-bit codes, in parts.
fn luma_parts(luma: f64) -> u16 {
    ((16.0 + 219.0 * luma.clamp(0.0, 1.0)) * PARTS).round() as u16
}

fn chroma_parts(chroma: f64) -> u16 {
    ((128.0 + 224.0 * chroma.clamp(-0.5, 0.5)) * PARTS).round() as u16
}

/// How codes become those of 8-bit SDR.
pub(super) enum Table {
    /// Other codes for the same colours.
    Levels {
        luma: Box<[u16; CODES]>,
        chroma: Box<[u16; CODES]>,
    },
    /// Other colours.
    Colours { nodes: Vec<Column> },
}

/// All of the luma grid at one node of chroma.
pub(super) struct Column {
    luma: [u16; LUMA_NODES],
    blue: [u16; LUMA_NODES],
    red: [u16; LUMA_NODES],
}

impl Table {
    pub(super) fn levels(codes: Codes) -> Self {
        let mut luma = Box::new([0; CODES]);
        let mut chroma = Box::new([0; CODES]);
        for code in 0..CODES {
            luma[code] = luma_parts(codes.luma(code));
            chroma[code] = chroma_parts(codes.chroma(code));
        }
        Table::Levels { luma, chroma }
    }

    pub(super) fn colours(mapping: &Mapping, codes: Codes) -> Self {
        let mut nodes = Vec::with_capacity(CHROMA_NODES * CHROMA_NODES);
        for red_node in 0..CHROMA_NODES {
            for blue_node in 0..CHROMA_NODES {
                let mut column = Column {
                    luma: [0; LUMA_NODES],
                    blue: [0; LUMA_NODES],
                    red: [0; LUMA_NODES],
                };
                for node in 0..LUMA_NODES {
                    let [luma, blue, red] = mapping.map([
                        codes.luma(node << LUMA_SHIFT),
                        codes.chroma(blue_node << CHROMA_SHIFT),
                        codes.chroma(red_node << CHROMA_SHIFT),
                    ]);
                    column.luma[node] = luma_parts(luma);
                    column.blue[node] = chroma_parts(blue);
                    column.red[node] = chroma_parts(red);
                }
                nodes.push(column);
            }
        }
        Table::Colours { nodes }
    }

    /// Two rows of luma and the row of chroma between them. `out` is as long as what comes in.
    pub(super) fn rows(&self, from: &Rows, dither: &Dither, out: &mut OutRows) {
        match self {
            Table::Levels { luma, chroma } => {
                for line in 0..2 {
                    for (x, code) in from.luma[line].iter().enumerate() {
                        out.luma[line][x] =
                            dither.at(luma[usize::from(*code) % CODES].into(), x, line);
                    }
                }
                for x in 0..from.blue.len() {
                    let code = |row: &[u16]| usize::from(row[x]) % CODES;
                    out.blue[x] = dither.at(chroma[code(&from.blue)].into(), x, 0);
                    out.red[x] = dither.at(chroma[code(&from.red)].into(), x, 1);
                }
            }
            Table::Colours { nodes } => colours(nodes, from, dither, out),
        }
    }
}

fn colours(nodes: &[Column], from: &Rows, dither: &Dither, out: &mut OutRows) {
    let [first, second] = &from.luma;
    let [out_first, out_second] = &mut out.luma;
    // The row below the last of an odd picture is the last once more, and goes nowhere.
    let (second, out_second) = match second.is_empty() {
        true => (first, &mut vec![0; first.len()][..]),
        false => (second, &mut **out_second),
    };
    let chroma = from.blue.iter().zip(&from.red).enumerate();
    let chroma_out = out.blue.iter_mut().zip(out.red.iter_mut());
    let luma = first.chunks(2).zip(second.chunks(2));
    let luma_out = out_first.chunks_mut(2).zip(out_second.chunks_mut(2));
    let blocks = chroma.zip(chroma_out).zip(luma).zip(luma_out);
    for ((((x, (blue, red)), (out_blue, out_red)), (top, bottom)), (out_top, out_bottom)) in blocks
    {
        let corners = Corners::at(nodes, (*blue).into(), (*red).into());
        // Neighbours are mostly between the same two nodes of luma.
        let mut between = corners.between(top[0], |column| &column.luma);
        let mut mapped = |code: u16, at: usize, line: usize| {
            if node(code) != between.node {
                between = corners.between(code, |column| &column.luma);
            }
            dither.at(between.look_up(code), at, line)
        };
        // An odd picture has one column at its right edge.
        let right = top.len() - 1;
        out_top[0] = mapped(top[0], 2 * x, 0);
        out_top[right] = mapped(top[right], 2 * x + right, 0);
        out_bottom[0] = mapped(bottom[0], 2 * x, 1);
        out_bottom[right] = mapped(bottom[right], 2 * x + right, 1);

        let sum = [top[0], top[right], bottom[0], bottom[right]]
            .map(u32::from)
            .iter()
            .sum::<u32>();
        let mean = (sum / 4) as u16;
        let between = corners.between(mean, |column| &column.blue);
        *out_blue = dither.at(between.look_up(mean), x, 0);
        let between = corners.between(mean, |column| &column.red);
        *out_red = dither.at(between.look_up(mean), x, 1);
    }
}

/// The four columns around a chroma, and how much each counts.
struct Corners<'a> {
    columns: [&'a Column; 4],
    weights: [u32; 4],
}

/// The values at a node of luma and at the next one.
struct Between {
    node: usize,
    low: u32,
    high: u32,
}

fn node(luma: u16) -> usize {
    (usize::from(luma) % CODES) >> LUMA_SHIFT
}

impl<'a> Corners<'a> {
    #[inline]
    fn at(nodes: &'a [Column], blue: usize, red: usize) -> Self {
        let step = 1 << CHROMA_SHIFT;
        let (blue, red) = (blue % CODES, red % CODES);
        let at = (red >> CHROMA_SHIFT) * CHROMA_NODES + (blue >> CHROMA_SHIFT);
        let (b, r) = ((blue % step) as u32, (red % step) as u32);
        let step = step as u32;
        Corners {
            columns: [
                &nodes[at],
                &nodes[at + 1],
                &nodes[at + CHROMA_NODES],
                &nodes[at + CHROMA_NODES + 1],
            ],
            weights: [
                (step - b) * (step - r),
                b * (step - r),
                (step - b) * r,
                b * r,
            ],
        }
    }

    #[inline]
    fn between(&self, luma: u16, of: impl Fn(&Column) -> &[u16; LUMA_NODES]) -> Between {
        let node = node(luma);
        let (mut low, mut high) = (0, 0);
        for (column, weight) in self.columns.iter().zip(self.weights) {
            let values = of(column);
            low += weight * u32::from(values[node]);
            high += weight * u32::from(values[node + 1]);
        }
        Between { node, low, high }
    }
}

impl Between {
    /// In parts of a code.
    #[inline]
    fn look_up(&self, luma: u16) -> u32 {
        let step = 1 << LUMA_SHIFT;
        let part = u32::from(luma) % step;
        let sum = self.low * (step - part) + self.high * part;
        (sum + (1 << (WEIGHT_SHIFT - 1))) >> WEIGHT_SHIFT
    }
}

/// One row of an 8×8 pattern and the one below it.
pub(super) struct Dither {
    rows: [[u8; 8]; 2],
}

/// Bayer's: each threshold from 0 to 63 once.
const PATTERN: [[u8; 8]; 8] = [
    [0, 32, 8, 40, 2, 34, 10, 42],
    [48, 16, 56, 24, 50, 18, 58, 26],
    [12, 44, 4, 36, 14, 46, 6, 38],
    [60, 28, 52, 20, 62, 30, 54, 22],
    [3, 35, 11, 43, 1, 33, 9, 41],
    [51, 19, 59, 27, 49, 17, 57, 25],
    [15, 47, 7, 39, 13, 45, 5, 37],
    [63, 31, 55, 23, 61, 29, 53, 21],
];

impl Dither {
    pub(super) fn from_row(row: usize) -> Self {
        Dither {
            rows: [PATTERN[row % 8], PATTERN[(row + 1) % 8]],
        }
    }

    #[inline]
    fn at(&self, parts: u32, x: usize, line: usize) -> u8 {
        ((parts + u32::from(self.rows[line % 2][x % 8])) >> 6).min(255) as u8
    }
}

/// What is read, as codes of 10 bits.
#[derive(Default)]
pub(super) struct Rows {
    /// The second is empty below the last row of an odd picture.
    pub(super) luma: [Vec<u16>; 2],
    pub(super) blue: Vec<u16>,
    pub(super) red: Vec<u16>,
}

/// Where it goes.
pub(super) struct OutRows<'a> {
    pub(super) luma: [&'a mut [u8]; 2],
    pub(super) blue: &'a mut [u8],
    pub(super) red: &'a mut [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    const TV: Codes = Codes {
        limited: true,
        ten_bits: true,
    };

    /// A flat picture of 16×2 in these codes, and the mean of what it becomes.
    fn mean(table: &Table, [luma, blue, red]: [u16; 3]) -> [f64; 3] {
        let rows = Rows {
            luma: [vec![luma; 16], vec![luma; 16]],
            blue: vec![blue; 8],
            red: vec![red; 8],
        };
        let (mut a, mut b) = ([0; 16], [0; 16]);
        let (mut u, mut v) = ([0; 8], [0; 8]);
        let mut sums = [0.0; 3];
        for row in 0..8 {
            let mut out = OutRows {
                luma: [&mut a, &mut b],
                blue: &mut u,
                red: &mut v,
            };
            table.rows(&rows, &Dither::from_row(row), &mut out);
            let of = |row: &[u8]| row.iter().map(|code| f64::from(*code)).sum::<f64>();
            sums[0] += (of(&a) + of(&b)) / 32.0;
            sums[1] += of(&u) / 8.0;
            sums[2] += of(&v) / 8.0;
        }
        sums.map(|sum| sum / 8.0)
    }

    #[test]
    fn tables_say_what_the_mapping_says() {
        gstreamer::init().unwrap();
        for name in ["bt2100-pq", "bt2100-hlg", "bt2020-10"] {
            let mapping = Mapping::of(&name.parse().unwrap());
            let table = Table::colours(&mapping, TV);
            for luma in (64..=940).step_by(7) {
                let grey = mean(&table, [luma, 512, 512]);
                let exact = 16.0 + 219.0 * mapping.map([TV.luma(luma.into()), 0.0, 0.0])[0];
                assert!(
                    (grey[0] - exact).abs() < 1.0,
                    "{name} {luma}: {grey:?} {exact}"
                );
                assert_eq!(grey[1..], [128.0, 128.0], "{name} {luma}");
            }
        }
    }

    #[test]
    fn ten_bits_become_eight_of_the_same_colour() {
        let table = Table::levels(TV);
        assert_eq!(mean(&table, [64, 512, 512]), [16.0, 128.0, 128.0]);
        assert_eq!(mean(&table, [940, 960, 64]), [235.0, 240.0, 16.0]);
        let between = mean(&table, [502, 512, 512])[0];
        assert!(
            (between - 125.5).abs() < 0.1,
            "dithered, not cut: {between}"
        );
    }

    #[test]
    fn all_of_the_range_becomes_the_range_of_television() {
        let jpeg = Codes {
            limited: false,
            ten_bits: false,
        };
        let table = Table::levels(jpeg);
        assert_eq!(mean(&table, [0, 512, 512]), [16.0, 128.0, 128.0]);
        assert_eq!(mean(&table, [1020, 512, 512]), [235.0, 128.0, 128.0]);
    }
}
