//! Where a job stands: what may run, what runs, what can be shown.

use super::{End, Job, Lease, Progress, TaskState};
use crate::{
    id::TaskId,
    media::{Kind as RenditionKind, Published},
    plan::Task,
    video::Picture,
};

impl Job {
    /// The tasks a worker may start now, in the order in which they should be handed out.
    pub fn runnable(&self) -> Vec<&Task> {
        if self.end != End::Open {
            return vec![];
        }
        let mut tasks: Vec<&Task> = self
            .tasks
            .values()
            .filter(|p| self.is_runnable(p))
            .map(|p| &p.task)
            .collect();
        tasks.sort_by_key(|task| task.spec.rank());
        tasks
    }

    /// The attempts under way.
    pub fn running(&self) -> impl Iterator<Item = (Lease, &Progress)> {
        self.tasks
            .values()
            .filter(|p| matches!(p.state, TaskState::Running { .. }))
            .map(|p| {
                (
                    Lease {
                        task: p.task.id.clone(),
                        attempt: p.attempts,
                    },
                    p,
                )
            })
    }

    /// Whether a player can start: one video rendition and the audio, or the only one there
    /// is, have their first segments. Where others were taken over, their video plays already.
    pub fn is_playable(&self) -> bool {
        if self.taken_over.is_some() {
            return true;
        }
        let begun = |wanted: fn(&RenditionKind) -> bool| {
            let mut any = false;
            let mut begun = false;
            for published in self
                .renditions
                .values()
                .filter(|p| wanted(&p.rendition.kind))
            {
                any = true;
                begun |= !published.segments.is_empty();
            }
            begun || !any
        };
        !self.renditions.is_empty()
            && begun(|kind| matches!(kind, RenditionKind::Video { .. }))
            && begun(|kind| matches!(kind, RenditionKind::Audio { .. }))
    }

    /// What the video looks like, once the probe is done.
    pub fn picture(&self) -> Option<Picture> {
        let media = self.media.as_ref()?;
        let (width, height) = media
            .video
            .as_ref()
            .map_or((0, 0), |video| (video.display_width, video.display_height));
        Some(Picture {
            duration_ms: media.duration_ms,
            width,
            height,
        })
    }

    /// Finished segments of those that are planned, in thousandths.
    pub fn progress_permille(&self) -> u32 {
        let planned = self.boundaries_us.len() * self.renditions.len();
        let published: usize = self.renditions.values().map(Published::count).sum();
        if planned == 0 {
            return 0;
        }
        (published * 1000 / planned).min(1000) as u32
    }

    pub(super) fn is_runnable(&self, progress: &Progress) -> bool {
        let settled = |id: &TaskId| {
            self.tasks
                .get(id)
                .is_some_and(|p| matches!(p.state, TaskState::Done(_) | TaskState::GivenUp))
        };
        progress.state == TaskState::Waiting && progress.task.after.iter().all(settled)
    }
}
