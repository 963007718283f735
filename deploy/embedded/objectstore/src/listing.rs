//! Pages of keys, in the order of their bytes, rolled up at a delimiter.

use std::ops::Bound;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::state::{Object, State};

/// S3's own maximum of a page.
pub(crate) const PAGE_MAX: usize = 1_000;

pub(crate) enum Entry {
    Object(String, Arc<Object>),
    /// All keys that go on after the delimiter.
    Prefix(String),
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum After {
    Start,
    Key(String),
    /// After everything under a rolled up prefix.
    Prefix(String),
}

pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// Where the next one begins, if there is one.
    pub(crate) next: Option<After>,
}

impl After {
    /// Opaque to clients.
    pub(crate) fn token(&self) -> String {
        let (kind, text) = match self {
            Self::Start => ("s", ""),
            Self::Key(key) => ("k", key.as_str()),
            Self::Prefix(prefix) => ("p", prefix.as_str()),
        };
        URL_SAFE_NO_PAD.encode(format!("{kind}{text}"))
    }

    pub(crate) fn parse(token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let rest = text.get(1..)?.to_owned();
        match text.get(..1)? {
            "s" => Some(Self::Start),
            "k" => Some(Self::Key(rest)),
            "p" => Some(Self::Prefix(rest)),
            _ => None,
        }
    }
}

pub(crate) fn page(
    state: &State,
    prefix: &str,
    delimiter: Option<&str>,
    after: &After,
    max: usize,
) -> Page {
    let mut entries: Vec<Entry> = vec![];
    if max == 0 {
        return Page {
            entries,
            next: None,
        };
    }
    let mut last = after.clone();
    let mut from = match after {
        After::Key(key) if key.as_str() >= prefix => Bound::Excluded(key.clone()),
        After::Prefix(rolled) => beyond(rolled),
        After::Start | After::Key(_) => Bound::Included(prefix.to_owned()),
    };
    while let Some((key, object)) = state
        .objects
        .range::<str, _>((from.as_ref().map(String::as_str), Bound::Unbounded))
        .next()
        .filter(|(key, _)| key.starts_with(prefix))
    {
        let rolled = delimiter
            .filter(|delimiter| !delimiter.is_empty())
            .and_then(|delimiter| {
                let at = key[prefix.len()..].find(delimiter)?;
                Some(&key[..prefix.len() + at + delimiter.len()])
            });
        from = match rolled {
            Some(rolled) => beyond(rolled),
            None => Bound::Excluded(key.clone()),
        };
        // What sorts behind even the last character is rolled up already.
        if rolled.is_some_and(|rolled| last == After::Prefix(rolled.to_owned())) {
            from = Bound::Excluded(key.clone());
            continue;
        }
        if entries.len() == max {
            return Page {
                entries,
                next: Some(last),
            };
        }
        match rolled {
            Some(rolled) => {
                last = After::Prefix(rolled.to_owned());
                entries.push(Entry::Prefix(rolled.to_owned()));
            }
            None => {
                last = After::Key(key.clone());
                entries.push(Entry::Object(key.clone(), Arc::clone(object)));
            }
        }
    }
    Page {
        entries,
        next: None,
    }
}

/// Behind (nearly) all keys that begin with `prefix`.
fn beyond(prefix: &str) -> Bound<String> {
    Bound::Excluded(format!("{prefix}{}", char::MAX))
}

/// `encoding-type=url`: what XML 1.0 cannot carry.
pub(crate) fn url_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
