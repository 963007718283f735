//! The contract between the conductor and its workers: gRPC messages and stubs,
//! generated from `proto/worker.proto`, which is also its documentation.
#![expect(
    clippy::allow_attributes,
    reason = "the generated code silences its own lints this way"
)]

tonic::include_proto!("kinolog.worker.v1");
