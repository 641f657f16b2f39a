//! A backplane that has started.

use std::sync::Arc;
use std::time::Duration;

use nexios::backplane::{BackplaneError, Channel, Events, Keep};
use redis::Cmd;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::address::Server;
use crate::commands::Commands;
use crate::link::Link;
use crate::subscriptions::{Answer, Hub, Known, Part, Request};
use crate::topology::Topology;

/// The longest time that a key lives: ten years, for the arithmetic of dates.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// The connections and tasks of a node.
pub(crate) struct Engine {
    pub(crate) link: Arc<Link>,
    pub(crate) commands: Arc<Commands>,
    hub: UnboundedSender<Request>,
    known: watch::Receiver<Known>,
    task: AbortHandle,
}

impl Engine {
    /// Begins to connect.
    pub(crate) fn start(link: Link, spread: usize, events: Events) -> Self {
        let link = Arc::new(link);
        let commands = Arc::new(Commands::new(Arc::clone(&link)));
        let (hub, requests) = unbounded_channel();
        let (sender, known) = watch::channel(Known::Nothing);
        let task = Hub {
            link: Arc::clone(&link),
            commands: Arc::clone(&commands),
            events,
            spread,
            known: sender,
            requests,
            own: hub.clone(),
        };
        let task = tokio::spawn(task.run()).abort_handle();
        Self { link, commands, hub, known, task }
    }

    /// The servers; waits while nobody has answered yet.
    pub(crate) async fn topology(&self) -> Result<Arc<Topology>, String> {
        let mut known = self.known.clone();
        let known = known.wait_for(|known| !matches!(known, Known::Nothing)).await;
        match known.as_deref() {
            Ok(Known::Servers(topology)) => Ok(Arc::clone(topology)),
            Ok(Known::Failed(reason)) => Err(reason.to_string()),
            Ok(Known::Nothing) | Err(_) => Err("the backplane has stopped".to_owned()),
        }
    }

    /// The servers may be others now.
    pub(crate) fn rediscover(&self) {
        // Only a hub that has stopped does not hear it.
        let _ = self.hub.send(Request::Rediscover);
    }

    /// Subscribes, and has the gap told if nobody waits for the end of it.
    pub(crate) async fn subscribe(&self, channels: &[Channel]) -> Result<(), BackplaneError> {
        let mut unanswered = Unanswered { hub: &self.hub, channels };
        let done = self.request(|part| Request::Subscribe(channels.to_vec(), part)).await;
        if done.is_ok() {
            unanswered.channels = &[];
        }
        done
    }

    pub(crate) async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), BackplaneError> {
        self.request(|part| Request::Unsubscribe(channels.to_vec(), part)).await
    }

    /// What both scripts are told first.
    pub(crate) fn stream_arguments(&self, command: &mut Cmd, server: &Server, keep: Keep) {
        let age = keep.age.clamp(Duration::from_millis(1), LONGEST).as_millis();
        command.arg(format!("{:016x}", fastrand::u64(..)));
        command.arg(&*self.link.origin(server));
        command.arg(keep.messages).arg(keep.bytes).arg(age.to_string());
    }

    /// Ends everything.
    pub(crate) fn stop(&self) {
        self.task.abort();
        self.commands.close_all();
    }

    async fn request(&self, request: impl FnOnce(Part) -> Request) -> Result<(), BackplaneError> {
        let (answer, part) = Answer::new();
        // When it cannot be sent, it is dropped, and so it has failed.
        let _ = self.hub.send(request(part));
        answer.wait().await.map_err(BackplaneError::unavailable)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Unanswered<'a> {
    hub: &'a UnboundedSender<Request>,
    channels: &'a [Channel],
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.channels.is_empty() {
            let _ = self.hub.send(Request::Unanswered(self.channels.to_vec()));
        }
    }
}
