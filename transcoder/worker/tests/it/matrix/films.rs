//! The sources of the matrix: as small as they can be and still be what they are.

use axum::body::Bytes;

use crate::media::{film, painted, turned};

/// A source's name, as the table has it, and how it is made.
pub type Source = (&'static str, fn() -> Bytes);

pub const FILMS: &[Source] = &[
    ("h264-closed-gops.mp4", || mp4(&(h264(60, CLOSED) + AAC))),
    ("h264-open-gops.mp4", || mp4(&(h264(60, OPEN) + AAC))),
    ("h264-long-gop.mp4", || mp4(&h264(300, LONG))),
    ("h264-b-frames.mov", || {
        muxed(&(h264(60, OPEN) + AAC), "qtmux")
    }),
    ("h264-edit-list.mp4", || edited(&mp4(&h264(60, CLOSED)))),
    ("h264-aac.mkv", || {
        muxed(&(h264(60, CLOSED) + AAC), "matroskamux")
    }),
    ("h264-aac.flv", || {
        muxed(&(h264(60, CLOSED) + AAC), "flvmux")
    }),
    ("h264-aac.ts", || {
        muxed(&(h264(60, CLOSED) + AAC), "mpegtsmux")
    }),
    ("hevc-10-bit.mp4", || mp4(&hevc("bt709"))),
    ("hevc-hdr10.mp4", || mp4(&hevc("bt2100-pq"))),
    ("hevc-hlg.mkv", || muxed(&hevc("bt2100-hlg"), "matroskamux")),
    ("vp8-vorbis.webm", || {
        muxed(&(coded(60, "30/1", "", VP8) + VORBIS), "webmmux")
    }),
    ("vp9-opus.webm", || {
        muxed(&(coded(60, "30/1", "", VP9) + OPUS), "webmmux")
    }),
    ("av1-opus.webm", || {
        muxed(&(coded(30, "30/1", "", AV1) + OPUS), "webmmux")
    }),
    ("av1.mp4", || mp4(&coded(30, "30/1", "", AV1))),
    ("mpeg2-interlaced.mkv", || {
        muxed(&interlaced(MPEG2_FIELDS), "matroskamux")
    }),
    ("h264-interlaced.mkv", || {
        muxed(&interlaced(H264_FIELDS), "matroskamux")
    }),
    ("h264-mp2.ts", || {
        muxed(&(h264(60, CLOSED) + MP2), "mpegtsmux")
    }),
    ("mpeg4-mp3.avi", || {
        muxed(&(coded(60, "30/1", "", MPEG4) + MP3), "avimux")
    }),
    ("mjpeg-pcm.avi", || {
        muxed(&(coded(60, "30/1", "", "jpegenc") + PCM), "avimux")
    }),
    ("mjpeg-pcm.mov", || {
        muxed(&(coded(60, "30/1", "", "jpegenc") + PCM), "qtmux")
    }),
    ("prores-10-bit.mov", || {
        muxed(
            &coded(15, "30/1", ",format=I422_10LE", "avenc_prores_ks"),
            "qtmux",
        )
    }),
    ("theora-vorbis.ogv", || {
        muxed(&(coded(60, "30/1", "", "theoraenc") + VORBIS), "oggmux")
    }),
    ("variable-rate.mp4", || variable("mp4mux")),
    ("variable-rate.mkv", || variable("matroskamux")),
    ("turned-90.mp4", || turned(&mp4(&h264(30, CLOSED)))),
    ("turned-180.mov", || {
        rotated(
            &muxed(&h264(30, CLOSED), "qtmux"),
            [0xffff_0000, 0, 0, 0xffff_0000],
        )
    }),
    ("turned-270.mp4", || {
        rotated(&mp4(&h264(30, CLOSED)), [0, 0xffff_0000, 0x0001_0000, 0])
    }),
    ("anamorphic.mp4", || {
        mp4(&sized(
            180,
            144,
            "30/1",
            ",pixel-aspect-ratio=16/11",
            CLOSED,
        ))
    }),
    ("odd-size.webm", || {
        muxed(&sized(161, 91, "30/1", "", VP9), "webmmux")
    }),
    ("odd-size-444.mkv", || {
        muxed(
            &sized(161, 91, "30/1", ",format=Y444", CLOSED),
            "matroskamux",
        )
    }),
    ("portrait.mp4", || mp4(&sized(90, 160, "30/1", "", CLOSED))),
    ("surround-ac3.mkv", || {
        muxed(&(h264(60, CLOSED) + SURROUND_AC3), "matroskamux")
    }),
    ("surround-aac.mp4", || {
        mp4(&(h264(60, CLOSED) + SURROUND_AAC))
    }),
    // Which comes first is up to the muxer: they are alike.
    ("several-tracks.mkv", || {
        let pictures = h264(60, CLOSED);
        muxed(
            &[&pictures, &pictures, AAC, AAC, AAC].concat(),
            "matroskamux",
        )
    }),
    ("one-fps.mp4", || mp4(&coded(30, "1/1", "", SLOW))),
    ("half-fps.avi", || {
        muxed(&coded(15, "1/2", "", MPEG4), "avimux")
    }),
    ("one-fps.webm", || {
        muxed(&coded(30, "1/1", "", VP9), "webmmux")
    }),
    ("ntsc-rate.mp4", || {
        mp4(&coded(60, "30000/1001", "", CLOSED))
    }),
    ("film-rate.mkv", || {
        muxed(&coded(48, "24000/1001", "", CLOSED), "matroskamux")
    }),
    ("120-fps.mp4", || mp4(&coded(240, "120/1", "", CLOSED))),
    ("one-picture.mp4", || mp4(&h264(1, CLOSED))),
    ("one-picture.mkv", || muxed(&h264(1, CLOSED), "matroskamux")),
    ("three-hours.mp4", three_hours),
    ("video-only.mp4", || mp4(&h264(60, CLOSED))),
    ("audio-only.m4a", || mp4(AAC)),
    ("audio-only.mp3", || {
        film(&(MP3.replace("queue ! mux. ", "xingmux ! filesink name=out")))
    }),
    ("audio-only.ogg", || muxed(VORBIS, "oggmux")),
    ("audio-only.opus", || muxed(OPUS, "oggmux")),
    ("audio-only.wav", || muxed(PCM, "wavenc")),
    ("audio-only.flac", || {
        film(&(PCM.replace("queue ! mux. ", "flacenc ! filesink name=out")))
    }),
];

const CLOSED: &str = "x264enc speed-preset=ultrafast key-int-max=30 ! h264parse";
const SLOW: &str = "x264enc speed-preset=ultrafast key-int-max=10 ! h264parse";
const OPEN: &str = "x264enc speed-preset=veryfast key-int-max=15 bframes=3 b-adapt=false \
                    option-string=open-gop=1:scenecut=0 ! h264parse";
const LONG: &str = "x264enc speed-preset=veryfast key-int-max=600 ! h264parse";
const VP8: &str = "vp8enc deadline=1 cpu-used=8";
const VP9: &str = "vp9enc deadline=1 cpu-used=8";
const AV1: &str = "av1enc cpu-used=8 usage-profile=realtime ! av1parse";
const MPEG4: &str = "avenc_mpeg4";
/// Its encoder takes woven fields only for whole pictures.
const MPEG2_FIELDS: &str = "capssetter replace=true caps=video/x-raw,format=I420,width=160,height=96,\
                            framerate=25/1,interlace-mode=progressive ! \
                            mpeg2enc format=3 interlace-mode=1 bitrate=1000 ! mpegvideoparse";
const H264_FIELDS: &str = "x264enc speed-preset=ultrafast interlaced=true ! h264parse";

/// Two seconds of sound each.
const AAC: &str = "audiotestsrc num-buffers=94 samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2 ! \
                   audioconvert ! avenc_aac ! aacparse ! queue ! mux. ";
const MP3: &str = "audiotestsrc num-buffers=88 samplesperbuffer=1000 ! audio/x-raw,rate=44100,channels=1 ! \
                   audioconvert ! lamemp3enc ! mpegaudioparse ! queue ! mux. ";
const MP2: &str = "audiotestsrc num-buffers=96 samplesperbuffer=1000 ! audio/x-raw,rate=48000,channels=2 ! \
                   audioconvert ! avenc_mp2 ! mpegaudioparse ! queue ! mux. ";
const OPUS: &str = "audiotestsrc num-buffers=100 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2 ! \
                    audioconvert ! opusenc ! queue ! mux. ";
const VORBIS: &str = "audiotestsrc num-buffers=96 samplesperbuffer=1000 ! audio/x-raw,rate=48000,channels=2 ! \
                      audioconvert ! vorbisenc ! queue ! mux. ";
const PCM: &str = "audiotestsrc num-buffers=32 samplesperbuffer=1000 ! \
                   audio/x-raw,format=S16LE,rate=16000,channels=1 ! queue ! mux. ";
const SURROUND_AC3: &str = "audiotestsrc num-buffers=96 samplesperbuffer=1000 ! \
                            audio/x-raw,rate=48000,channels=6,channel-mask=(bitmask)0x3f ! audioconvert ! \
                            avenc_ac3 bitrate=384000 ! ac3parse ! queue ! mux. ";
const SURROUND_AAC: &str = "audiotestsrc num-buffers=94 samplesperbuffer=1024 ! \
                            audio/x-raw,rate=48000,channels=6,channel-mask=(bitmask)0x3f ! audioconvert ! \
                            avenc_aac bitrate=256000 ! aacparse ! queue ! mux. ";

fn muxed(tracks: &str, muxer: &str) -> Bytes {
    film(&format!("{tracks} {muxer} name=mux ! filesink name=out"))
}

fn mp4(tracks: &str) -> Bytes {
    crate::media::mp4(tracks)
}

fn h264(pictures: u32, encoder: &str) -> String {
    coded(pictures, "30/1", "", encoder)
}

fn coded(pictures: u32, rate: &str, more: &str, encoder: &str) -> String {
    picture_track(pictures, (160, 90), rate, more, encoder)
}

fn sized(width: u32, height: u32, rate: &str, more: &str, encoder: &str) -> String {
    picture_track(60, (width, height), rate, more, encoder)
}

fn picture_track(
    pictures: u32,
    (width, height): (u32, u32),
    rate: &str,
    more: &str,
    encoder: &str,
) -> String {
    format!(
        "videotestsrc num-buffers={pictures} pattern=ball ! \
         video/x-raw,width={width},height={height},framerate={rate}{} ! {encoder} ! queue ! mux. ",
        match more.contains("format") {
            true => more.to_owned(),
            false => format!(",format=I420{more}"),
        }
    )
}

fn hevc(colorimetry: &str) -> String {
    coded(
        30,
        "30/1",
        &format!(",format=I420_10LE,colorimetry={colorimetry}"),
        "x265enc speed-preset=ultrafast ! h265parse",
    )
}

/// A second of 25 pictures of two fields each.
fn interlaced(encoder: &str) -> String {
    format!(
        "videotestsrc num-buffers=50 pattern=ball ! \
         video/x-raw,format=I420,width=160,height=96,framerate=50/1 ! \
         interlace field-pattern=1:1 top-field-first=true ! {encoder} ! queue ! mux. "
    )
}

/// Pictures that are shown for 20, 100 and 60 ms by turns; 40 on average.
fn variable(muxer: &str) -> Bytes {
    let mut at_ms = 0;
    let mut pictures = Vec::new();
    for number in 0..48u8 {
        pictures.push((at_ms, vec![40 + 4 * number; 160 * 96 * 3 / 2]));
        at_ms += [20, 100, 60][usize::from(number % 3)];
    }
    painted(
        &format!(
            "appsrc name=in caps=video/x-raw,format=I420,width=160,height=96,framerate=0/1 ! \
             x264enc speed-preset=ultrafast bframes=0 ! h264parse ! {muxer} ! filesink name=out"
        ),
        &pictures,
    )
}

/// A picture every four seconds.
fn three_hours() -> Bytes {
    film(
        "videotestsrc num-buffers=2700 pattern=ball ! \
         video/x-raw,format=I420,width=32,height=32,framerate=1/4 ! \
         x264enc speed-preset=ultrafast key-int-max=15 ! h264parse ! mp4mux ! filesink name=out",
    )
}

/// The same film with another matrix: a, b, c and d of its first two rows.
fn rotated(film: &[u8], [a, b, c, d]: [u32; 4]) -> Bytes {
    let mut bytes = film.to_vec();
    let header = bytes.windows(4).position(|kind| kind == b"tkhd").unwrap() + 4;
    let matrix = [a, b, 0, c, d, 0, 0, 0, 0x4000_0000u32];
    for (number, value) in matrix.iter().enumerate() {
        let at = header + 40 + number * 4;
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    bytes.into()
}

/// The same film beginning half a second later, by its edit list.
fn edited(film: &[u8]) -> Bytes {
    let mut bytes = film.to_vec();
    let list = bytes.windows(4).position(|kind| kind == b"elst").unwrap() + 4;
    let scale = |kind: &[u8]| {
        let at = bytes.windows(4).position(|found| found == kind).unwrap() + 4 + 12;
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    };
    let (movie, media) = (scale(b"mvhd"), scale(b"mdhd"));
    // Version and flags, the number of entries, then a duration and a beginning.
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let (duration, begin) = (number(list + 8), number(list + 12));
    bytes[list + 8..list + 12].copy_from_slice(&(duration - movie / 2).to_be_bytes());
    bytes[list + 12..list + 16].copy_from_slice(&(begin + media / 2).to_be_bytes());
    bytes.into()
}
