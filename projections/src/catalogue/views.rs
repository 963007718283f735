//! How often each video was viewed, for lists in that order.

use domain::{id::VideoId, video, views};
use sqlx::PgConnection;

use crate::{sessions, store::Unapplied};

pub(super) async fn begin(tx: &mut PgConnection, fact: &video::Event) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into video_views (video, owner) values ($1, $2)",
        fact.video.0,
        fact.owner.0
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn count(tx: &mut PgConnection, fact: &views::Event) -> Result<(), Unapplied> {
    if !sessions::is_new(tx, fact).await? {
        return Ok(());
    }
    sqlx::query!(
        "update video_views set views = views + 1 where video = $1",
        fact.video.0
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn delete(tx: &mut PgConnection, video: VideoId) -> sqlx::Result<()> {
    sessions::forget(tx, video).await?;
    sqlx::query!("delete from video_views where video = $1", video.0)
        .execute(tx)
        .await?;
    Ok(())
}
