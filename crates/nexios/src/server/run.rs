//! `App::run`: a runtime for each core, and the signals.

use std::io;
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle, Runtime};

use super::{AppHandle, Server, listen};
use crate::connection::Worker;
use crate::{Error, Result};

pub(crate) fn run(server: &Server, bind: Option<String>, workers: Option<usize>) -> Result {
    if Handle::try_current().is_ok() {
        let text = "App::run starts runtimes of its own: inside of one, use App::serve";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text).into());
    }
    let config = server.handle.config();
    listen::raise_descriptor_limit(config.connections);
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    // Elsewhere than on Linux a shared port does not spread connections.
    let workers = if cfg!(target_os = "linux") { workers.unwrap_or_else(cores) } else { 1 };
    let bound = listen::bound_name(bind.as_deref());
    let listeners = listen::listeners(bind, workers, config.reuse_port)?;
    // This thread serves nobody: it waits for signals and for the workers. Signals are watched for before anybody can know
    // that the server is there: one that nobody watches for would end the process without a drain.
    let waiting = runtime()?;
    let signals = waiting.block_on(async { Signals::watch() })?;
    waiting.block_on(server.handle.check_backplane())?;
    // Where nobody is served, so that it answers while all workers are busy.
    let operator = server.operator.as_ref().map(|operator| waiting.block_on(operator.begin())).transpose()?;
    let server = Server { operator: None, ..server.clone() }.bound_to(bound);
    #[cfg(feature = "tls")]
    server.watch_certificate(&waiting);
    for listener in listeners.iter().take(1).flatten() {
        let scheme = server.scheme();
        tracing::info!("Nexios listens on {scheme}://{} with {workers} workers", listener.local_addr()?);
    }
    let workers =
        listeners.into_iter().map(|listeners| worker(server.clone(), listeners)).collect::<io::Result<Vec<_>>>()?;
    waiting.block_on(async {
        tokio::spawn(shut_down_on_signals(server.handle.clone(), signals));
        let result = join(workers).await;
        drop(operator);
        result
    })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A thread with a runtime that serves its listeners. Its connections never leave it.
fn worker(server: Server, listeners: Vec<TcpListener>) -> io::Result<JoinHandle<Result>> {
    let runtime = runtime()?;
    let name = "nexios-worker".to_owned();
    thread::Builder::new().name(name).spawn(move || runtime.block_on(serve(server, listeners)))
}

async fn serve(server: Server, listeners: Vec<TcpListener>) -> Result {
    if let Some(worker) = Worker::begin() {
        tokio::spawn(worker);
    }
    let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std).collect::<io::Result<_>>()?;
    server.serve(listeners).await
}

async fn join(workers: Vec<JoinHandle<Result>>) -> Result {
    let wait = tokio::task::spawn_blocking(move || {
        let results = workers.into_iter().map(JoinHandle::join).collect::<Vec<_>>();
        results.into_iter().try_for_each(|result| result.unwrap_or_else(|_| Err(Error::other("a worker panicked"))))
    });
    wait.await.unwrap_or_else(|error| Err(Error::other(error)))
}

/// The first signal drains, the second one ends at once.
async fn shut_down_on_signals(handle: AppHandle, mut signals: Signals) {
    signals.next().await;
    tracing::info!(connections = handle.connection_count(), "shutting down");
    handle.shutdown();
    signals.next().await;
    tracing::warn!("second signal: ending at once");
    std::process::exit(1);
}

/// Ctrl-C and SIGTERM, none of which is missed between one and the next.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn watch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn watch() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Without a subscriber of the program's own nobody would see that the server runs, or why a handler failed.
#[cfg(not(feature = "logging"))]
pub(crate) fn begin_to_log() {}

/// Without a subscriber of the program's own nobody would see that the server runs, or why a handler failed.
#[cfg(feature = "logging")]
pub(crate) fn begin_to_log() {
    use std::io::IsTerminal;

    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt;

    if !tracing::dispatcher::has_been_set() {
        let builder = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
        // Its own lines say which connection they are about: to keep a span for each would take another half of what an
        // idle connection takes.
        let lines = builder.finish().with(filter_fn(|metadata| !metadata.is_span()));
        // An error means that somebody else was faster: then theirs stands.
        let _ = tracing::subscriber::set_global_default(lines);
    }
}
