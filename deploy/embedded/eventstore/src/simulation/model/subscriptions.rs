//! Subscriptions, open while things happen, and begun again where they were told to be.
//!
//! # What is checked
//!
//! * Each is sent exactly what the model says, in order, once: history, then news.
//! * A checkpoint and `CaughtUp` are honest: nothing that matches is sent later from before
//!   them. So one that begins at any of them gets exactly the rest.
//! * A filtered one is told how far it is at every interval, and when it has caught up.
//! * It ends with an error only: when its stream is gone for ever, or the node stops.

use futures::{FutureExt, StreamExt};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::super::semantics::{Model, Shown};
use super::super::{Node, Random};
use super::calls::{self, Answers, Wanted};
use super::{STREAMS, pick};
use crate::protocol::streams::ReadResp;
use crate::protocol::streams::read_req::options::all_options::AllOption;
use crate::protocol::streams::read_req::options::stream_options::RevisionOption;
use crate::protocol::streams::read_req::options::{CountOption, SubscriptionOptions};
use crate::protocol::streams::read_resp::{CaughtUp, Content};

const OPEN_MAX: usize = 5;
/// How often in a row nothing must happen before nothing is going to happen.
const QUIET: usize = 3;

#[derive(Default)]
pub(super) struct Subscriptions {
    open: Vec<Subscription>,
    stop: CancellationToken,
    /// Positions at which somebody was told to be.
    told: Vec<u64>,
}

struct Subscription {
    of: Of,
    links: bool,
    /// The first revision or position that was not looked at.
    next: u64,
    /// Up to where it was told to be, of the whole log.
    told: u64,
    confirmed: bool,
    live: bool,
    answers: Answers,
    heard: Vec<Result<ReadResp, Status>>,
}

enum Of {
    Stream(String),
    All(Option<Wanted>),
}

impl Subscriptions {
    /// Begins one somewhere, and compares what all were sent with what the model says.
    pub(super) fn compare(
        &mut self,
        runtime: &Runtime,
        node: &Node,
        model: &Model,
        random: &mut Random,
    ) {
        runtime.block_on(async {
            if self.open.len() < OPEN_MAX && random.one_in(3) {
                self.open.extend(self.begin(node, model, random).await);
            }
            settle(node, &mut self.open).await;
        });
        let told = &mut self.told;
        self.open.retain_mut(|it| it.check(model, told));
        if random.one_in(8) && !self.open.is_empty() {
            self.open.swap_remove(random.index(self.open.len()));
        }
    }

    /// The node stops: all end with an error that asks to come again.
    pub(super) fn end(&mut self, runtime: &Runtime, node: &Node) {
        self.stop.cancel();
        runtime.block_on(settle(node, &mut self.open));
        for subscription in &mut self.open {
            let last = subscription.heard.pop().expect("it says something");
            let status = last.expect_err("it ends with an error");
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(subscription.heard.is_empty());
        }
        self.open.clear();
        self.stop = CancellationToken::new();
    }

    /// `None` if its stream is gone for ever.
    async fn begin(&self, node: &Node, model: &Model, random: &mut Random) -> Option<Subscription> {
        let links = random.one_in(2);
        let count = CountOption::Subscription(SubscriptionOptions {});
        let (of, next, options) = if random.one_in(2) {
            let stream = pick(&STREAMS, random);
            let revision = random.within(0..model.next(stream) + 2);
            let (next, from) = match random.within(0..4) {
                0 => (0, RevisionOption::Start(())),
                1 => (model.next(stream), RevisionOption::End(())),
                _ => (revision + 1, RevisionOption::Revision(revision)),
            };
            let from = calls::of_stream(stream, from);
            let options = calls::options(from, count, None, links);
            (Of::Stream(stream.to_owned()), next, options)
        } else {
            let head = model.log.len() as u64;
            let position = match self.told.is_empty() || random.one_in(4) {
                true => random.within(0..head + 3),
                false => self.told[random.index(self.told.len())],
            };
            let (next, from) = match random.within(0..5) {
                0 => (1, AllOption::Start(())),
                1 => (head + 1, AllOption::End(())),
                _ => (position + 1, calls::at(position)),
            };
            let (filter, wanted) = calls::filter(random).unzip();
            let options = calls::options(calls::of_all(from), count, filter, links);
            (Of::All(wanted), next, options)
        };
        let answers = calls::call(node, &self.stop, options).await;
        let Some(answers) = answers.unwrap() else {
            let Of::Stream(stream) = &of else {
                panic!("the whole log is never gone");
            };
            assert_eq!(model.news(stream, 0, links), None);
            return None;
        };
        Some(Subscription {
            of,
            links,
            next,
            told: next.saturating_sub(1),
            confirmed: false,
            live: false,
            answers,
            heard: vec![],
        })
    }
}

