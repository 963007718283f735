//! The snippets of README.md, run as they stand there.
//!
//! A fenced block whose language is followed by the word `test` is run, in order, in one folder
//! that holds a `clip.mp4`, with our programs on the path and `KINOLOG_DATA` naming a fresh
//! platform. `expect=WORD` after it: the output must contain that word.
//!
//! # Invariants
//!
//! * `bash` must exit with 0, `graphql` must be answered without errors, `python` must exit with 0.
//! * The platform is stopped again, whatever happens.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use crate::{packages, programs, python, root, tests::Sum, tests::succeeds};

/// How long one snippet may run.
const SECONDS_MAX: &str = "180";

/// The clients that the README shows, none of them ours.
const PYTHON_CLIENTS: [&str; 2] = [python::EVENTSTORE_CLIENT, "websockets==15.0.1"];

/// Sends the query on standard input to the platform, and shows the answer.
const ASK: &str = r#"
import json, os, sys, urllib.request
addresses = json.load(open(os.path.join(os.environ["KINOLOG_DATA"], "addresses.json")))
body = json.dumps({"query": sys.stdin.read()}).encode()
headers = {"content-type": "application/json", "authorization": "Bearer " + addresses["token"]}
answer = json.load(urllib.request.urlopen(urllib.request.Request(addresses["graphql"], body, headers)))
print(json.dumps(answer, indent=2))
sys.exit(1 if answer.get("errors") else 0)
"#;

#[derive(Debug, PartialEq, Eq)]
struct Snippet {
    language: String,
    expect: Option<String>,
    line: usize,
    text: String,
}

/// `cargo xtask readme`.
pub fn alone() -> io::Result<ExitCode> {
    if let Some(cannot) = packages::for_tests() {
        return Ok(cannot);
    }
    let mut sum = Sum::default();
    sum.step("build", || programs::build(false));
    sum.step("README.md", snippets);
    Ok(sum.finish())
}

/// Runs all snippets against a fresh platform.
pub fn snippets() -> io::Result<bool> {
    let found = marked(&fs::read_to_string(root().join("README.md"))?);
    if found.is_empty() {
        println!("README.md has no snippet marked `test`");
        return Ok(false);
    }
    let folder = programs::target().join("readme");
    let python = python::with(&folder, &PYTHON_CLIENTS)?;
    let place = Place::new(&folder)?;
    let mut passed = true;
    for snippet in found {
        println!("--- README.md:{} ({})", snippet.line, snippet.language);
        if !place.run(&snippet, &python)? {
            println!("--- README.md:{} FAILED", snippet.line);
            passed = false;
        }
    }
    Ok(passed)
}

/// A running platform and a folder to work in.
struct Place {
    data: PathBuf,
    work: PathBuf,
}

impl Place {
    fn new(folder: &Path) -> io::Result<Self> {
        let place = Self {
            data: folder.join("data"),
            work: folder.join("work"),
        };
        place.stop();
        for old in [&place.data, &place.work] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        fs::create_dir_all(&place.work)?;
        let clip = place.work.join("clip.mp4");
        let made = Command::new(programs::program("kinolog-worker", false))
            .arg("clip")
            .arg(clip)
            .args(["--seconds", "3"])
            .status()?;
        let up = place.kinolog(&["up", "--detach", "--ports", "0"]);
        match made.success() && succeeds(&mut { up })? {
            true => Ok(place),
            false => Err(io::Error::other(
                "no platform for the snippets could be started",
            )),
        }
    }

    fn kinolog(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::program("kinolog", false));
        command.args(arguments).env("KINOLOG_DATA", &self.data);
        command
    }

    fn run(&self, snippet: &Snippet, python: &Path) -> io::Result<bool> {
        let file = self.work.join("snippet");
        fs::write(&file, &snippet.text)?;
        let mut command = Command::new("timeout");
        command.arg(SECONDS_MAX);
        match snippet.language.as_str() {
            "bash" => command
                .args(["bash", "-euo", "pipefail"])
                .arg(&file)
                .stdin(Stdio::null()),
            "python" => command.arg(python).arg(&file).stdin(Stdio::null()),
            "graphql" => command
                .arg(python)
                .args(["-c", ASK])
                .stdin(fs::File::open(&file)?),
            other => {
                println!("nobody knows how to run {other}");
                return Ok(false);
            }
        };
        let programs = programs::program("kinolog", false)
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([programs].into_iter().chain(env::split_paths(&path)))
            .map_err(io::Error::other)?;
        let output = command
            .current_dir(&self.work)
            .env("PATH", path)
            .env("KINOLOG_DATA", &self.data)
            .stderr(Stdio::inherit())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        print!("{said}");
        if let Some(word) = snippet
            .expect
            .as_deref()
            .filter(|word| !said.contains(word))
        {
            println!("the output does not contain {word}");
            return Ok(false);
        }
        Ok(output.status.success())
    }

    fn stop(&self) {
        // What does not run cannot be stopped; the next start says what is wrong.
        let _ = self.kinolog(&["down"]).stdout(Stdio::null()).status();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The blocks that are marked `test`.
fn marked(text: &str) -> Vec<Snippet> {
    let mut found = vec![];
    let mut open: Option<Snippet> = None;
    for (index, line) in text.lines().enumerate() {
        let fence = line.strip_prefix("```");
        match (&mut open, fence) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(snippet), None) => {
                snippet.text.push_str(line);
                snippet.text.push('\n');
            }
            (None, Some(info)) => open = Some(opened(info, index + 1)),
            (None, None) => {}
        }
    }
    found.retain(|snippet| !snippet.language.is_empty());
    found
}

/// A block that is not marked has no language here.
fn opened(info: &str, line: usize) -> Snippet {
    let mut words = info.split_whitespace();
    let language = words.next().unwrap_or_default().to_owned();
    let words: Vec<&str> = words.collect();
    let is_marked = words.contains(&"test");
    let expect = words
        .iter()
        .find_map(|word| word.strip_prefix("expect="))
        .map(str::to_owned);
    Snippet {
        language: if is_marked { language } else { String::new() },
        expect,
        line,
        text: String::new(),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn only_marked_blocks_are_run() {
        let text = "```bash\nrm -rf x\n```\ntext\n```bash test expect=hello\necho hello\n```\n";
        let snippet = Snippet {
            language: "bash".to_owned(),
            expect: Some("hello".to_owned()),
            line: 5,
            text: "echo hello\n".to_owned(),
        };
        assert_eq!(marked(text), [snippet]);
    }
}
