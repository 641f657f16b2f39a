//! Knows the servers and all wanted channels, and gives each channel to a lane.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexios::backplane::{Channel, Events};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::{self, AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::lane::Order;
use super::{Part, pause::Pause};
use crate::address::{Kind, Server};
use crate::commands::Commands;
use crate::link::Link;
use crate::topology::{Topology, discover};

/// How often whoever knows the servers is asked though nothing has happened: a master that was replaced may not know it.
const REFRESH: Duration = Duration::from_secs(15);
/// The same for sentinels: after a failover that an operator has asked for, the old master goes on for about ten seconds, and the
/// nodes must not be on two masters for that long.
const REFRESH_OF_SENTINELS: Duration = Duration::from_secs(2);

/// For how long after a wrong answer the next is not believed to be the end of it: members of a cluster learn of a slot's move one
/// after the other.
const RESTLESS: Duration = Duration::from_secs(5);

/// The task behind all subscriptions.
pub(crate) struct Hub {
    pub(crate) link: Arc<Link>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) events: Events,
    /// How many lanes there are to a server that is no cluster.
    pub(crate) spread: usize,
    pub(crate) known: watch::Sender<Known>,
    pub(crate) requests: UnboundedReceiver<Request>,
    /// To itself, for lanes.
    pub(crate) own: UnboundedSender<Request>,
}

/// What is known of the servers.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// Nobody has answered yet.
    Nothing,
    /// Nobody has ever answered, and why.
    Failed(Arc<str>),
    /// Who has what.
    Servers(Arc<Topology>),
}

/// What the hub is asked for, or told.
pub(crate) enum Request {
    Subscribe(Vec<Channel>, Part),
    Unsubscribe(Vec<Channel>, Part),
    /// Whoever has subscribed to these has not waited for the answer.
    Unanswered(Vec<Channel>),
    /// The servers may be others than they were.
    Rediscover,
    /// All channels of a lane are subscribed to.
    Up(LaneId),
    /// A lane has no connection, and why.
    Down(LaneId, String),
    /// Channels that are not the server's of this lane; `is_refused` when some were not its when it was asked for them.
    Moved {
        lane: LaneId,
        channels: Vec<Channel>,
        is_refused: bool,
    },
    /// The answer of whoever knows the servers.
    Discovered(Result<Topology, String>),
}

/// Which lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneId {
    pub(crate) server: Server,
    /// Tells lanes to one server apart.
    pub(super) index: usize,
}

pub(super) struct Running {
    pub(super) orders: UnboundedSender<Order>,
    pub(super) task: AbortHandle,
    pub(super) is_up: bool,
}

pub(super) struct State {
    pub(super) hub: Hub,
    pub(super) topology: Option<Arc<Topology>>,
    /// All wanted channels, and who has them.
    pub(super) wanted: HashMap<Channel, Option<Arc<LaneId>>>,
    /// Channels that nobody has yet, while nobody has answered, and who waits for them.
    pub(super) waiting: Vec<(Vec<Channel>, Part)>,
    pub(super) lanes: HashMap<Arc<LaneId>, Running>,
    pub(super) tasks: JoinSet<()>,
    /// The discovery that is under way.
    discovery: Option<task::Id>,
    /// What has happened since the discovery that is under way began.
    is_outdated: bool,
    pause: Pause,
    /// When an answer that had looked complete was last found to be none.
    restless: Option<Instant>,
    /// What the operator was told already.
    last_failure: Option<String>,
    pub(super) is_connected: bool,
}

impl Hub {
    /// Until all who could ask are gone, or it is aborted; lanes end with it.
    pub(crate) async fn run(self) {
        let mut state = State {
            hub: self,
            topology: None,
            wanted: HashMap::new(),
            waiting: Vec::new(),
            lanes: HashMap::new(),
            tasks: JoinSet::new(),
            discovery: None,
            is_outdated: false,
            pause: Pause::new(),
            restless: None,
            last_failure: None,
            is_connected: false,
        };
        state.discover(Duration::ZERO);
        let has_sentinels = matches!(state.hub.link.address.kind, Kind::Sentinel { .. });
        let mut refresh = tokio::time::interval(if has_sentinels { REFRESH_OF_SENTINELS } else { REFRESH });
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.reset();
        loop {
            tokio::select! {
                request = state.hub.requests.recv() => match request {
                    Some(request) => state.handle(request),
                    None => return,
                },
                _ = refresh.tick() => state.refresh(),
                Some(ended) = state.tasks.join_next_with_id() => {
                    if let Err(error) = ended && error.is_panic() {
                        state.panicked(error.id());
                    }
                }
            }
        }
    }
}

