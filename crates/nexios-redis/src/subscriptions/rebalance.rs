//! The subscribers of the current topology, and the assignment of channels to them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use nexios::backplane::{Channel, Events};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{self, AbortHandle, JoinError, JoinSet};

use super::commands::{Command, Request, SubscriberId};
use super::completion::Part;
use super::inbox::Inbox;
use super::subscriber::Subscriber;
use crate::address::Server;
use crate::connector::Connector;
use crate::slots::slot;
use crate::topology::Topology;

/// All subscribers and wanted channels.
pub(super) struct Subscribers {
    connector: Arc<Connector>,
    events: Events,
    /// Number of subscribers of a server that is not in a cluster.
    spread: usize,
    reports: UnboundedSender<Request>,
    topology: Option<Arc<Topology>>,
    /// The wanted channels, each with its subscriber if it is assigned.
    wanted: HashMap<Channel, Option<Arc<SubscriberId>>>,
    /// Subscriptions that wait for the first discovery.
    waiting: Vec<(Vec<Channel>, Part)>,
    running: HashMap<Arc<SubscriberId>, Running>,
    tasks: JoinSet<()>,
}

/// A subscriber's task.
struct Running {
    commands: UnboundedSender<Command>,
    task: AbortHandle,
    is_up: bool,
}

