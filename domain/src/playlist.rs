//! Playlists: pure functions of what has been published.
