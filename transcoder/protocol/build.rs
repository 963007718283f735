//! Compiles the contract without needing an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/worker.proto"], ["proto"])?;
    tonic_build::configure().compile_fds(files)?;
    Ok(())
}
