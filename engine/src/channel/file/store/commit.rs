//! Group commit.
//!
//! A commit adds its record to the pending group. Whoever then finds the writer at home takes it
//! and leads: writes the whole group with one call, syncs once, makes the results visible in the
//! order of the log, and wakes the others, who have only waited. While a leader writes, the next
//! group gathers; there is no thread for it. How long a group waits for those that were there a
//! moment ago: [`Gathering`](super::gather::Gathering).

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use super::{Effect, Pending, State, Store, StoreError};
use crate::channel::file::error::{FileError, WriteError};
use crate::channel::file::log::{Cursor, Draft, Writer};

impl Store {
    /// Adds a record to the pending group and sees to it that it is written.
    pub(super) fn commit<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        draft: Draft,
        effect: Effect,
    ) -> Result<(), StoreError> {
        let ticket = state.enqueue(draft, effect);
        loop {
            if ticket < state.settled {
                return state.failures.remove(&ticket).map_or(Ok(()), Err);
            }
            let left = match &state.writer {
                Some(_) if self.options.sync_each => state.left_to_gather(),
                _ => None,
            };
            state = match (left, state.writer.take_if(|_| left.is_none())) {
                (_, Some(writer)) => self.lead(state, writer),
                (Some(left), None) => {
                    self.settled
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                (None, None) => self
                    .settled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Writes the pending group.
    pub(super) fn lead<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        mut writer: Box<Writer>,
    ) -> MutexGuard<'s, State> {
        let mut group: VecDeque<Pending> = std::mem::take(&mut state.pending).into();
        let (members, began) = (group.len(), Instant::now());
        #[cfg(test)]
        if self.options.mutant.logs_takes_first() {
            let next = state.end.event;
            group
                .make_contiguous()
                .sort_by_key(|pending| match &pending.effect {
                    Effect::Take { ranges } => !ranges.iter().any(|range| range.end > next),
                    Effect::Put { .. } => true,
                });
        }
        if let Some(reason) = state.failed.clone() {
            state.refuse(group, &StoreError::Unhealthy(reason));
            state.writer = Some(writer);
            self.settled.notify_all();
            return state;
        }
        while !group.is_empty() {
            drop(state);
            let drafts: Vec<&Draft> = group.iter().map(|pending| &pending.draft).collect();
            let written = writer.write(&drafts);
            #[cfg(test)]
            let written = written.inspect(|places| self.early_checkpoint(places, &group, &writer));
            let written = match written {
                Ok(places) if self.options.sync_each => writer.sync().map(|()| places),
                other => other,
            };
            state = self.state();
            match written {
                Ok(places) => {
                    let step: Vec<Pending> = group.drain(..places.len()).collect();
                    self.publish(&mut state, step, &places, writer.end());
                }
                Err(WriteError::Refused(error)) => {
                    // Until the upkeep has looked, more puts would only meet the same answer.
                    state.low_space = true;
                    let rest = std::mem::take(&mut group);
                    state.refuse(rest, &StoreError::Refused(error));
                }
                Err(WriteError::Fatal(error)) => {
                    self.fail(&mut state, &error);
                    let rest = std::mem::take(&mut group);
                    state.refuse(rest, &StoreError::Unhealthy(error.to_string()));
                }
            }
        }
        let others = state.pending.len();
        state.gathering.written(members, others, began.elapsed());
        if writer.wants_spare() && !state.wants_spare {
            state.wants_spare = true;
            self.upkeep.notify_all();
        }
        state.writer = Some(writer);
        self.settled.notify_all();
        state
    }

    /// Makes records visible that have become durable.
    fn publish(&self, state: &mut State, step: Vec<Pending>, places: &[Cursor], end: Cursor) {
        let (mut put, mut freed) = (false, 0);
        for (pending, at) in step.into_iter().zip(places) {
            match pending.effect {
                Effect::Put { events, batches } => {
                    state.reserved -= u64::from(events);
                    put = true;
                    #[cfg(test)]
                    if self.options.mutant.logs_takes_first() {
                        state.queue.settle(*at);
                        continue;
                    }
                    state.queue.publish(*at, events, batches);
                }
                Effect::Take { ranges } => freed += state.queue.commit_take(&ranges),
            }
        }
        state.settled += places.len() as u64;
        state.end = end;
        if put {
            self.filled.notify_one();
        }
        if freed > 0 && !state.line.is_empty() {
            self.freed.notify_all();
        }
        self.settled.notify_all();
    }

    /// Makes everything durable that was written, where commits do not do it themselves.
    pub(in crate::channel::file) fn sync(&self) -> Result<(), FileError> {
        self.sync_and(|_| ())
    }

    /// Makes everything durable that was written, and answers what `look` sees of it. No commit gets
    /// in between: what `look` sees is durable, unless it finds the store failed.
    pub(super) fn sync_and<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, FileError> {
        let mut state = self.state();
        let mut writer = loop {
            match state.writer.take() {
                Some(writer) => break writer,
                None => {
                    state = self
                        .settled
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        };
        if state.failed.is_some() || !writer.is_dirty() {
            state.writer = Some(writer);
            return Ok(look(&state));
        }
        drop(state);
        let outcome = writer.sync();
        let mut state = self.state();
        // Only who has the writer adds to what is visible, so nothing has been added since.
        let seen = look(&state);
        state.writer = Some(writer);
        self.settled.notify_all();
        match outcome {
            Err(WriteError::Fatal(error) | WriteError::Refused(error)) => {
                self.fail(&mut state, &error);
                Err(error)
            }
            Ok(()) => Ok(seen),
        }
    }
}
