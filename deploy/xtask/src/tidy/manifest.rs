//! As much of Cargo.toml as the invariants need: who depends on what.

use std::{fs, io, path::Path};

use super::{Member, source};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    Dev,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The name of the package, whatever it is called here.
    pub package: String,
    pub kind: Kind,
}

/// All members of the workspace at `root`, with their sources.
pub fn members(root: &Path) -> io::Result<Vec<Member>> {
    let workspace = fs::read_to_string(root.join("Cargo.toml"))?;
    let list = workspace
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .ok_or_else(|| io::Error::other("Cargo.toml lists no members"))?
        .0;
    let folders = list
        .split(',')
        .map(|item| item.trim().trim_matches('"'))
        .filter(|item| !item.is_empty());
    folders.map(|folder| member(root, folder)).collect()
}

fn member(root: &Path, folder: &str) -> io::Result<Member> {
    let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml"))?;
    let name = manifest.lines().find_map(|line| value(line, "name"));
    Ok(Member {
        folder: folder.to_owned(),
        name: name.ok_or_else(|| io::Error::other(format!("{folder}/Cargo.toml has no name")))?,
        dependencies: dependencies(&manifest),
        sources: source::files(root, folder)?,
    })
}

fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = vec![];
    let mut section: Option<Kind> = None;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            let (table, single) = table_of(header);
            section = table;
            if let (Some(kind), Some(package)) = (table, single) {
                found.push(Dependency { package, kind });
                // What follows are the fields of this one dependency.
                section = None;
            }
            continue;
        }
        let Some(kind) = section else { continue };
        let name: String = line
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
            .collect();
        if name.is_empty() {
            continue;
        }
        let renamed = line
            .split_once("package = \"")
            .and_then(|(_, rest)| rest.split('"').next());
        found.push(Dependency {
            package: renamed.unwrap_or(&name).to_owned(),
            kind,
        });
    }
    found
}

/// `dependencies`, `dev-dependencies`, `target.'…'.dependencies`, `dependencies.tokio`.
fn table_of(header: &str) -> (Option<Kind>, Option<String>) {
    let tables = [
        ("dev-dependencies", Kind::Dev),
        ("build-dependencies", Kind::Build),
        ("dependencies", Kind::Normal),
    ];
    for (table, kind) in tables {
        if header == table || header.ends_with(&format!(".{table}")) {
            return (Some(kind), None);
        }
        let before = format!("{table}.");
        if let Some((head, name)) = header.split_once(&before)
            && (head.is_empty() || head.ends_with('.'))
        {
            return (Some(kind), Some(name.trim_matches('"').to_owned()));
        }
    }
    (None, None)
}

/// The text of `key = "text"`.
fn value(line: &str, key: &str) -> Option<String> {
    let rest = line
        .strip_prefix(key)?
        .trim_start()
        .strip_prefix('=')?
        .trim();
    Some(rest.trim_matches('"').to_owned())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn every_way_to_write_a_dependency_is_seen() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = { path = \"../b\" }\n\
            c = { package = \"real-c\" }\n# no = 1\n[dependencies.d]\nversion = \"1\"\n\
            [target.'cfg(unix)'.dependencies]\ne = \"1\"\n[build-dependencies]\nf = \"1\"\n[dev-dependencies]\ng = \"1\"\n\
            [features]\nh = []\n";
        let found: Vec<(String, Kind)> = dependencies(manifest)
            .into_iter()
            .map(|one| (one.package, one.kind))
            .collect();
        let expected = [
            ("a", Kind::Normal),
            ("b", Kind::Normal),
            ("real-c", Kind::Normal),
            ("d", Kind::Normal),
            ("e", Kind::Normal),
            ("f", Kind::Build),
            ("g", Kind::Dev),
        ];
        assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
