//! Jobs that are over, read again for what was taken over from them.

use std::collections::BTreeMap;

use domain::{id::JobId, job::Job};

use crate::{
    Context,
    stream::{JobStream, Refusal},
};

/// What `job` came to.
pub(crate) async fn read(context: &Context, job: JobId) -> Result<Job, Refusal> {
    let _turn = context.reading.acquire().await;
    let mut stream = JobStream::new(context.log.clone(), job);
    stream.refresh().await?;
    Ok(stream.into_job())
}

/// With the segments that it took over. `None`: the jobs that made them do not say so.
pub(crate) async fn whole(context: &Context, job: Job) -> Result<Option<Job>, Refusal> {
    let jobs = job.taken_over.as_ref().map(|taken_over| taken_over.jobs());
    let mut makers = BTreeMap::new();
    for maker in jobs.unwrap_or_default() {
        makers.insert(maker, read(context, maker).await?);
    }
    Ok(job.whole(&makers))
}
