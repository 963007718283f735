//! How PostgreSQL reads lists: by an index, whatever is asked.

use domain::id::Owner;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};

use super::list::{By, Filter, List, Order, Scope, page};
use crate::{reader::Reader, schemas, stores};

/// Enough for reading all of them to cost more than any index.
const FILL: &str = "
    insert into videos (id, owner, title, description, tags, visibility, status, playable, created_ms,
        ready_ms, file_name, content_type, size_bytes, upload_key, expires_at_ms, duration_ms, position)
    select gen_random_uuid(), 'owner-' || n % 200, 'title ' || n, 'words', array['tag-' || n % 500],
        case when n % 3 = 0 then 'private' else 'public' end, 'ready', true, n,
        n, 'file', 'video/mp4', n, 'key', 0, n, n
    from generate_series(1, 20000) as n;
    insert into video_views (video, owner, views) select id, owner, created_ms % 1000 from videos;
    analyze videos; analyze video_views;";

/// What a list may be narrowed by: its own scope, and the arguments of the prepared statement.
const ASKED: [(&str, &str); 4] = [
    ("public", "null, null, null, null, null, null"),
    ("one's own", "'owner-7', null, null, null, null, null"),
    (
        "public, of an owner",
        "null, null, null, null, 'owner-7', null",
    ),
    (
        "public, with a tag",
        "null, null, null, null, null, 'tag-7'",
    ),
];

#[tokio::test]
async fn no_list_is_read_without_an_index() {
    let url = stores::database().await;
    schemas::migrate(&url).await.unwrap();
    // Its one connection prepares every list, and tells how it would read it.
    let reader = Reader::new(&url, "redis://127.0.0.1:1").unwrap();
    let schema = schemas::schema(super::NAME, 1);
    reader.read_lists_with(schemas::pool_that_plans(&url, &schema, 1).unwrap());
    reader.lists().execute(FILL).await.unwrap();
    for by in [By::Created, By::Ready, By::Title, By::Views, By::Duration] {
        for descending in [false, true] {
            let list = List {
                scope: Scope::OwnedBy(Owner("owner-7".to_owned())),
                filter: Filter::default(),
                order: Order { by, descending },
                after: None,
            };
            assert_eq!(page(&reader, &list, 20).await.unwrap().videos.len(), 20);
        }
    }
    let prepared: Vec<(String, String)> = sqlx::query_as(
        "select name, statement from pg_prepared_statements 
         where statement like '%limit $13' and statement not like '%pg_prepared%'",
    )
    .fetch_all(&reader.lists())
    .await
    .unwrap();
    assert_eq!(prepared.len(), 10, "an order each, both ways");
    for (name, statement) in prepared {
        for (asked, arguments) in ASKED {
            let explain = format!(
                "explain (format json) execute {name}({arguments}, null, null, null, null, null, null, 21)"
            );
            let (plan,): (Value,) = sqlx::query_as(AssertSqlSafe(explain))
                .fetch_one(&reader.lists())
                .await
                .unwrap();
            let read = plan.to_string();
            assert!(!read.contains("Seq Scan"), "{asked}: {statement}\n{plan:#}");
            let sorts = read.contains("\"Sort\"");
            // Few videos have a tag: they are found first, and then ordered.
            let may_sort = asked.ends_with("a tag");
            assert!(!sorts || may_sort, "{asked}: {statement}\n{plan:#}");
        }
    }
}
