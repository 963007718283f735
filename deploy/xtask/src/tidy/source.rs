//! What the sources say: impure words in `domain`, and what the style forbids.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::Member;

/// Past this, a file holds two ideas.
const LINES_MAX: usize = 500;

/// Clocks, random ids and the outside world.
const IMPURE: [&str; 16] = [
    "SystemTime",
    "Instant",
    "now_utc",
    "now_local",
    "new_v4",
    "now_v7",
    "new_v7",
    "rand::",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "async fn",
    ".await",
];

/// All Rust files of a member, from the top of the repository.
pub fn files(root: &Path, folder: &str) -> io::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    for part in ["src", "tests", "benches", "examples"] {
        let path = Path::new(folder).join(part);
        if root.join(&path).is_dir() {
            collect(root, &path, &mut found)?;
        }
    }
    Ok(found)
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path.clone(), fs::read_to_string(root.join(&path))?);
        }
    }
    Ok(())
}

/// Where a member's own code, tests aside, uses what a pure crate must not.
pub fn impure(member: &Member) -> Vec<(PathBuf, usize, &'static str)> {
    let sources = member
        .sources
        .iter()
        .filter(|(path, _)| path.starts_with(format!("{}/src", member.folder)));
    sources
        .flat_map(|(path, text)| {
            code_lines(text).flat_map(move |(number, line)| {
                IMPURE
                    .iter()
                    .filter(move |word| line.contains(**word))
                    .map(move |word| (path.clone(), number, *word))
            })
        })
        .collect()
}

/// What the style forbids everywhere.
pub fn style(member: &Member) -> Vec<String> {
    let allow = concat!("#[", "allow(");
    let allow_inside = concat!("#![", "allow(");
    let paths = [
        concat!("/work", "/main"),
        concat!("/work", "/shared"),
        concat!("/tmp", "/k/"),
    ];
    let mut violations = vec![];
    for (path, text) in &member.sources {
        for (index, line) in text.lines().enumerate() {
            let at = format!("{}:{}", path.display(), index + 1);
            let code = line.trim_start();
            if code.starts_with(allow) || code.starts_with(allow_inside) {
                violations.push(format!("style: {at}: use #[expect(…, reason = \"…\")]"));
            }
            if paths.iter().any(|path| line.contains(path)) {
                violations.push(format!("style: {at}: a path of somebody's machine"));
            }
        }
    }
    violations
}

pub fn long_files(member: &Member) -> Vec<(PathBuf, usize)> {
    member
        .sources
        .iter()
        .map(|(path, text)| (path.clone(), text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect()
}

/// The lines that are compiled into the library: no comments, nothing after the tests begin.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn comments_and_tests_may_name_a_clock() {
        let text =
            "//! No SystemTime here.\nlet x = 1; // Instant\n#[cfg(test)]\nmod tests { Instant }\n";
        let lines: Vec<&str> = code_lines(text).map(|(_, line)| line).collect();
        assert_eq!(lines, ["", "let x = 1; "]);
    }
}
