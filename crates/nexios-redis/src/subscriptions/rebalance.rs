//! Which lanes there are, and which channel is whose.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use nexios::backplane::Channel;
use tokio::sync::mpsc::unbounded_channel;

use super::Part;
use super::hub::{Known, LaneId, Running, State};
use super::inbox::Inbox;
use super::lane::{Lane, Order};
use crate::address::Server;
use crate::slots::slot;
use crate::topology::Topology;

impl State {
    /// Changes lanes and who has which channel as is necessary now.
    pub(super) fn settle(&mut self, topology: Topology) {
        if self.is_settled(&topology) {
            return;
        }
        let topology = Arc::new(topology);
        self.change_lanes(&topology);
        for (channels, part) in std::mem::take(&mut self.waiting) {
            let wanted = channels.into_iter().filter(|channel| self.wanted.contains_key(channel)).collect();
            self.assign(&topology, wanted, false, Some(&part));
            part.done();
        }
        let mut moving = Vec::new();
        let mut leaving: HashMap<Arc<LaneId>, Vec<Channel>> = HashMap::new();
        for (channel, lane) in &self.wanted {
            match lane {
                Some(lane) if self.lane_of(&topology, channel).as_ref() == Some(&**lane) => continue,
                Some(lane) => leaving.entry(Arc::clone(lane)).or_default().push(channel.clone()),
                None => {}
            }
            moving.push(channel.clone());
        }
        for (lane, channels) in leaving {
            self.order(&lane, Order::Remove { channels, part: None });
        }
        self.assign(&topology, moving, true, None);
        self.topology = Some(Arc::clone(&topology));
        self.hub.known.send_replace(Known::Servers(topology));
        if self.is_connected && !self.are_all_up() {
            self.disconnected("the servers are others now");
        }
        self.check_connected();
    }

    /// Whether everything is as it was after the last answer, as it mostly is: many channels take a while.
    fn is_settled(&self, topology: &Topology) -> bool {
        self.topology.as_deref() == Some(topology)
            && self.lanes.len() == self.all_lanes(topology).len()
            && self.waiting.is_empty()
            && self.wanted.values().all(Option::is_some)
    }

    /// Has the lanes that are needed, and no others. A lane of the other kind has the same name, and none of the subscriptions.
    fn change_lanes(&mut self, topology: &Topology) {
        let needed = self.all_lanes(topology);
        let is_other_kind = self.topology.as_ref().is_some_and(|old| old.is_sharded() != topology.is_sharded());
        self.lanes.retain(|id, lane| {
            let stays = needed.contains(id) && !is_other_kind;
            if !stays {
                lane.task.abort();
            }
            stays
        });
        self.forget_lanes();
        for id in needed {
            if !self.lanes.contains_key(&id) {
                let lane = self.spawn(&id, topology.is_sharded());
                self.lanes.insert(Arc::new(id), lane);
            }
        }
    }

    /// Channels whose lane is gone are nobody's.
    pub(super) fn forget_lanes(&mut self) {
        for lane in self.wanted.values_mut() {
            lane.take_if(|id| !self.lanes.contains_key(id));
        }
    }

    /// Gives channels to their lanes; those whose lane is nobody's have to wait for the next answer.
    pub(super) fn assign(&mut self, topology: &Topology, channels: Vec<Channel>, has_gap: bool, part: Option<&Part>) {
        let mut groups: HashMap<Arc<LaneId>, Vec<Channel>> = HashMap::new();
        for channel in channels {
            let id = self.lane_of(topology, &channel);
            // The same value for all channels of a lane.
            let id = id.and_then(|id| self.lanes.get_key_value(&id)).map(|(id, _)| Arc::clone(id));
            match &id {
                Some(id) => groups.entry(Arc::clone(id)).or_default().push(channel.clone()),
                // Dropped: it has failed.
                None => drop(part.map(Part::another)),
            }
            self.wanted.insert(channel, id);
        }
        for (id, channels) in groups {
            self.order(&id, Order::Add { channels, has_gap, part: part.map(Part::another) });
        }
    }

    fn lane_of(&self, topology: &Topology, channel: &Channel) -> Option<LaneId> {
        if topology.is_sharded() {
            return topology.master(channel.as_str()).map(|server| LaneId { server: server.clone(), index: 0 });
        }
        let index = usize::from(slot(channel.as_str())) % self.hub.spread;
        let masters = topology.masters();
        Some(LaneId { server: masters.get(index % masters.len())?.clone(), index })
    }

    fn all_lanes(&self, topology: &Topology) -> HashSet<LaneId> {
        let masters = topology.masters();
        let count = if topology.is_sharded() { masters.len() } else { self.hub.spread };
        let lane = |(index, server): (usize, &Server)| LaneId {
            server: server.clone(),
            index: if topology.is_sharded() { 0 } else { index },
        };
        masters.iter().cycle().take(count).enumerate().map(lane).collect()
    }

    pub(super) fn by_lane(&self, channels: &[Channel]) -> HashMap<Arc<LaneId>, Vec<Channel>> {
        let mut groups: HashMap<Arc<LaneId>, Vec<Channel>> = HashMap::new();
        for channel in channels {
            if let Some(Some(lane)) = self.wanted.get(channel) {
                groups.entry(Arc::clone(lane)).or_default().push(channel.clone());
            }
        }
        groups
    }

    pub(super) fn order(&self, lane: &LaneId, order: Order) {
        if let Some(lane) = self.lanes.get(lane) {
            // Lanes end only when the hub has them end.
            let _ = lane.orders.send(order);
        }
    }

    fn spawn(&mut self, id: &LaneId, is_sharded: bool) -> Running {
        let (orders, receiver) = unbounded_channel();
        let link = Arc::clone(&self.hub.link);
        let inbox = Arc::new(Inbox::new(Arc::clone(&link), self.hub.events.clone()));
        let hub = self.hub.own.clone();
        let lane = Lane { id: id.clone(), link, inbox, orders: receiver, hub, is_sharded };
        Running { orders, task: self.tasks.spawn(lane.run()), is_up: false }
    }
}
