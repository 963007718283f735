//! `cargo xtask conformance`: clients that nobody here wrote, against what they are made for:
//! those of EventStoreDB against the embedded event store, players against a whole platform.
//!
//! A client's suite is a program of its language that starts what it needs (a variable names the
//! executable) and speaks TAP on standard output. What it needs is installed under
//! `target/conformance`.
//!
//! # Invariants
//!
//! * A suite that stops early, fails without naming a check, or takes too long has failed.
//! * Only TAP is read; all else a suite and its nodes say is in a file that a failure names.

mod tap;

use std::{
    env,
    ffi::OsString,
    fs, io,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use crate::{
    packages, programs, python, root,
    tests::{Sum, succeeds},
};
use tap::Tap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Python,
    Node,
    Rust,
    Players,
}

impl Client {
    const ALL: [Self; 4] = [Self::Python, Self::Node, Self::Rust, Self::Players];
    const OF_EVENTSTORE: [Self; 3] = [Self::Python, Self::Node, Self::Rust];

    /// How long its suite may run, once everything is installed and built. Players take the time
    /// that films last, and on a busy machine more.
    fn seconds_max(self) -> u32 {
        match self {
            Self::Python | Self::Node | Self::Rust => 300,
            Self::Players => 1200,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Rust => "rust",
            Self::Players => "players",
        }
    }

    /// Where its suite is.
    fn suite(self) -> PathBuf {
        let folder = match self {
            Self::Python | Self::Node | Self::Rust => "deploy/embedded/eventstore/conformance",
            Self::Players => "deploy/kinolog/conformance",
        };
        root().join(folder).join(self.name())
    }

    /// The variable that names the executable to its suite, and the executable.
    fn program(self) -> (&'static str, PathBuf) {
        match self {
            Self::Python | Self::Node | Self::Rust => (
                "KINOLOG_EVENTSTORE_BIN",
                programs::program(programs::EVENTSTORE, false),
            ),
            Self::Players => ("KINOLOG_BIN", programs::program("kinolog", false)),
        }
    }

    /// Installs or builds what the suite needs; how it is run then.
    fn prepare(self, folder: &Path) -> io::Result<Command> {
        let suite = self.suite();
        match self {
            Self::Python => {
                let python = python::with(folder, &[python::EVENTSTORE_CLIENT])?;
                let mut command = timed(self, &python);
                // Without `-B`, it would leave its own files beside the sources.
                command.arg("-B").arg(suite.join("main.py"));
                Ok(command)
            }
            Self::Node | Self::Players => {
                let modules = node_modules(&suite, folder)?;
                let mut command = timed(self, Path::new("node"));
                command.arg(suite.join("main.js")).env("NODE_PATH", modules);
                Ok(command)
            }
            Self::Rust => rust(&suite, folder),
        }
    }
}

/// `cargo xtask conformance [eventstore [--client NAME] | players]`.
pub fn run(arguments: &[String]) -> io::Result<ExitCode> {
    let Some(clients) = chosen(arguments) else {
        eprintln!("xtask: conformance [eventstore [--client python|node|rust] | players]");
        return Ok(ExitCode::from(2));
    };
    let with_players = clients.contains(&Client::Players);
    if let Some(cannot) = packages::for_conformance(with_players) {
        return Ok(cannot);
    }
    let built = match with_players {
        true => programs::build(false)?,
        false => programs::build_eventstore()?,
    };
    if !built {
        return Ok(ExitCode::FAILURE);
    }
    let mut sum = Sum::default();
    for client in clients {
        judge(client, &mut sum);
    }
    Ok(sum.finish())
}

/// All clients, against programs that are built already.
pub fn all(sum: &mut Sum) {
    for client in Client::ALL {
        judge(client, sum);
    }
}

fn chosen(arguments: &[String]) -> Option<Vec<Client>> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Some(Client::ALL.to_vec()),
        ["eventstore"] => Some(Client::OF_EVENTSTORE.to_vec()),
        ["players"] => Some(vec![Client::Players]),
        ["eventstore", "--client", name] => {
            let mut known = Client::OF_EVENTSTORE.into_iter();
            Some(vec![known.find(|it| it.name() == *name)?])
        }
        _ => None,
    }
}

