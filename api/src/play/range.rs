//! `Range` and the conditional headers of a GET (RFC 9110), for objects that never change.

use std::ops::Range;

/// Which bytes of an object of `size` bytes are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// Reads a `Range` header. What we do not understand, and more than one range, is
/// answered with the whole, as the RFC allows.
pub(crate) fn parse(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|text| text.strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Asked::Whole;
    };
    match (number(first), number(last)) {
        (Number::None, Number::Of(0)) => Asked::Unsatisfiable,
        (Number::None, Number::Of(_)) if size == 0 => Asked::Unsatisfiable,
        (Number::None, Number::Of(suffix)) => Asked::Part(size.saturating_sub(suffix)..size),
        (Number::Of(first), Number::None) if first < size => Asked::Part(first..size),
        (Number::Of(first), Number::Of(last)) if last < first => Asked::Whole,
        (Number::Of(first), Number::Of(last)) if first < size => {
            Asked::Part(first..size.min(last.saturating_add(1)))
        }
        (Number::Of(_), Number::None | Number::Of(_)) => Asked::Unsatisfiable,
        (Number::None, Number::None) | (Number::Bad, _) | (_, Number::Bad) => Asked::Whole,
    }
}

/// Whether `If-None-Match` names `etag` (with its quotes), so that nothing needs to be sent.
pub(crate) fn is_known(if_none_match: Option<&str>, etag: &str) -> bool {
    let Some(header) = if_none_match else {
        return false;
    };
    header.split(',').map(str::trim).any(|candidate| {
        candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag
    })
}

enum Number {
    None,
    Of(u64),
    Bad,
}

fn number(text: &str) -> Number {
    let text = text.trim();
    if text.is_empty() {
        return Number::None;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Number::Bad;
    }
    // More digits than any object has bytes: past the end.
    Number::Of(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (header, asked) in [
            ("bytes=0-", Asked::Part(0..10)),
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-4", Asked::Part(2..5)),
            ("bytes=9-99", Asked::Part(9..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=99999999999999999999999-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=4-2", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ] {
            assert_eq!(parse(Some(header), 10), asked, "{header}");
        }
        assert_eq!(parse(None, 10), Asked::Whole);
        assert_eq!(parse(Some("bytes=-1"), 0), Asked::Unsatisfiable);
    }

    #[test]
    fn a_known_etag_is_found_in_a_list() {
        assert!(is_known(Some("\"a\", W/\"b\""), "\"b\""));
        assert!(is_known(Some("*"), "\"b\""));
        assert!(!is_known(Some("\"a\""), "\"b\""));
        assert!(!is_known(None, "\"b\""));
    }
}
