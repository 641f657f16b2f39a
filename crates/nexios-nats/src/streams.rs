//! The streams that keep messages: made when they are first needed, by whichever node needs them first.
//!
//! A stream's epoch is in the subjects that it takes. So a message can only get into the stream that its publisher knows,
//! and whoever gets it knows which one that was: a stream that was lost and made again has other subjects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexios::backplane::{BackplaneError, Keep};

use crate::Storage;
use crate::api::{self, ApiError, Republish, StreamConfig, StreamInfo};
use crate::link::Link;
use crate::names::StreamName;
use crate::settings::Settings;

/// For how long JetStream knows a message's id, which is how it recognises a double. Its own default.
pub(crate) const DOUBLES: i64 = 120_000_000_000;

/// How long a stream with replicas may show an end that is not its last one, and how often it is looked at. Calls do not
/// take so long: those that follow go on waiting.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(250);

/// The streams that a connection knows to be there.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<StreamName, Slot>>);

#[derive(Default)]
struct Slot {
    known: Option<Arc<Known>>,
    /// Held while the server is asked: it is asked once, and whoever needs another stream does not wait.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// A stream that is there.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) epoch: u64,
    replicas: AtomicUsize,
    first: AtomicU64,
}

impl Known {
    fn new(epoch: u64, info: &StreamInfo) -> Self {
        let first = AtomicU64::new(info.state.first_seq);
        Self { epoch, replicas: info.config.num_replicas.into(), first }
    }

    /// There is no message before this offset.
    pub(crate) fn first(&self) -> u64 {
        self.first.load(Ordering::Relaxed)
    }

    /// An operator may change how many there are.
    pub(crate) fn replicas(&self) -> usize {
        self.replicas.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, info: &StreamInfo) {
        self.replicas.store(info.config.num_replicas, Ordering::Relaxed);
        self.first.fetch_max(info.state.first_seq, Ordering::Relaxed);
    }
}

