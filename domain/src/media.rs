//! What a source and its renditions are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::RenditionId;

/// What the probe found in a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    pub container: String,
    pub duration_ms: u64,
    pub tracks: u32,
    pub video: Option<VideoTrack>,
    pub audio: Option<AudioTrack>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoTrack {
    pub codec: String,
    /// As coded.
    pub width: u32,
    pub height: u32,
    /// As shown: square pixels, rotation applied.
    pub display_width: u32,
    pub display_height: u32,
    /// Clockwise, in degrees: 0, 90, 180 or 270.
    pub rotation: u32,
    /// `None` where it varies or is unknown.
    pub frame_rate: Option<Ratio>,
    pub interlaced: bool,
    /// On average; 0 where it is unknown.
    pub bitrate_kbps: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioTrack {
    pub codec: String,
    pub channels: u32,
    pub sample_rate: u32,
    /// On average; 0 where it is unknown.
    pub bitrate_kbps: u32,
    /// Players can play it so.
    pub as_is: bool,
}

/// A positive fraction, for frame rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio {
    pub num: u32,
    pub den: u32,
}

/// One encoded version that a job is going to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    pub id: RenditionId,
    pub bitrate_kbps: u32,
    #[serde(flatten)]
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    Video {
        width: u32,
        height: u32,
        frame_rate: Ratio,
    },
    Audio {
        channels: u32,
        sample_rate: u32,
    },
}

/// The beginning of a rendition, which every player loads before its segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    pub key: String,
    pub size_bytes: u64,
    /// RFC 6381: `avc1.640028`, `mp4a.40.2`.
    pub codec: String,
    /// Units per second of the times of its segments.
    pub timescale: u32,
}

impl Init {
    /// Whether segments made for one can be played with the other.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.codec, self.timescale) == (&other.codec, other.timescale)
    }

    /// Whether playlists can name it: what a worker read out of a stranger's file is not
    /// trusted to be a codec.
    pub fn is_usable(&self) -> bool {
        let is_codec = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        self.timescale > 0 && !self.codec.is_empty() && self.codec.chars().all(is_codec)
    }
}

/// One independently fetched piece of a rendition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub key: String,
    pub size_bytes: u64,
    /// Decode time of its first sample, in the timescale of the init.
    pub time: u64,
    pub duration: u64,
    pub samples: u32,
}

/// A rendition and what of it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub rendition: Rendition,
    /// The longest that one of its segments may get, by the plan.
    pub segment_us_max: u64,
    /// There as soon as there is a segment.
    pub init: Option<Init>,
    /// What may be served: from the beginning up to the first gap.
    pub segments: Vec<Segment>,
    /// Behind a gap, by number: chunks are not done in order.
    pub ahead: BTreeMap<u32, Segment>,
}

impl Published {
    /// Nothing of it is there yet.
    pub fn nothing_of(rendition: Rendition, segment_us_max: u64) -> Self {
        Self {
            rendition,
            segment_us_max,
            init: None,
            segments: vec![],
            ahead: BTreeMap::new(),
        }
    }

    /// Takes a segment in, and with it what stood behind the gap that it closes.
    pub fn add(&mut self, number: u32, segment: Segment) {
        self.ahead.insert(number, segment);
        while let Some(next) = self.ahead.remove(&(self.segments.len() as u32)) {
            self.segments.push(next);
        }
    }

    /// The first number from `first` on that is not there.
    pub fn next_from(&self, first: u32) -> u32 {
        let mut next = first.max(self.segments.len() as u32);
        while self.ahead.contains_key(&next) {
            next += 1;
        }
        next
    }

    /// How many there are, wherever they stand.
    pub fn count(&self) -> usize {
        self.segments.len() + self.ahead.len()
    }

    /// How long the segments that may be served play, in ms.
    pub fn duration_ms(&self) -> u64 {
        let Some(init) = &self.init else { return 0 };
        let units: u64 = self.segments.iter().map(|segment| segment.duration).sum();
        (u128::from(units) * 1000 / u128::from(init.timescale.max(1))) as u64
    }
}
