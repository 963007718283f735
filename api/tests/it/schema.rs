//! The committed schema is the one that is served.

#[test]
fn the_committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema.graphql");
    let served = api::schema::sdl();
    if std::env::var_os("KINOLOG_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == served,
        "schema.graphql is stale: run this test with KINOLOG_WRITE_SCHEMA=1 and commit the file"
    );
}