impl Subscribers {
    pub(super) fn new(
        connector: Arc<Connector>,
        events: Events,
        spread: usize,
        reports: UnboundedSender<Request>,
    ) -> Self {
        Self {
            connector,
            events,
            spread,
            reports,
            topology: None,
            wanted: HashMap::new(),
            waiting: Vec::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn topology(&self) -> Option<&Arc<Topology>> {
        self.topology.as_ref()
    }

    /// Waits until a subscriber's task ends; `None` if there is none.
    pub(super) async fn next_ended(&mut self) -> Option<Result<(), JoinError>> {
        self.tasks.join_next().await
    }

    /// Returns true if all subscribers are connected and all wanted channels are assigned.
    pub(super) fn are_all_up(&self) -> bool {
        let has_any = self.running.values().all(|running| running.is_up) && !self.running.is_empty();
        has_any && self.are_all_assigned()
    }

    pub(super) fn are_all_assigned(&self) -> bool {
        self.wanted.values().all(Option::is_some)
    }

    /// Sets the connection state of a subscriber and returns the previous one; `None` if it does not exist.
    pub(super) fn set_up(&mut self, id: &SubscriberId, is_up: bool) -> Option<bool> {
        let running = self.running.get_mut(id)?;
        Some(std::mem::replace(&mut running.is_up, is_up))
    }

    /// Adds wanted channels. Before the first topology they wait for it if the discovery is pending, and fail
    /// otherwise.
    pub(super) fn subscribe(&mut self, channels: Vec<Channel>, part: Part, is_pending: bool) {
        for channel in &channels {
            self.wanted.entry(channel.clone()).or_default();
        }
        let Some(topology) = self.topology.clone() else {
            if is_pending {
                self.waiting.push((channels, part));
            }
            return;
        };
        self.assign(&topology, channels, false, Some(&part));
        part.done();
    }

    pub(super) fn unsubscribe(&mut self, channels: &[Channel], part: Part) {
        for (id, channels) in self.by_subscriber(channels) {
            self.send(&id, Command::Remove { channels, part: Some(part.another()) });
        }
        for channel in channels {
            self.wanted.remove(channel);
        }
        part.done();
    }

    /// Handles channels whose caller was dropped before the confirmation: it gets a gap notice for them instead.
    pub(super) fn abandoned(&mut self, channels: &[Channel]) {
        // The first rebalancing assigns those that still wait with a gap.
        let abandoned: HashSet<&Channel> = channels.iter().collect();
        for (channels, _) in &mut self.waiting {
            channels.retain(|channel| !abandoned.contains(channel));
        }
        for (id, channels) in self.by_subscriber(channels) {
            self.send(&id, Command::Abandoned(channels));
        }
    }

    /// Fails the subscriptions that wait for the first discovery.
    pub(super) fn fail_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Takes channels from a subscriber, until the next rebalancing.
    pub(super) fn unassign(&mut self, id: &SubscriberId, channels: &[Channel]) {
        for channel in channels {
            if let Some(assigned) = self.wanted.get_mut(channel)
                && assigned.as_deref() == Some(id)
            {
                *assigned = None;
            }
        }
    }

    /// Removes the subscriber with this task; false if there is none.
    pub(super) fn remove(&mut self, task: task::Id) -> bool {
        let id = self.running.iter().find(|(_, running)| running.task.id() == task).map(|(id, _)| Arc::clone(id));
        let Some(id) = id else { return false };
        self.running.remove(&id);
        self.unassign_stopped();
        true
    }

    /// Adapts subscribers and assignments to a topology. `None` when it changes nothing.
    pub(super) fn rebalance(&mut self, topology: Topology) -> Option<Arc<Topology>> {
        if self.is_balanced(&topology) {
            return None;
        }
        let topology = Arc::new(topology);
        self.start_and_stop(&topology);
        for (channels, part) in std::mem::take(&mut self.waiting) {
            let wanted = channels.into_iter().filter(|channel| self.wanted.contains_key(channel)).collect();
            self.assign(&topology, wanted, false, Some(&part));
            part.done();
        }
        let mut moving = Vec::new();
        let mut leaving: HashMap<Arc<SubscriberId>, Vec<Channel>> = HashMap::new();
        for (channel, assigned) in &self.wanted {
            match assigned {
                Some(id) if self.subscriber_of(&topology, channel).as_ref() == Some(&**id) => continue,
                Some(id) => leaving.entry(Arc::clone(id)).or_default().push(channel.clone()),
                None => {}
            }
            moving.push(channel.clone());
        }
        for (id, channels) in leaving {
            self.send(&id, Command::Remove { channels, part: None });
        }
        self.assign(&topology, moving, true, None);
        self.topology = Some(Arc::clone(&topology));
        Some(topology)
    }

    /// Returns true if a topology changes nothing, which is the common case: rebalancing many channels takes a while.
    fn is_balanced(&self, topology: &Topology) -> bool {
        self.topology.as_deref() == Some(topology)
            && self.running.len() == self.needed(topology).len()
            && self.waiting.is_empty()
            && self.are_all_assigned()
    }

    /// Starts the subscribers that are needed and stops all others. A sharded subscriber and a plain one have the same
    /// id, but not the same subscriptions.
    fn start_and_stop(&mut self, topology: &Topology) {
        let needed = self.needed(topology);
        let is_other_kind = self.topology.as_ref().is_some_and(|old| old.is_sharded() != topology.is_sharded());
        self.running.retain(|id, running| {
            let stays = needed.contains(id) && !is_other_kind;
            if !stays {
                running.task.abort();
            }
            stays
        });
        self.unassign_stopped();
        for id in needed {
            if !self.running.contains_key(&id) {
                let running = self.start(&id, topology.is_sharded());
                self.running.insert(Arc::new(id), running);
            }
        }
    }

    /// Unassigns the channels of subscribers that no longer exist.
    fn unassign_stopped(&mut self) {
        for assigned in self.wanted.values_mut() {
            assigned.take_if(|id| !self.running.contains_key(id));
        }
    }

    /// Assigns channels to their subscribers; those without one wait for the next topology.
    fn assign(&mut self, topology: &Topology, channels: Vec<Channel>, has_gap: bool, part: Option<&Part>) {
        let mut groups: HashMap<Arc<SubscriberId>, Vec<Channel>> = HashMap::new();
        for channel in channels {
            let id = self.subscriber_of(topology, &channel);
            // One shared value for all channels of a subscriber.
            let id = id.and_then(|id| self.running.get_key_value(&id)).map(|(id, _)| Arc::clone(id));
            match &id {
                Some(id) => groups.entry(Arc::clone(id)).or_default().push(channel.clone()),
                // Dropping the part fails it.
                None => drop(part.map(Part::another)),
            }
            self.wanted.insert(channel, id);
        }
        for (id, channels) in groups {
            self.send(&id, Command::Add { channels, has_gap, part: part.map(Part::another) });
        }
    }

    fn subscriber_of(&self, topology: &Topology, channel: &Channel) -> Option<SubscriberId> {
        if topology.is_sharded() {
            return topology.master(channel.as_str()).map(|server| SubscriberId { server: server.clone(), index: 0 });
        }
        let index = usize::from(slot(channel.as_str())) % self.spread;
        let masters = topology.masters();
        Some(SubscriberId { server: masters.get(index % masters.len())?.clone(), index })
    }

    /// The subscribers that a topology needs.
    fn needed(&self, topology: &Topology) -> HashSet<SubscriberId> {
        let masters = topology.masters();
        let count = if topology.is_sharded() { masters.len() } else { self.spread };
        let id = |(index, server): (usize, &Server)| SubscriberId {
            server: server.clone(),
            index: if topology.is_sharded() { 0 } else { index },
        };
        masters.iter().cycle().take(count).enumerate().map(id).collect()
    }

    fn by_subscriber(&self, channels: &[Channel]) -> HashMap<Arc<SubscriberId>, Vec<Channel>> {
        let mut groups: HashMap<Arc<SubscriberId>, Vec<Channel>> = HashMap::new();
        for channel in channels {
            if let Some(Some(id)) = self.wanted.get(channel) {
                groups.entry(Arc::clone(id)).or_default().push(channel.clone());
            }
        }
        groups
    }

    fn send(&self, id: &SubscriberId, command: Command) {
        if let Some(running) = self.running.get(id) {
            // Fails only while the subscriber is being stopped.
            let _ = running.commands.send(command);
        }
    }

    fn start(&mut self, id: &SubscriberId, is_sharded: bool) -> Running {
        let (commands, receiver) = unbounded_channel();
        let connector = Arc::clone(&self.connector);
        let inbox = Arc::new(Inbox::new(Arc::clone(&connector), self.events.clone()));
        let reports = self.reports.clone();
        let subscriber = Subscriber { id: id.clone(), connector, inbox, commands: receiver, reports, is_sharded };
        Running { commands, task: self.tasks.spawn(subscriber.run()), is_up: false }
    }
}
