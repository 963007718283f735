//! A stopped video is tried again, while every other video goes on.

use domain::{id::VideoId, video::Changes};
use projections::{
    again::{self, Tried},
    catalogue,
    overview::overview,
    popularity,
    reader::Model,
};

use crate::{
    platform::{DAWN_MS, Platform, Story, story},
    rebuild::{assert_same, dump},
};

/// Something that is none of ours stands where the video's own rows belong.
async fn obstruct(platform: &Platform, story: &Story) {
    projections::migrate(&platform.config.postgres_url)
        .await
        .unwrap();
    let mut connection = platform.catalogue().await;
    for statement in [
        "insert into catalogue_g1.videos (id, owner, title, description, tags, visibility, status, created_ms,
            file_name, content_type, size_bytes, upload_key, expires_at_ms, position)
         values ($1, '', '', '', '{}', 'public', 'ready', 0, '', '', 0, '', 0, 0)",
        "insert into announcements_g1.subjects (video, owner, title, visibility) values ($1, '', '', 'public')",
        "insert into owners_g1.owned_videos (video, owner) values ($1, '')",
    ] {
        sqlx::query(statement)
            .bind(story.id.0)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let client = redis::Client::open(platform.config.redis_url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("HSET")
        .arg("{kinolog:popularity:0}:stopped")
        .arg(story.id.to_string())
        .arg("at 1: what an older release wrote")
        .query_async(&mut connection)
        .await
        .unwrap();
}

async fn stopped_by(platform: &Platform, model: Model) -> Vec<VideoId> {
    let found = overview(&platform.reader, model, None).await.unwrap();
    assert_eq!(found.stopped, found.stopped_videos.len() as u64);
    found.stopped_videos.iter().map(|why| why.video).collect()
}

#[tokio::test]
async fn a_video_tried_again_is_as_if_it_had_never_been_stopped() {
    let platform = Platform::new().await;
    let (stopped, other) = (story(1, "stopped"), story(2, "other"));
    obstruct(&platform, &stopped).await;
    let projecting = platform.project();
    platform.make_ready(&stopped).await;
    platform.view(stopped.id, "one", DAWN_MS).await;
    let last = platform.view(stopped.id, "two", DAWN_MS).await;
    platform.reach(last).await;
    for model in Model::ALL {
        assert_eq!(
            stopped_by(&platform, model).await,
            [stopped.id],
            "{model:?}"
        );
    }

    platform.make_ready(&other).await;
    for model in Model::ALL {
        let tried = again::again(&platform.config, &platform.log, model, Some(stopped.id));
        let goes_on = Tried {
            video: stopped.id,
            stopped: None,
        };
        assert_eq!(tried.await.unwrap(), [goes_on], "{model:?}");
        assert_eq!(stopped_by(&platform, model).await, [], "{model:?}");
    }
    // It is followed again, by the same writers.
    let changes = Changes {
        title: Some("goes on".to_owned()),
        ..Changes::default()
    };
    platform.change(&stopped, changes).await;
    let last = platform.view(stopped.id, "three", DAWN_MS).await;
    platform.reach(last).await;
    projecting.stop().await;
    let video = catalogue::video(&platform.reader, stopped.id)
        .await
        .unwrap();
    assert_eq!(video.unwrap().details.title, "goes on");
    let views = popularity::views(&platform.reader, &[stopped.id]).await;
    assert_eq!(views.unwrap(), [3]);

    let mended = dump(&platform).await;
    platform.forget_everything().await;
    platform.project_up_to(last).await;
    assert_same(&dump(&platform).await, &mended);
    platform.stop().await;
}

#[tokio::test]
async fn what_still_cannot_be_applied_stops_the_video_again() {
    let platform = Platform::new().await;
    let refused = story(1, "with a \0 in it");
    let last = platform.request_unruled(&refused).await;
    platform.project_up_to(last).await;
    let before = dump(&platform).await;

    let tried = again::again(&platform.config, &platform.log, Model::Catalogue, None);
    let tried = tried.await.unwrap();
    let why = tried[0].stopped.as_ref().expect("it is stopped again");
    assert_eq!((why.video, why.position), (refused.id, last));
    assert_eq!(why.type_name, "video.upload-requested.v1");
    assert_same(&dump(&platform).await, &before);

    let unknown = story(2, "never stopped").id;
    let refusal = again::again(
        &platform.config,
        &platform.log,
        Model::Catalogue,
        Some(unknown),
    );
    let refusal = refusal.await.unwrap_err();
    assert!(refusal.to_string().contains("did not stop"), "{refusal:#}");
    platform.stop().await;
}
