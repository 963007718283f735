//! How long a client waits for a call: the header `grpc-timeout`.
//!
//! The server layer ends a call whose first answer comes too late; a stream of answers
//! ends itself.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// The protocol's own maximum.
const DIGITS_MAX: usize = 8;

/// When the client stops waiting, if it ever does. One that says nothing readable waits.
pub(super) fn of(metadata: &MetadataMap) -> Option<Instant> {
    let header = metadata.get("grpc-timeout")?;
    Instant::now().checked_add(parse(header.to_str().ok()?)?)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let count = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 60 * 60)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_a_number_and_a_unit() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parse("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse("7u"), Some(Duration::from_micros(7)));
        assert_eq!(parse("1n"), Some(Duration::from_nanos(1)));
    }

    #[test]
    fn anything_else_is_no_timeout() {
        for text in ["", "S", "5", "5x", "-5S", "999999999S", "5€"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
