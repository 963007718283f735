//! Small MP4 files for tests: an index that says what the test wants, and samples to it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use bytes::Bytes;

use super::Output;
use super::cmaf::{boxed, full, numbers};
use super::index::Index;
use super::source_element::SourceLink;
use crate::fragment;

/// 1080p, High, level 4.0, as x264 writes it.
const SEQUENCE: &[u8] = &[
    0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03,
    0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
];
const PICTURE: &[u8] = &[0x68, 0xeb, 0xec, 0xb2, 0x2c];
/// AAC-LC, stereo, 48 kHz.
const CONFIG: &[u8] = &[0x11, 0x90];

/// A picture: how long until the next is decoded, how much later it is shown, and whether it
/// begins anew.
pub(super) type Picture = (u32, i32, bool);

/// What a file is made of; what is not said is as it is most often.
pub(super) struct Film {
    pub(super) timescale: u32,
    pub(super) pictures: Vec<Picture>,
    /// Bytes of a picture.
    pub(super) size: u32,
    /// Frames of sound.
    pub(super) frames: Vec<u32>,
    /// Duration, in ms, and start, of the edit of the picture and of the sound.
    pub(super) edit: Option<(u32, i32)>,
    pub(super) sound_edit: Option<(u32, i32)>,
    pub(super) sequence: Vec<u8>,
}

impl Film {
    /// Groups of so many pictures, 30 a second, with B-frames, all of them closed.
    pub(super) fn closed(groups: &[u32]) -> Film {
        let mut pictures = vec![];
        for group in groups {
            for number in 0..*group {
                // I P B P B …: each P is shown behind the B that follows it.
                let shift = match (number, number % 2) {
                    (0, _) => 1,
                    (last, 1) if last + 1 == *group => 1,
                    (_, 1) => 2,
                    _ => 0,
                };
                pictures.push((1000, shift * 1000, number == 0));
            }
        }
        Film {
            timescale: 30_000,
            pictures,
            size: 16,
            frames: vec![],
            edit: Some((0, 1000)),
            sound_edit: None,
            sequence: SEQUENCE.to_vec(),
        }
    }

    pub(super) fn file(&self) -> Vec<u8> {
        let mut out = vec![];
        boxed(&mut out, b"ftyp", |out| out.extend(b"isom\0\0\0\0isom"));
        let mdat = out.len() as u32 + 8;
        boxed(&mut out, b"mdat", |out| {
            for (_, _, is_key) in &self.pictures {
                let kind = if *is_key { 0x65 } else { 0x41 };
                numbers(out, &[self.size - 4]);
                out.push(kind);
                out.resize(out.len() + self.size as usize - 5, 0x11);
            }
            out.resize(out.len() + self.frames.len() * 8, 0x22);
        });
        boxed(&mut out, b"moov", |out| {
            let mut header = [0; 25];
            header[2] = 1000;
            full(out, b"mvhd", 0, |out| numbers(out, &header[..24]));
            if !self.pictures.is_empty() {
                boxed(out, b"trak", |out| self.picture_track(out, mdat));
            }
            if !self.frames.is_empty() {
                let at = mdat + self.pictures.len() as u32 * self.size;
                boxed(out, b"trak", |out| self.sound_track(out, at));
            }
        });
        out
    }

    pub(super) fn index(&self) -> Index {
        let file = Bytes::from(self.file());
        let moov = fragment::child(&file, b"moov").unwrap();
        Index::read(&file.slice_ref(moov)).unwrap()
    }

    fn picture_track(&self, out: &mut Vec<u8>, at: u32) {
        let times: Vec<u32> = self.pictures.iter().map(|it| it.0).collect();
        let entry = |out: &mut Vec<u8>| {
            boxed(out, b"avc1", |out| {
                let mut entry = [0; 78];
                (entry[24], entry[25]) = (7, 128);
                (entry[26], entry[27]) = (4, 56);
                out.extend(entry);
                boxed(out, b"avcC", |out| {
                    out.extend([1, 100, 0, 40, 0xff, 0xe1, 0, self.sequence.len() as u8]);
                    out.extend(&self.sequence);
                    out.extend([1, 0, PICTURE.len() as u8]);
                    out.extend(PICTURE);
                });
            });
        };
        let tables = |out: &mut Vec<u8>| {
            full(out, b"ctts", 1 << 24, |out| {
                numbers(out, &[self.pictures.len() as u32]);
                for (_, shift, _) in &self.pictures {
                    numbers(out, &[1, *shift as u32]);
                }
            });
            full(out, b"stss", 0, |out| {
                let keys = self.pictures.iter().enumerate().filter(|(_, it)| it.2);
                let keys: Vec<u32> = keys.map(|(number, _)| number as u32 + 1).collect();
                numbers(out, &[keys.len() as u32]);
                numbers(out, &keys);
            });
        };
        let track = Track {
            id: 1,
            kind: b"vide",
            timescale: self.timescale,
            edit: self.edit,
            size: self.size,
            at,
        };
        track.write(out, &times, entry, tables);
    }

