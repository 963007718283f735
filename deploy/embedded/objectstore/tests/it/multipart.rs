//! Objects in parts.

use http::Method;
use object_store::multipart::{MultipartStore, PartId};
use object_store::{ObjectStoreExt, path::Path};

use crate::support::{Server, web};

const PART: usize = 5 << 20;

fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| seed.wrapping_add(u8::try_from(n % 253).unwrap()))
        .collect()
}

#[tokio::test]
async fn parts_become_one_object_that_is_read_across_them() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/big");
    let whole: Vec<u8> = [bytes(1, PART), bytes(2, PART), bytes(3, 1_000)].concat();
    let id = client.create_multipart(&path).await.unwrap();
    let mut parts = vec![];
    for (at, part) in whole.chunks(PART).enumerate() {
        parts.push(
            client
                .put_part(&path, &id, at, part.to_vec().into())
                .await
                .unwrap(),
        );
    }
    assert!(
        client.head(&path).await.is_err(),
        "nothing is visible before it is complete"
    );
    // The upload survives a restart.
    let server = Server::start_in(server.stop().await, |_| {}).await;
    let client = server.client();
    let put = client.complete_multipart(&path, &id, parts).await.unwrap();
    assert!(put.e_tag.unwrap().ends_with("-3\""));

    assert_eq!(
        client.get(&path).await.unwrap().bytes().await.unwrap(),
        whole
    );
    let over = u64::try_from(PART).unwrap();
    let range = client
        .get_range(&path, over - 10..2 * over + 10)
        .await
        .unwrap();
    assert_eq!(range, whole[PART - 10..2 * PART + 10]);
    let server = Server::start_in(server.stop().await, |_| {}).await;
    assert_eq!(
        server
            .client()
            .get(&path)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        whole
    );
    assert_eq!(server.blobs(), 3);
    server.stop().await;
}

#[tokio::test]
async fn an_etag_that_is_not_the_parts_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/big");
    let id = client.create_multipart(&path).await.unwrap();
    let part = client.put_part(&path, &id, 0, "part".into()).await.unwrap();
    let wrong = PartId {
        content_id: format!("\"{}\"", "0".repeat(32)),
    };
    client
        .complete_multipart(&path, &id, vec![wrong])
        .await
        .unwrap_err();
    assert!(client.head(&path).await.is_err());
    client
        .complete_multipart(&path, &id, vec![part])
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn small_parts_before_the_last_are_refused() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/big");
    let id = client.create_multipart(&path).await.unwrap();
    let one = client.put_part(&path, &id, 0, "one".into()).await.unwrap();
    let two = client.put_part(&path, &id, 1, "two".into()).await.unwrap();
    let error = client
        .complete_multipart(&path, &id, vec![one, two])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("EntityTooSmall"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/big");
    let mut upload = client.put_multipart(&path).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    assert_eq!(server.blobs(), 1);
    let url = format!("http://{}/kinolog", server.address);
    let unsigned = web().get(format!("{url}?uploads")).send().await.unwrap();
    assert_eq!(unsigned.status(), 403, "the list of uploads is not public");
    upload.abort().await.unwrap();
    server.blobs_become(0).await;
    assert!(client.head(&path).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn completing_obeys_if_none_match() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/big");
    let id = client.create_multipart(&path).await.unwrap();
    let part = client.put_part(&path, &id, 0, "part".into()).await.unwrap();
    client.put(&path, "first".into()).await.unwrap();

    let url = presign_complete(&server, &id).await;
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part>\
         </CompleteMultipartUpload>",
        part.content_id.replace('"', "&quot;")
    );
    let send = || {
        web()
            .post(&url)
            .header("if-none-match", "*")
            .body(body.clone())
            .send()
    };
    assert_eq!(send().await.unwrap().status(), 412);
    assert_eq!(
        client.get(&path).await.unwrap().bytes().await.unwrap(),
        "first"
    );
    client.delete(&path).await.unwrap();
    assert_eq!(send().await.unwrap().status(), 200);
    assert_eq!(
        client.get(&path).await.unwrap().bytes().await.unwrap(),
        "part"
    );
    server.stop().await;
}

async fn presign_complete(server: &Server, id: &str) -> String {
    use object_store::signer::{SignedUrlOptions, Signer};
    let options = SignedUrlOptions::new()
        .with_query([("uploadId", id)])
        .with_signed_header(
            http::header::IF_NONE_MATCH,
            http::HeaderValue::from_static("*"),
        );
    let minute = std::time::Duration::from_secs(60);
    let path = Path::from("videos/big");
    let url = server
        .client()
        .signed_url_opts(Method::POST, &path, minute, &options)
        .await;
    url.unwrap().to_string()
}
