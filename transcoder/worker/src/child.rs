//! The sandboxed half of the worker: one process, one task, then gone.
//!
//! # Invariants
//!
//! * The cell is closed before a single byte of the source is read.
//! * It talks over the inherited descriptors of [`crate::wire`] only.
//! * It ends with exactly one `Done` or `Failed`; anything else is a crash.

mod as_is;
mod audio;
mod chunk;
mod cmaf;
mod colour;
mod coverage;
mod declared;
mod decoder;
mod downmix;
mod ending;
mod fragments;
mod front_end;
mod grid;
mod index;
mod lead;
#[cfg(test)]
mod made;
mod passthrough;
mod poster;
mod probe;
mod resize;
mod sandbox;
mod seek;
mod self_test;
mod source_element;
mod timeline;
mod video;
mod video_graph;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::process::ExitCode;
use std::sync::Mutex;

use gstreamer as gst;
use prost::Message;
use protocol::task::Spec;
use protocol::{FinishRequest, Task, finish_request};

use crate::failure::{Code, Failure};
use crate::wire::{self, Head};
use source_element::SourceLink;

/// What every task of the child ends with.
pub(crate) type Finished = Result<finish_request::Result, Failure>;

/// The way out: whole frames, one at a time, blocking while the parent is behind.
pub(crate) struct Output {
    socket: Mutex<File>,
}

impl Output {
    /// Sends one frame. An error means that the parent is gone.
    pub(crate) fn send(&self, head: &Head, body: &[u8]) -> io::Result<()> {
        let mut socket = self
            .socket
            .lock()
            .map_err(|_| io::Error::other("another writer panicked"))?;
        wire::write_frame(&mut *socket, head, body)
    }
}

/// Runs the task on standard input, or the self-test of the cell.
pub fn run(self_test: bool) -> ExitCode {
    let output = std::sync::Arc::new(Output {
        // SAFETY: the parent put the descriptor there for us, and nothing else owns it.
        socket: Mutex::new(unsafe { File::from_raw_fd(wire::OUTPUT_FD) }),
    });
    // SAFETY: as above.
    let source = unsafe { File::from_raw_fd(wire::SOURCE_FD) };

    let ended = if self_test {
        let view = sandbox::close(&sandbox::Allowance::for_self_test());
        let findings = self_test::findings(&view);
        let missing = view.missing();
        output.send(&Head::Findings { findings, missing }, &[])
    } else {
        match task(&output, source) {
            Ok(result) => {
                let finish = FinishRequest {
                    lease: None,
                    result: Some(result),
                };
                output.send(&Head::Done, &finish.encode_to_vec())
            }
            Err(failure) => output.send(&Head::Failed { failure }, &[]),
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to tell the parent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn task(output: &std::sync::Arc<Output>, source: File) -> Finished {
    let mut spec = Vec::new();
    let bug = |what: &str| Failure::new(Code::ProcessingCrashed, format!("the worker {what}"));
    io::stdin()
        .take(wire::SPEC_BYTES_MAX)
        .read_to_end(&mut spec)
        .map_err(|_| bug("could not read its task"))?;
    let task = Task::decode(spec.as_slice()).map_err(|_| bug("could not read its task"))?;
    let size = task.source.as_ref().map_or(0, |source| source.size_bytes);
    let spec = task.spec.ok_or_else(|| bug("got an empty task"))?;

    // The parent has found out at its start how much the view hides, and said so.
    let _view = sandbox::close(&sandbox::Allowance::for_task(&spec));
    let link = SourceLink::new(source, size);
    // Passing through is copying: what would be loaded for it is time to the first segment.
    if !matches!(spec, Spec::Passthrough(_)) {
        gst::init().map_err(|_| bug("could not start GStreamer"))?;
        gstfmp4::plugin_register_static().map_err(|_| bug("could not register its muxer"))?;
        colour::register()?;
        grid::register()?;
        resize::register()?;
        front_end::forbid_fetching();
    }
    match spec {
        Spec::Probe(spec) => probe::run(&link, &spec, output),
        Spec::Encode(spec) => video::run(&link, &spec, output),
        Spec::Audio(spec) => audio::run(&link, &spec, output),
        Spec::Poster(spec) => poster::run(&link, &spec, output),
        Spec::Passthrough(spec) => passthrough::run(&link, &spec, output),
    }
}
