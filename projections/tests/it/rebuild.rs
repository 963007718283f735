//! A read model can be thrown away at any moment.

use std::collections::BTreeMap;

use domain::video::{By, Changes, Command, Visibility};
use projections::popularity;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    platform::{DAWN_MS, PATIENCE, Platform, story},
    stores,
};

const TABLES: [&str; 15] = [
    "catalogue_g1.videos",
    "catalogue_g1.jobs",
    "catalogue_g1.tasks",
    "catalogue_g1.attempts",
    "catalogue_g1.renditions",
    "catalogue_g1.segments",
    "catalogue_g1.video_views",
    "catalogue_g1.view_sessions",
    "catalogue_g1.video_versions",
    "announcements_g1.announcements",
    "announcements_g1.subjects",
    "owners_g1.owners",
    "owners_g1.owned_videos",
    "owners_g1.made",
    "owners_g1.view_sessions",
];

pub fn assert_same(now: &BTreeMap<String, String>, before: &BTreeMap<String, String>) {
    for (table, rows) in before {
        assert_eq!(&now[table], rows, "{table} is another");
    }
}

/// Every row there is, and every view.
pub async fn dump(platform: &Platform) -> BTreeMap<String, String> {
    let mut dump = BTreeMap::new();
    let mut connection = platform.catalogue().await;
    for table in TABLES.into_iter().chain([
        "catalogue_g1.stopped_videos",
        "announcements_g1.stopped_videos",
        "owners_g1.stopped_videos",
    ]) {
        let rows: String = sqlx::query_scalar(AssertSqlSafe(format!(
            "select coalesce(string_agg(t::text, E'\\n' order by t::text), '') from {table} t"
        )))
        .fetch_one(&mut connection)
        .await
        .unwrap();
        dump.insert(table.to_owned(), rows);
    }
    let client = redis::Client::open(platform.config.redis_url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let views: BTreeMap<String, u64> = redis::cmd("HGETALL")
        .arg("{kinolog:popularity:0}:views")
        .query_async(&mut connection)
        .await
        .unwrap();
    dump.insert("views".to_owned(), format!("{views:?}"));
    dump
}

impl Platform {
    pub async fn catalogue(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.config.postgres_url)
            .await
            .unwrap();
        sqlx::query("set search_path = catalogue_g1")
            .execute(&mut connection)
            .await
            .unwrap();
        connection
    }

    pub async fn forget_everything(&self) {
        let mut connection = self.catalogue().await;
        for schema in ["catalogue_g1", "announcements_g1", "owners_g1"] {
            sqlx::query(AssertSqlSafe(format!("drop schema {schema} cascade")))
                .execute(&mut connection)
                .await
                .unwrap();
        }
        stores::flush(&self.config.redis_url).await;
    }
}

#[tokio::test]
async fn everything_is_the_same_after_a_rebuild() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let (ready, failed, deleted) = (story(1, "ready"), story(2, "failed"), story(3, "deleted"));
    platform.make_ready(&ready).await;
    let (job, _) = platform.make_playable(&failed).await;
    platform.fail(&failed, job).await;
    let by = By::Owner(failed.owner.clone());
    let at_ms = failed.at_ms + 30;
    platform
        .video(failed.id, Command::RetryProcessing { by, at_ms })
        .await;
    let again = platform.asked_job(failed.id).await;
    assert_ne!(again, job);
    platform.plan(&failed, again).await;
    platform.make_ready(&deleted).await;
    platform.delete(&deleted).await;
    let changes = Changes {
        visibility: Some(Visibility::Private),
        tags: Some(vec!["other".to_owned(), "tags".to_owned()]),
        ..Changes::default()
    };
    platform.change(&ready, changes).await;
    platform.view(ready.id, "one", DAWN_MS).await;
    let last = platform.view(ready.id, "two", DAWN_MS).await;
    platform.reach(last).await;
    projecting.stop().await;
    let before = dump(&platform).await;
    for table in TABLES {
        assert!(
            !before[table].is_empty(),
            "{table} is tested with something in it"
        );
    }
    assert!(before["catalogue_g1.stopped_videos"].is_empty());

    platform.forget_everything().await;
    platform.project_up_to(last).await;
    assert_same(&dump(&platform).await, &before);
    platform.stop().await;
}

#[tokio::test]
async fn views_come_back_by_themselves_when_redis_has_lost_them() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let story = story(1, "seen");
    platform.make_playable(&story).await;
    for session in ["one", "two", "three"] {
        platform.view(story.id, session, DAWN_MS).await;
    }
    let last = platform
        .view(story.id, "one", DAWN_MS + 24 * 3_600_000)
        .await;
    platform.reach(last).await;
    assert_eq!(
        popularity::views(&platform.reader, &[story.id])
            .await
            .unwrap(),
        [4]
    );

    stores::flush(&platform.config.redis_url).await;
    // Nothing happens in the log: it has to notice.
    tokio::time::timeout(PATIENCE, async {
        while popularity::views(&platform.reader, &[story.id])
            .await
            .unwrap()
            != [4]
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the views are counted again");
    projecting.stop().await;
    platform.stop().await;
}
