//! The three queues in tables of the conductor, for others to read.
//!
//! # Invariants
//!
//! * All that is shown is of one moment: it is replaced as a whole, in one transaction.

use sqlx::PgConnection;

use super::{Store, priority_number};
use crate::queues::{Attempt, Queues, Task, Worker};

impl Store {
    /// Replaces what was shown before.
    pub(crate) async fn show(&self, queues: &Queues, now_ms: i64) -> sqlx::Result<()> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "insert into queues (shown_ms, tasks, workers, slots, slots_taken, running)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (only_row) do update set shown_ms = excluded.shown_ms, tasks = excluded.tasks,
                workers = excluded.workers, slots = excluded.slots, slots_taken = excluded.slots_taken,
                running = excluded.running",
            now_ms,
            queues.tasks_total() as i64,
            queues.workers_total as i64,
            queues.slots as i64,
            queues.slots_taken as i64,
            queues.running_total() as i64,
        )
        .execute(&mut *tx)
        .await?;
        show_tasks(&mut tx, &queues.tasks).await?;
        show_workers(&mut tx, &queues.workers).await?;
        show_running(&mut tx, &queues.attempts).await?;
        tx.commit().await
    }
}

async fn show_tasks(tx: &mut PgConnection, tasks: &[Task]) -> sqlx::Result<()> {
    sqlx::query!("delete from queue_tasks")
        .execute(&mut *tx)
        .await?;
    let places: Vec<i64> = (0..tasks.len() as i64).collect();
    let jobs: Vec<_> = tasks.iter().map(|task| task.job.0).collect();
    let videos: Vec<_> = tasks.iter().map(|task| task.video.0).collect();
    let names: Vec<String> = tasks.iter().map(|task| task.task.0.clone()).collect();
    let kinds: Vec<String> = tasks.iter().map(|task| task.kind.to_owned()).collect();
    let priorities = tasks.iter().map(|task| priority_number(task.priority));
    let playable: Vec<bool> = tasks.iter().map(|task| task.playable).collect();
    let memory: Vec<i64> = tasks.iter().map(|task| task.memory_mib.into()).collect();
    let since: Vec<i64> = tasks.iter().map(|task| task.since_ms).collect();
    sqlx::query!(
        "insert into queue_tasks (place, job, video, task, kind, priority, playable, memory_mib, since_ms)
         select * from unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::smallint[],
            $7::boolean[], $8::bigint[], $9::bigint[])",
        &places,
        &jobs,
        &videos,
        &names,
        &kinds,
        &priorities.collect::<Vec<i16>>(),
        &playable,
        &memory,
        &since,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn show_workers(tx: &mut PgConnection, workers: &[Worker]) -> sqlx::Result<()> {
    sqlx::query!("delete from queue_workers")
        .execute(&mut *tx)
        .await?;
    for worker in workers {
        let capacity = &worker.seen.capacity;
        sqlx::query!(
            "insert into queue_workers
                (name, version, kinds, slots, running, memory_mib, memory_used_mib, first_ms, last_ms)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            worker.name,
            capacity.version,
            &worker.seen.kinds,
            i64::from(capacity.slots),
            i64::from(capacity.running),
            i64::from(capacity.memory_mib),
            i64::from(capacity.memory_used_mib),
            worker.first_ms,
            worker.last_ms,
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn show_running(tx: &mut PgConnection, running: &[Attempt]) -> sqlx::Result<()> {
    sqlx::query!("delete from queue_running")
        .execute(&mut *tx)
        .await?;
    let of = |text: fn(&Attempt) -> &str| -> Vec<String> {
        running
            .iter()
            .map(|attempt| text(attempt).to_owned())
            .collect()
    };
    let number = |number: fn(&Attempt) -> i64| -> Vec<i64> { running.iter().map(number).collect() };
    let jobs: Vec<_> = running.iter().map(|attempt| attempt.job.0).collect();
    let videos: Vec<_> = running.iter().map(|attempt| attempt.video.0).collect();
    sqlx::query!(
        "insert into queue_running
            (job, video, task, kind, attempt, worker, progress_permille, since_ms, lease_until_ms)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[],
            $7::bigint[], $8::bigint[], $9::bigint[])",
        &jobs,
        &videos,
        &of(|it| &it.standing.lease.task.0),
        &of(|it| it.standing.running.kind),
        &number(|it| it.standing.lease.attempt.into()),
        &of(|it| &it.standing.running.worker),
        &number(|it| it.standing.progress_permille.into()),
        &number(|it| it.standing.running.since_ms),
        &number(|it| it.until_ms),
    )
    .execute(tx)
    .await?;
    Ok(())
}
