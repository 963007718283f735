//! What a check is given.

/// A running node, and names nobody else uses there.
#[derive(Clone, Debug)]
pub struct World {
    pub port: u16,
    prefix: String,
}

impl World {
    pub fn new(port: u16, client: &str, check: &str) -> Self {
        Self {
            port,
            prefix: format!("{client}-{check}"),
        }
    }

    /// The name of a stream, or of a type of event.
    pub fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.prefix)
    }
}