/// Until each was sent all that there is for it.
async fn settle(node: &Node, subscriptions: &mut [Subscription]) {
    let mut quiet = 0;
    while quiet < QUIET {
        // Every task that can go on does.
        tokio::task::yield_now().await;
        quiet += 1;
        if node.store.pages_in_flight() > 0 {
            quiet = 0;
        }
        for subscription in &mut *subscriptions {
            while let Some(Some(answer)) = subscription.answers.next().now_or_never() {
                subscription.heard.push(answer);
                quiet = 0;
            }
        }
    }
}

impl Subscription {
    /// Whether it goes on.
    fn check(&mut self, model: &Model, told: &mut Vec<u64>) -> bool {
        let mut heard = std::mem::take(&mut self.heard).into_iter();
        if !self.confirmed {
            let first = heard.next().expect("it is confirmed").unwrap().content;
            assert!(matches!(first, Some(Content::Confirmation(_))), "{first:?}");
            self.confirmed = true;
        }
        match &self.of {
            Of::Stream(stream) => {
                let stream = stream.clone();
                self.check_stream(&stream, heard, model)
            }
            Of::All(wanted) => {
                let wanted = *wanted;
                self.check_all(wanted, heard, model);
                told.push(self.told.min(model.log.len() as u64));
                true
            }
        }
    }

    fn check_stream(
        &mut self,
        stream: &str,
        heard: impl Iterator<Item = Result<ReadResp, Status>>,
        model: &Model,
    ) -> bool {
        let Some(expected) = model.news(stream, self.next, self.links) else {
            let ended: Vec<_> = heard.map(|it| it.map_err(|it| it.code())).collect();
            assert_eq!(ended, [Err(Code::FailedPrecondition)]);
            return false;
        };
        if model.is_there(stream) {
            self.next = self.next.max(model.next(stream));
        }
        let mut expected = expected.into_iter();
        for answer in heard {
            match answer.unwrap().content.unwrap() {
                Content::Event(sent) => {
                    assert_eq!(Some(calls::shown(sent, model)), expected.next());
                }
                Content::CaughtUp(caught_up) => {
                    assert_eq!(expected.len(), 0);
                    let last = self.next.checked_sub(1).map(u64::cast_signed);
                    self.goes_live(&caught_up, last, None);
                }
                Content::FellBehind(_) => self.falls_behind(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(expected.next(), None, "it was not sent");
        assert!(self.live);
        true
    }

    fn check_all(
        &mut self,
        wanted: Option<Wanted>,
        heard: impl Iterator<Item = Result<ReadResp, Status>>,
        model: &Model,
    ) {
        let matches = |it: &_| wanted.is_none_or(|wanted| (wanted.matches)(it));
        let forwards = crate::store::Direction::Forwards;
        let expected = model.read_all(self.next, forwards, u64::MAX, matches, self.links);
        let mut expected = expected.into_iter().peekable();
        let head = model.log.len() as u64;
        self.next = self.next.max(head + 1);
        for answer in heard {
            match answer.unwrap().content.unwrap() {
                Content::Event(sent) => {
                    let sent = calls::shown(sent, model);
                    let position = position(&sent);
                    assert_eq!(Some(sent), expected.next());
                    self.tell(position, wanted);
                }
                Content::Checkpoint(checkpoint) => {
                    let position = checkpoint.commit_position;
                    assert!(wanted.is_some() && position < self.next);
                    let skipped = expected.peek().filter(|it| self::position(it) <= position);
                    assert_eq!(skipped, None, "not sent before the checkpoint");
                    self.tell(position, wanted);
                }
                Content::CaughtUp(caught_up) => {
                    assert_eq!(expected.peek(), None, "not sent before it had caught up");
                    assert!(wanted.is_none() || self.told == self.next - 1);
                    let last = Some(self.next - 1).filter(|last| *last > 0);
                    self.goes_live(&caught_up, None, last);
                }
                Content::FellBehind(_) => self.falls_behind(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(expected.next(), None, "it was not sent");
        assert!(self.live);
    }

    /// It was told to be here, and not too long after it was told before.
    fn tell(&mut self, position: u64, wanted: Option<Wanted>) {
        assert!(position >= self.told, "{position} < {}", self.told);
        let passed = position - self.told;
        if let Some(wanted) = wanted {
            assert!(passed <= wanted.checkpoint_every, "{passed} without a word");
        }
        self.told = position;
    }

    fn goes_live(&mut self, caught_up: &CaughtUp, revision: Option<i64>, position: Option<u64>) {
        assert!(!self.live, "it had caught up before");
        self.live = true;
        let there = caught_up.position.map(|it| it.commit_position);
        assert_eq!((caught_up.stream_revision, there), (revision, position));
    }

    fn falls_behind(&mut self) {
        assert!(self.live, "it had fallen behind before");
        self.live = false;
    }
}

fn position(shown: &Shown) -> u64 {
    let original = shown.link.as_ref().or(shown.event.as_ref());
    original.map_or(0, |it| it.position)
}
