//! `cargo xtask bench NAME`: speed, each figure beside its limit or peer in the same run.
//!
//! Standard output has one JSON object per figure on a line of its own, and nothing else;
//! what is going on is said on standard error.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{packages, programs, python, root};

/// A player's eye for comparing what was encoded: an ffmpeg with libvmaf, which Debian's has not.
const VMAF: &str = "imageio-ffmpeg==0.8.0";
/// What is processed if no file is named, where it is.
const MEDIA: &str = "../shared/media/mixed-60s.mp4";

#[derive(Clone, Copy)]
enum Bench {
    Eventstore,
    Search,
    Transcode,
}

impl Bench {
    const ALL: [Self; 3] = [Self::Eventstore, Self::Search, Self::Transcode];

    fn name(self) -> &'static str {
        match self {
            Self::Eventstore => "eventstore",
            Self::Search => "search",
            Self::Transcode => "transcode",
        }
    }

    /// One of them has a bench of that name. The others are built with it, for all of a platform is
    /// measured: packages that are built together share what they depend on.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Eventstore => &[programs::EVENTSTORE],
            Self::Search => &["projections"],
            Self::Transcode => &programs::PACKAGES,
        }
    }
}

/// Runs one bench; what follows its name is for the bench.
pub fn run(arguments: &[String]) -> io::Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err(io::Error::other(format!("bench what? {}", known())));
    };
    let Some(bench) = Bench::ALL.into_iter().find(|bench| bench.name() == name) else {
        return Err(io::Error::other(format!(
            "there is no bench `{name}`; {}",
            known()
        )));
    };
    let mut cargo = programs::cargo();
    cargo.args(["bench", "--bench", bench.name()]);
    for package in bench.packages() {
        cargo.args(["--package", package]);
    }
    cargo.arg("--").args(rest);
    if let Bench::Transcode = bench {
        if let Some(cannot) = packages::for_transcode_bench() {
            return Ok(cannot);
        }
        if !programs::build(true)? {
            return Ok(ExitCode::FAILURE);
        }
        prepare_transcode(&mut cargo)?;
    }
    Ok(match cargo.status()?.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Says where the bench finds what it does not bring itself.
fn prepare_transcode(cargo: &mut Command) -> io::Result<()> {
    let media = root().join(MEDIA);
    if media.is_file() {
        cargo.env("KINOLOG_BENCH_FILE", media);
    }
    // Cargo runs a bench in the folder of its package: a name given here is meant from here.
    cargo.env("KINOLOG_BENCH_FROM", env::current_dir()?);
    cargo.env("KINOLOG_BENCH_VMAF", vmaf()?);
    Ok(())
}

fn vmaf() -> io::Result<PathBuf> {
    let folder = programs::target().join("bench").join("python");
    let python = python::with(&folder, &[VMAF])?;
    let ask = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())";
    let answer = Command::new(python).args(["-c", ask]).output()?;
    let path = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    if !answer.status.success() || !Path::new(&path).is_file() {
        return Err(io::Error::other(format!("{VMAF} brings no ffmpeg")));
    }
    Ok(PathBuf::from(path))
}

fn known() -> String {
    let names: Vec<&str> = Bench::ALL.iter().map(|bench| bench.name()).collect();
    format!("there is {}", names.join(", "))
}
