//! Whether an IO error means that there is no room.

use std::io;

/// A full disk, a quota, or a limit on file sizes: to the client all the same.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
