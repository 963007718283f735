//! What may happen next to a job. One function per command.

use super::{
    End, Event, FAILURES_MAX, Job, Kind, LOST_LEASES_MAX, Lease, Outcome, Progress, Rejection,
    TaskState,
};
use crate::{
    code::Code,
    id::{RenditionId, TaskId},
    media::{Init, Kind as RenditionKind, Published, Segment},
    plan::{self, Spec},
};

/// How much the pictures of two renditions may differ in length: a source's last frame lasts as long
/// as it says, an encoded one as long as all others.
const UNEVEN_MS_MAX: u64 = 250;

impl Job {
    fn facts(&self, at_ms: i64, kinds: Vec<Kind>) -> Vec<Event> {
        super::facts(self.video, &self.owner, at_ms, kinds)
    }

    pub(super) fn start(
        &self,
        task: TaskId,
        worker: String,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        if self.end != End::Open {
            return Err(Rejection::Ended);
        }
        let progress = self
            .tasks
            .get(&task)
            .ok_or_else(|| Rejection::UnknownTask(task.clone()))?;
        if !self.is_runnable(progress) {
            return Err(Rejection::NotRunnable(task));
        }
        let lease = Lease {
            task,
            attempt: progress.attempts + 1,
        };
        Ok(self.facts(at_ms, vec![Kind::TaskStarted { lease, worker }]))
    }

    /// The running attempt that `lease` speaks of.
    fn leased(&self, lease: &Lease) -> Result<&Progress, Rejection> {
        let progress = self
            .tasks
            .get(&lease.task)
            .ok_or_else(|| Rejection::UnknownTask(lease.task.clone()))?;
        let running = matches!(progress.state, TaskState::Running { .. })
            && progress.attempts == lease.attempt;
        if self.end != End::Open || !running {
            return Err(Rejection::NotLeased(lease.clone()));
        }
        Ok(progress)
    }

    pub(super) fn publish(
        &self,
        lease: Lease,
        rendition: RenditionId,
        from: u32,
        init: Option<Init>,
        segments: Vec<Segment>,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        let progress = self.leased(&lease)?;
        let published = match self.renditions.get(&rendition) {
            Some(published) if progress.task.spec.makes(&rendition) => published,
            Some(_) | None => return Err(Rejection::NotItsRendition(rendition)),
        };
        let range = progress.task.spec.segments();
        let to = from.saturating_add(segments.len() as u32);
        if from < range.start || to > range.end {
            let task = lease.task;
            return Err(Rejection::NotItsSegments { task, from, to });
        }
        let next = published.next_from(range.start).min(range.end);
        if from > next {
            return Err(Rejection::OutOfOrder {
                rendition,
                published: next,
                from,
            });
        }
        // A repeated report begins with what is there already.
        let fresh: Vec<Segment> = segments.into_iter().skip((next - from) as usize).collect();
        if fresh.is_empty() {
            return Ok(vec![]);
        }
        let init = match (&published.init, init.filter(Init::is_usable)) {
            (Some(served), Some(own)) if !served.is_like(&own) => {
                return Err(Rejection::OtherInit(rendition));
            }
            (Some(_), _) => None,
            (None, Some(own)) => Some(own),
            (None, None) => return Err(Rejection::NoInit),
        };
        let event = Kind::SegmentsPublished {
            lease,
            rendition,
            from: next,
            init,
            segments: fresh,
        };
        Ok(self.facts(at_ms, vec![event]))
    }

    pub(super) fn finish(
        &self,
        lease: Lease,
        outcome: Outcome,
        slots: u32,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        if self.has_finished(&lease) {
            return Ok(vec![]);
        }
        let progress = self.leased(&lease)?;
        if !progress.task.spec.leaves(&outcome) {
            return Err(Rejection::WrongOutcome(lease.task));
        }
        if !self.has_all_segments(&progress.task.spec) {
            return Err(Rejection::Incomplete(lease.task));
        }
        if let Outcome::Checked { .. } = &outcome {
            if let Some((code, message)) = self.shortfall() {
                return self.fail(lease, code, message, at_ms);
            }
            let kinds = vec![Kind::TaskFinished { lease, outcome }, Kind::Completed {}];
            return Ok(self.facts(at_ms, kinds));
        }
        let Outcome::Probed { media, cuts_us } = &outcome else {
            return Ok(self.facts(at_ms, vec![Kind::TaskFinished { lease, outcome }]));
        };
        match plan::after_probe(media, cuts_us, slots) {
            Ok(plan) => {
                let ladder = Kind::LadderPlanned {
                    media: media.clone(),
                    boundaries_us: plan.boundaries_us,
                    renditions: plan.renditions,
                    tasks: plan.tasks,
                };
                Ok(self.facts(at_ms, vec![Kind::TaskFinished { lease, outcome }, ladder]))
            }
            Err((code, message)) => self.fail(lease, code, message, at_ms),
        }
    }

