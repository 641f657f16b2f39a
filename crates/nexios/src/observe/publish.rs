//! From the routes' numbers to the `metrics` facade, and their names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use metrics::{SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::histogram::Totals;
use super::meter::{self, ACCEPT_ERRORS, CONNECTION, Code, HANDLER, Outcome, Part, RouteMeter, lock};
use crate::backplane::BackplaneStatus;
use crate::groups::GroupsStats;
use crate::routing::AppContext;

pub(super) const HANDLER_SECONDS: &str = "nexios_handler_seconds";
pub(super) const HANDLER_HELP: &str = "From a message's handing over to the handler until it asks for the next.";
pub(super) const CONNECTION_SECONDS: &str = "nexios_connection_seconds";
pub(super) const CONNECTION_HELP: &str = "How long connections that have ended lasted, from their handshake.";

/// What is remembered between two publications.
#[derive(Debug)]
struct Published {
    apps: Vec<App>,
    /// Of apps, those that are gone included.
    publications: u64,
    /// What a recorder that is not ours was told of each route's histograms.
    told: Vec<(&'static str, Told)>,
}

type Told = (Totals<15>, Totals<9>);

#[derive(Debug)]
struct App {
    context: Weak<AppContext>,
    publications: u64,
}

static PUBLISHED: Mutex<Published> = Mutex::new(Published { apps: Vec::new(), publications: 0, told: Vec::new() });

/// Shows an app's connections and groups from now on, if it was asked for metrics.
pub(crate) fn observe_app(app: &Arc<AppContext>) {
    if app.is_metered {
        lock(&PUBLISHED).apps.push(App { context: Arc::downgrade(app), publications: 0 });
    }
}

/// Whether there is an app to be shown.
pub(super) fn has_apps() -> bool {
    lock(&PUBLISHED).apps.iter().any(|app| app.context.strong_count() > 0)
}

/// Who keeps histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Histograms {
    /// We do: the recorder would keep every sample.
    Ours,
    /// A recorder of the program's own.
    Theirs,
}

/// Gives the facade all numbers. It looks at every connection: not on a thread that serves them.
pub(super) fn publish(histograms: Histograms) {
    let routes = meter::all();
    let mut published = lock(&PUBLISHED);
    published.apps.retain(|app| app.context.strong_count() > 0);
    for route in &routes {
        publish_route(route);
    }
    publish_rare(&routes);
    publish_queues(&routes, &published.apps);
    publish_backplanes(&published.apps);
    published.publish_groups();
    if histograms == Histograms::Theirs {
        published.tell_histograms(&routes);
    }
    for (reason, count) in meter::refused() {
        counter!("nexios_connections_refused_total", "reason" => reason).absolute(count);
    }
    counter!("nexios_accept_errors_total").absolute(ACCEPT_ERRORS.load(Ordering::Relaxed));
}

