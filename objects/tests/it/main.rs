//! The object store's client against the embedded store, over HTTP.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use kinolog_objectstore::Config as StoreConfig;
use objects::{Config, Create, Error, Objects, Presigned};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);
/// Of `body`.
const BODY_SHA256: &str = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";

struct Store {
    objects: Objects,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Store {
    async fn start() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let config = StoreConfig::new(dir.path(), "kinolog", "access", "secret-key");
        let stop = CancellationToken::new();
        let task = tokio::spawn(kinolog_objectstore::serve(listener, config, stop.clone()));
        let objects = Objects::new(&config_of(&endpoint, "secret-key")).unwrap();
        Self {
            objects,
            stop,
            task,
            _dir: dir,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn config_of(endpoint: &str, secret_key: &str) -> Config {
    Config {
        endpoint: endpoint.into(),
        bucket: "kinolog".into(),
        region: "us-east-1".into(),
        access_key: "access".into(),
        secret_key: secret_key.into(),
    }
}

/// Sends a presigned request exactly as it stands.
async fn send(presigned: &Presigned, body: impl Into<reqwest::Body>) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(presigned.method.parse().unwrap(), &presigned.url);
    for (name, value) in &presigned.headers {
        request = request.header(name, value);
    }
    request.body(body).send().await.unwrap()
}

#[tokio::test]
async fn a_presigned_create_takes_one_body_of_the_declared_length() {
    let store = Store::start().await;
    let key = "sources/a/original";
    let create = store
        .objects
        .presign_create(key, 4, Some("video/mp4"), MINUTE)
        .await
        .unwrap();
    assert_eq!(create.method, "PUT");
    assert_eq!(send(&create, "body").await.status(), 200);
    assert_eq!(
        send(&create, "BODY").await.status(),
        412,
        "a second one changes nothing"
    );

    let head = store.objects.head(key).await.unwrap().unwrap();
    assert_eq!(head.size_bytes, 4);
    assert_eq!(head.etag, "841a2d689ad86bd1611447453c22c6fc");
    assert_eq!(head.checksum_sha256.as_deref(), Some(BODY_SHA256));
    assert_eq!(head.content_type.as_deref(), Some("video/mp4"));
    store.stop().await;
}

#[tokio::test]
async fn another_length_than_the_signed_one_is_refused() {
    let store = Store::start().await;
    let key = "sources/a/original";
    let mut create = store
        .objects
        .presign_create(key, 4, None, MINUTE)
        .await
        .unwrap();
    // Whoever declares the length they send breaks the signature.
    for length in ["3", "5"] {
        for (name, value) in &mut create.headers {
            if name == "content-length" {
                *value = length.into();
            }
        }
        let body = vec![b'x'; length.parse().unwrap()];
        assert_eq!(send(&create, body).await.status(), 403, "{length} bytes");
    }
    create.headers.retain(|(name, _)| name != "content-length");
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>("body")]);
    let chunked = send(&create, reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!(chunked.status(), 403, "no length at all");
    assert_eq!(store.objects.head(key).await.unwrap(), None);
    store.stop().await;
}

#[tokio::test]
async fn an_output_of_unknown_length_is_created_once() {
    let store = Store::start().await;
    let key = "videos/v/j/t/1/init.mp4";
    let create = store
        .objects
        .presign_create_unsized(key, None, MINUTE)
        .await
        .unwrap();
    let pieces = futures::stream::iter(["bo", "dy"].map(Ok::<_, std::io::Error>));
    assert_eq!(
        send(&create, reqwest::Body::wrap_stream(pieces))
            .await
            .status(),
        200
    );
    assert_eq!(send(&create, "other").await.status(), 412);
    let head = store.objects.head(key).await.unwrap().unwrap();
    assert_eq!(
        store.objects.sha256(key, &head.etag).await.unwrap(),
        BODY_SHA256
    );
    store.stop().await;
}

#[tokio::test]
async fn a_presigned_get_reads_its_version_only() {
    let store = Store::start().await;
    let Create::Created { etag } = store
        .objects
        .create("sources/a", "text/plain", "body".into())
        .await
        .unwrap()
    else {
        panic!("nothing was there before");
    };
    let get = store
        .objects
        .presign_get("sources/a", Some(&etag), MINUTE)
        .await
        .unwrap();
    assert_eq!(send(&get, "").await.text().await.unwrap(), "body");
    let ranged = reqwest::Client::new()
        .get(&get.url)
        .header("range", "bytes=1-2");
    let ranged = ranged
        .header("if-match", format!("\"{etag}\""))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (ranged.status().as_u16(), ranged.text().await.unwrap()),
        (206, "od".into())
    );
    let bare = reqwest::get(&get.url).await.unwrap();
    assert_eq!(bare.status(), 403, "the condition is signed");
    let other = store
        .objects
        .presign_get("sources/a", Some("other"), MINUTE)
        .await
        .unwrap();
    assert_eq!(send(&other, "").await.status(), 412);
    store.stop().await;
}

