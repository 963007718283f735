//! The sources: FILE, and what is made from it without encoding it anew.
//!
//! # Invariants
//!
//! * A source has the pictures of FILE; only the container and the number of repetitions differ.
//! * Nothing is read from Matroska as it is: such a source must be encoded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use crate::ffmpeg::ffmpeg;

/// What a quick run takes of FILE.
const QUICK_SECONDS: u32 = 10;
/// How long a clip is where there is no FILE.
const GENERATED_SECONDS: u32 = 60;

pub struct Sources {
    folder: PathBuf,
    /// In MP4.
    pub file: PathBuf,
}

impl Sources {
    pub fn new(folder: &Path, file: Option<&Path>, quick: bool) -> anyhow::Result<Self> {
        let folder = folder.join("sources");
        fs::create_dir_all(&folder)?;
        let whole = match file {
            Some(file) => file.to_owned(),
            None => generated(&folder)?,
        };
        ensure!(whole.is_file(), "there is no file {}", whole.display());
        let sources = Self {
            folder,
            file: whole.clone(),
        };
        if !quick {
            return Ok(sources);
        }
        let file = sources.made("quick.mp4", |out| {
            ffmpeg(["-t", &QUICK_SECONDS.to_string(), "-i"], |command| {
                command.arg(&whole).args(FAST_START).arg(out)
            })
        })?;
        Ok(Self { file, ..sources })
    }

    /// FILE in a container that is never passed through.
    pub fn to_be_encoded(&self) -> anyhow::Result<PathBuf> {
        self.in_matroska("encoded.mkv", 1)
    }

    /// FILE again and again, timed as if it had been filmed in one piece: a join leaves a gap,
    /// and what has gaps is not passed through.
    pub fn repeated(&self, times: u32) -> anyhow::Result<PathBuf> {
        self.made(&format!("repeated-{times}.mp4"), |out| {
            let joined = out.with_extension("joined.mp4");
            ffmpeg(
                ["-stream_loop", &(times - 1).to_string(), "-i"],
                |command| command.arg(&self.file).args(["-c", "copy"]).arg(&joined),
            )?;
            let picture = format!("1/(({})*TB)", frame_rate(&self.file)?);
            let shown = format!("STARTDTS+N*{picture}");
            let video = format!("setts=dts={shown}:pts={shown}+PTS-DTS:duration={picture}");
            let audio = "setts=ts=STARTPTS+N*1024:duration=1024";
            ffmpeg(["-i"], |command| {
                command
                    .arg(&joined)
                    .args(["-bsf:v", &video, "-bsf:a", audio])
                    .args(FAST_START)
                    .arg(out)
            })?;
            fs::remove_file(&joined).context("failed to remove what was joined")
        })
    }

    pub fn repeated_to_be_encoded(&self, times: u32) -> anyhow::Result<PathBuf> {
        self.in_matroska(&format!("repeated-{times}.mkv"), times)
    }

    /// A test picture of 3840×2160 with a tone, in Matroska.
    pub fn large(&self, seconds: u32, frame_rate: u32) -> anyhow::Result<PathBuf> {
        let minute = self.made(&format!("large-{frame_rate}.mkv"), |out| {
            let picture = format!("testsrc2=size=3840x2160:rate={frame_rate}:duration=60");
            ffmpeg(["-f", "lavfi", "-i", &picture], |command| {
                command
                    .args(["-f", "lavfi", "-i", "sine=sample_rate=48000:duration=60"])
                    .args([
                        "-c:v",
                        "libx264",
                        "-preset",
                        "ultrafast",
                        "-pix_fmt",
                        "yuv420p",
                    ])
                    .args(["-c:a", "aac"])
                    .arg(out)
            })
        })?;
        let times = seconds.div_ceil(60);
        self.made(&format!("large-{frame_rate}-{times}.mkv"), |out| {
            ffmpeg(
                ["-stream_loop", &(times - 1).to_string(), "-i"],
                |command| command.arg(&minute).args(["-c", "copy"]).arg(out),
            )
        })
    }

    fn in_matroska(&self, name: &str, times: u32) -> anyhow::Result<PathBuf> {
        // AAC's first packet is for decoders to warm up, and lies before the picture. Matroska has no
        // time before zero: with that packet all pictures would come most of a picture later.
        let sound = "noise=drop=lt(n\\,1)";
        self.made(name, |out| {
            ffmpeg(
                ["-stream_loop", &(times - 1).to_string(), "-i"],
                |command| {
                    command
                        .arg(&self.file)
                        .args(["-c", "copy", "-bsf:a", sound])
                        .arg(out)
                },
            )
        })
    }

    /// A file in our folder, made unless an earlier run was told to keep it. It belongs to
    /// FILE as it is: another one, or a quick run, has other files.
    fn made(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let of = fs::metadata(&self.file)?.len();
        let path = self.folder.join(format!("{of}-{name}"));
        if path.exists() {
            return Ok(path);
        }
        eprintln!("making {name}");
        // Half a file never has its final name.
        let half = self.folder.join(format!("half-{name}"));
        make(&half)?;
        fs::rename(&half, &path).with_context(|| format!("failed to keep {name}"))?;
        Ok(path)
    }

    pub fn delete(&self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("failed to remove {}", self.folder.display()))
    }
}

/// Copies what is there, the index in front.
const FAST_START: [&str; 4] = ["-c", "copy", "-movflags", "+faststart"];

/// Pictures per second, as a fraction.
fn frame_rate(file: &Path) -> anyhow::Result<String> {
    let told = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-of", "csv=p=0"])
        .args(["-show_entries", "stream=r_frame_rate"])
        .arg(file)
        .output()
        .context("failed to start ffprobe")?;
    let rate = String::from_utf8(told.stdout)?.trim().to_owned();
    ensure!(rate.contains('/'), "{} has no frame rate", file.display());
    Ok(rate)
}

fn generated(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("generated.mp4");
    let worker = Path::new(env!("CARGO_BIN_EXE_kinolog")).with_file_name("kinolog-worker");
    let status = std::process::Command::new(&worker)
        .arg("clip")
        .arg(&path)
        .args(["--seconds", &GENERATED_SECONDS.to_string()])
        .status()
        .with_context(|| format!("failed to run {}", worker.display()))?;
    ensure!(status.success(), "no clip was generated: {status}");
    Ok(path)
}
