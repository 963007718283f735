//! A place in the log, with the log's epoch: the clock that all read models share.
//!
//! # Invariants
//!
//! * Its text is opaque to clients, and tells a foreign log's position from ours.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Which log this is: two logs differ in it, a restarted one keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    pub fn at(self, commit: u64) -> Position {
        Position {
            epoch: self,
            commit,
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub commit: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a position")]
pub struct BadPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[4..].copy_from_slice(&self.commit.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadPosition)?;
        let bytes: [u8; 12] = bytes.try_into().map_err(|_| BadPosition)?;
        let (epoch, commit) = bytes.split_at(4);
        let epoch = u32::from_be_bytes(epoch.try_into().map_err(|_| BadPosition)?);
        let commit = u64::from_be_bytes(commit.try_into().map_err(|_| BadPosition)?);
        Ok(Epoch(epoch).at(commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_text() {
        for commit in [0, 1, 1 << 40, u64::MAX] {
            let position = Epoch(0xdead_beef).at(commit);
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn other_text_is_no_position() {
        for text in [
            "",
            "0",
            "AAAA",
            "3q2-7wAAAAAAAAAAA",
            "3q2+7wAAAAAAAAAA",
            "ü",
        ] {
            assert_eq!(text.parse::<Position>(), Err(BadPosition), "{text}");
        }
    }
}
