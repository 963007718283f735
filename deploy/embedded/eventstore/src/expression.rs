//! Compiling a filter's expression within bounds of memory and time.
//!
//! What the `regex` crate can do alone takes time that grows with the name. Look-around and
//! references to groups need steps back (*hard* parts); then the easy parts are compiled one by
//! one and a small machine walks between them.
//!
//! # Invariants
//!
//! * Written out without repetitions, an expression has at most [`SIZE_MAX`]: about ten
//!   megabytes when compiled.
//! * The machine takes at most [`STEPS_MAX`] steps without a step back, and at most
//!   [`BACKTRACKS_MAX`] of those. Its own limit does not see `(?:a{0}(?=b)){300000000}`, which
//!   never steps back.

use fancy_regex::{Expr, Regex, RegexBuilder};

use crate::filter::BadFilter;

/// Steps back an expression may take on one name.
const BACKTRACKS_MAX: usize = 100_000;
/// Parts an expression may make the machine walk through, each as often as it must repeat.
const STEPS_MAX: u64 = 2_000;
/// Characters and classes, each as often as it may repeat, in characters.
const SIZE_MAX: u64 = 64_000;
/// What a class of characters counts: a large one compiles to kilobytes.
const CLASS_SIZE: u64 = 100;

pub(crate) fn compile(expression: &str) -> Result<Regex, BadFilter> {
    let tree = Expr::parse_tree(expression).map_err(Box::new)?;
    let shape = Shape::of(&tree.expr, !tree.backrefs.is_empty());
    if shape.steps > STEPS_MAX || shape.size > SIZE_MAX {
        return Err(BadFilter::TooMuch);
    }
    let regex = RegexBuilder::new(expression)
        .backtrack_limit(BACKTRACKS_MAX)
        .build()
        .map_err(Box::new)?;
    Ok(regex)
}

/// How an expression will be compiled and walked through.
struct Shape {
    hard: bool,
    steps: u64,
    size: u64,
}

const ONE: Shape = Shape {
    hard: false,
    steps: 1,
    size: 1,
};

impl Shape {
    fn of(expression: &Expr, referred: bool) -> Self {
        let of = |child| Self::of(child, referred);
        match expression {
            Expr::Empty | Expr::Any { .. } | Expr::Assertion(_) | Expr::Literal { .. } => ONE,
            Expr::Delegate { .. } => Self {
                size: CLASS_SIZE,
                ..ONE
            },
            Expr::Backref(_)
            | Expr::KeepOut
            | Expr::ContinueFromPreviousMatchEnd
            | Expr::BackrefExistsCondition(_) => ONE.hardened(),
            Expr::Concat(children) | Expr::Alt(children) => {
                children.iter().map(of).fold(ONE, Self::with)
            }
            Expr::Group(child) if !referred => of(child),
            Expr::Group(child) | Expr::LookAround(child, _) | Expr::AtomicGroup(child) => {
                of(child).hardened()
            }
            Expr::Repeat { child, lo, hi, .. } => of(child).repeated(*lo, *hi),
            Expr::Conditional {
                condition,
                true_branch,
                false_branch,
            } => [condition, true_branch, false_branch]
                .map(|child| of(child))
                .into_iter()
                .fold(ONE, Self::with)
                .hardened(),
        }
    }

    fn hardened(self) -> Self {
        Self { hard: true, ..self }
    }

    /// Easy neighbours are one step together.
    fn with(self, next: Self) -> Self {
        let hard = self.hard || next.hard;
        Self {
            hard,
            steps: match hard {
                true => self.steps.saturating_add(next.steps),
                false => 1,
            },
            size: self.size.saturating_add(next.size),
        }
    }

    fn repeated(self, lo: usize, hi: usize) -> Self {
        let least = lo.max(1) as u64;
        let most = match hi {
            usize::MAX => least,
            hi => hi.max(1) as u64,
        };
        Self {
            hard: self.hard,
            steps: match self.hard {
                true => self.steps.saturating_mul(least),
                false => 1,
            },
            size: self.size.saturating_mul(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_would_walk_through_for_ever_is_refused() {
        for expression in [
            "(?:a{0}(?=b)){300000000}",
            "(?:(?:(?!c)a?){100}){100}",
            r"(a)(?:\1{0}){4294967295}",
        ] {
            let compiled = compile(expression);
            assert!(matches!(compiled, Err(BadFilter::TooMuch)), "{expression}");
        }
    }

    #[test]
    fn parts_that_fit_alone_but_not_together_are_refused() {
        assert!(compile(r"(?!x)\w{50}(?!x)\w{50}").is_ok());
        let many = r"(?!x)\w{50}".repeat(900);
        assert!(matches!(compile(&many), Err(BadFilter::TooMuch)));
    }

    #[test]
    fn what_people_write_is_compiled() {
        let types = (0..500)
            .map(|number| format!("video.event-{number}.v1"))
            .collect::<Vec<_>>();
        for expression in [
            r"^(?!(\$.+$))".to_owned(),
            r"^(?!\$)video-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$".to_owned(),
            r"^(\w+)-\1$".to_owned(),
            r"[\w.]{1,200}".to_owned(),
            format!("^(?!\\$)({})$", types.join("|")),
            format!("^({})$", types.join("|")),
        ] {
            assert!(compile(&expression).is_ok(), "{expression}");
        }
    }
}
