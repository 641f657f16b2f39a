//! What the builder was given, once it is known to make sense.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use nexios::backplane::{BackplaneError, Prefix};
use percent_encoding::percent_decode_str;

use crate::Storage;

/// All that a node needs to know.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<Server>,
    pub(crate) login: Login,
    pub(crate) tls: rustls::ClientConfig,
    pub(crate) prefix: Prefix,
    pub(crate) replicas: usize,
    pub(crate) storage: Storage,
    pub(crate) keepalive: Duration,
}

#[cfg(test)]
impl Settings {
    /// A node's, with nothing but defaults.
    pub(crate) fn of(urls: &str) -> Self {
        let (servers, login) = servers(urls).expect("servers");
        Self {
            servers,
            login,
            tls: crate::tls::config().expect("TLS"),
            prefix: Prefix::default(),
            replicas: 1,
            storage: Storage::Memory,
            keepalive: Duration::from_secs(5),
        }
    }
}

/// A server of the list. What it is asked for with is not part of it, so that it can be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: ServerAddr,
    /// Host and port.
    pub(crate) text: String,
}

/// How a node shows who it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Nobody,
    User {
        name: String,
        password: String,
    },
    Token(String),
    /// A file of credentials.
    Credentials(PathBuf),
}

impl Login {
    /// Options of a connection that has them.
    pub(crate) fn options(&self) -> Result<ConnectOptions, String> {
        let options = ConnectOptions::new();
        match self {
            Self::Nobody => Ok(options),
            Self::User { name, password } => Ok(options.user_and_password(name.clone(), password.clone())),
            Self::Token(token) => Ok(options.token(token.clone())),
            // Each time: they may be renewed while the app runs.
            Self::Credentials(path) => {
                let file = path.display();
                let text = fs::read_to_string(path).map_err(|error| format!("credentials {file}: {error}"))?;
                // Whatever the error says of them, they are secret.
                options.credentials(&text).map_err(|_| format!("credentials {file}: there are none in this file"))
            }
        }
    }
}

/// The servers of a list of URLs, and what they are asked for with: the first user, or token, of the list is good for all.
pub(crate) fn servers(urls: &str) -> Result<(Vec<Server>, Login), BackplaneError> {
    let mut servers = Vec::new();
    let mut login = Login::Nobody;
    for (number, text) in urls.split(',').map(str::trim).enumerate() {
        // The text itself may have a password: errors have its number.
        let place = format!("NATS URL {}", number + 1);
        let (server, its_login) =
            server(text).map_err(|error| BackplaneError::settings(format!("{place}: {error}")))?;
        if login == Login::Nobody {
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
        return Err("its user cannot be told from its host".to_owned());
    }
    let text = format!("{}:{}", address.host(), address.port());
    Ok((Server { address, text }, login))
}

/// `nats://user:password@host` or `nats://token@host`.
fn login(user: &str, password: Option<&str>) -> Login {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match (user, password) {
        ("", None) => Login::Nobody,
        (token, None) => Login::Token(plain(token)),
        (user, Some(password)) => Login::User { name: plain(user), password: plain(password) },
    }
}

/// The credentials of a file, which must be there when the app starts.
pub(crate) fn credentials(path: &Path) -> Result<Login, BackplaneError> {
    let login = Login::Credentials(path.to_owned());
    login.options().map_err(|error| BackplaneError::settings(format!("NATS {error}")))?;
    Ok(login)
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
        check("nats://localhost", &["localhost:4222"], &Login::Nobody);
        check("localhost:5222", &["localhost:5222"], &Login::Nobody);
        check("tls://[::1]:5222", &["::1:5222"], &Login::Nobody);
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
