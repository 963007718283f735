//! Compiles the protocol without needing an installed `protoc`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "proto/streams.proto",
            "proto/server_features.proto",
            "proto/gossip.proto",
            "proto/operations.proto",
            "proto/monitoring.proto",
            "proto/persistent_subscriptions.proto",
        ],
        ["proto"],
    )?;
    tonic_build::configure()
        .build_client(false)
        .bytes(["."])
        .extern_path(".event_store.client.Empty", "()")
        .include_file("protocol.rs")
        .compile_fds(files.clone())?;

    // The other side, for tests of what no official client sends or shows.
    let clients = PathBuf::from(std::env::var("OUT_DIR")?).join("clients");
    std::fs::create_dir_all(&clients)?;
    tonic_build::configure()
        .build_server(false)
        .out_dir(clients)
        .extern_path(".event_store.client.Empty", "()")
        .include_file("clients.rs")
        .compile_fds(files)?;
    Ok(())
}
