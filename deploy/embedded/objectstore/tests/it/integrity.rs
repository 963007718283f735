//! What is refused leaves nothing: digests, lengths, limits, keys, signatures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::support::{Server, presign_odd, web};

fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn a_body_with_another_digest_leaves_nothing() {
    let server = Server::start().await;
    let other = sha256(b"other");
    let md5 = STANDARD.encode(Md5::digest(b"other"));
    let refused = [
        ("x-amz-checksum-sha256", other.as_str(), "BadDigest"),
        ("content-md5", md5.as_str(), "BadDigest"),
        ("content-md5", "no digest", "InvalidDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32c", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", "BadDigest"),
    ];
    for (name, value, code) in refused {
        let answer = server.put("sources/a", &[(name, value)], "body").await;
        assert_eq!(answer.status(), 400, "{name}");
        assert!(answer.text().await.unwrap().contains(code), "{name}");
        assert_eq!(server.get("sources/a").await.status(), 404, "{name}");
    }
    server.blobs_become(0).await;

    let right = sha256(b"body");
    let answer = server
        .put("sources/a", &[("x-amz-checksum-sha256", &right)], "body")
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-amz-checksum-sha256"], right);
    server.stop().await;
}

#[tokio::test]
async fn a_refused_body_does_not_replace_what_is_there() {
    let server = Server::start().await;
    server.put("sources/a", &[], "first").await;
    let other = sha256(b"other");
    server
        .put("sources/a", &[("x-amz-checksum-sha256", &other)], "second")
        .await;
    assert_eq!(server.get("sources/a").await.text().await.unwrap(), "first");
    server.stop().await;
}

#[tokio::test]
async fn the_store_knows_the_sha256_of_what_was_put() {
    let server = Server::start().await;
    let answer = server.put("sources/a", &[], "body").await;
    assert_eq!(answer.headers()["x-amz-checksum-sha256"], sha256(b"body"));
    let mode = ("x-amz-checksum-mode", "ENABLED");
    let url = server.presign(Method::HEAD, "sources/a", &[mode]).await;
    let head = web().head(url).header(mode.0, mode.1).send().await.unwrap();
    assert_eq!(head.headers()["x-amz-checksum-sha256"], sha256(b"body"));
    assert_eq!(head.headers()["content-length"], "4");
    let url = server.presign(Method::HEAD, "sources/a", &[]).await;
    let head = web().head(url).send().await.unwrap();
    assert!(
        !head.headers().contains_key("x-amz-checksum-sha256"),
        "nobody asked"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_header_that_was_signed_must_come_as_it_was() {
    let server = Server::start().await;
    let url = server
        .presign(Method::PUT, "sources/a", &[("if-none-match", "*")])
        .await;
    let without = web().put(&url).body("x").send().await.unwrap();
    assert_eq!(without.status(), 403);
    let with = web()
        .put(&url)
        .header("if-none-match", "*")
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(with.status(), 200);

    let url = server
        .presign(Method::GET, "sources/a", &[("if-match", "\"one\"")])
        .await;
    let other = web()
        .get(&url)
        .header("if-match", "\"two\"")
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), 403);
    server.stop().await;
}

#[tokio::test]
async fn a_presigned_put_cannot_be_turned_into_a_copy() {
    let server = Server::start().await;
    server.put("sources/secret", &[], "secret").await;
    let url = server.presign(Method::PUT, "videos/mine", &[]).await;
    let request = web()
        .put(url)
        .header("x-amz-copy-source", "/kinolog/sources/secret");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(server.get("videos/mine").await.status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn strangers_get_nothing() {
    let server = Server::start().await;
    server.put("sources/a", &[], "body").await;
    let plain = format!("http://{}/kinolog/sources/a", server.address);
    assert_eq!(web().get(&plain).send().await.unwrap().status(), 403);
    assert_eq!(
        web().put(&plain).body("x").send().await.unwrap().status(),
        403
    );
    let form = web().post(format!("http://{}/kinolog", server.address));
    let form = form
        .header("content-type", "multipart/form-data; boundary=x")
        .body("--x--");
    assert_eq!(form.send().await.unwrap().status(), 501);
    let signed = server.presign(Method::GET, "sources/a", &[]).await;
    let forged = signed.replace("sources/a", "sources/b");
    assert_eq!(web().get(forged).send().await.unwrap().status(), 403);
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_never_a_path() {
    let server = Server::start().await;
    let victim = server.dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    for key in [
        "../victim/f",
        "../../victim/f",
        "./f",
        "blobs/../journal",
        "/etc/f",
    ] {
        // Clients normalise such keys away, so the request is signed and spelt by hand.
        let put = web().put(presign_odd(server.address, "PUT", key)).body(key);
        assert_eq!(put.send().await.unwrap().status(), 200, "{key}");
        let get = web()
            .get(presign_odd(server.address, "GET", key))
            .send()
            .await
            .unwrap();
        assert_eq!(get.text().await.unwrap(), key);
    }
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
    assert!(!server.dir.path().join("../victim").exists());
    server.blobs_become(5).await;
    let server = Server::start_in(server.stop().await, |_| {}).await;
    let get = web()
        .get(presign_odd(server.address, "GET", "../victim/f"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        get.text().await.unwrap(),
        "../victim/f",
        "an ordinary key like any other"
    );
    server.stop().await;
}

#[tokio::test]
async fn limits_have_their_codes_and_leave_nothing() {
    let server = Server::start_in(crate::support::folder(), |config| {
        config.put_bytes_max = 1_000;
    })
    .await;
    let large = server.put("sources/a", &[], vec![0; 1_001]).await;
    assert_eq!(large.status(), 400);
    assert!(large.text().await.unwrap().contains("EntityTooLarge"));
    // Without a declared length, too.
    let pieces = futures::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 100])));
    let large = server
        .put("sources/a", &[], reqwest::Body::wrap_stream(pieces))
        .await;
    assert!(large.text().await.unwrap().contains("EntityTooLarge"));
    let long = server.put(&"k".repeat(1_025), &[], "x").await;
    assert_eq!(long.status(), 400);
    assert!(long.text().await.unwrap().contains("KeyTooLongError"));
    server.blobs_become(0).await;
    server.stop().await;
}

#[tokio::test]
async fn without_room_a_put_is_refused_with_507() {
    let server = Server::start_in(crate::support::folder(), |config| {
        config.reserve_bytes = u64::MAX / 2;
    })
    .await;
    let answer = server.put("sources/a", &[], "x").await;
    assert_eq!(answer.status(), 507);
    assert!(answer.text().await.unwrap().contains("InsufficientStorage"));
    assert_eq!(server.blobs(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let server = Server::start().await;
    let pieces = futures::stream::iter([
        Ok::<_, std::io::Error>(vec![0_u8; 100]),
        Err(std::io::Error::other("the client dies")),
    ]);
    let url = server.presign(Method::PUT, "sources/a", &[]).await;
    let body = reqwest::Body::wrap_stream(pieces);
    web().put(url).body(body).send().await.unwrap_err();
    assert_eq!(server.get("sources/a").await.status(), 404);
    server.blobs_become(0).await;
    server.stop().await;
}
