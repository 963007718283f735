//! What every aggregate is: a fold of its events, and a decision about the next ones.

/// The rules of one kind of stream.
///
/// `decide` never writes and `evolve` never refuses: an event is a fact. No events
/// means "already so"; every command may arrive twice.
pub trait Decider: Sized + Default + Clone {
    /// The prefix of the stream's name: `{CATEGORY}-{id}`.
    const CATEGORY: &'static str;

    /// What names one stream of the category.
    type Id: Copy + std::fmt::Display + Send + Sync;
    type Command: Clone + Send + Sync;
    type Event: Clone + Send + Sync;
    type Rejection: std::error::Error + Send + Sync + 'static;

    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Rejection>;

    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;
}

/// The state after `events`.
pub fn fold<'a, D>(events: impl IntoIterator<Item = &'a D::Event>) -> D
where
    D: Decider,
    D::Event: 'a,
{
    events.into_iter().fold(D::default(), D::evolve)
}