    /// Where the plan says how many there are: the last chunk runs to an end that it finds itself.
    fn has_all_segments(&self, spec: &Spec) -> bool {
        let range = spec.segments();
        let is_whole = |p: &Published| p.next_from(range.start) >= range.end;
        range.end == u32::MAX
            || self
                .renditions
                .values()
                .filter(|p| spec.makes(&p.rendition.id))
                .all(is_whole)
    }

    fn has_finished(&self, lease: &Lease) -> bool {
        self.tasks
            .get(&lease.task)
            .is_some_and(|p| p.attempts == lease.attempt && matches!(p.state, TaskState::Done(_)))
    }

    pub(super) fn fail(
        &self,
        lease: Lease,
        code: Code,
        message: String,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        let progress = self.leased(&lease)?;
        let over = code.blames_the_source() || progress.failures + 1 >= FAILURES_MAX;
        let mut kinds = vec![Kind::TaskFailed {
            lease: lease.clone(),
            code,
            message: message.clone(),
        }];
        if over && progress.task.required {
            kinds.extend(self.cancellations(Some(&lease)));
            kinds.push(Kind::Failed {
                code,
                message,
                task: lease.task,
                attempts: progress.attempts,
            });
        }
        Ok(self.facts(at_ms, kinds))
    }

    pub(super) fn lose_lease(&self, lease: Lease, at_ms: i64) -> Result<Vec<Event>, Rejection> {
        let progress = self.leased(&lease)?;
        let mut kinds = vec![Kind::LeaseLost {
            lease: lease.clone(),
        }];
        if progress.lost_leases + 1 >= LOST_LEASES_MAX && progress.task.required {
            kinds.extend(self.cancellations(Some(&lease)));
            kinds.push(Kind::Failed {
                code: Code::ProcessingStalled,
                message: format!(
                    "processing was started {} times and its worker vanished each time; retry it, or tell the operator",
                    progress.attempts
                ),
                task: lease.task,
                attempts: progress.attempts,
            });
        }
        Ok(self.facts(at_ms, kinds))
    }

    pub(super) fn cancel(&self, at_ms: i64) -> Vec<Event> {
        if self.end != End::Open {
            return vec![];
        }
        let mut kinds = self.cancellations(None);
        kinds.push(Kind::Cancelled {});
        self.facts(at_ms, kinds)
    }

    /// The ends of all running attempts but `except`, which ends in its own way.
    fn cancellations(&self, except: Option<&Lease>) -> Vec<Kind> {
        self.running()
            .map(|(lease, _)| lease)
            .filter(|lease| Some(lease) != except)
            .map(|lease| Kind::TaskCancelled { lease })
            .collect()
    }

    /// Why this must not be called complete: something is missing, or shorter than the source.
    fn shortfall(&self) -> Option<(Code, String)> {
        let media = self.media.as_ref()?;
        let lengths = self.lengths();
        let longest_ms = lengths.iter().map(|length| length.duration_ms).max();
        let longest_ms = longest_ms.unwrap_or(0);
        if longest_ms + plan::shorter_ms_max(media.duration_ms) < media.duration_ms {
            let message = format!(
                "the file says it lasts {:.1} s, but only {:.1} s could be read; it is cut off, upload it again",
                media.duration_ms as f64 / 1000.0,
                longest_ms as f64 / 1000.0
            );
            return Some((Code::SourceTruncated, message));
        }
        let videos: Vec<&Length> = lengths.iter().filter(|length| length.is_video).collect();
        let uneven = videos.iter().zip(videos.iter().skip(1)).any(|(one, next)| {
            one.segments != next.segments
                || one.duration_ms.abs_diff(next.duration_ms) > UNEVEN_MS_MAX
        });
        let empty = self
            .renditions
            .values()
            .any(|p| p.segments.is_empty() || !p.ahead.is_empty());
        let shorter = self.taken_over.as_ref().is_some_and(|taken_over| {
            let was_ms = taken_over.replaced.duration_ms;
            let mut own = self.renditions.values().map(Published::duration_ms);
            own.any(|is_ms| is_ms + plan::shorter_ms_max(was_ms) < was_ms)
        });
        (uneven || empty || shorter).then(|| {
            (
                Code::ProcessingCrashed,
                "not every rendition was made in full; retry the processing".to_owned(),
            )
        })
    }

    /// Of all renditions, wherever they were made.
    fn lengths(&self) -> Vec<Length> {
        let is_video = |kind: &RenditionKind| matches!(kind, RenditionKind::Video { .. });
        let own = self.renditions.values().map(|published| Length {
            is_video: is_video(&published.rendition.kind),
            segments: published.segments.len(),
            duration_ms: published.duration_ms(),
        });
        let kept = self.taken_over.iter().flat_map(|it| &it.kept);
        let kept = kept.map(|kept| Length {
            is_video: is_video(&kept.rendition.kind),
            segments: kept.segments as usize,
            duration_ms: kept.duration_ms,
        });
        own.chain(kept).collect()
    }
}

/// How much there is of a rendition.
struct Length {
    is_video: bool,
    segments: usize,
    duration_ms: u64,
}
