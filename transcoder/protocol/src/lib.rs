//! The contract between the conductor and its workers: gRPC messages and stubs,
//! generated from `proto/worker.proto`, which is also its documentation.

tonic::include_proto!("kinolog.worker.v1");
