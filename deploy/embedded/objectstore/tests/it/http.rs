//! The rim: CORS, the bucket's operations, stopping.

use std::time::Duration;

use http::Method;
use kinolog_objectstore::Cors;
use object_store::{ObjectStoreExt, path::Path};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Server, folder, web};

#[tokio::test]
async fn a_browser_may_put_with_a_presigned_url_and_read_the_etag() {
    let server = Server::start().await;
    let url = server
        .presign(Method::PUT, "sources/a", &[("if-none-match", "*")])
        .await;
    let preflight = web()
        .request(Method::OPTIONS, &url)
        .header("origin", "https://site.example")
        .header("access-control-request-method", "PUT")
        .header(
            "access-control-request-headers",
            "if-none-match,content-type",
        )
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert!(
        preflight.headers()["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("PUT")
    );
    assert_eq!(
        preflight.headers()["access-control-allow-headers"],
        "if-none-match,content-type"
    );
    let put = web().put(&url).header("origin", "https://site.example");
    let put = put
        .header("if-none-match", "*")
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 200);
    assert_eq!(put.headers()["access-control-allow-origin"], "*");
    let exposed = put.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap();
    assert!(exposed.contains("ETag"));
    server.stop().await;
}

#[tokio::test]
async fn only_the_named_origins_are_allowed_when_some_are_named() {
    let server = Server::start_in(folder(), |config| {
        config.cors = Cors::Origins(vec!["https://ours.example".into()]);
    })
    .await;
    server.put("a", &[], "x").await;
    let url = server.presign(Method::GET, "a", &[]).await;
    let from = |origin: &'static str| web().get(&url).header("origin", origin).send();
    let ours = from("https://ours.example").await.unwrap();
    assert_eq!(
        ours.headers()["access-control-allow-origin"],
        "https://ours.example"
    );
    let other = from("https://other.example").await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    server.stop().await;
}

#[tokio::test]
async fn stopping_lets_an_open_download_finish() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/a");
    let body = vec![9_u8; 3 << 20];
    client.put(&path, body.clone().into()).await.unwrap();
    let reading = client.get(&path).await.unwrap();
    let stopped = tokio::spawn(server.stop());
    assert_eq!(reading.bytes().await.unwrap(), body);
    stopped.await.unwrap();
}

#[tokio::test]
async fn whoever_asks_and_takes_nothing_is_cut_off() {
    let stalled = Duration::from_millis(500);
    let server = Server::start_in(folder(), |config| config.stalled = stalled).await;
    // More than a connection holds on its way.
    server.put("large", &[], vec![7; 32 << 20]).await;
    let url = server.presign(Method::GET, "large", &[]).await;
    let (_, target) = url.split_once(&server.address.to_string()).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    // What is asked after that is read no more.
    let asking = async { while connection.write_all(request.as_bytes()).await.is_ok() {} };
    let cut_off = tokio::time::timeout(PATIENCE, asking).await;
    assert!(cut_off.is_ok(), "the connection is still there");
    server.stop().await;
}
