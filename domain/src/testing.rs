//! Given these events, when this command comes, then these events follow.

use std::fmt::Debug;

use crate::decider::{Decider, fold};

/// What has happened.
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    let events: Vec<D::Event> = events.into_iter().collect();
    Given(fold(&events))
}

#[must_use = "a test without a command tests nothing"]
pub struct Given<D>(D);

impl<D: Decider> Given<D> {
    pub fn when(self, command: D::Command) -> When<D> {
        When(self.0.decide(command))
    }
}

#[must_use = "a test without an expectation tests nothing"]
pub struct When<D: Decider>(Result<Vec<D::Event>, D::Rejection>);

impl<D: Decider> When<D>
where
    D::Event: PartialEq + Debug,
    D::Rejection: PartialEq,
{
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) {
        let expected: Vec<D::Event> = expected.into_iter().collect();
        assert_eq!(self.0, Ok(expected));
    }

    pub fn then_rejected(self, expected: D::Rejection) {
        assert_eq!(self.0, Err(expected));
    }
}
