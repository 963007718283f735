//! Each invariant is seeded with its violation in a copy of the sources, and named.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A copy of the workspace as far as `tidy` looks at it.
struct Tree(PathBuf);

impl Tree {
    fn copied_for(test: &str) -> Self {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("tidy")
            .join(test);
        if copy.exists() {
            fs::remove_dir_all(&copy).unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .unwrap();
        fs::create_dir_all(&copy).unwrap();
        fs::copy(root.join("Cargo.toml"), copy.join("Cargo.toml")).unwrap();
        for top in [
            "domain",
            "eventlog",
            "objects",
            "projections",
            "api",
            "transcoder",
            "deploy",
        ] {
            copy_sources(&root.join(top), &copy.join(top));
        }
        Self(copy)
    }

    /// Adds a line below the first line that is `after`, or at the end.
    fn seed(&self, file: &str, after: &str, line: &str) {
        let path = self.0.join(file);
        let mut text = fs::read_to_string(&path).unwrap();
        let at = text.find(after).map_or(text.len(), |at| at + after.len());
        text.insert_str(at, &format!("\n{line}\n"));
        fs::write(path, text).unwrap();
    }

    fn tidy(&self) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["tidy", "--root"])
            .arg(&self.0)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }

    fn names(&self, violation: &str, file: &str) {
        let (holds, said) = self.tidy();
        assert!(!holds, "a violation passes: {said}");
        let named = said
            .lines()
            .any(|line| line.contains(violation) && line.contains(file));
        assert!(named, "{violation} in {file} is not named: {said}");
    }
}

fn copy_sources(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "node_modules" {
            copy_sources(&path, &to.join(name));
        } else if path
            .extension()
            .is_some_and(|ext| ext == "rs" || ext == "toml")
        {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn the_sources_as_they_are_keep_every_invariant() {
    let (holds, said) = Tree::copied_for("clean").tidy();
    assert!(holds, "{said}");
}

#[test]
fn a_domain_that_reads_a_clock_is_named() {
    let tree = Tree::copied_for("clock");
    fs::write(
        tree.0.join("domain/src/clock.rs"),
        "//! A clock.\n\npub fn now() -> std::time::SystemTime {\n    std::time::SystemTime::now()\n}\n",
    )
    .unwrap();
    tree.names("invariant 1", "domain/src/clock.rs:3");
}

#[test]
fn a_domain_that_draws_an_id_is_named() {
    let tree = Tree::copied_for("id");
    fs::write(
        tree.0.join("domain/src/draw.rs"),
        "//! Ids.\nfn id() { uuid::Uuid::now_v7(); }\n",
    )
    .unwrap();
    tree.names("invariant 1", "domain/src/draw.rs:2");
}

#[test]
fn a_domain_that_depends_on_io_is_named() {
    let tree = Tree::copied_for("io");
    tree.seed(
        "domain/Cargo.toml",
        "[dependencies]",
        "tokio.workspace = true",
    );
    tree.names("invariant 1", "domain/Cargo.toml");
}

#[test]
fn a_second_crate_with_the_log_client_is_named() {
    let tree = Tree::copied_for("log-client");
    tree.seed(
        "projections/Cargo.toml",
        "[dependencies]",
        "eventstore.workspace = true",
    );
    tree.names("invariant 2", "projections/Cargo.toml");
}

#[test]
fn a_second_crate_with_the_s3_client_is_named() {
    let tree = Tree::copied_for("s3-client");
    tree.seed(
        "api/Cargo.toml",
        "[dependencies]",
        "store = { package = \"object_store\", version = \"0.14\" }",
    );
    tree.names("invariant 2", "api/Cargo.toml");
}

#[test]
fn a_second_crate_with_gstreamer_is_named_even_for_its_tests() {
    let tree = Tree::copied_for("gstreamer");
    tree.seed(
        "deploy/kinolog/Cargo.toml",
        "[dev-dependencies]",
        "gstreamer.workspace = true",
    );
    tree.names("invariant 2", "deploy/kinolog/Cargo.toml");
}

#[test]
fn an_api_that_depends_on_the_transcoder_is_named() {
    let tree = Tree::copied_for("api");
    tree.seed(
        "api/Cargo.toml",
        "[dependencies]",
        "protocol.workspace = true",
    );
    tree.names("invariant 3", "api/Cargo.toml");
}

#[test]
fn a_transcoder_that_depends_on_the_api_through_another_crate_is_named() {
    let tree = Tree::copied_for("transcoder");
    tree.seed(
        "objects/Cargo.toml",
        "[dependencies]",
        "api.workspace = true",
    );
    tree.names("invariant 3", "transcoder/conductor/Cargo.toml");
}

#[test]
fn a_worker_that_depends_on_the_log_is_named() {
    let tree = Tree::copied_for("worker");
    tree.seed(
        "transcoder/worker/Cargo.toml",
        "[dependencies]",
        "eventlog.workspace = true",
    );
    tree.names("invariant 4", "transcoder/worker/Cargo.toml");
}

#[test]
fn a_crate_that_depends_on_deploy_is_named() {
    let tree = Tree::copied_for("deploy");
    tree.seed(
        "eventlog/Cargo.toml",
        "[dependencies]",
        "kinolog-eventstore.workspace = true",
    );
    tree.names("invariant 5", "eventlog/Cargo.toml");
}

#[test]
fn a_silenced_lint_is_named() {
    let tree = Tree::copied_for("allow");
    tree.seed("objects/src/lib.rs", "", concat!("#[", "allow(dead_code)]"));
    tree.names("style", "objects/src/lib.rs");
}
