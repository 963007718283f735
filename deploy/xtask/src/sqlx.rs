//! The descriptions of all SQL queries, by which they are checked without a database.
//!
//! # Invariants
//!
//! * The committed ones are exactly those that the queries and the migrations of now give.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use crate::{packages, programs, root, services::Services};

/// The crates with queries, and the folder of migrations whose tables each of them sees. The
/// conductor is first: `projections` reads what it shows of its queues.
const CRATES: [(&str, &[&str]); 2] = [
    ("conductor", &["conductor"]),
    (
        "projections",
        &["catalogue", "announcements", "owners", "read_models"],
    ),
];

/// Whether the committed descriptions are up to date.
pub fn check(services: &Services) -> io::Result<bool> {
    let fresh = describe(services)?;
    let Some(fresh) = fresh else { return Ok(false) };
    let committed = files(&committed())?;
    let fresh = files(&fresh)?;
    let mut same = true;
    for name in fresh
        .keys()
        .filter(|name| fresh.get(*name) != committed.get(*name))
    {
        println!("missing or stale: {name}");
        same = false;
    }
    for name in committed.keys().filter(|name| !fresh.contains_key(*name)) {
        println!("belongs to no query: {name}");
        same = false;
    }
    if !same {
        println!("`cargo xtask sqlx` writes them anew");
    }
    Ok(same)
}

/// `cargo xtask sqlx [--check]`.
pub fn run(arguments: &[String]) -> io::Result<ExitCode> {
    let only_check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err(io::Error::other("sqlx takes nothing but --check")),
    };
    if let Some(cannot) = packages::for_platform() {
        return Ok(cannot);
    }
    let services = Services::start()?;
    let done = match only_check {
        true => check(&services)?,
        false => write(&services)?,
    };
    Ok(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write(services: &Services) -> io::Result<bool> {
    let Some(fresh) = describe(services)? else {
        return Ok(false);
    };
    let committed = committed();
    if committed.exists() {
        fs::remove_dir_all(&committed)?;
    }
    fs::create_dir_all(&committed)?;
    for (name, content) in files(&fresh)? {
        fs::write(committed.join(name), content)?;
    }
    Ok(true)
}

fn committed() -> PathBuf {
    root().join(".sqlx")
}

/// Migrates a database and has the compiler describe every query against it.
fn describe(services: &Services) -> io::Result<Option<PathBuf>> {
    let fresh = programs::target().join("sqlx-fresh");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    for (package, schemas) in CRATES {
        for schema in schemas {
            migrate(services, schema)?;
        }
        let search_path = schemas.join(",");
        let url = format!(
            "{}&options=-c%20search_path%3D{}",
            services.postgres_url("sqlx"),
            search_path.replace(',', "%2C")
        );
        // Queries are described when their crate is compiled, which an unchanged one is not:
        // an argument that was never there before makes it so, and touches no file.
        let described = programs::cargo()
            .args([
                "rustc",
                "--package",
                package,
                "--lib",
                "--profile",
                "check",
                "--",
            ])
            .args(["--cfg", &format!("described_at=\"{}\"", now_ms())])
            .env("DATABASE_URL", url)
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", &fresh)
            .status()?;
        if !described.success() {
            return Ok(None);
        }
    }
    Ok(Some(fresh))
}

fn migrate(services: &Services, schema: &str) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join("migrations").join(schema))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    paths.sort();
    let mut script = format!("create schema {schema};\nset search_path to {schema};\n");
    for path in paths {
        script.push_str(&fs::read_to_string(path)?);
        script.push('\n');
    }
    let migrated = Command::new("psql")
        .args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            &script,
            &services.postgres_url("sqlx"),
        ])
        .stdin(Stdio::null())
        .status()?;
    match migrated.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("the migrations of {schema} fail"))),
    }
}

fn now_ms() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis())
}

fn files(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    fs::read_dir(folder)?
        .flatten()
        .map(|entry| {
            Ok((
                entry.file_name().to_string_lossy().into_owned(),
                fs::read_to_string(entry.path())?,
            ))
        })
        .collect()
}
