//! The events that are measured with: what is in each, as a function of where it stands.
//!
//! Node and peer get theirs from here, so that both send the same messages.

use bytes::Bytes;
use uuid::Uuid;

pub const CONTENT_TYPE: &str = "application/octet-stream";
/// The type of one event in a thousand.
pub const WANTED: &str = "bench.wanted.v1";
const WANTED_IN: u64 = 1000;
/// The types of the others.
const KINDS: u64 = 16;

/// How many events, in how many streams, and how they came there: in rounds, each of
/// which appends to every stream once, in an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub streams: u64,
    pub rounds: u64,
    pub per_append: u64,
    pub data_bytes: usize,
}

/// The sets of the figures.
pub struct Sizes {
    pub catch_up: Shape,
    pub many: Shape,
    pub streams: Shape,
}

impl Sizes {
    pub fn new(quick: bool) -> Self {
        let million = if quick { 50_000 } else { 1_000_000 };
        Self {
            catch_up: Shape {
                streams: million / 100,
                rounds: 100,
                per_append: 1,
                data_bytes: 1024,
            },
            many: Shape {
                streams: million,
                rounds: 10,
                per_append: 1,
                data_bytes: 256,
            },
            // 20 M events of 1 KiB would fit neither this memory nor many others', and the
            // set is to be cached; what is measured is finding and sending 20 events. They
            // were appended five at a time, with a million others between: together they
            // would be found at once, and no stream that lives for a while stands together.
            streams: Shape {
                streams: million,
                rounds: 4,
                per_append: 5,
                data_bytes: 100,
            },
        }
    }
}

impl Shape {
    pub fn per_stream(&self) -> u64 {
        self.rounds * self.per_append
    }

    pub fn events(&self) -> u64 {
        self.streams * self.per_stream()
    }

    /// Events of the type that is one in a thousand.
    pub fn wanted(&self) -> u64 {
        let all = (0..self.streams)
            .flat_map(|stream| (0..self.per_stream()).map(move |revision| (stream, revision)));
        all.filter(|(stream, revision)| is_wanted(*stream, *revision))
            .count() as u64
    }

    /// The stream that comes at this place of a round: each once, far from its neighbours.
    pub fn order(&self, round: u64, place: u64) -> u64 {
        // Neither even nor a multiple of five, as all numbers of streams here are: no two
        // places meet.
        const STRIDE: u64 = 2_654_435_761;
        let shift = mix(round) % self.streams;
        (place * (STRIDE % self.streams) + shift) % self.streams
    }

    pub fn data(&self, stream: u64, revision: u64) -> Bytes {
        let seed = seed(stream, revision);
        let words = (0..self.data_bytes.div_ceil(8) as u64).map(|at| mix(seed ^ (at << 48)));
        let mut data: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        data.truncate(self.data_bytes);
        data.into()
    }
}

pub fn stream_name(stream: u64) -> String {
    format!("bench-{stream:012}")
}

pub fn id(stream: u64, revision: u64) -> Uuid {
    let seed = seed(stream, revision);
    Uuid::from_u64_pair(mix(seed), mix(!seed))
}

pub fn kind(stream: u64, revision: u64) -> String {
    if is_wanted(stream, revision) {
        return WANTED.to_owned();
    }
    let kind = mix(seed(stream, revision) ^ 1) % KINDS;
    format!("bench.other-{kind:02}.v1")
}

fn is_wanted(stream: u64, revision: u64) -> bool {
    mix(seed(stream, revision) ^ 2).is_multiple_of(WANTED_IN)
}

fn seed(stream: u64, revision: u64) -> u64 {
    mix(stream) ^ revision
}

/// SplitMix64: every number to another that looks random.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
