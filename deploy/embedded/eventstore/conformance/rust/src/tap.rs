//! Running checks and saying what became of them.

use std::any::Any;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::world::World;

/// No check takes nearly as long; one that hangs must not hold up the rest.
const CHECK_MAX: Duration = Duration::from_secs(60);
/// Characters of a line about a failure.
const LINE_MAX: usize = 1000;

/// One sentence about the node, and how to find out whether it is true.
pub struct Check {
    pub name: &'static str,
    pub run: fn(World) -> BoxFuture<'static, ()>,
}

/// The checks of a module: functions whose names are sentences.
#[macro_export]
macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        pub fn checks() -> Vec<$crate::tap::Check> {
            vec![$($crate::tap::Check {
                name: stringify!($name),
                run: |world| Box::pin($name(world)),
            }),*]
        }
    };
}

pub struct Tap {
    said: usize,
    failed: usize,
}

impl Tap {
    pub fn plan(checks: usize) -> Self {
        say(&format!("1..{checks}"));
        Self { said: 0, failed: 0 }
    }

    pub async fn judge(&mut self, client: &str, check: Check, world: World) {
        self.said += 1;
        let sentence = format!("{client}: {}", check.name.replace('_', " "));
        let run = tokio::spawn((check.run)(world));
        let abort = run.abort_handle();
        let why = match tokio::time::timeout(CHECK_MAX, run).await {
            Ok(Ok(())) => {
                say(&format!("ok {} - {sentence}", self.said));
                return;
            }
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(panic) => words(&*panic),
                Err(error) => error.to_string(),
            },
            Err(_) => {
                abort.abort();
                format!("it was not done after {CHECK_MAX:?}")
            }
        };
        self.failed += 1;
        say(&format!("not ok {} - {sentence}", self.said));
        for line in why.lines() {
            say(&format!("# {line:.LINE_MAX$}"));
        }
    }

    pub fn end(self) -> ExitCode {
        if self.failed > 0 {
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

/// A line at once, whoever reads: a suite that is killed has said what it knew.
fn say(line: &str) {
    let mut out = stdout().lock();
    // A reader that went away wants no more of it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
