//! Media made by the tests themselves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::platform::target;

pub fn folder() -> PathBuf {
    let folder = target().join("media");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a GStreamer pipeline that ends by itself and leaves `name`.
pub fn made(name: &str, pipeline: &str) -> PathBuf {
    let path = folder().join(name);
    let description = format!("{pipeline} ! filesink location={}", path.display());
    launched(&description);
    path
}

fn launched(description: &str) {
    let output = Command::new("gst-launch-1.0")
        .arg("-q")
        .args(description.split_whitespace())
        .output()
        .expect("gst-launch-1.0 is installed by `cargo xtask test`");
    assert!(
        output.status.success(),
        "{description}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A picture with sound: 320×240 at 25 fps, key frames every second, the index at the front.
pub fn clip(name: &str, seconds: u32) -> PathBuf {
    let path = folder().join(name);
    let frames = seconds * 25;
    // 48,000 samples a second in buffers of 1,920: as many buffers as frames.
    launched(&format!(
        "mp4mux name=m faststart=true ! filesink location={} \
         videotestsrc num-buffers={frames} ! video/x-raw,width=320,height=240,framerate=25/1 \
         ! x264enc speed-preset=ultrafast key-int-max=25 ! h264parse ! m. \
         audiotestsrc num-buffers={frames} samplesperbuffer=1920 ! audio/x-raw,rate=48000,channels=2 \
         ! avenc_aac ! aacparse ! m.",
        path.display()
    ));
    path
}

/// The first `part` of a file.
pub fn cut(path: &Path, part: f64, name: &str) -> PathBuf {
    let bytes = fs::read(path).unwrap();
    let kept = (bytes.len() as f64 * part) as usize;
    written(name, &bytes[..kept])
}

pub fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A Matroska file whose header claims ten hours.
pub fn claims_ten_hours(name: &str) -> PathBuf {
    let honest = made(
        "honest.mkv",
        "videotestsrc num-buffers=75 ! video/x-raw,width=320,height=240,framerate=25/1 \
         ! x264enc speed-preset=ultrafast key-int-max=25 ! h264parse ! matroskamux",
    );
    let mut bytes = fs::read(honest).unwrap();
    // EBML: Duration (0x4489), a double of 8 bytes, in ms.
    let at = bytes
        .windows(3)
        .position(|w| w == [0x44, 0x89, 0x88])
        .expect("a Duration element");
    let ten_hours_ms = 36_000_000_f64;
    bytes[at + 3..at + 11].copy_from_slice(&ten_hours_ms.to_be_bytes());
    written(name, &bytes)
}
