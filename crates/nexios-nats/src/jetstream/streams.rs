//! The streams that store histories: each is created when it is first needed, by the first node that needs it.
//!
//! A stream's epoch is part of its subjects. So a message can only get into the stream that its publisher knows, and a
//! subscriber knows which stream that was: a stream that was lost and created again has other subjects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexios::backplane::{BackplaneError, Keep};

use super::api::{self, ApiError, Republish, StreamConfig, StreamInfo};
use crate::connection::Connection;
use crate::high_watermark::HighWatermarks;
use crate::names::StreamName;
use crate::settings::{Settings, Storage};

/// The time for which JetStream remembers message ids to detect duplicates; its default.
pub(crate) const DEDUP_WINDOW: i64 = 120_000_000_000;

/// Maximum lag of a stream with replicas before it counts as truncated, and the interval between checks. Calls are
/// shorter than that: later calls continue the wait.
const MAX_LAG: Duration = Duration::from_secs(20);
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The streams as one connection sees them.
pub(crate) struct Streams {
    pub(crate) connection: Arc<Connection>,
    pub(crate) settings: Arc<Settings>,
    /// The highest offsets of all connections of this node.
    pub(crate) high_watermarks: HighWatermarks,
    slots: Mutex<HashMap<StreamName, Slot>>,
}

#[derive(Default)]
struct Slot {
    handle: Option<Arc<StreamHandle>>,
    /// Held during a lookup, so that there is one for each stream, and lookups of other streams do not wait.
    lookup: Arc<tokio::sync::Mutex<()>>,
}

/// A stream that exists.
#[derive(Debug)]
pub(crate) struct StreamHandle {
    pub(crate) epoch: u64,
    replicas: AtomicUsize,
    first: AtomicU64,
}

impl StreamHandle {
    fn new(epoch: u64, info: &StreamInfo) -> Self {
        let first = AtomicU64::new(info.state.first_seq);
        Self { epoch, replicas: info.config.num_replicas.into(), first }
    }

    /// A lower bound of the offsets in the stream.
    pub(crate) fn first(&self) -> u64 {
        self.first.load(Ordering::Relaxed)
    }

    /// Number of replicas, which an operator may change.
    pub(crate) fn replicas(&self) -> usize {
        self.replicas.load(Ordering::Relaxed)
    }

    /// Updates the handle from a newer state of the stream.
    pub(crate) fn update(&self, info: &StreamInfo) {
        self.replicas.store(info.config.num_replicas, Ordering::Relaxed);
        self.first.fetch_max(info.state.first_seq, Ordering::Relaxed);
    }
}

impl Streams {
    pub(crate) fn new(connection: Arc<Connection>, settings: Arc<Settings>, high_watermarks: HighWatermarks) -> Self {
        Self { connection, settings, high_watermarks, slots: Mutex::default() }
    }

    /// Returns a stream, and creates it if it does not exist.
    pub(crate) async fn get_or_create(
        &self,
        name: &StreamName,
        keep: Keep,
    ) -> Result<Arc<StreamHandle>, BackplaneError> {
        let lookup = match self.slots().entry(name.clone()).or_default() {
            Slot { handle: Some(handle), .. } => return Ok(handle.clone()),
            Slot { lookup, .. } => lookup.clone(),
        };
        let _lookup = lookup.lock().await;
        // An earlier lookup may have finished meanwhile.
        let handle = self.slots().get(name).and_then(|slot| slot.handle.clone());
        if let Some(handle) = handle {
            return Ok(handle);
        }
        let handle = Arc::new(self.find_or_create(name, keep).await?);
        self.slots().entry(name.clone()).or_default().handle = Some(handle.clone());
        Ok(handle)
    }

    /// Invalidates the handle of a stream, if it has this epoch or no epoch is given: the next use looks it up again.
    pub(crate) fn invalidate(&self, name: &StreamName, epoch: Option<u64>) {
        if let Some(slot) = self.slots().get_mut(name) {
            slot.handle.take_if(|handle| epoch.is_none_or(|epoch| epoch == handle.epoch));
        }
    }

    /// The epoch and the state of a stream, with the number of its messages with a subject; `None` if it does not
    /// exist.
    pub(crate) async fn info(
        &self,
        name: &StreamName,
        subject: &str,
    ) -> Result<Option<(u64, StreamInfo)>, BackplaneError> {
        let Some(info) = api::info(&self.connection, &name.text(), subject).await? else { return Ok(None) };
        Ok(Some((epoch_of(name, &info)?, info)))
    }

