//! The node's thread: it publishes, subscribes, and tells that it is there.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

use super::deliver::Listener;
use super::lost::Loss;
use super::node::Node;
use super::outbox::Sort;
use super::status::Way;
use super::wire::{Body, Control};
use super::{BackplaneError, Channel, Events};

/// Between two attempts of the same: at first, and after many.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long a node that ends waits for its last messages.
const FAREWELL: Duration = Duration::from_secs(1);

impl Node {
    /// Begins, on a thread of its own: what an engine's client does must not delay a connection's turn.
    pub(crate) fn run(self: Arc<Self>) {
        let node = Arc::clone(&self);
        let thread =
            thread::Builder::new().name("nexios-backplane".to_owned()).spawn(
                move || match Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime.block_on(node.serve()),
                    Err(error) => node.cannot(BackplaneError::unavailable(error)),
                },
            );
        if let Err(error) = thread {
            self.cannot(BackplaneError::unavailable(error));
        }
    }

    fn cannot(&self, error: BackplaneError) {
        tracing::error!(%error, "the backplane cannot be used");
        self.left.cancel();
        // Nobody else has set it.
        let _ = self.started.set(Err(error));
        // An app that is mounted in another goes on by itself.
        self.outbox.go_away(&mut [], |message| self.deliver_here(message));
        for group in self.channels.groups() {
            group.attached();
        }
    }

    async fn serve(self: Arc<Self>) {
        let _ = self.runtime.set(tokio::runtime::Handle::current());
        if let Err(error) = self.backplane.start(self.id, Events::new(Arc::new(Listener::new(&self)))).await {
            return self.cannot(error);
        }
        let _ = self.started.set(Ok(()));
        self.channels.want_always(Channel::all_nodes());
        self.channels.want_always(Channel::node(self.id));
        let work = async {
            // What is asked of it before that would only fail.
            let _ = timeout(self.config.timeout, self.reached.wait()).await;
            tokio::join!(
                self.publish_all(Sort::Plain),
                self.publish_all(Sort::Kept),
                self.subscribe_all(),
                self.be_there(),
                self.tell_presence(),
                self.look_at_streams()
            );
        };
        tokio::select! {
            () = work => {}
            () = self.stopped.cancelled() => {}
        }
        // What was published before the end is on its way out; the others need not wait for this node's time to live.
        let after = self.clients_return.get().map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.push(&Channel::all_nodes(), &Body::Control(Control::Gone { after }));
        let _ = timeout(FAREWELL, self.publish_rest()).await;
        let _ = timeout(FAREWELL, self.backplane.stop()).await;
        self.left.cancel();
    }

    // ---- subscribing

    async fn subscribe_all(self: &Arc<Self>) {
        loop {
            let changes = self.channels.take();
            if !changes.unsubscribe.is_empty() {
                // They are not wanted any more in any case.
                let _ = timeout(self.config.timeout, self.backplane.unsubscribe(&changes.unsubscribe)).await;
            }
            let mut is_subscribed = true;
            if !changes.subscribe.is_empty() {
                let subscribed = timeout(self.config.timeout, self.backplane.subscribe(&changes.subscribe)).await;
                is_subscribed = matches!(subscribed, Ok(Ok(())));
            }
            for group in changes.groups {
                if is_subscribed {
                    if !group.has_history() {
                        // Those who did not wait for so long may have missed something.
                        group.lost(Loss::Placeless);
                    }
                    self.sync(group);
                } else {
                    // They are told when the channel stands.
                    group.attached();
                }
            }
            self.channels.changed.notified().await;
        }
    }

    // ---- being there

    /// Tells the other nodes that this one is there, four times in the time after which they would think otherwise.
    async fn be_there(&self) {
        let every = self.config.node_ttl / 4;
        let mut next = Instant::now();
        loop {
            // While nobody can hear it, one that comes afterwards is enough.
            if !self.is_away(Way::Publishing) {
                self.say_here();
            }
            next += every;
            while Instant::now() < next {
                sleep(every.min(Duration::from_secs(1)).min(next.saturating_duration_since(Instant::now()))).await;
                self.bury_the_dead();
            }
            next = Instant::now();
        }
    }

    pub(super) fn say_here(&self) {
        self.push(&Channel::all_nodes(), &Body::Control(Control::Here));
    }

    // ---- the engine comes and goes

    pub(super) fn went_away(&self, way: Way, reason: &str) {
        if self.status.went_away(way, reason) {
            let engine = self.backplane.name();
            tracing::warn!(engine, reason, "the backplane is away: groups go on, each node for itself");
        }
    }

    pub(super) fn came_back(&self, way: Way) {
        let (away, is_there) = self.status.came_back(way);
        if let (Some(away), true) = (away, is_there) {
            let engine = self.backplane.name();
            tracing::info!(engine, seconds = away.as_secs_f32(), "the backplane is there");
        }
    }
}
