//! The validated settings of a node, made from those of the builder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use nexios::backplane::{BackplaneError, Prefix};
use percent_encoding::percent_decode_str;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// The storage in which JetStream keeps messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// Files: messages survive a restart of the server.
    #[default]
    File,
    /// Memory: faster, and lost with the server, or with all servers that have a replica.
    Memory,
}

/// All settings of a node.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<Server>,
    pub(crate) login: Login,
    pub(crate) tls: ClientConfig,
    pub(crate) prefix: Prefix,
    pub(crate) replicas: usize,
    pub(crate) storage: Storage,
    pub(crate) keepalive: Duration,
}

#[cfg(test)]
impl Settings {
    /// Default settings for these servers.
    pub(crate) fn of(urls: &str) -> Self {
        let (servers, login) = servers(urls).expect("servers");
        Self {
            servers,
            login,
            tls: tls().expect("TLS"),
            prefix: Prefix::default(),
            replicas: 1,
            storage: Storage::Memory,
            keepalive: Duration::from_secs(5),
        }
    }
}

/// A server of the list. The login is not part of it, so that it can be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: ServerAddr,
    /// Host and port.
    pub(crate) text: String,
}

/// The credentials of a node.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Anonymous,
    User {
        name: String,
        password: String,
    },
    Token(String),
    /// A credentials file.
    Credentials(PathBuf),
}

impl Login {
    /// Connection options with these credentials.
    pub(crate) fn options(&self) -> Result<ConnectOptions, String> {
        let options = ConnectOptions::new();
        match self {
            Self::Anonymous => Ok(options),
            Self::User { name, password } => Ok(options.user_and_password(name.clone(), password.clone())),
            Self::Token(token) => Ok(options.token(token.clone())),
            // Read for each connection: the file may be renewed while the app runs.
            Self::Credentials(path) => {
                let file = path.display();
                let text = fs::read_to_string(path).map_err(|error| format!("credentials {file}: {error}"))?;
                // The error is dropped because it may repeat the secret.
                options.credentials(&text).map_err(|_| format!("credentials {file}: there are none in this file"))
            }
        }
    }
}

/// The servers of a list of URLs, and their login: the first user or token in the list applies to all servers.
pub(crate) fn servers(urls: &str) -> Result<(Vec<Server>, Login), BackplaneError> {
    let mut servers = Vec::new();
    let mut login = Login::Anonymous;
    for (number, text) in urls.split(',').map(str::trim).enumerate() {
        // The text may contain a password: errors name its number instead.
        let place = format!("NATS URL {}", number + 1);
        let (server, its_login) =
            server(text).map_err(|error| BackplaneError::settings(format!("{place}: {error}")))?;
        if login == Login::Anonymous {
            login = its_login;
        }
        servers.push(server);
    }
    Ok((servers, login))
}

fn server(text: &str) -> Result<(Server, Login), String> {
    let mut url = text.parse::<ServerAddr>().map_err(|error| error.to_string())?.into_inner();
    if !matches!(url.scheme(), "nats" | "tls") {
        return Err(format!("its scheme is {}, not nats or tls", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".to_owned());
    }
    let login = login(url.username(), url.password());
    let is_bare = url.set_username("").is_ok() && url.set_password(None).is_ok();
    let address = ServerAddr::from_url(url).map_err(|error| error.to_string())?;
    if !is_bare || address.has_user_pass() {
        return Err("its user cannot be separated from its host".to_owned());
    }
    let text = format!("{}:{}", address.host(), address.port());
    Ok((Server { address, text }, login))
}

/// The login in `nats://user:password@host` or `nats://token@host`.
fn login(user: &str, password: Option<&str>) -> Login {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match (user, password) {
        ("", None) => Login::Anonymous,
        (token, None) => Login::Token(plain(token)),
        (user, Some(password)) => Login::User { name: plain(user), password: plain(password) },
    }
}

/// The login of a credentials file, which must exist when the app starts.
pub(crate) fn credentials(path: &Path) -> Result<Login, BackplaneError> {
    let login = Login::Credentials(path.to_owned());
    login.options().map_err(|error| BackplaneError::settings(format!("NATS {error}")))?;
    Ok(login)
}

/// TLS with the root certificates of the system (`SSL_CERT_FILE` overrides them). The client's own configuration uses
/// the process-wide cryptography provider, and panics in a process that has two and has selected none.
pub(crate) fn tls() -> Result<ClientConfig, BackplaneError> {
    let mut roots = RootCertStore::empty();
    // A system without roots is no error before TLS is used; then verification of the server's certificate fails.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(BackplaneError::settings)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(urls: &str, texts: &[&str], login: &Login) {
        let (servers, its_login) = servers(urls).expect("servers");
        assert_eq!(servers.iter().map(|server| server.text.as_str()).collect::<Vec<_>>(), texts, "{urls}");
        assert!(its_login == *login, "{urls}");
        assert!(servers.iter().all(|server| !format!("{server:?}").contains("secret")), "{urls}");
    }

    #[test]
    fn a_list_of_urls_is_servers_and_one_login() {
        check("nats://localhost", &["localhost:4222"], &Login::Anonymous);
        check("localhost:5222", &["localhost:5222"], &Login::Anonymous);
        check("tls://[::1]:5222", &["::1:5222"], &Login::Anonymous);
        check("nats://secret@a,b:1 , nats://c", &["a:4222", "b:1", "c:4222"], &Login::Token("secret".into()));
        let user = Login::User { name: "me".into(), password: "secret@/".into() };
        check("nats://a,nats://me:secret%40%2f@b", &["a:4222", "b:4222"], &user);
    }

    #[test]
    fn an_error_does_not_repeat_the_password() {
        for urls in ["", "redis://me:secret@a", "ws://me:secret@a", "nats://", "nats://me:secret@a:port", "nats://a,,b"]
        {
            let error = servers(urls).map(|_| ()).expect_err(urls).to_string();
            assert!(error.contains("NATS URL") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_are_read_when_the_app_starts_and_for_each_connection() {
        let error = credentials(Path::new("/does/not/exist.creds")).map(|_| ()).expect_err("no file").to_string();
        assert!(error.contains("exist.creds"), "{error}");
        let seed = "SUAAWMCVPKP4J2IOGNMH3IWH5QITMW4AUXFO6FBZL2B2RTPSC46GDBQN2I";
        let text = format!(
            "-----BEGIN NATS USER JWT-----\njwt\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let path = std::env::temp_dir().join(format!("nexios-nats-{:016x}.creds", rand::random::<u64>()));
        fs::write(&path, "nothing").expect("write");
        let error = credentials(&path).map(|_| ()).expect_err("no credentials").to_string();
        assert!(error.contains("none in this file") && !error.contains("nothing"), "{error}");
        fs::write(&path, text).expect("write");
        let login = credentials(&path).expect("credentials");
        fs::remove_file(&path).expect("remove");
        let error = login.options().map(|_| ()).expect_err("the file is gone");
        assert!(error.contains(".creds"), "{error}");
    }
}
