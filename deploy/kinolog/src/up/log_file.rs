//! The log of one role, bounded: the current file and the one before.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A log larger than this becomes the old one.
const SIZE_BYTES_MAX: u64 = 16 * 1024 * 1024;

pub struct LogFile {
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl LogFile {
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            size_bytes,
        })
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size_bytes + bytes.len() as u64 > SIZE_BYTES_MAX {
            fs::rename(&self.path, self.path.with_extension("log.old"))?;
            *self = Self::open(self.path.clone())?;
        }
        self.file.write_all(bytes)?;
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }
}

/// The last lines of a log, for an error message.
pub fn tail(path: &Path, lines_max: usize) -> String {
    let Ok(content) = fs::read(path) else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&content);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(lines_max);
    lines[from..].join("\n")
}