    fn sound_track(&self, out: &mut Vec<u8>, at: u32) {
        let entry = |out: &mut Vec<u8>| {
            boxed(out, b"mp4a", |out| {
                out.extend([0; 28]);
                full(out, b"esds", 0, |out| {
                    let decoder = 15 + CONFIG.len() as u8;
                    out.extend([3, 5 + decoder, 0, 1, 0, 4, decoder, 0x40, 0x15]);
                    out.extend([0; 11]);
                    out.extend([5, CONFIG.len() as u8]);
                    out.extend(CONFIG);
                });
            });
        };
        let track = Track {
            id: 2,
            kind: b"soun",
            timescale: 48_000,
            edit: self.sound_edit,
            size: 8,
            at,
        };
        track.write(out, &self.frames, entry, |_| {});
    }
}

struct Track {
    id: u32,
    kind: &'static [u8; 4],
    timescale: u32,
    edit: Option<(u32, i32)>,
    size: u32,
    at: u32,
}

impl Track {
    fn write(
        &self,
        out: &mut Vec<u8>,
        times: &[u32],
        entry: impl FnOnce(&mut Vec<u8>),
        tables: impl FnOnce(&mut Vec<u8>),
    ) {
        full(out, b"tkhd", 3, |out| {
            numbers(out, &[0, 0, self.id, 0, 0, 0, 0, 0, 0]);
            let one = 0x0001_0000;
            numbers(out, &[one, 0, 0, 0, one, 0, 0, 0, 0x4000_0000, 0, 0]);
        });
        if let Some((duration, start)) = self.edit {
            boxed(out, b"edts", |out| {
                full(out, b"elst", 0, |out| {
                    numbers(out, &[1, duration, start as u32, 0x0001_0000]);
                });
            });
        }
        boxed(out, b"mdia", |out| {
            full(out, b"mdhd", 0, |out| {
                numbers(out, &[0, 0, self.timescale, 0, 0]);
            });
            full(out, b"hdlr", 0, |out| {
                numbers(out, &[0]);
                out.extend(self.kind);
                out.extend([0; 13]);
            });
            boxed(out, b"minf", |out| {
                boxed(out, b"dinf", |out| {
                    full(out, b"dref", 0, |out| {
                        numbers(out, &[1]);
                        full(out, b"url ", 1, |_| {});
                    });
                });
                boxed(out, b"stbl", |out| {
                    full(out, b"stsd", 0, |out| {
                        numbers(out, &[1]);
                        entry(out);
                    });
                    full(out, b"stts", 0, |out| {
                        numbers(out, &[times.len() as u32]);
                        for time in times {
                            numbers(out, &[1, *time]);
                        }
                    });
                    let count = times.len() as u32;
                    full(out, b"stsc", 0, |out| numbers(out, &[1, 1, count, 1]));
                    full(out, b"stsz", 0, |out| numbers(out, &[self.size, count]));
                    full(out, b"stco", 0, |out| numbers(out, &[1, self.at]));
                    tables(out);
                });
            });
        });
    }
}

/// A file as the parent would feed it, from a thread that ends with the last reader.
pub(super) fn link(file: Vec<u8>) -> SourceLink {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let size = file.len() as u64;
    std::thread::spawn(move || {
        let mut ask = [0u8; 12];
        while theirs.read_exact(&mut ask).is_ok() {
            let offset = u64::from_le_bytes(ask[..8].try_into().unwrap()) as usize;
            let length = u32::from_le_bytes(ask[8..].try_into().unwrap()) as usize;
            let part = &file[offset.min(file.len())..(offset + length).min(file.len())];
            theirs.write_all(&[0; 4]).unwrap();
            theirs
                .write_all(&(part.len() as u32).to_le_bytes())
                .unwrap();
            theirs.write_all(part).unwrap();
        }
    });
    SourceLink::new(File::from(OwnedFd::from(ours)), size)
}

/// A parent that takes everything and keeps nothing.
pub(super) fn nowhere() -> Output {
    let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
    Output {
        socket: Mutex::new(null),
    }
}
