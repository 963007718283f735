//! Bytes that should be there and are not what they should be.

use std::sync::Arc;

/// Why something could not be read. It has been logged.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what} at offset {offset} of {file} cannot be read: {why}")]
pub(crate) struct Unreadable {
    pub(crate) file: Arc<str>,
    pub(crate) offset: u64,
    what: &'static str,
    why: String,
}

impl Unreadable {
    pub(crate) fn record(file: &Arc<str>, offset: u64, why: impl ToString) -> Self {
        Self::logged("the record", file, offset, why)
    }

    pub(crate) fn page(file: &Arc<str>, offset: u64, why: impl ToString) -> Self {
        Self::logged("the page", file, offset, why)
    }

    fn logged(what: &'static str, file: &Arc<str>, offset: u64, why: impl ToString) -> Self {
        let unreadable = Self {
            file: file.clone(),
            offset,
            what,
            why: why.to_string(),
        };
        tracing::error!(file = %file, offset, "{unreadable}");
        unreadable
    }
}
