//! What becomes of files that nobody may rely on.

use super::super::Random;
use super::SimulatedDisk;

impl SimulatedDisk {
    /// Some of the files whose names begin so are lost, cut, garbled, or another one.
    /// Whether any was.
    pub(in super::super) fn damage(&self, prefix: &str, random: &mut Random) -> bool {
        let mut state = self.state();
        let known = state
            .names
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        let known: Vec<(String, usize)> = known.map(|(name, id)| (name.clone(), *id)).collect();
        let mut damaged = false;
        for (name, id) in &known {
            let mut content = state.files[*id].now.clone();
            match random.within(0..8) {
                0 => {
                    state.names.remove(name);
                    state.durable_names.remove(name);
                    damaged = true;
                    continue;
                }
                1 => content.truncate(random.index(content.len() + 1)),
                2 | 3 if !content.is_empty() => {
                    let at = random.index(content.len());
                    content[at] ^= 1 << random.index(8);
                }
                4 => {
                    let (_, other) = known[random.index(known.len())];
                    content = state.files[other].now.clone();
                }
                _ => continue,
            }
            let file = &mut state.files[*id];
            damaged |= file.now != content;
            file.unsynced.clear();
            (file.durable, file.now) = (content.clone(), content);
        }
        damaged
    }
}
