//! The little of the Test Anything Protocol that suites speak: a plan `1..N` first, then
//! `ok 1 - sentence` or `not ok 2 - sentence` and lines `# why`.

/// What a suite said so far.
#[derive(Default)]
pub struct Tap {
    pub passed: u64,
    failed: Vec<String>,
    planned: Option<u64>,
    after_failure: bool,
}

impl Tap {
    /// Takes a line in; whether it is about a failure.
    pub fn take(&mut self, line: &str) -> bool {
        if let Some(count) = line.strip_prefix("1..") {
            self.planned = count.trim().parse().ok();
            return false;
        }
        if let Some(rest) = line.strip_prefix("not ok ") {
            self.failed.push(sentence(rest).to_owned());
            self.after_failure = true;
            return true;
        }
        if line.starts_with("ok ") {
            self.passed += 1;
            self.after_failure = false;
        }
        self.after_failure && line.starts_with('#')
    }

    /// What failed, by name; `succeeded` is what the suite's exit code says.
    pub fn failures(&self, succeeded: bool) -> Vec<String> {
        let mut failures = self.failed.clone();
        let said = self.passed + self.failed.len() as u64;
        match self.planned {
            None => failures.push("it said nothing of how many checks it has".to_owned()),
            Some(planned) if planned != said => {
                failures.push(format!("it ended after {said} of {planned} checks"));
            }
            Some(0) => failures.push("it has no checks".to_owned()),
            Some(_) => {}
        }
        if !succeeded && failures.is_empty() {
            failures.push("it failed and named no check".to_owned());
        }
        failures
    }
}

fn sentence(rest: &str) -> &str {
    rest.split_once(" - ")
        .map_or(rest, |(_, sentence)| sentence)
}

#[cfg(test)]
mod unit {
    use super::*;

    fn tap_of(lines: &[&str]) -> (Tap, Vec<String>) {
        let mut tap = Tap::default();
        let shown = lines.iter().filter(|line| tap.take(line));
        let shown = shown.map(|line| (*line).to_owned()).collect();
        (tap, shown)
    }

    #[test]
    fn only_failures_and_their_reasons_are_shown() {
        let lines = [
            "1..3",
            "ok 1 - a",
            "# x",
            "not ok 2 - b c",
            "# why",
            "ok 3 - d",
            "# y",
        ];
        let (tap, shown) = tap_of(&lines);
        assert_eq!(shown, ["not ok 2 - b c", "# why"]);
        assert_eq!(tap.passed, 2);
        assert_eq!(tap.failures(false), ["b c"]);
    }

    #[test]
    fn a_suite_that_ends_early_has_failed() {
        let (tap, _) = tap_of(&["1..3", "ok 1 - a"]);
        assert_eq!(tap.failures(true), ["it ended after 1 of 3 checks"]);
        let (tap, _) = tap_of(&[]);
        assert_eq!(tap.failures(true).len(), 1);
        let (tap, _) = tap_of(&["1..0"]);
        assert_eq!(tap.failures(true), ["it has no checks"]);
    }

    #[test]
    fn a_suite_that_fails_without_a_word_has_failed() {
        let (tap, _) = tap_of(&["1..1", "ok 1 - a"]);
        assert_eq!(tap.failures(false), ["it failed and named no check"]);
        assert_eq!(tap.failures(true), [""; 0]);
    }
}