/// Runs one client's suite and adds up what it says.
fn judge(client: Client, sum: &mut Sum) {
    let name = client.name();
    println!("\n=== conformance: {name}");
    let began = Instant::now();
    let (passed, failed) = (sum.passed, sum.failed.len());
    if let Err(error) = listen(client, sum) {
        sum.failed.push(format!("conformance: {name}: {error}"));
    }
    let (passed, failed) = (sum.passed - passed, sum.failed.len() - failed);
    let seconds = began.elapsed().as_secs_f64();
    println!("=== conformance: {name}: {passed} ok, {failed} not ok ({seconds:.1} s)");
}

fn listen(client: Client, sum: &mut Sum) -> io::Result<()> {
    let name = client.name();
    let folder = programs::target().join("conformance").join(name);
    fs::create_dir_all(&folder)?;
    let mut command = client.prepare(&folder)?;
    let said = folder.join("said.log");
    let (variable, program) = client.program();
    let mut child = command
        .env(variable, program)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&said)?)
        .spawn()?;
    let mut tap = Tap::default();
    let output = child.stdout.take().expect("it was asked for");
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if tap.take(&line) {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    let failures = tap.failures(status.success());
    if !failures.is_empty() {
        println!("what else was said is in {}", said.display());
    }
    sum.passed += tap.passed;
    let named = failures
        .iter()
        .map(|what| format!("conformance: {name}: {what}"));
    sum.failed.extend(named);
    Ok(())
}

/// A command that does not run for ever.
fn timed(client: Client, program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after", "10", &client.seconds_max().to_string()])
        .arg(program);
    command
}

/// The modules that the suite's lock file names.
fn node_modules(suite: &Path, folder: &Path) -> io::Result<PathBuf> {
    let modules = folder.join("node_modules");
    let lock = fs::read_to_string(suite.join("package-lock.json"))?;
    let installed = folder.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|there| there == lock) {
        return Ok(modules);
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(suite.join(file), folder.join(file))?;
    }
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
    if !succeeds(Command::new("npm").args(arguments).current_dir(folder))? {
        return Err(io::Error::other("npm could not install the client"));
    }
    // Last: an installation that was interrupted begins anew.
    fs::write(installed, lock)?;
    Ok(modules)
}

/// The suite is a workspace of its own: its clients bring versions of crates that ours must not.
fn rust(suite: &Path, folder: &Path) -> io::Result<Command> {
    let target = folder.join("target");
    let mut build = programs::cargo();
    build
        .args(["build", "--locked", "--manifest-path"])
        .arg(suite.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target);
    if !succeeds(&mut build)? {
        return Err(io::Error::other("the suite does not build"));
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut run = timed(Client::Rust, Path::new(&cargo));
    run.args(["run", "--locked", "--quiet", "--manifest-path"])
        .arg(suite.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target);
    Ok(run)
}

#[cfg(test)]
mod unit {
    use super::*;

    fn chosen_of(words: &[&str]) -> Option<Vec<Client>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        chosen(&words)
    }

    #[test]
    fn one_client_may_be_named() {
        assert_eq!(chosen_of(&[]), Some(Client::ALL.to_vec()));
        let of_eventstore = Some(Client::OF_EVENTSTORE.to_vec());
        assert_eq!(chosen_of(&["eventstore"]), of_eventstore);
        let node = chosen_of(&["eventstore", "--client", "node"]);
        assert_eq!(node, Some(vec![Client::Node]));
        assert_eq!(chosen_of(&["players"]), Some(vec![Client::Players]));
        assert_eq!(chosen_of(&["eventstore", "--client", "cobol"]), None);
        assert_eq!(chosen_of(&["players", "--client", "node"]), None);
        assert_eq!(chosen_of(&["objectstore"]), None);
    }
}
