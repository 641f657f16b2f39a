//! What is sent to many: encoded once, queued for each, dropped where that was chosen.

use std::sync::Arc;

use bytes::Bytes;
use nexios_proto::{Message, Role};

use super::backlog::{Backlog, Key, Source};
use super::direct::Due;
use super::link::{Link, Phase, State};
use super::publication::Publication;
use super::sending::{Enqueued, Form, Room};
use super::signals::BACKLOG;
use super::tick;
use super::worker;
use crate::observe::Sent;
use crate::slow_consumer::SlowConsumer;

/// On what terms something is sent to many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) source: Source,
    /// `None`: as the receiver's connection has it.
    pub(crate) slow: Option<SlowConsumer>,
    /// The most bytes that may wait for a receiver, if that is less than its connection's bound.
    pub(crate) queue: usize,
}

impl Terms {
    /// Those of each connection.
    pub(crate) const OF_CONNECTION: Self = Self { source: 0, slow: None, queue: usize::MAX };
}

/// What sending to many leaves to do, and what it came to.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Connections that have something to write, each with its worker.
    pub(crate) due: Vec<(u8, Due)>,
    /// Messages that were dropped, or that gave way to newer ones.
    pub(crate) dropped: u64,
    /// Connections that are being closed because they did not keep up.
    pub(crate) closed: u64,
    /// Messages that were queued.
    sent: Sent,
}

impl Effects {
    /// Wakes the tasks that have something to write, under no lock.
    pub(crate) fn wake(self) {
        worker::wake_all(self.due);
    }

    /// Writes for the connections of this thread, and wakes the tasks of others, under no lock.
    pub(crate) fn write(self) {
        worker::write_all(self.due);
    }
}

impl Link {
    /// Whether a sender's message may be dropped, or drop others. A client's own may not.
    #[inline]
    pub(crate) fn may_drop(&self) -> bool {
        self.config().slow_consumer != SlowConsumer::Close && self.role() == Role::Server
    }

    /// Queues a sender's message for a connection that drops what it has no room for.
    pub(crate) fn enqueue_droppable(self: &Arc<Self>, message: &Message, form: Form, key: Option<Key>) -> Enqueued {
        tick::catch_up();
        let coding = if form == Form::Any { self.any_coding() } else { None };
        let publication = Publication::new(message, coding).keyed(key);
        let mut effects = Effects::default();
        let enqueued = self.enqueue_shared(&publication, Terms::OF_CONNECTION, &mut effects);
        effects.wake();
        enqueued
    }

    /// Queues a message that was encoded once for many. What is left to do goes to `effects`: the caller holds a lock.
    #[inline]
    pub(crate) fn enqueue_shared(
        self: &Arc<Self>,
        publication: &Publication,
        terms: Terms,
        effects: &mut Effects,
    ) -> Enqueued {
        let enqueued = self.try_enqueue_shared(publication, terms, effects);
        if enqueued == Enqueued::Queued {
            effects.sent.add(self.meter(), publication.messages());
        }
        enqueued
    }

    #[inline]
    fn try_enqueue_shared(
        self: &Arc<Self>,
        publication: &Publication,
        terms: Terms,
        effects: &mut Effects,
    ) -> Enqueued {
        let mut state = self.lock();
        let Some(publication) = publication.form_for(state.is_enveloped) else { return Enqueued::Unenveloped };
        let compressed = self.any_coding().and_then(|coding| publication.compressed(coding));
        let frame = match compressed {
            Some(compressed) if state.window.may_miss() => compressed,
            _ => publication.plain(),
        };
        let slow = terms.slow.unwrap_or(self.config().slow_consumer);
        let room = if slow == SlowConsumer::Close {
            let room = self.check_room(&state, frame.len(), terms.queue, publication.is_merged());
            if room == Err(Enqueued::Full) { Err(self.full(&mut state, publication, effects)) } else { room }
        } else {
            let (terms, dropped) = (Terms { slow: Some(slow), ..terms }, effects.dropped);
            let room = self.check_room_or_drop(&mut state, frame, publication, terms, effects);
            self.meter().dropped(effects.dropped - dropped);
            room
        };
        let room = match room {
            Ok(room) => room,
            Err(enqueued) => return enqueued,
        };
        let first = if state.backlog.is_some() {
            state.push_to_backlog(frame);
            false
        } else {
            let first = state.outbound.is_empty();
            state.outbound.append_shared(frame);
            first
        };
        if room == Room::Unoffered {
            effects.due.push((state.worker, Due::Offer(Arc::clone(self))));
            return Enqueued::Queued;
        }
        let worker = state.worker;
        effects.due.extend(self.due(&state, first).map(|due| (worker, due)));
        Enqueued::Queued
    }