impl State {
    fn handle(&mut self, request: Request) {
        match request {
            Request::Subscribe(channels, part) => self.subscribe(channels, part),
            Request::Unsubscribe(channels, part) => self.unsubscribe(&channels, part),
            Request::Unanswered(channels) => {
                // What is not waited for any more is given to lanes with the gap.
                let gone: HashSet<&Channel> = channels.iter().collect();
                for (channels, _) in &mut self.waiting {
                    channels.retain(|channel| !gone.contains(channel));
                }
                for (lane, channels) in self.by_lane(&channels) {
                    self.order(&lane, Order::Unanswered(channels));
                }
            }
            Request::Rediscover => self.rediscover(),
            Request::Up(id) => {
                if let Some(lane) = self.lanes.get_mut(&id) {
                    lane.is_up = true;
                    tracing::debug!(server = %id.server, "subscriber connected to Redis");
                }
                self.check_connected();
            }
            Request::Down(id, reason) => {
                let Some(lane) = self.lanes.get_mut(&id) else { return };
                if std::mem::take(&mut lane.is_up) {
                    tracing::warn!(server = %id.server, reason, "subscriber disconnected from Redis");
                }
                self.disconnected(&reason);
                self.rediscover();
            }
            Request::Moved { lane: id, channels, is_refused } => {
                if is_refused {
                    self.restless = Some(Instant::now());
                }
                for channel in channels {
                    if let Some(lane) = self.wanted.get_mut(&channel)
                        && lane.as_deref() == Some(&id)
                    {
                        *lane = None;
                    }
                }
                self.disconnected("slots have moved");
                self.rediscover();
            }
            Request::Discovered(answer) => self.discovered(answer),
        }
    }

    fn subscribe(&mut self, channels: Vec<Channel>, part: Part) {
        for channel in &channels {
            self.wanted.entry(channel.clone()).or_default();
        }
        let Some(topology) = self.topology.clone() else {
            if matches!(*self.hub.known.borrow(), Known::Nothing) {
                self.waiting.push((channels, part));
            }
            return;
        };
        self.assign(&topology, channels, false, Some(&part));
        part.done();
    }

    fn unsubscribe(&mut self, channels: &[Channel], part: Part) {
        for (lane, channels) in self.by_lane(channels) {
            self.order(&lane, Order::Remove { channels, part: Some(part.another()) });
        }
        for channel in channels {
            self.wanted.remove(channel);
        }
        part.done();
    }

    fn refresh(&mut self) {
        if self.discovery.is_none() {
            self.discover(Duration::ZERO);
        }
    }

    fn rediscover(&mut self) {
        if self.discovery.is_some() {
            self.is_outdated = true;
        } else {
            let pause = self.pause.next();
            self.discover(pause);
        }
    }

    fn discover(&mut self, pause: Duration) {
        self.is_outdated = false;
        let (link, commands) = (Arc::clone(&self.hub.link), Arc::clone(&self.hub.commands));
        let own = self.hub.own.clone();
        let known = self.topology.as_ref().map(|topology| topology.masters().to_vec()).unwrap_or_default();
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let answer = discover(&link, &commands, &known).await;
            // The hub has this task aborted when it ends.
            let _ = own.send(Request::Discovered(answer));
        });
        self.discovery = Some(task.id());
    }

    /// What has ended by a fault is done again: a node that waits for it for ever would be worse.
    fn panicked(&mut self, task: task::Id) {
        tracing::error!("a task of the backplane has panicked");
        if self.discovery == Some(task) {
            self.discovered(Err("the search for the servers has panicked".to_owned()));
            return;
        }
        let lane = self.lanes.iter().find(|(_, lane)| lane.task.id() == task).map(|(id, _)| Arc::clone(id));
        if let Some(lane) = lane {
            self.lanes.remove(&lane);
            self.forget_lanes();
            self.restless = Some(Instant::now());
            self.disconnected("a subscriber has panicked");
            self.rediscover();
        }
    }

    fn discovered(&mut self, answer: Result<Topology, String>) {
        self.discovery = None;
        match answer {
            Ok(topology) => {
                self.last_failure = None;
                self.settle(topology);
                let is_complete = self.wanted.values().all(Option::is_some);
                if !is_complete || self.is_outdated {
                    self.rediscover();
                } else if self.restless.is_none_or(|since| since.elapsed() >= RESTLESS) {
                    self.pause.reset();
                }
            }
            Err(reason) => {
                if self.topology.is_none() {
                    self.hub.known.send_replace(Known::Failed(reason.as_str().into()));
                    self.waiting.clear();
                }
                // When the servers themselves are there, it is only the sentinels who are away.
                if !self.are_all_up() {
                    self.disconnected(&reason);
                }
                if self.last_failure.as_deref() != Some(&*reason) {
                    tracing::warn!(reason, "Redis cannot be reached");
                    self.last_failure = Some(reason);
                }
                self.rediscover();
            }
        }
    }

    pub(super) fn check_connected(&mut self) {
        if self.are_all_up() && !self.is_connected {
            self.is_connected = true;
            tracing::info!("connected to Redis");
            self.hub.events.connected();
        }
    }

    pub(super) fn are_all_up(&self) -> bool {
        let has_lanes = self.lanes.values().all(|lane| lane.is_up) && !self.lanes.is_empty();
        has_lanes && self.wanted.values().all(Option::is_some)
    }

    pub(super) fn disconnected(&mut self, reason: &str) {
        self.is_connected = false;
        self.hub.events.disconnected(reason);
    }
}
