//! Certificates that are renewed while the server runs.

use std::time::Duration;

use super::Tls;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_mins(1);

/// Reads the files again on SIGHUP, and when they have changed. Never returns.
pub(super) async fn watch(tls: Tls, mut hangups: Hangups) {
    let mut minutes = tokio::time::interval(PERIOD);
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

/// SIGHUP, where there is one. From the first of these on it does not end the process.
pub(super) struct Hangups {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    #[cfg(unix)]
    pub(super) fn new() -> Self {
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
        std::future::pending::<()>().await;
    }

    #[cfg(not(unix))]
    pub(super) fn new() -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    fn write(folder: &Path) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_change_are_read_again_within_a_minute_and_only_then() {
        let folder = std::env::temp_dir().join(format!("nexios-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder);
        let tls = Tls::from_files(folder.join("certificate.pem"), folder.join("key.pem")).unwrap();
        let watching = tokio::spawn(watch(tls.clone(), Hangups::new()));
        let first = tls.config();
        tokio::time::sleep(3 * PERIOD).await;
        assert!(Arc::ptr_eq(&first, &tls.config()));
        write(&folder);
        tokio::time::sleep(PERIOD).await;
        let second = tls.config();
        assert!(!Arc::ptr_eq(&first, &second));
        // Half of a renewal is none, and its other half makes it whole.
        let key = std::fs::read(folder.join("key.pem")).unwrap();
        std::fs::write(folder.join("key.pem"), "not yet").unwrap();
        tokio::time::sleep(3 * PERIOD).await;
        assert!(Arc::ptr_eq(&second, &tls.config()));
        std::fs::write(folder.join("key.pem"), key).unwrap();
        tokio::time::sleep(PERIOD).await;
        assert!(!Arc::ptr_eq(&second, &tls.config()));
        watching.abort();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_in_the_files_tells_if_they_have_changed_and_not_their_times() {
        let folder = std::env::temp_dir().join(format!("nexios-content-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder);
        let file = folder.join("certificate.pem");
        let tls = Tls::from_files(&file, folder.join("key.pem")).unwrap();
        let (content, time) = (std::fs::read(&file).unwrap(), file.metadata().unwrap().modified().unwrap());
        let set_time = |time| std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        set_time(time + Duration::from_hours(1));
        assert!(!tls.has_changed(), "the same again");
        let mut other = content;
        other.swap(100, 101);
        other.swap(200, 202);
        std::fs::write(&file, other).unwrap();
        set_time(time);
        assert!(tls.has_changed(), "as long and as old, and another");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
