//! Conditional writes and reads, ranges, and what survives a restart.

use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    UpdateVersion, path::Path,
};

use crate::support::{Server, web};

#[tokio::test]
async fn of_concurrent_creators_exactly_one_wins() {
    let server = Server::start().await;
    for round in 0..5 {
        let key = format!("sources/{round}/original");
        let puts = (0..16).map(|creator| {
            let (server, key) = (&server, &key);
            async move {
                let body = format!("creator {creator}");
                (
                    server
                        .put(key, &[("if-none-match", "*")], body)
                        .await
                        .status(),
                    creator,
                )
            }
        });
        let answers = futures::future::join_all(puts).await;
        let winners: Vec<_> = answers
            .iter()
            .filter(|(status, _)| status.is_success())
            .collect();
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(
            answers
                .iter()
                .all(|(status, _)| [200, 412].contains(&status.as_u16()))
        );
        let stored = server.get(&key).await.text().await.unwrap();
        assert_eq!(stored, format!("creator {}", winners[0].1));
    }
    server.blobs_become(5).await;
    server.stop().await;
}

#[tokio::test]
async fn a_version_is_replaced_only_by_who_knows_it() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/a");
    let first = client.put(&path, "one".into()).await.unwrap();
    let update = |e_tag: Option<String>| {
        let version = UpdateVersion {
            e_tag,
            version: None,
        };
        PutOptions {
            mode: PutMode::Update(version),
            ..PutOptions::default()
        }
    };
    client
        .put_opts(&path, "two".into(), update(first.e_tag.clone()))
        .await
        .unwrap();
    let error = client
        .put_opts(&path, "three".into(), update(first.e_tag))
        .await
        .unwrap_err();
    assert!(
        matches!(error, object_store::Error::Precondition { .. }),
        "{error}"
    );
    let stored = client.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(stored, "two");
    server.blobs_become(1).await;
    server.stop().await;
}

#[tokio::test]
async fn reads_are_conditional_and_ranged() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/a");
    let body: Vec<u8> = (0..600_000_u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let put = client.put(&path, body.clone().into()).await.unwrap();

    let range = GetRange::Bounded(262_140..524_300);
    let options = GetOptions::new().with_range(Some(range));
    let part = client.get_opts(&path, options).await.unwrap();
    assert_eq!(part.range, 262_140..524_300);
    assert_eq!(part.bytes().await.unwrap(), body[262_140..524_300]);
    let suffix = GetOptions::new().with_range(Some(GetRange::Suffix(10)));
    let suffix = client
        .get_opts(&path, suffix)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(suffix, body[599_990..]);

    let url = server.presign(http::Method::GET, "videos/a", &[]).await;
    let get = |name: &'static str, value: String| web().get(&url).header(name, value).send();
    let beyond = get("range", "bytes=600000-".into()).await.unwrap();
    assert_eq!(beyond.status(), 416);
    let etag = put.e_tag.unwrap();
    assert_eq!(
        get("if-none-match", etag.clone()).await.unwrap().status(),
        304
    );
    assert_eq!(get("if-match", etag).await.unwrap().status(), 200);
    assert_eq!(
        get("if-match", "\"other\"".into()).await.unwrap().status(),
        412
    );
    server.stop().await;
}

#[tokio::test]
async fn a_reader_of_a_replaced_object_finishes_what_it_began() {
    let server = Server::start().await;
    let client = server.client();
    let path = Path::from("videos/a");
    let body = vec![7_u8; 4 << 20];
    client.put(&path, body.clone().into()).await.unwrap();
    let reading = client.get(&path).await.unwrap();
    client.put(&path, "new".into()).await.unwrap();
    client.delete(&path).await.unwrap();
    assert_eq!(reading.bytes().await.unwrap(), body);
    server.blobs_become(0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let server = Server::start().await;
    let client = server.client();
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, "video/mp4".into());
    attributes.insert(Attribute::Metadata("note".into()), "kept".into());
    let options = PutOptions {
        attributes: attributes.clone(),
        ..PutOptions::default()
    };
    let kept = Path::from("videos/kept");
    let put = client
        .put_opts(&kept, "bytes".into(), options)
        .await
        .unwrap();
    client
        .copy(&kept, &Path::from("videos/copy"))
        .await
        .unwrap();
    client
        .put(&Path::from("videos/gone"), "gone".into())
        .await
        .unwrap();
    client.delete(&Path::from("videos/gone")).await.unwrap();
    // The copy outlives what it was copied from, across a restart too.
    client
        .copy(&kept, &Path::from("videos/heir"))
        .await
        .unwrap();
    let server = Server::start_in(server.stop().await, |_| {}).await;
    let client = server.client();
    let got = client.get(&kept).await.unwrap();
    assert_eq!(got.meta.e_tag, put.e_tag);
    assert_eq!(got.attributes, attributes);
    client.delete(&kept).await.unwrap();
    let server = Server::start_in(server.stop().await, |_| {}).await;
    let client = server.client();
    let heir = client.get(&Path::from("videos/heir")).await.unwrap();
    assert_eq!(heir.bytes().await.unwrap(), "bytes");
    let gone = client.head(&Path::from("videos/gone")).await.unwrap_err();
    assert!(matches!(gone, object_store::Error::NotFound { .. }));
    assert_eq!(server.blobs(), 1, "copies share their bytes");
    server.stop().await;
}

#[tokio::test]
async fn a_folder_has_one_store() {
    let server = Server::start().await;
    server.get("any").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = kinolog_objectstore::Config::new(server.dir.path(), "kinolog", "a", "s");
    let stop = tokio_util::sync::CancellationToken::new();
    let error = kinolog_objectstore::serve(listener, config, stop)
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("another process uses"),
        "{error:#}"
    );
    server.stop().await;
}
