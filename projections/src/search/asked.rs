//! What the text of a query says: words, "phrases in quotes", and -words that must not be there.
//!
//! # Invariants
//!
//! * Every text says something or nothing; there are no mistakes in it.
//! * It names no fields: who may find what is not for the text to say.

use super::analysis;

/// More words than these are not looked at.
pub(super) const WORDS_MAX: usize = 16;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Each makes a video fit; the more the better.
    pub words: Vec<String>,
    /// Every one must be there, word for word.
    pub phrases: Vec<Vec<String>>,
    /// None may be there.
    pub without: Vec<Vec<String>>,
}

impl Asked {
    pub(super) fn of(text: &str) -> Self {
        let mut asked = Self::default();
        let mut left = WORDS_MAX;
        let mut rest = text.trim_start();
        while !rest.is_empty() && left > 0 {
            let is_without = rest.starts_with('-');
            let from = &rest[usize::from(is_without)..];
            let (part, is_quoted, after) = part(from);
            rest = after.trim_start();
            let mut words = analysis::words(part);
            words.truncate(left);
            left -= words.len();
            if words.is_empty() || (!is_quoted && (part == "OR" || part == "AND")) {
                continue;
            }
            if is_without {
                asked.without.push(words);
            } else if is_quoted {
                asked.phrases.push(words);
            } else {
                asked.words.extend(words);
            }
        }
        asked
    }

    pub(super) fn wants_nothing(&self) -> bool {
        self.words.is_empty() && self.phrases.is_empty()
    }
}

/// The first part of `text`, whether it stood in quotes, and what comes after it.
fn part(text: &str) -> (&str, bool, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        return match quoted.split_once('"') {
            Some((phrase, rest)) => (phrase, true, rest),
            // Nobody has ended it, perhaps because it is still being typed.
            None => (quoted, false, ""),
        };
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '"');
    let (part, rest) = text.split_at(end.unwrap_or(text.len()));
    (part, false, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str], phrases: &[&[&str]], without: &[&[&str]]) -> Asked {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Asked {
            words: owned(words),
            phrases: phrases.iter().map(|phrase| owned(phrase)).collect(),
            without: without.iter().map(|phrase| owned(phrase)).collect(),
        }
    }

    #[test]
    fn a_text_says_words_phrases_and_what_must_not_be_there() {
        for (text, expected) in [
            ("Green  auroras", asked(&["green", "auroras"], &[], &[])),
            (
                "\"Green Aurora\" sky",
                asked(&["sky"], &[&["green", "aurora"]], &[]),
            ),
            ("boat -sea", asked(&["boat"], &[], &[&["sea"]])),
            (
                "-\"deep sea\" boat",
                asked(&["boat"], &[], &[&["deep", "sea"]]),
            ),
            ("rock-climbing", asked(&["rock", "climbing"], &[], &[])),
            (
                "owner:ada OR sun",
                asked(&["owner", "ada", "sun"], &[], &[]),
            ),
            ("\"not ended", asked(&["not", "ended"], &[], &[])),
            ("a\"b c\"d", asked(&["a", "d"], &[&["b", "c"]], &[])),
            ("* ) - \"\" --", asked(&[], &[], &[])),
            ("", asked(&[], &[], &[])),
        ] {
            assert_eq!(Asked::of(text), expected, "{text}");
        }
    }

    #[test]
    fn only_so_many_words_are_looked_at() {
        let asked = Asked::of(&"word ".repeat(100));
        assert_eq!(asked.words.len(), WORDS_MAX);
        let asked = Asked::of(&format!("\"{}\"", "word ".repeat(100)));
        assert_eq!(asked.phrases[0].len(), WORDS_MAX);
    }
}
