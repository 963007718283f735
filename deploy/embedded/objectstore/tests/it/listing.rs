//! Listings: prefixes, delimiters, pages, and deleting many.

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use crate::support::Server;

#[tokio::test]
async fn a_listing_goes_over_pages_and_deletes_in_bulk() {
    let server = Server::start().await;
    let client = server.client();
    let puts = (0..1_205).map(|n| {
        let client = client.clone();
        async move {
            client
                .put(&Path::from(format!("videos/v/{n:05}")), "x".into())
                .await
        }
    });
    let done: Vec<_> = futures::stream::iter(puts)
        .buffer_unordered(64)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(done.len(), 1_205);
    client
        .put(&Path::from("videos/w/1"), "x".into())
        .await
        .unwrap();

    let list = || {
        client
            .list(Some(&Path::from("videos/v")))
            .map_ok(|meta| meta.location)
    };
    let keys: Vec<_> = list().try_collect().await.unwrap();
    assert_eq!(keys.len(), 1_205);
    assert!(keys.is_sorted(), "in the order of keys");

    let rolled = client
        .list_with_delimiter(Some(&Path::from("videos")))
        .await
        .unwrap();
    assert_eq!(
        rolled.common_prefixes,
        [Path::from("videos/v"), Path::from("videos/w")]
    );
    assert!(rolled.objects.is_empty());

    let deleted: Vec<_> = client
        .delete_stream(list().boxed())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(deleted.len(), 1_205);
    let left: Vec<_> = client.list(None).try_collect().await.unwrap();
    assert_eq!(left.len(), 1);
    server.blobs_become(1).await;
    server.stop().await;
}

#[tokio::test]
async fn small_pages_lose_and_repeat_nothing() {
    let server = Server::start().await;
    let client = server.client();
    let keys = ["a", "b/1", "b/2", "b0", "c/1", "d"];
    for key in keys {
        client.put(&Path::from(key), "x".into()).await.unwrap();
    }
    for size in 1..=keys.len() {
        let mut found = vec![];
        let mut token = None;
        loop {
            let page = listed(&client, size, token.take()).await;
            found.extend(page.0);
            let Some(next) = page.1 else { break };
            token = Some(next);
        }
        assert_eq!(found, ["a", "b/", "b0", "c/", "d"], "pages of {size}");
    }
    server.stop().await;
}

async fn listed(
    client: &object_store::aws::AmazonS3,
    size: usize,
    token: Option<String>,
) -> (Vec<String>, Option<String>) {
    use object_store::list::{PaginatedListOptions, PaginatedListStore};
    let options = PaginatedListOptions {
        delimiter: Some("/".into()),
        max_keys: Some(size),
        page_token: token,
        ..PaginatedListOptions::default()
    };
    let page = client.list_paginated(None, options).await.unwrap();
    let objects = page
        .result
        .objects
        .iter()
        .map(|meta| meta.location.to_string());
    let prefixes = page
        .result
        .common_prefixes
        .iter()
        .map(|prefix| format!("{prefix}/"));
    let mut names: Vec<_> = objects.chain(prefixes).collect();
    names.sort();
    (names, page.page_token)
}
