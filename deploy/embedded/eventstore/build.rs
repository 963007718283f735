//! Compiles the protocol without needing an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "proto/streams.proto",
            "proto/server_features.proto",
            "proto/gossip.proto",
        ],
        ["proto"],
    )?;
    tonic_build::configure()
        .build_client(false)
        .bytes(["."])
        .extern_path(".event_store.client.Empty", "()")
        .include_file("protocol.rs")
        .compile_fds(files)?;
    Ok(())
}