    /// Deletes a stream that has lost its end, unless it catches up.
    pub(crate) async fn delete_if_truncated(&self, name: &StreamName, epoch: u64) -> Result<(), BackplaneError> {
        loop {
            // Read before the request: messages that arrive during it are not behind its reply.
            let highest = self.high_watermarks.highest(epoch);
            // Another node may have recreated the stream.
            let Some((current, info)) = self.info(name, "").await? else { return Ok(()) };
            if current != epoch {
                return Ok(());
            }
            if info.state.last_seq >= highest {
                self.high_watermarks.caught_up(epoch);
                return Ok(());
            }
            // A new leader may not know yet all that it has: messages that a majority has stored are not lost.
            if info.config.num_replicas == 1 || self.high_watermarks.behind(epoch) > MAX_LAG {
                return self.delete(name, epoch).await;
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Deletes a stream whose offsets are no longer reliable.
    pub(crate) async fn delete(&self, name: &StreamName, epoch: u64) -> Result<(), BackplaneError> {
        // Another node, or the previous message of the same batch, may have done it.
        if self.info(name, "").await?.is_some_and(|(current, _)| current == epoch) {
            tracing::warn!(stream = name.text(), "the stream has lost its end and is recreated");
            api::delete(&self.connection, &name.text()).await?;
        }
        Ok(())
    }

    async fn find_or_create(&self, name: &StreamName, keep: Keep) -> Result<StreamHandle, BackplaneError> {
        let text = name.text();
        if let Some((epoch, info)) = self.info(name, "").await? {
            if self.high_watermarks.highest(epoch) <= info.state.last_seq {
                return Ok(StreamHandle::new(epoch, &info));
            }
            self.delete_if_truncated(name, epoch).await?;
        }
        let epoch = rand::random();
        let info = match api::create(&self.connection, &config(&self.settings, name, &text, epoch, keep)).await? {
            Ok(info) => info,
            // Another node has created it, with another epoch.
            Err(error) if error.err_code == ApiError::NAME_IN_USE => {
                let info = api::info(&self.connection, &text, "").await?;
                info.ok_or_else(|| BackplaneError::unavailable("the stream is gone already"))?
            }
            Err(error) => return Err(error.into_error()),
        };
        Ok(StreamHandle::new(epoch_of(name, &info)?, &info))
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<StreamName, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn epoch_of(name: &StreamName, info: &StreamInfo) -> Result<u64, BackplaneError> {
    let epoch = info.config.subjects.first().and_then(|subject| name.epoch_in(subject));
    epoch.ok_or_else(|| {
        BackplaneError::refused(format!("the JetStream stream {} belongs to another application", name.text()))
    })
}

fn config<'a>(settings: &Settings, name: &StreamName, text: &'a str, epoch: u64, keep: Keep) -> StreamConfig<'a> {
    let subject = name.subject(epoch, "*");
    let age = i64::try_from(keep.age.as_nanos()).unwrap_or(i64::MAX);
    StreamConfig {
        name: text,
        subjects: [subject.clone()],
        storage: match settings.storage {
            Storage::File => "file",
            Storage::Memory => "memory",
        },
        num_replicas: settings.replicas,
        retention: "limits",
        discard: "old",
        // One more than the history, so that its floor is known exactly.
        max_msgs_per_subject: i64::try_from(keep.messages).unwrap_or(i64::MAX).saturating_add(1),
        // Longer than the history, so that positions stay valid while nothing is published; and the dedup window must
        // be shorter.
        max_age: age.saturating_add(age.max(DEDUP_WINDOW)),
        duplicate_window: DEDUP_WINDOW,
        allow_direct: true,
        republish: Republish { src: subject, dest: name.republish() },
    }
}

#[cfg(test)]
mod tests {
    use nexios_engines::Engine;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_lookup_of_one_stream_does_not_delay_another() {
        let engine = Engine::nats();
        let settings = Arc::new(Settings::of(&engine.url()));
        let connection = Connection::open(&settings.servers[0], &settings).await.expect("a connection");
        let streams = Streams::new(Arc::new(connection), settings.clone(), HighWatermarks::default());
        let [slow, other] = [1, 2].map(|messages| Keep { messages, bytes: 100, age: Duration::from_mins(1) });
        let [slow_name, other_name] = [slow, other].map(|keep| StreamName::new(&settings.prefix, keep));
        let lookup = streams.slots().entry(slow_name.clone()).or_default().lookup.clone();
        let looking = lookup.lock().await;
        let soon = Duration::from_secs(10);
        for _ in 0..2 {
            let handle = streams.get_or_create(&other_name, other);
            timeout(soon, handle).await.expect("no wait").expect("a stream");
            streams.invalidate(&other_name, None);
        }
        let mut waiting = Box::pin(streams.get_or_create(&slow_name, slow));
        assert!(timeout(Duration::from_millis(20), &mut waiting).await.is_err(), "there is one lookup at a time");
        drop(looking);
        timeout(soon, waiting).await.expect("a reply").expect("a stream");
    }
}
