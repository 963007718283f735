//! Videos and queries, the same in every run.
//!
//! Words are as frequent as in texts that people write: the n-th most frequent has 1/n of the first's
//! share. Queries are made of words of videos, so that they are about something.

use domain::id::{Owner, VideoId};
use projections::search::Sample;

/// 2027-01-15T08:00:00Z.
pub const NOW_MS: i64 = 1_800_000_000_000;

const WORDS: u64 = 200_000;
const TITLE_WORDS: u64 = 6;
const DESCRIPTION_WORDS: u64 = 40;
const TAGS: u64 = 3;
const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;

pub struct Corpus {
    videos: u64,
}

/// Numbers that look random: splitmix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64
    }

    fn word(&mut self) -> String {
        let rank = (WORDS as f64).powf(self.share()) as u64;
        spelled(rank.min(WORDS - 1))
    }

    fn words(&mut self, count: u64) -> String {
        let words: Vec<String> = (0..count).map(|_| self.word()).collect();
        words.join(" ")
    }
}

/// The word of a rank, in syllables: the more frequent the shorter.
fn spelled(rank: u64) -> String {
    const FIRST: [&str; 16] = [
        "b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "ch",
    ];
    const THEN: [&str; 8] = ["a", "e", "i", "o", "u", "an", "er", "ol"];
    let mut word = String::new();
    // What is next to each other in rank shall not look alike.
    let mut rest = rank + 1;
    while rest > 0 {
        word.push_str(FIRST[(rest % 16) as usize]);
        word.push_str(THEN[(rest / 16 % 8) as usize]);
        rest /= 128;
    }
    // Some words are forms of others.
    if rank % 5 == 4 {
        word.push_str("ing");
    }
    word
}

impl Corpus {
    pub fn new(videos: u64) -> Self {
        Self { videos }
    }

    pub fn video(&self, number: u64) -> Sample {
        let mut numbers = Numbers(number << 20);
        let title = numbers.words(TITLE_WORDS);
        Sample {
            id: id(number),
            owner: Owner(format!("owner-{}", numbers.below(10_000))),
            title,
            description: numbers.words(DESCRIPTION_WORDS),
            tags: (0..TAGS).map(|_| numbers.word()).collect(),
            // One in ten is kept private.
            is_public: numbers.below(10) > 0,
            created_ms: NOW_MS - numbers.below(5 * YEAR_MS) as i64,
            duration_ms: 10_000 + numbers.below(3_600_000),
            height: [360, 720, 1080, 2160][numbers.below(4) as usize],
        }
    }

    /// One in five was viewed, some of them often.
    pub fn views(&self) -> impl Iterator<Item = (VideoId, u64)> {
        (0..self.videos).step_by(5).map(|number| {
            let mut numbers = Numbers(number ^ 0x5eed);
            (id(number), 10_f64.powf(numbers.share() * 6.0) as u64)
        })
    }

    /// Of twenty: seven of one word, six of two, four of three, two phrases, and one with a mistake.
    pub fn queries(&self, count: usize) -> Vec<String> {
        let mut numbers = Numbers(7);
        let query = |n: usize| {
            let video = self.video(numbers.below(self.videos));
            let words: Vec<&str> = video.title.split(' ').collect();
            let at = numbers.below(4) as usize;
            match n % 20 {
                0..7 => words[at].to_owned(),
                7..13 => words[at..at + 2].join(" "),
                13..17 => words[at..at + 3].join(" "),
                17..19 => format!("\"{}\"", words[at..at + 2].join(" ")),
                _ => mistaken(words.iter().max_by_key(|word| word.len()).unwrap_or(&"")),
            }
        };
        (0..count).map(query).collect()
    }

    /// What is in a box while a title is typed: one to six letters of a word, after none or one.
    pub fn typed(&self, count: usize) -> Vec<String> {
        let mut numbers = Numbers(11);
        let typed = |n: usize| {
            let video = self.video(numbers.below(self.videos));
            let words: Vec<&str> = video.title.split(' ').collect();
            let letters = 1 + numbers.below(6) as usize;
            let beginning: String = words[1].chars().take(letters).collect();
            match n % 2 {
                0 => beginning,
                _ => format!("{} {beginning}", words[0]),
            }
        };
        (0..count).map(typed).collect()
    }
}

/// Two letters have changed places.
fn mistaken(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    letters.swap(middle - 1, middle);
    letters.into_iter().collect()
}

fn id(number: u64) -> VideoId {
    let mut numbers = Numbers(number ^ 0x1d);
    VideoId(uuid::Uuid::from_u64_pair(numbers.next(), numbers.next()))
}
