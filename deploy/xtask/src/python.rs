//! A Python with packages that are not the system's, in a folder of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::tests::succeeds;

/// The official client of the event store that the README shows and conformance is judged by.
pub const EVENTSTORE_CLIENT: &str = "kurrentdbclient==1.3.5";

/// The interpreter that has exactly these packages; they are installed if they are not there.
pub fn with(folder: &Path, packages: &[&str]) -> io::Result<PathBuf> {
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    let wanted = packages.join("\n");
    let installed = venv.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|list| list == wanted) {
        return Ok(python);
    }
    fs::create_dir_all(folder)?;
    let system = match Path::new("/usr/bin/python3").exists() {
        true => "/usr/bin/python3",
        false => "python3",
    };
    let made = succeeds(
        Command::new(system)
            .args(["-m", "venv", "--clear"])
            .arg(&venv),
    )? && succeeds(
        Command::new(&python)
            .args(["-m", "pip", "install", "-q"])
            .args(packages),
    )?;
    if !made {
        let list = packages.join(" and ");
        return Err(io::Error::other(format!("{list} cannot be installed")));
    }
    // Last: an installation that was interrupted begins anew.
    fs::write(installed, wanted)?;
    Ok(python)
}
