//! How the events of a job change the catalogue.

use std::num::TryFromIntError;

use domain::{
    code::Code,
    id::{JobId, RenditionId, VideoId},
    job::{Event, Kind, Lease, Outcome},
    media::{Init, Kind as Of, Media, Rendition, Segment},
    plan::{Task, kind_name, longest_segment},
};
use eventlog::Recorded;
use sqlx::PgConnection;

use crate::store::Unapplied;

/// Whether the video changed as its viewers see it.
pub(super) async fn apply(
    tx: &mut PgConnection,
    recorded: &Recorded,
    fact: &Event,
) -> Result<bool, Unapplied> {
    let Some(job) = job_of(&recorded.stream) else {
        return Err(anyhow::anyhow!("stream {} is no job's", recorded.stream).into());
    };
    // The job of a deleted video is gone, and what it still reports brings nothing back.
    let is_shown = sqlx::query_scalar!(
        r#"select coalesce(videos.job = jobs.job, false) as "is_shown!"
         from jobs join videos on videos.id = jobs.video where jobs.job = $1"#,
        job.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(is_shown) = is_shown else {
        return Ok(false);
    };
    let changed = take_in(tx, job, fact).await?;
    // Until a retry is done, nobody sees anything of it.
    Ok(changed && is_shown)
}

/// Whether the job changed as viewers see it.
async fn take_in(tx: &mut PgConnection, job: JobId, fact: &Event) -> Result<bool, Unapplied> {
    let at_ms = fact.at_ms;
    match &fact.event {
        Kind::Planned { tasks, .. } => {
            sqlx::query!(
                "update jobs set state = 'planned', planned_ms = $2 where job = $1",
                job.0,
                at_ms
            )
            .execute(&mut *tx)
            .await?;
            insert_tasks(tx, job, tasks).await?;
            Ok(false)
        }
        Kind::LadderPlanned {
            media,
            boundaries_us,
            renditions,
            tasks,
        } => {
            insert_tasks(tx, job, tasks).await?;
            plan(tx, job, media, boundaries_us, renditions).await?;
            Ok(true)
        }
        // The video's own event says when they are shown as this job's.
        Kind::RenditionsTakenOver { .. } => Ok(false),
        Kind::TaskStarted { lease, worker } => {
            start(tx, job, lease, worker, at_ms).await?;
            Ok(false)
        }
        Kind::SegmentsPublished {
            rendition,
            from,
            init,
            segments,
            ..
        } => {
            publish(tx, job, rendition, *from, init.as_ref(), segments).await?;
            Ok(true)
        }
        Kind::TaskFinished { lease, outcome } => {
            end_attempt(tx, job, lease, "finished", None, at_ms).await?;
            leave(tx, job, outcome).await
        }
        Kind::TaskFailed {
            lease,
            code,
            message,
        } => {
            end_attempt(tx, job, lease, "failed", Some((*code, message)), at_ms).await?;
            Ok(false)
        }
        Kind::LeaseLost { lease } => {
            end_attempt(tx, job, lease, "lease_lost", None, at_ms).await?;
            Ok(false)
        }
        Kind::TaskCancelled { lease } => {
            end_attempt(tx, job, lease, "cancelled", None, at_ms).await?;
            Ok(false)
        }
        // The video's own events say what its viewers see of the end.
        Kind::Completed {} => end(tx, job, "completed", None, at_ms).await,
        Kind::Failed { code, message, .. } => {
            end(tx, job, "failed", Some((*code, message)), at_ms).await
        }
        Kind::Cancelled {} => end(tx, job, "cancelled", None, at_ms).await,
    }
}

pub(super) async fn delete_all(tx: &mut PgConnection, video: VideoId) -> Result<(), Unapplied> {
    let jobs = sqlx::query_scalar!("delete from jobs where video = $1 returning job", video.0)
        .fetch_all(&mut *tx)
        .await?;
    for job in jobs {
        sqlx::query!("delete from segments where job = $1", job)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from renditions where job = $1", job)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from attempts where job = $1", job)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from tasks where job = $1", job)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

pub(crate) fn job_of(stream: &str) -> Option<JobId> {
    stream.strip_prefix("job-")?.parse().ok()
}

async fn insert_tasks(tx: &mut PgConnection, job: JobId, tasks: &[Task]) -> Result<(), Unapplied> {
    let ids: Vec<String> = tasks.iter().map(|task| task.id.0.clone()).collect();
    let kinds: Vec<String> = tasks
        .iter()
        .map(|task| task.spec.name().to_owned())
        .collect();
    let required: Vec<bool> = tasks.iter().map(|task| task.required).collect();
    sqlx::query!(
        "insert into tasks (job, task, kind, required)
         select $1, * from unnest($2::text[], $3::text[], $4::bool[])",
        job.0,
        &ids,
        &kinds,
        &required
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What is going to be made is known, and what the source looks like.
async fn plan(
    tx: &mut PgConnection,
    job: JobId,
    media: &Media,
    boundaries_us: &[u64],
    renditions: &[Rendition],
) -> Result<(), Unapplied> {
    let segments = i64::try_from(boundaries_us.len())?;
    for (ordinal, rendition) in renditions.iter().enumerate() {
        let ordinal = i64::try_from(ordinal)?;
        let longest_us = longest_segment(rendition, boundaries_us, media);
        let longest_us = i64::try_from(longest_us)?;
        insert_rendition(tx, job, ordinal, rendition, segments, longest_us).await?;
    }
    let shown = media.video.as_ref();
    sqlx::query!(
        "update videos set segments_planned = $2, duration_ms = $3, width = $4, height = $5 where job = $1",
        job.0,
        segments * i64::try_from(renditions.len())?,
        i64::try_from(media.duration_ms)?,
        shown.map(|video| i64::from(video.display_width)),
        shown.map(|video| i64::from(video.display_height))
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_rendition(
    tx: &mut PgConnection,
    job: JobId,
    ordinal: i64,
    rendition: &Rendition,
    segments_planned: i64,
    segment_us_max: i64,
) -> Result<(), Unapplied> {
    let (picture, sound) = match &rendition.kind {
        Of::Video {
            width,
            height,
            frame_rate,
        } => (Some((*width, *height, *frame_rate)), None),
        Of::Audio {
            channels,
            sample_rate,
        } => (None, Some((*channels, *sample_rate))),
    };
    sqlx::query!(
        "insert into renditions (job, rendition, ordinal, bitrate_kbps, kind, width, height,
            frame_rate_num, frame_rate_den, channels, sample_rate, segments_planned, segment_us_max)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        job.0,
        rendition.id.0,
        ordinal,
        i64::from(rendition.bitrate_kbps),
        kind_name(&rendition.kind),
        picture.map(|(width, _, _)| i64::from(width)),
        picture.map(|(_, height, _)| i64::from(height)),
        picture.map(|(_, _, rate)| i64::from(rate.num)),
        picture.map(|(_, _, rate)| i64::from(rate.den)),
        sound.map(|(channels, _)| i64::from(channels)),
        sound.map(|(_, sample_rate)| i64::from(sample_rate)),
        segments_planned,
        segment_us_max
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn start(
    tx: &mut PgConnection,
    job: JobId,
    lease: &Lease,
    worker: &str,
    at_ms: i64,
) -> Result<(), Unapplied> {
    sqlx::query!(
        "insert into attempts (job, task, attempt, worker, started_ms, outcome)
         values ($1, $2, $3, $4, $5, 'running')",
        job.0,
        lease.task.0,
        i64::from(lease.attempt),
        worker,
        at_ms
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn end_attempt(
    tx: &mut PgConnection,
    job: JobId,
    lease: &Lease,
    outcome: &str,
    failure: Option<(Code, &String)>,
    at_ms: i64,
) -> Result<(), Unapplied> {
    sqlx::query!(
        "update attempts set ended_ms = $4, outcome = $5, failure_code = $6, failure_message = $7
         where job = $1 and task = $2 and attempt = $3",
        job.0,
        lease.task.0,
        i64::from(lease.attempt),
        at_ms,
        outcome,
        failure.map(|(code, _)| code.as_str()),
        failure.map(|(_, message)| message)
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn publish(
    tx: &mut PgConnection,
    job: JobId,
    rendition: &RenditionId,
    from: u32,
    init: Option<&Init>,
    segments: &[Segment],
) -> Result<(), Unapplied> {
    let size_bytes = insert_segments(tx, job, rendition, from, segments).await?;
    if let Some(init) = init {
        let init_bytes = i64::try_from(init.size_bytes)?;
        // The first init is the one that is served.
        sqlx::query!(
            "update renditions set init_key = $3, init_size_bytes = $4, codec = $5, timescale = $6, size_bytes = size_bytes + $4
             where job = $1 and rendition = $2 and init_key is null",
            job.0,
            rendition.0,
            init.key,
            init_bytes,
            init.codec,
            i64::from(init.timescale)
        )
        .execute(&mut *tx)
        .await?;
    }
    let published = i64::try_from(segments.len())?;
    sqlx::query!(
        "update renditions set segments_published = segments_published + $3, size_bytes = size_bytes + $4
         where job = $1 and rendition = $2",
        job.0,
        rendition.0,
        published,
        size_bytes
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update videos set segments_published = segments_published + $2 where job = $1",
        job.0,
        published
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Says how many bytes they have together.
async fn insert_segments(
    tx: &mut PgConnection,
    job: JobId,
    rendition: &RenditionId,
    from: u32,
    segments: &[Segment],
) -> Result<i64, Unapplied> {
    let numbers = |of: fn(&Segment) -> u64| -> Result<Vec<i64>, TryFromIntError> {
        segments.iter().map(|it| i64::try_from(of(it))).collect()
    };
    let keys: Vec<String> = segments.iter().map(|it| it.key.clone()).collect();
    let sizes = numbers(|it| it.size_bytes)?;
    // In one statement, for a rebuild reads millions of them.
    sqlx::query!(
        "insert into segments (job, rendition, number, key, size_bytes, time, duration, samples)
         select $1, $2, $3::bigint + ordinal - 1, key, size_bytes, time, duration, samples
         from unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[]) with ordinality
            as new (key, size_bytes, time, duration, samples, ordinal)",
        job.0,
        rendition.0,
        i64::from(from),
        &keys,
        &sizes,
        &numbers(|it| it.time)?,
        &numbers(|it| it.duration)?,
        &numbers(|it| u64::from(it.samples))?
    )
    .execute(tx)
    .await?;
    Ok(sizes.iter().sum())
}

/// What a task leaves behind beside its segments.
async fn leave(tx: &mut PgConnection, job: JobId, outcome: &Outcome) -> Result<bool, Unapplied> {
    match outcome {
        Outcome::Poster { key, .. } => {
            sqlx::query!(
                "update videos set poster_key = $2 where job = $1",
                job.0,
                key
            )
            .execute(tx)
            .await?;
            Ok(true)
        }
        Outcome::Probed { .. } | Outcome::Encoded { .. } | Outcome::Checked { .. } => Ok(false),
    }
}

async fn end(
    tx: &mut PgConnection,
    job: JobId,
    state: &str,
    failure: Option<(Code, &String)>,
    at_ms: i64,
) -> Result<bool, Unapplied> {
    sqlx::query!(
        "update jobs set state = $2, ended_ms = $3, failure_code = $4, failure_message = $5 where job = $1",
        job.0,
        state,
        at_ms,
        failure.map(|(code, _)| code.as_str()),
        failure.map(|(_, message)| message)
    )
    .execute(tx)
    .await?;
    Ok(false)
}