/// What does not change, and what the names mean.
pub(super) fn describe() {
    for (name, unit, text) in COUNTERS {
        describe_counter!(*name, *unit, *text);
    }
    for (name, unit, text) in GAUGES {
        describe_gauge!(*name, *unit, *text);
    }
    describe_histogram!(HANDLER_SECONDS, Unit::Seconds, HANDLER_HELP);
    describe_histogram!(CONNECTION_SECONDS, Unit::Seconds, CONNECTION_HELP);
    gauge!("nexios_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge!("nexios_start_time_seconds").set(now.as_secs_f64());
}

type Description = (&'static str, Unit, &'static str);

const COUNTERS: &[Description] = &[
    (
        "nexios_handshakes_total",
        Unit::Count,
        "Opening handshakes, by outcome: accepted, the status of a refusal, or left.",
    ),
    ("nexios_messages_received_total", Unit::Count, "Messages that were read from connections."),
    ("nexios_messages_sent_total", Unit::Count, "Messages that were queued for connections."),
    (
        "nexios_messages_dropped_total",
        Unit::Count,
        "Messages that were dropped because their receiver did not keep up.",
    ),
    (
        "nexios_received_bytes_total",
        Unit::Bytes,
        "Bytes read from WebSockets, as they came: frames, compressed, without TLS.",
    ),
    (
        "nexios_sent_bytes_total",
        Unit::Bytes,
        "Bytes written to WebSockets, as they went: frames, compressed, without TLS.",
    ),
    ("nexios_disconnects_total", Unit::Count, "Connections that have ended, by cause, side and close code."),
    (
        "nexios_handler_failures_total",
        Unit::Count,
        "Handlers that ended with an error, a panic, or a message they refused.",
    ),
    ("nexios_group_publications_total", Unit::Count, "Messages that were published to groups."),
    ("nexios_backplane_published_total", Unit::Count, "Messages to other nodes that the engine has taken."),
    ("nexios_backplane_received_total", Unit::Count, "Messages that came from the engine."),
    (
        "nexios_backplane_lost_total",
        Unit::Count,
        "Messages to other nodes for which the outbox had no room, or that the engine refused.",
    ),
    ("nexios_backplane_gaps_total", Unit::Count, "Groups whose members were told that they may have missed something."),
    ("nexios_backplane_outages_total", Unit::Count, "How often the engine went away."),
    ("nexios_connections_refused_total", Unit::Count, "Connections that a limit refused, by the limit."),
    (
        "nexios_accept_errors_total",
        Unit::Count,
        "Connections that could not be accepted, for want of descriptors for instance.",
    ),
];

const GAUGES: &[Description] = &[
    ("nexios_connections", Unit::Count, "Connections, from their handshakes to the ends of their handlers."),
    ("nexios_queued_bytes", Unit::Bytes, "Bytes that wait to be sent, of all connections."),
    ("nexios_queued_bytes_max", Unit::Bytes, "Bytes that wait to be sent, of the connection with the most."),
    ("nexios_groups", Unit::Count, "Groups that have members, a history, or somebody who is waited for."),
    ("nexios_group_members", Unit::Count, "Memberships of connections in groups."),
    ("nexios_group_history_bytes", Unit::Bytes, "Bytes of messages in histories."),
    ("nexios_backplane_up", Unit::Count, "1 while the engine that joins the nodes is there, 0 while it is away."),
    ("nexios_backplane_nodes", Unit::Count, "Other nodes that were heard of lately."),
    ("nexios_backplane_outbox_bytes", Unit::Bytes, "Bytes that wait to be published to other nodes."),
    ("nexios_build_info", Unit::Count, "The version of Nexios; always 1."),
    ("nexios_start_time_seconds", Unit::Seconds, "When the process began to count, in seconds since 1970."),
];

fn publish_route(meter: &RouteMeter) {
    let route = meter.route;
    let total = |of: fn(&Part) -> &AtomicU64| meter.parts.iter().map(|part| of(part).load(Ordering::Relaxed)).sum();
    counter!("nexios_messages_received_total", "route" => route).absolute(total(|part| &part.received));
    counter!("nexios_messages_sent_total", "route" => route).absolute(total(|part| &part.sent));
    counter!("nexios_received_bytes_total", "route" => route).absolute(total(|part| &part.read));
    counter!("nexios_sent_bytes_total", "route" => route).absolute(total(|part| &part.written));
    counter!("nexios_messages_dropped_total", "route" => route).absolute(meter.dropped.load(Ordering::Relaxed));
}

fn publish_rare(routes: &[&'static RouteMeter]) {
    for meter in routes {
        let route = meter.route;
        // A recorder is the program's code: not under the lock.
        let rare = meter.rare().clone();
        for (outcome, count) in rare.handshakes {
            let outcome: SharedString = match outcome {
                Outcome::Answered(101) => "accepted".into(),
                Outcome::Answered(status) => status.to_string().into(),
                Outcome::Left => "left".into(),
            };
            counter!("nexios_handshakes_total", "route" => route, "outcome" => outcome).absolute(count);
        }
        for (end, count) in rare.ends {
            let code = match end.code {
                Code::Exact(code) => code.to_string(),
                Code::Range(thousands) => format!("{thousands}xxx"),
            };
            let (cause, by) = (end.cause, end.by);
            counter!("nexios_disconnects_total", "route" => route, "cause" => cause, "by" => by, "code" => code)
                .absolute(count);
        }
        for (kind, count) in rare.failures {
            counter!("nexios_handler_failures_total", "route" => route, "kind" => kind).absolute(count);
        }
    }
}

/// Connections and their queues, as they are now.
fn publish_queues(routes: &[&'static RouteMeter], apps: &[App]) {
    let mut of_routes: Vec<_> = routes.iter().map(|meter| (*meter, Queues::default())).collect();
    for app in apps.iter().filter_map(|app| app.context.upgrade()) {
        for link in app.connections.all() {
            if let Some((_, queues)) = of_routes.iter_mut().find(|(meter, _)| link.meter().is(meter)) {
                queues.add(link.queued());
            }
        }
    }
    for (meter, queues) in of_routes {
        let route = meter.route;
        gauge!("nexios_connections", "route" => route).set(float(queues.connections));
        gauge!("nexios_queued_bytes", "route" => route).set(float(queues.bytes));
        gauge!("nexios_queued_bytes_max", "route" => route).set(float(queues.most));
    }
}

/// How the apps' backplanes are: those of one engine together, as everything here.
fn publish_backplanes(apps: &[App]) {
    let apps = apps.iter().filter_map(|app| app.context.upgrade());
    let mut engines: Vec<BackplaneStatus> = Vec::new();
    for status in apps.filter_map(|app| app.handle.backplane()) {
        match engines.iter_mut().find(|known| known.engine == status.engine) {
            Some(known) => known.add(status),
            None => engines.push(status),
        }
    }
    for status in engines {
        let engine = status.engine;
        gauge!("nexios_backplane_up", "engine" => engine).set(if status.away.is_none() { 1.0 } else { 0.0 });
        gauge!("nexios_backplane_nodes", "engine" => engine).set(float(status.nodes));
        gauge!("nexios_backplane_outbox_bytes", "engine" => engine).set(float(status.outbox_bytes));
        counter!("nexios_backplane_published_total", "engine" => engine).absolute(status.published);
        counter!("nexios_backplane_received_total", "engine" => engine).absolute(status.received);
        counter!("nexios_backplane_lost_total", "engine" => engine).absolute(status.lost);
        counter!("nexios_backplane_gaps_total", "engine" => engine).absolute(status.gaps);
        counter!("nexios_backplane_outages_total", "engine" => engine).absolute(status.outages);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Queues {
    connections: usize,
    bytes: usize,
    most: usize,
}

impl Queues {
    fn add(&mut self, queued: usize) {
        self.connections += 1;
        self.bytes += queued;
        self.most = self.most.max(queued);
    }
}

impl Published {
    fn publish_groups(&mut self) {
        let mut all = GroupsStats::default();
        for app in &mut self.apps {
            let Some(context) = app.context.upgrade() else { continue };
            let stats = context.groups.totals();
            all.groups += stats.groups;
            all.members += stats.members;
            all.history_bytes += stats.history_bytes;
            self.publications += stats.publications.saturating_sub(app.publications);
            app.publications = stats.publications;
        }
        gauge!("nexios_groups").set(float(all.groups));
        gauge!("nexios_group_members").set(float(all.members));
        gauge!("nexios_group_history_bytes").set(float(all.history_bytes));
        counter!("nexios_group_publications_total").absolute(self.publications);
    }

    fn tell_histograms(&mut self, routes: &[&'static RouteMeter]) {
        for meter in routes {
            let now = totals(meter);
            let at = self.told.iter().position(|(route, _)| *route == meter.route);
            let before = at.map(|at| self.told.swap_remove(at).1);
            let (handler, connection) = (before.as_ref().map(|told| &told.0), before.as_ref().map(|told| &told.1));
            for (seconds, count) in now.0.since(handler, &HANDLER) {
                histogram!(HANDLER_SECONDS, "route" => meter.route).record_many(seconds, count);
            }
            for (seconds, count) in now.1.since(connection, &CONNECTION) {
                histogram!(CONNECTION_SECONDS, "route" => meter.route).record_many(seconds, count);
            }
            self.told.push((meter.route, now));
        }
    }
}

/// How long the handlers took, and how long the connections lasted.
pub(super) fn totals(meter: &RouteMeter) -> Told {
    (Totals::of(meter.parts.iter().map(|part| &part.handler)), Totals::of([&meter.durations]))
}

#[expect(clippy::cast_precision_loss, reason = "what a machine holds is counted exactly up to 2^53")]
fn float(count: usize) -> f64 {
    count as f64
}
