//! Who connects and does not speak the protocol.

use futures::future::join_all;
use kinolog_eventstore::limits::{GREETING_MAX, SEGMENT_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::node::{SOON, add, client, folder, revisions};
use crate::process::Process;

#[tokio::test]
async fn the_silent_are_closed_and_those_who_speak_are_not() {
    let dir = folder();
    let process = Process::start_with(dir.path(), SEGMENT_BYTES);
    let port = process.port;
    let client = client(port);
    add(&client, "a", "x", 1).await;

    let begun = Instant::now();
    let strangers = [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"].map(|said| async move {
        let address = ("127.0.0.1", port);
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(said).await.unwrap();
        // The node's own greeting, then the end, in whatever way.
        let mut heard = vec![];
        let ended = tokio::time::timeout(SOON, stranger.read_to_end(&mut heard)).await;
        assert!(ended.is_ok(), "{said:?} is still connected");
    });
    join_all(strangers).await;
    assert!(begun.elapsed() > GREETING_MAX);
    assert_eq!(revisions(&client, "a").await, [0]);
}