    /// There is no room for what must arrive.
    #[cold]
    fn full(&self, state: &mut State, publication: &Publication, effects: &mut Effects) -> Enqueued {
        if publication.is_merged() {
            // Of several messages, some may fit.
            return Enqueued::Piecewise;
        }
        effects.closed += 1;
        let worker = state.worker;
        effects.due.extend(self.note_slow_consumer(state).map(|waker| (worker, Due::Wake(waker))));
        Enqueued::Full
    }

    /// Whether a message that may be dropped can be queued as all others; if not, what became of it.
    fn check_room_or_drop(
        self: &Arc<Self>,
        state: &mut State,
        frame: &Bytes,
        publication: &Publication,
        terms: Terms,
        effects: &mut Effects,
    ) -> Result<Room, Enqueued> {
        if !matches!(state.phase, Phase::Open) {
            return Err(Enqueued::NotOpen);
        }
        let bound = self.config().outbound_queue.min(terms.queue);
        let queued = state.queued();
        let keeps_up = state.backlog.is_none() && state.in_flight == 0;
        if keeps_up && (queued + frame.len() <= bound / 2 || (queued == 0 && !publication.is_merged())) {
            return Ok(Room::Within);
        }
        if publication.is_merged() {
            return Err(Enqueued::Piecewise);
        }
        let enqueued = self.queue_or_drop(state, frame, publication.key(), terms, bound, effects);
        if state.backlog.as_ref().is_some_and(|backlog| backlog.is_empty()) {
            state.backlog = None;
            self.signals.clear(BACKLOG);
        }
        Err(enqueued)
    }

    /// Queues a message behind what waits message by message, or drops it, or others for it.
    fn queue_or_drop(
        self: &Arc<Self>,
        state: &mut State,
        frame: &Bytes,
        key: Option<&Key>,
        terms: Terms,
        bound: usize,
        effects: &mut Effects,
    ) -> Enqueued {
        let (source, cost) = (terms.source, Backlog::cost(frame.len()));
        let mut others = state.queued();
        // Nothing gives way to anything before the socket has refused what waits, if it is one that sweeps can offer it to.
        let is_unoffered = state.socket.shared().is_some() && self.may_overrun(state, others + cost, bound);
        if is_unoffered && others + cost > bound {
            effects.due.push((state.worker, Due::Offer(Arc::clone(self))));
        }
        let backlog = state.backlog.get_or_insert_default();
        self.signals.set(BACKLOG);
        let may_give_way = if terms.slow == Some(SlowConsumer::DropNewest) { 0 } else { backlog.len_of(source) };
        if !is_unoffered && others > 0 && others - may_give_way + cost > bound {
            // Not even if all the others of its source went.
            effects.dropped += 1;
            return Enqueued::Dropped;
        }
        if !is_unoffered
            && terms.slow == Some(SlowConsumer::Conflate)
            && let Some(key) = key
            && let Some(freed) = backlog.drop_keyed(source, key)
        {
            effects.dropped += 1;
            others -= freed;
        }
        while !is_unoffered
            && others + cost > bound
            && let Some(freed) = backlog.drop_oldest(source)
        {
            effects.dropped += 1;
            others -= freed;
        }
        if terms.slow == Some(SlowConsumer::DropNewest) {
            // What was taken arrives.
            backlog.push(frame.clone());
        } else {
            backlog.push_droppable(frame.clone(), source, key);
        }
        Enqueued::Queued
    }
}