impl Streams {
    /// A stream, which is made if it is not there.
    pub(crate) async fn known(
        &self,
        link: &Link,
        settings: &Settings,
        name: &StreamName,
        keep: Keep,
    ) -> Result<Arc<Known>, BackplaneError> {
        let asking = match self.slots().entry(name.clone()).or_default() {
            Slot { known: Some(known), .. } => return Ok(known.clone()),
            Slot { asking, .. } => asking.clone(),
        };
        let _asking = asking.lock().await;
        // Whoever asked before has its answer for all.
        let known = self.slots().get(name).and_then(|slot| slot.known.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        let known = Arc::new(find_or_make(link, settings, name, keep).await?);
        self.slots().entry(name.clone()).or_default().known = Some(known.clone());
        Ok(known)
    }

    /// Has the server asked again: about the stream of an epoch, or whichever is known.
    pub(crate) fn forget(&self, name: &StreamName, epoch: Option<u64>) {
        if let Some(slot) = self.slots().get_mut(name) {
            slot.known.take_if(|known| epoch.is_none_or(|epoch| epoch == known.epoch));
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<StreamName, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a channel in its stream.
pub(crate) async fn look(
    link: &Link,
    name: &StreamName,
    subject: &str,
) -> Result<Option<(u64, StreamInfo)>, BackplaneError> {
    let Some(info) = api::info(link, &name.text(), subject).await? else { return Ok(None) };
    Ok(Some((epoch_of(name, &info)?, info)))
}

/// Has a stream that has lost its end begin again: deletes it.
pub(crate) async fn begin_again(link: &Link, name: &StreamName, epoch: u64) -> Result<(), BackplaneError> {
    loop {
        // Asked before the server is: what comes meanwhile is not behind its answer.
        let highest = link.seen.highest(epoch);
        // Another node may have been faster.
        let Some((now, info)) = look(link, name, "").await? else { return Ok(()) };
        if now != epoch {
            return Ok(());
        }
        if info.state.last_seq >= highest {
            link.seen.caught_up(epoch);
            return Ok(());
        }
        // A replica that was just made the leader may not know all that it has: what a majority has taken is not lost.
        if info.config.num_replicas == 1 || link.seen.behind(epoch) > PATIENCE {
            return end(link, name, epoch).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Deletes a stream whose numbers cannot be relied on any more.
pub(crate) async fn end(link: &Link, name: &StreamName, epoch: u64) -> Result<(), BackplaneError> {
    // Another node, or the message before in the same batch, may have been faster.
    if look(link, name, "").await?.is_some_and(|(now, _)| now == epoch) {
        tracing::warn!(stream = name.text(), "the stream has lost its end: it begins again");
        api::delete(link, &name.text()).await?;
    }
    Ok(())
}

async fn find_or_make(
    link: &Link,
    settings: &Settings,
    name: &StreamName,
    keep: Keep,
) -> Result<Known, BackplaneError> {
    let text = name.text();
    if let Some(info) = api::info(link, &text, "").await? {
        let epoch = epoch_of(name, &info)?;
        if link.seen.highest(epoch) <= info.state.last_seq {
            return Ok(Known::new(epoch, &info));
        }
        begin_again(link, name, epoch).await?;
    }
    let epoch = rand::random();
    let info = match api::create(link, &config(settings, name, &text, epoch, keep)).await? {
        Ok(info) => info,
        // Another node was faster, and has drawn another epoch.
        Err(error) if error.err_code == ApiError::NAME_IN_USE => {
            let info = api::info(link, &text, "").await?;
            info.ok_or_else(|| BackplaneError::unavailable("the stream is gone already"))?
        }
        Err(error) => return Err(error.into_error()),
    };
    Ok(Known::new(epoch_of(name, &info)?, &info))
}

fn epoch_of(name: &StreamName, info: &StreamInfo) -> Result<u64, BackplaneError> {
    let epoch = info.config.subjects.first().and_then(|subject| name.epoch_in(subject));
    epoch.ok_or_else(|| BackplaneError::refused(format!("the JetStream stream {} is somebody else's", name.text())))
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
        // With the one behind which all are kept, so that a position there is known to be good.
        max_msgs_per_subject: i64::try_from(keep.messages).unwrap_or(i64::MAX).saturating_add(1),
        // Longer than is asked for, so that positions stay good when nothing happens; and doubles must be known for less.
        max_age: age.saturating_add(age.max(DOUBLES)),
        duplicate_window: DOUBLES,
        allow_direct: true,
        republish: Republish { src: subject, dest: name.republish() },
    }
}

#[cfg(test)]
mod tests {
    use nexios_engines::Engine;
    use tokio::time::timeout;

    use super::*;
    use crate::seen::Seen;

    #[tokio::test]
    async fn a_stream_that_is_asked_for_keeps_no_other_waiting() {
        let engine = Engine::nats();
        let settings = Settings::of(&engine.url());
        let link = Link::open(&settings.servers[0], &settings, Seen::default()).await.expect("a connection");
        let [slow, other] = [1, 2].map(|messages| Keep { messages, bytes: 100, age: Duration::from_mins(1) });
        let [slow_name, other_name] = [slow, other].map(|keep| StreamName::new(&settings.prefix, keep));
        let asking = link.streams.slots().entry(slow_name.clone()).or_default().asking.clone();
        let asked = asking.lock().await;
        let soon = Duration::from_secs(10);
        for _ in 0..2 {
            let known = link.streams.known(&link, &settings, &other_name, other);
            timeout(soon, known).await.expect("no wait").expect("a stream");
            link.streams.forget(&other_name, None);
        }
        let mut waiting = Box::pin(link.streams.known(&link, &settings, &slow_name, slow));
        assert!(timeout(Duration::from_millis(20), &mut waiting).await.is_err(), "it is asked for once");
        drop(asked);
        timeout(soon, waiting).await.expect("an answer").expect("a stream");
    }
}
