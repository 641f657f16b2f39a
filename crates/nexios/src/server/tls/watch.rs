//! Certificates that are renewed while the server runs.

use std::time::Duration;

use super::Tls;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_mins(1);

/// Reads the files again on SIGHUP, and when they have changed. Never returns.
pub(crate) async fn watch(tls: Tls) {
    let mut minutes = tokio::time::interval(PERIOD);
    let mut hangups = Hangups::new();
    loop {
        tokio::select! {
            () = hangups.next() => reload(&tls, "a SIGHUP"),
            _ = minutes.tick() => if tls.has_changed() {
                reload(&tls, "a change of the files");
            },
        }
    }
}

fn reload(tls: &Tls, reason: &str) {
    match tls.reload() {
        Ok(()) => tracing::info!("the certificate was read again after {reason}"),
        Err(error) => tracing::error!(%error, "after {reason} the old certificate stays"),
    }
}

/// SIGHUP, where there is one.
struct Hangups {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    #[cfg(unix)]
    fn new() -> Self {
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
        if let Err(error) = &signal {
            tracing::error!(%error, "cannot watch for SIGHUP");
        }
        Self { signal: signal.ok() }
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending().await
    }
}