#[tokio::test]
async fn reading_streams_ranges_and_names_what_is_wrong() {
    let store = Store::start().await;
    let objects = &store.objects;
    let body: Vec<u8> = (0..1_000_000_u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let created = objects
        .create("videos/a", "video/mp4", body.clone().into())
        .await
        .unwrap();
    let Create::Created { etag } = created else {
        panic!("nothing was there before")
    };
    let again = objects
        .create("videos/a", "video/mp4", "other".into())
        .await
        .unwrap();
    assert_eq!(again, Create::AlreadyThere);

    let whole = objects.get("videos/a", None, Some(&etag)).await.unwrap();
    assert_eq!(
        (whole.head.size_bytes, &whole.head.etag),
        (1_000_000, &etag)
    );
    let bytes: Vec<Bytes> = whole.stream.try_collect().await.unwrap();
    assert_eq!(bytes.concat(), body);
    let tail = objects
        .get("videos/a", Some(999_990..2_000_000), None)
        .await
        .unwrap();
    assert_eq!(
        (tail.range, tail.head.size_bytes),
        (999_990..1_000_000, 1_000_000)
    );
    let bytes: Vec<Bytes> = tail.stream.try_collect().await.unwrap();
    assert_eq!(bytes.concat(), body[999_990..]);

    let error = objects
        .get("videos/a", Some(1_000_000..1_000_001), None)
        .await
        .err();
    assert!(matches!(error, Some(Error::Range)), "{error:?}");
    let error = objects.get("videos/a", None, Some("other")).await.err();
    assert!(matches!(error, Some(Error::Precondition)), "{error:?}");
    let error = objects.get("videos/b", None, None).await.err();
    assert!(matches!(error, Some(Error::NotFound)), "{error:?}");
    let error = objects.get("../b", None, None).await.err();
    assert!(matches!(error, Some(Error::Invalid(_))), "{error:?}");
    store.stop().await;
}

#[tokio::test]
async fn a_prefix_is_listed_and_deleted_whole() {
    let store = Store::start().await;
    let objects = &store.objects;
    for key in ["videos/a/1", "videos/a/2", "videos/ab/1"] {
        objects.create(key, "text/plain", "x".into()).await.unwrap();
    }
    let listed: Vec<_> = objects.list("videos/a").try_collect().await.unwrap();
    assert_eq!(
        listed,
        [("videos/a/1".to_owned(), 1), ("videos/a/2".to_owned(), 1)]
    );
    assert_eq!(objects.delete_prefix("videos/a").await.unwrap(), 2);
    assert_eq!(objects.delete_prefix("videos/a").await.unwrap(), 0);
    objects.delete("videos/ab/1").await.unwrap();
    objects.delete("videos/ab/1").await.unwrap();
    assert_eq!(objects.head("videos/ab/1").await.unwrap(), None);
    store.stop().await;
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_a_missing_store_is_unavailable() {
    let store = Store::start().await;
    store.objects.ready().await.unwrap();
    let url = store
        .objects
        .presign_get("a", None, MINUTE)
        .await
        .unwrap()
        .url;
    let endpoint = url.split("/kinolog").next().unwrap().to_owned();
    let stranger = Objects::new(&config_of(&endpoint, "wrong")).unwrap();
    let error = stranger.ready().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");

    store.stop().await;
    let gone = Objects::new(&config_of(&endpoint, "secret-key")).unwrap();
    let error = gone.head("a").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let text = format!("{error:?} {error}");
    assert!(
        !text.contains("Signature") && !text.contains("secret"),
        "{text}"
    );
}
