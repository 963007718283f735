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

/// The crates with queries, and the folder of migrations whose tables each of them sees.
const CRATES: [(&str, &str, &[&str]); 2] = [
    (
        "projections",
        "projections",
        &["catalogue", "announcements"],
    ),
    ("conductor", "transcoder/conductor", &["conductor"]),
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

pub fn write() -> io::Result<ExitCode> {
    if let Some(cannot) = packages::for_platform() {
        return Ok(cannot);
    }
    let services = Services::start()?;
    let Some(fresh) = describe(&services)? else {
        return Ok(ExitCode::FAILURE);
    };
    let committed = committed();
    if committed.exists() {
        fs::remove_dir_all(&committed)?;
    }
    fs::create_dir_all(&committed)?;
    for (name, content) in files(&fresh)? {
        fs::write(committed.join(name), content)?;
    }
    Ok(ExitCode::SUCCESS)
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
    for (package, folder, schemas) in CRATES {
        for schema in schemas {
            migrate(services, schema)?;
        }
        // Queries are described when their file is compiled, which an unchanged file is not.
        touch(&root().join(folder).join("src"))?;
        let search_path = schemas.join(",");
        let url = format!(
            "{}&options=-c%20search_path%3D{}",
            services.postgres_url("sqlx"),
            search_path.replace(',', "%2C")
        );
        let described = programs::cargo()
            .args(["check", "--package", package])
            .env("DATABASE_URL", url)
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", &fresh)
            .status()?;
        if !described.success() {
            return Ok(None);
        }
        touch(&root().join(folder).join("src"))?;
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

fn touch(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            touch(&path)?;
        } else {
            fs::File::options()
                .append(true)
                .open(&path)?
                .set_modified(std::time::SystemTime::now())?;
        }
    }
    Ok(())
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
