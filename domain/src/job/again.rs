//! Making one rendition again: what stays of the job that made the video, and what is done.
//!
//! # Invariants
//!
//! * What is taken over is named by the job that published it, never by one that took it over
//!   itself: however often renditions are made again, nothing is followed from job to job.
//! * The rendition is made in the way it was made first, of the same size and rate, and at the same
//!   boundaries. What the probe found is known, so that there is none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{End, Job, Kind, Outcome, Source, TaskState};
use crate::{
    code::Code,
    id::{JobId, RenditionId, TaskId},
    media::{Media, Published, Rendition},
    plan::{self, Spec},
};

/// What a job has from those before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// The job that made the video what it was.
    pub from: JobId,
    /// What is made again, as it was.
    pub replaced: Made,
    pub kept: Vec<Made>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub poster: Option<Poster>,
}

/// A rendition as another job made it. Its segments stand in that job's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    #[serde(flatten)]
    pub rendition: Rendition,
    pub made_by: JobId,
    /// It is the source's own: not encoded.
    pub passed_through: bool,
    pub segments: u32,
    pub duration_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poster {
    pub key: String,
    pub size_bytes: u64,
}

impl TakenOver {
    /// The jobs whose objects and segments this is about, each once.
    pub fn jobs(&self) -> Vec<JobId> {
        let makers = self.kept.iter().map(|kept| kept.made_by);
        let replaced = [self.from, self.replaced.made_by];
        let mut jobs: Vec<JobId> = makers.chain(replaced).collect();
        jobs.sort();
        jobs.dedup();
        jobs
    }
}

/// Everything that is needed to make a rendition again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    media: Media,
    boundaries_us: Vec<u64>,
    taken_over: TakenOver,
}

impl Again {
    /// What `old` says of it; `None` where it has no such rendition, or did not complete.
    pub fn of(old: &Job, rendition: &RenditionId) -> Option<Box<Self>> {
        if old.end != End::Completed {
            return None;
        }
        let (replaced, kept): (Vec<Made>, Vec<Made>) = old
            .made()
            .into_iter()
            .partition(|made| made.rendition.id == *rendition);
        Some(Box::new(Self {
            media: old.media.clone()?,
            boundaries_us: old.boundaries_us.clone(),
            taken_over: TakenOver {
                from: old.id,
                replaced: replaced.into_iter().next()?,
                kept,
                poster: old.poster(),
            },
        }))
    }
}

/// The beginning of the job. Where nothing is known of the rendition, its end as well.
pub(super) fn plan(job: JobId, source: Source, again: Option<Box<Again>>, slots: u32) -> Vec<Kind> {
    let planned = Kind::Planned {
        job,
        source,
        tasks: vec![],
    };
    let Some(again) = again else {
        let failed = Kind::Failed {
            code: Code::ProcessingCrashed,
            message: "what the video was made of is not known any more; upload it again".to_owned(),
            task: TaskId("finish".to_owned()),
            attempts: 0,
        };
        return vec![planned, failed];
    };
    let Again {
        media,
        boundaries_us,
        taken_over,
    } = *again;
    let replaced = &taken_over.replaced;
    let rendition = replaced.rendition.clone();
    let passed_through = replaced.passed_through;
    let tasks = plan::again(&rendition, passed_through, &boundaries_us, &media, slots);
    let ladder = Kind::LadderPlanned {
        media,
        boundaries_us,
        renditions: vec![rendition],
        tasks,
    };
    vec![planned, Kind::RenditionsTakenOver { taken_over }, ladder]
}

impl Job {
    /// With the segments of what it took over, as if it had made all of it. `makers`: at least
    /// the jobs that made those renditions. `None` where they do not say of one what was taken over.
    pub fn whole(mut self, makers: &BTreeMap<JobId, Job>) -> Option<Self> {
        let Some(taken_over) = &self.taken_over else {
            return Some(self);
        };
        for kept in &taken_over.kept {
            let maker = makers.get(&kept.made_by)?;
            let published = maker.renditions.get(&kept.rendition.id)?;
            if published.segments.len() != kept.segments as usize {
                return None;
            }
            self.renditions
                .insert(kept.rendition.id.clone(), published.clone());
        }
        Some(self)
    }

    /// The renditions of the video, whichever job made them.
    pub fn all_renditions(&self) -> Vec<RenditionId> {
        let made = self.made().into_iter();
        made.map(|made| made.rendition.id).collect()
    }

    /// Every rendition of the video, with who made it.
    fn made(&self) -> Vec<Made> {
        let own = self
            .renditions
            .values()
            .map(|published| self.own(published));
        let kept = self.taken_over.iter().flat_map(|it| it.kept.clone());
        own.chain(kept).collect()
    }

    fn own(&self, published: &Published) -> Made {
        let id = &published.rendition.id;
        let mut specs = self.tasks.values().map(|progress| &progress.task.spec);
        Made {
            rendition: published.rendition.clone(),
            made_by: self.id,
            passed_through: specs
                .any(|spec| matches!(spec, Spec::Passthrough { .. }) && spec.makes(id)),
            segments: published.segments.len() as u32,
            duration_ms: published.duration_ms(),
        }
    }

    /// The poster of the video, whichever job made it.
    pub fn poster(&self) -> Option<Poster> {
        let own = self
            .tasks
            .values()
            .find_map(|progress| match &progress.state {
                TaskState::Done(Outcome::Poster {
                    key, size_bytes, ..
                }) => Some(Poster {
                    key: key.clone(),
                    size_bytes: *size_bytes,
                }),
                TaskState::Done(
                    Outcome::Probed { .. } | Outcome::Encoded { .. } | Outcome::Checked { .. },
                )
                | TaskState::Waiting
                | TaskState::Running { .. }
                | TaskState::GivenUp => None,
            });
        own.or_else(|| self.taken_over.as_ref()?.poster.clone())
    }
}
