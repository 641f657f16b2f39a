//! The streams that keep messages: made when they are first needed, by whichever node needs them first.
//!
//! A stream's epoch is in the subjects that it takes. So a message can only get into the stream that its publisher knows,
//! and whoever gets it knows which one that was: a stream that was lost and made again has other subjects.

use std::collections::HashMap;
use std::time::Duration;

use nexios::backplane::{BackplaneError, Keep};
use tokio::sync::Mutex;

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
pub(crate) struct Streams(Mutex<HashMap<StreamName, u64>>);

impl Streams {
    /// The epoch of a stream, which is made if it is not there.
    pub(crate) async fn epoch(
        &self,
        link: &Link,
        settings: &Settings,
        name: &StreamName,
        keep: Keep,
    ) -> Result<u64, BackplaneError> {
        // Held while the server is asked: it is asked once.
        let mut known = self.0.lock().await;
        if let Some(epoch) = known.get(name) {
            return Ok(*epoch);
        }
        let epoch = find_or_make(link, settings, name, keep).await?;
        known.insert(name.clone(), epoch);
        Ok(epoch)
    }

    /// Has the server asked again.
    pub(crate) async fn forget(&self, name: &StreamName) {
        self.0.lock().await.remove(name);
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

async fn find_or_make(link: &Link, settings: &Settings, name: &StreamName, keep: Keep) -> Result<u64, BackplaneError> {
    let text = name.text();
    if let Some(info) = api::info(link, &text, "").await? {
        let epoch = epoch_of(name, &info)?;
        if link.seen.highest(epoch) <= info.state.last_seq {
            return Ok(epoch);
        }
        begin_again(link, name, epoch).await?;
    }
    let epoch = rand::random();
    match api::create(link, &config(settings, name, &text, epoch, keep)).await? {
        Ok(info) => epoch_of(name, &info),
        // Another node was faster, and has drawn another epoch.
        Err(error) if error.err_code == ApiError::NAME_IN_USE => {
            let info = api::info(link, &text, "").await?;
            let info = info.ok_or_else(|| BackplaneError::unavailable("the stream is gone already"))?;
            epoch_of(name, &info)
        }
        Err(error) => Err(error.into_error()),
    }
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
