//! Which words of a text a query found.
//!
//! # Invariants
//!
//! * What comes out is the text itself, cut into parts: nothing in it is markup, whoever wrote it.

use std::collections::HashSet;

use super::analysis::{self, Spot};

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub text: String,
    /// The query found it.
    pub is_found: bool,
}

/// How long an excerpt is, about.
const EXCERPT_CHARS: usize = 160;

/// What a query looked for, mistakes in typing taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marker {
    pub(super) forms: HashSet<String>,
    /// Beginnings of words.
    pub(super) beginnings: Vec<String>,
}

impl Marker {
    /// All of `text`, in parts; `None` if nothing of it was found.
    pub fn whole(&self, text: &str) -> Option<Vec<Part>> {
        let found = self.found(text);
        if found.is_empty() {
            return None;
        }
        Some(parts(text, 0..text.len(), &found))
    }

    /// The part of `text` with the most that was found; `None` if nothing of it was.
    pub fn excerpt(&self, text: &str) -> Option<Vec<Part>> {
        let found = self.found(text);
        let best = (0..found.len()).max_by_key(|first| {
            let from = found[*first].from;
            let within = found[*first..]
                .iter()
                .take_while(|spot| spot.to - from <= EXCERPT_CHARS);
            // The first of equals.
            (within.count(), std::cmp::Reverse(*first))
        })?;
        let from = beginning_of_word(text, found[best].from.saturating_sub(EXCERPT_CHARS / 4));
        let to = end_of_word(text, from + EXCERPT_CHARS).max(found[best].to);
        Some(parts(text, from..to, &found))
    }

    fn found(&self, text: &str) -> Vec<Spot> {
        let mut spots = analysis::spots(text);
        spots.retain(|spot| {
            let begins = |beginning: &String| spot.word.starts_with(beginning.as_str());
            self.forms.contains(&spot.word)
                || self.beginnings.iter().any(begins)
                || self.has_stem_of(&spot.word)
        });
        spots
    }
}

impl Marker {
    fn has_stem_of(&self, word: &str) -> bool {
        // A stem begins as its word does, and most words are none of ours.
        let first = word.chars().next();
        let may_be = self.forms.iter().any(|form| form.chars().next() == first);
        may_be
            && analysis::stems(word)
                .iter()
                .any(|stem| self.forms.contains(stem))
    }
}

fn parts(text: &str, range: std::ops::Range<usize>, found: &[Spot]) -> Vec<Part> {
    let mut parts = vec![];
    let mut push = |from: usize, to: usize, is_found| {
        if from < to {
            parts.push(Part {
                text: text[from..to].to_owned(),
                is_found,
            });
        }
    };
    let mut at = range.start;
    let within = found
        .iter()
        .filter(|spot| spot.from >= range.start && spot.to <= range.end);
    for spot in within {
        push(at, spot.from, false);
        push(spot.from, spot.to, true);
        at = spot.to;
    }
    push(at, range.end, false);
    parts
}

/// The beginning of the word at the byte `at`, or near it.
fn beginning_of_word(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while at > 0 && !(text.is_char_boundary(at) && text[..at].ends_with(char::is_whitespace)) {
        at -= 1;
    }
    at
}

fn end_of_word(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while at < text.len()
        && !(text.is_char_boundary(at) && text[at..].starts_with(char::is_whitespace))
    {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(forms: &[&str], beginnings: &[&str]) -> Marker {
        Marker {
            forms: forms.iter().map(|form| (*form).to_owned()).collect(),
            beginnings: beginnings.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    fn shown(parts: Option<Vec<Part>>) -> String {
        let show = |part: Part| match part.is_found {
            true => format!("[{}]", part.text),
            false => part.text,
        };
        parts.unwrap_or_default().into_iter().map(show).collect()
    }

    #[test]
    fn what_was_found_is_marked_and_the_text_stays_what_it_is() {
        let marker = marker(&["alps", "alp", "run"], &["au"]);
        for (text, expected) in [
            (
                "Über the Alps, <b>running</b>",
                "Über the [Alps], <b>[running]</b>",
            ),
            ("AURORA & Auto", "[AURORA] & [Auto]"),
            ("nothing of it", ""),
            ("", ""),
        ] {
            assert_eq!(shown(marker.whole(text)), expected);
        }
    }

    #[test]
    fn an_excerpt_is_where_most_was_found() {
        let filler = "ein Satz über gar nichts, der länger wird. ".repeat(8);
        let text = format!("alps {filler}here the alps and run along {filler}");
        let excerpt = shown(marker(&["alps", "run"], &[]).excerpt(&text));
        assert!(
            excerpt.contains("here the [alps] and [run] along"),
            "{excerpt}"
        );
        assert!(excerpt.len() < EXCERPT_CHARS + 40, "{excerpt}");
        assert!(text.contains(&excerpt.replace(['[', ']'], "")));
        assert_eq!(marker(&["sea"], &[]).excerpt(&text), None);
    }

    #[test]
    fn an_excerpt_cuts_no_letter() {
        for n in 0..60 {
            let text = format!(
                "{}{} alps {}",
                "x".repeat(n),
                "ß".repeat(90),
                "ü".repeat(400)
            );
            let excerpt = marker(&["alps"], &[]).excerpt(&text).unwrap();
            let whole: String = excerpt.into_iter().map(|part| part.text).collect();
            assert!(text.contains(&whole) && whole.contains("alps"));
        }
    }
}
