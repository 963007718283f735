//! Accepting connections, and making small messages fast.
//!
//! # Invariants
//!
//! * TCP_QUICKACK is armed again after every read. The kernel forgets it, and a client
//!   that leaves Nagle's algorithm on (the Rust one does) then waits 40 ms for a delayed
//!   acknowledgement between the header and the body of each append.
//! * A connection that does not begin to speak the protocol is closed: keeping alive begins
//!   behind that, and the silent would keep everybody else out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::limits::{CONNECTIONS_MAX, GREETING_MAX};

/// How long to wait after a connection could not be accepted, for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every HTTP/2 connection begins with.
const PREFACE_BYTES: usize = 24;

/// A client's connection.
pub(crate) struct Connection {
    stream: TcpStream,
    greeting: Option<Greeting>,
    _permit: OwnedSemaphorePermit,
}

/// The beginning of a connection, for as long as it is not complete.
struct Greeting {
    missing_bytes: usize,
    until: Pin<Box<Sleep>>,
}

/// The connections of a listener, for ever.
pub(crate) fn connections(
    listener: TcpListener,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    futures::stream::unfold((listener, free), |(listener, free)| async move {
        let permit = free.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // A socket that refuses its options is slower, not wrong.
                    let _ = stream.set_nodelay(true);
                    let _ = stream.set_quickack(true);
                    let connection = Connection {
                        stream,
                        greeting: Some(Greeting {
                            missing_bytes: PREFACE_BYTES,
                            until: Box::pin(tokio::time::sleep(GREETING_MAX)),
                        }),
                        _permit: permit,
                    };
                    return Some((Ok(connection), (listener, free)));
                }
                Err(error) => {
                    tracing::warn!("failed to accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(greeting) = &mut self.greeting {
            greeting.missing_bytes -= greeting.missing_bytes.min(buffer.filled().len() - before);
            if greeting.missing_bytes == 0 {
                self.greeting = None;
            } else if read.is_pending() && greeting.until.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        if let Poll::Ready(Ok(())) = &read {
            // As above: slower, not wrong.
            let _ = self.stream.set_quickack(true);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
