//! The worker as the conductor sees it: the real program, run against a conductor and a
//! store of the test's own, on media the test makes.

mod bad_children;
mod bad_sources;
mod colours;
mod conductor;
mod counted;
mod encode;
mod failures;
mod hour;
mod judge;
mod matrix;
mod media;
mod passthrough;
mod planned;
mod played;
mod posters;
mod probe;
mod sandbox;
mod seams;
mod slots;
mod slow;
mod sounds;
mod sources;
mod store;
mod sync;
mod truthful;
mod worker;
