//! Which events of the log a filtered read wants.
//!
//! # Invariants
//!
//! * Decided from the index, by name; no file is read for an event that is not wanted.
//! * An expression wins over prefixes. It may look ahead, as the official clients'
//!   default filters do; one that takes too long is an error, not a busy node.

use fancy_regex::Regex;

use crate::expression;
use crate::limits::{FILTER_BYTES_MAX, FILTER_WINDOW_DEFAULT};
use crate::part::{Entry, Part};
use crate::unreadable::Unreadable;

pub(crate) struct Filter {
    on: Names,
    pattern: Pattern,
    /// The part that the answers are about, and those for its streams or types so far.
    part: Option<u64>,
    answers: Vec<Option<bool>>,
    /// Events looked at between two checkpoints.
    pub(crate) checkpoint_every: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Stream,
    Kind,
}

enum Pattern {
    Expression(Box<Regex>),
    Prefixes(Vec<String>),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFilter {
    #[error("the filter is longer than {FILTER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the filter has neither an expression nor a prefix")]
    Empty,
    #[error("the filter's window and checkpoint interval must be above 0")]
    NoWindow,
    #[error("the filter's expression repeats too much to be tried on every name")]
    TooMuch,
    #[error("the filter's expression cannot be used: {0}")]
    Expression(#[from] Box<fancy_regex::Error>),
}

/// Why it is not known whether an event is wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error(transparent)]
    Filter(#[from] BadFilter),
    #[error(transparent)]
    Index(#[from] Unreadable),
}

impl Filter {
    pub(crate) fn new(
        on: Names,
        expression: &str,
        prefixes: Vec<String>,
        window: Option<u32>,
        multiplier: u32,
    ) -> Result<Self, BadFilter> {
        let bytes = expression.len() + prefixes.iter().map(String::len).sum::<usize>();
        if bytes > FILTER_BYTES_MAX || prefixes.len() > FILTER_BYTES_MAX {
            return Err(BadFilter::TooLong);
        }
        let window = window.unwrap_or(FILTER_WINDOW_DEFAULT);
        if window == 0 || multiplier == 0 {
            return Err(BadFilter::NoWindow);
        }
        let pattern = if expression.is_empty() {
            if prefixes.is_empty() {
                return Err(BadFilter::Empty);
            }
            Pattern::Prefixes(prefixes)
        } else {
            Pattern::Expression(Box::new(expression::compile(expression)?))
        };
        Ok(Self {
            on,
            pattern,
            part: None,
            answers: Vec::new(),
            checkpoint_every: u64::from(window) * u64::from(multiplier),
        })
    }

    /// Whether this entry of a part is wanted. A name is matched once in a part.
    pub(crate) fn wants(&mut self, part: &Part, entry: &Entry) -> Result<bool, NoAnswer> {
        if self.part != Some(part.id) {
            self.part = Some(part.id);
            // Not cleared: a long part must not keep its memory for the short one behind it.
            self.answers = Vec::new();
        }
        let ordinal = match self.on {
            Names::Stream => entry.stream,
            Names::Kind => entry.kind,
        };
        let at = ordinal as usize;
        if let Some(Some(answer)) = self.answers.get(at) {
            return Ok(*answer);
        }
        let name = match self.on {
            Names::Stream => part.stream_name(ordinal)?,
            Names::Kind => part.kind_name(ordinal)?,
        };
        let answer = self.matches(&name)?;
        if self.answers.len() <= at {
            self.answers.resize(at + 1, None);
        }
        self.answers[at] = Some(answer);
        Ok(answer)
    }

    pub(crate) fn matches(&self, name: &str) -> Result<bool, BadFilter> {
        match &self.pattern {
            Pattern::Expression(regex) => Ok(regex.is_match(name).map_err(Box::new)?),
            Pattern::Prefixes(prefixes) => {
                Ok(prefixes.iter().any(|prefix| name.starts_with(prefix)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_wins_over_prefixes_and_may_look_ahead() {
        let filter = filter(r"^(?!(\$.+$))", &["video."]).unwrap();
        assert!(filter.matches("job.planned.v1").unwrap());
        assert!(!filter.matches("$metadata").unwrap());
    }

    #[test]
    fn a_prefix_is_enough() {
        let filter = filter("", &["video.", "job."]).unwrap();
        assert!(filter.matches("job.planned.v1").unwrap());
        assert!(!filter.matches("views.counted.v1").unwrap());
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        assert!(matches!(filter("", &[]), Err(BadFilter::Empty)));
        assert!(matches!(filter("(", &[]), Err(BadFilter::Expression(_))));
        let long = "a".repeat(FILTER_BYTES_MAX + 1);
        assert!(matches!(filter(&long, &[]), Err(BadFilter::TooLong)));
        let none = Filter::new(Names::Kind, "a", vec![], Some(0), 1);
        assert!(matches!(none, Err(BadFilter::NoWindow)));
    }

    #[test]
    fn an_expression_that_takes_for_ever_is_an_error() {
        let filter = filter(r"^(a|aa)+\1c$", &[]).unwrap();
        let matched = filter.matches(&"a".repeat(64));
        assert!(matches!(matched, Err(BadFilter::Expression(_))));
    }

    fn filter(expression: &str, prefixes: &[&str]) -> Result<Filter, BadFilter> {
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Filter::new(Names::Kind, expression, prefixes, None, 1)
    }
}
