//! The addresses of the servers, parsed from a URL.

use std::fmt;

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) kind: Kind,
    pub(crate) is_tls: bool,
    pub(crate) login: Login,
    pub(crate) database: i64,
}

/// The servers that know the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One server, or a member of a cluster.
    Server(Server),
    /// Members of a cluster.
    Cluster(Vec<Server>),
    /// Sentinels, which know the master with this name.
    Sentinel { sentinels: Vec<Server>, master: String, login: Login },
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A user and a password, which are never displayed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

/// The error of a malformed URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAddress {
    #[error(
        "the URL of Redis begins with redis://, redis-cluster:// or redis-sentinel://, or the same with rediss, not with {0}"
    )]
    Scheme(Shown),
    #[error("rediss:// needs the feature `tls` of nexios-redis")]
    NoTls,
    #[error("the URL of Redis has no host, or one that is malformed")]
    Host,
    #[error("the port in the URL of Redis is not a number from 1 to 65535")]
    Port,
    #[error(
        "redis:// has one host: several are members of a cluster (redis-cluster://) or sentinels (redis-sentinel://)"
    )]
    Several,
    #[error("the database in the URL of Redis is not a number")]
    Database,
    #[error("a cluster has no databases other than 0")]
    ClusterDatabase,
    #[error("the URL of Redis lacks the name of the master: redis-sentinel://host:26379/name")]
    NoMaster,
    #[error(
        "the user or the password in the URL of Redis is malformed: % is followed by two hexadecimal digits of UTF-8"
    )]
    Login,
    #[error(
        "the user in the URL of Redis has no password, and would not be logged in: user:password@, with any password for a user that needs none, or :password@ without a user"
    )]
    NoPassword,
    #[error(
        "the URL of Redis has an unknown option: redis-sentinel:// has sentinel_username and sentinel_password, others have none"
    )]
    Option,
}

/// The displayable part of a URL with an unknown scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Unix,
    Http,
    Other,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unix => "unix://",
            Self::Http => "http://",
            Self::Other => "anything else",
        })
    }
}

impl Address {
    /// Parses a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, InvalidAddress> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidAddress::Scheme(Shown::Other))?;
        let (is_tls, form) = form(scheme)?;
        if is_tls && !cfg!(feature = "tls") {
            return Err(InvalidAddress::NoTls);
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may have a slash, a host may not have an `@`.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Login::parse(login)?, rest),
            None => (Login::default(), rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut sentinel_login = Login::default();
        for (name, value) in query.split('&').filter_map(|option| option.split_once('=')) {
            match (form, name) {
                (Form::Sentinel, "sentinel_username") => sentinel_login.user = Some(percent_decoded(value)?),
                (Form::Sentinel, "sentinel_password") => sentinel_login.password = Some(percent_decoded(value)?),
                _ => return Err(InvalidAddress::Option),
            }
        }
        sentinel_login.check()?;
        let (kind, database) = match form {
            Form::Server if hosts.contains(',') => return Err(InvalidAddress::Several),
            Form::Server => (Kind::Server(Server::parse(hosts, 6379)?), path),
            Form::Cluster => (Kind::Cluster(servers(hosts, 6379)?), path),
            Form::Sentinel => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let master = percent_decoded(master).map_err(|_| InvalidAddress::NoMaster)?;
                if master.is_empty() {
                    return Err(InvalidAddress::NoMaster);
                }
                (Kind::Sentinel { sentinels: servers(hosts, 26379)?, master, login: sentinel_login }, database)
            }
        };
        let database = match database {
            "" => 0,
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map_err(|_| InvalidAddress::Database)?
            }
            _ => return Err(InvalidAddress::Database),
        };
        if database != 0 && form == Form::Cluster {
            return Err(InvalidAddress::ClusterDatabase);
        }
        Ok(Self { kind, is_tls, login, database })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Server,
    Cluster,
    Sentinel,
}

fn form(scheme: &str) -> Result<(bool, Form), InvalidAddress> {
    Ok(match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => (false, Form::Server),
        "rediss" | "valkeys" => (true, Form::Server),
        "redis-cluster" => (false, Form::Cluster),
        "rediss-cluster" => (true, Form::Cluster),
        "redis-sentinel" => (false, Form::Sentinel),
        "rediss-sentinel" => (true, Form::Sentinel),
        "unix" | "redis+unix" => return Err(InvalidAddress::Scheme(Shown::Unix)),
        "http" | "https" => return Err(InvalidAddress::Scheme(Shown::Http)),
        _ => return Err(InvalidAddress::Scheme(Shown::Other)),
    })
}

fn servers(hosts: &str, port: u16) -> Result<Vec<Server>, InvalidAddress> {
    hosts.split(',').map(|host| Server::parse(host.trim(), port)).collect()
}

impl Server {
    fn parse(text: &str, default_port: u16) -> Result<Self, InvalidAddress> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(InvalidAddress::Host)?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(InvalidAddress::Host);
                }
                match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if port.is_empty() => (host, None),
                    None => return Err(InvalidAddress::Host),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_plain = |character: char| character.is_ascii_alphanumeric() || ".-_:%".contains(character);
        if host.is_empty() || !host.chars().all(is_plain) {
            return Err(InvalidAddress::Host);
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(InvalidAddress::Port)?,
            None => default_port,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let some = |text: &str| if text.is_empty() { Ok(None) } else { percent_decoded(text).map(Some) };
        let login = Self { user: some(user)?, password: some(password)? };
        login.check().map(|()| login)
    }

    /// Refuses a user without a password, which would silently be the default user.
    fn check(&self) -> Result<(), InvalidAddress> {
        if self.user.is_some() && self.password.is_none() { Err(InvalidAddress::NoPassword) } else { Ok(()) }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.password.is_some() { "Login" } else { "NoLogin" })
    }
}

fn percent_decoded(text: &str) -> Result<String, InvalidAddress> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = behind.get(..2).and_then(|digits| str::from_utf8(digits).ok()).ok_or(InvalidAddress::Login)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InvalidAddress::Login);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| InvalidAddress::Login)?);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| InvalidAddress::Login)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: u16) -> Server {
        Server { host: host.to_owned(), port }
    }

    fn login(user: &str, password: &str) -> Login {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Login { user: some(user), password: some(password) }
    }

    #[test]
    fn urls_of_all_forms_are_parsed() {
        let check = |url: &str, kind: Kind, login: Login, database: i64| {
            assert_eq!(Address::parse(url), Ok(Address { kind, is_tls: false, login, database }), "{url}");
        };
        let none = Login::default;
        check("redis://localhost", Kind::Server(server("localhost", 6379)), none(), 0);
        check("redis://10.0.0.1:7000/3", Kind::Server(server("10.0.0.1", 7000)), none(), 3);
        check("redis://[::1]:7000/", Kind::Server(server("::1", 7000)), none(), 0);
        check("redis://:pass@h", Kind::Server(server("h", 6379)), login("", "pass"), 0);
        check("redis://user:p%40ss%2F@h/1", Kind::Server(server("h", 6379)), login("user", "p@ss/"), 1);
        check("redis://user:p/a@ss@h/1", Kind::Server(server("h", 6379)), login("user", "p/a@ss"), 1);
        let cluster = Kind::Cluster(vec![server("a", 1), server("b", 6379)]);
        check("redis-cluster://u:p@a:1,b", cluster, login("u", "p"), 0);
        let sentinel = |sentinel_login| Kind::Sentinel {
            sentinels: vec![server("a", 26379), server("b", 2)],
            master: "mymaster".to_owned(),
            login: sentinel_login,
        };
        check("redis-sentinel://a,b:2/mymaster", sentinel(none()), none(), 0);
        let url = "redis-sentinel://:x@a,b:2/mymaster/4?sentinel_username=s&sentinel_password=%25";
        check(url, sentinel(login("s", "%")), login("", "x"), 4);
    }

    #[test]
    fn a_malformed_url_has_a_reason_that_never_contains_the_password() {
        let cases = [
            ("localhost:6379", InvalidAddress::Scheme(Shown::Other)),
            ("http://secret", InvalidAddress::Scheme(Shown::Http)),
            ("redis://", InvalidAddress::Host),
            ("redis://:secret@", InvalidAddress::Host),
            ("redis://a b", InvalidAddress::Host),
            ("redis://[::1", InvalidAddress::Host),
            ("redis://a:0", InvalidAddress::Port),
            ("redis://a:65536", InvalidAddress::Port),
            ("redis://a:secret", InvalidAddress::Port),
            ("redis://a/x", InvalidAddress::Database),
            ("redis://a/-1", InvalidAddress::Database),
            ("redis-cluster://a/1", InvalidAddress::ClusterDatabase),
            ("redis-sentinel://a", InvalidAddress::NoMaster),
            ("redis://u:%zz@a", InvalidAddress::Login),
            ("redis://u:%f@a", InvalidAddress::Login),
            ("redis://u:%ff@a", InvalidAddress::Login),
            ("redis://a?protocol=resp3", InvalidAddress::Option),
            ("redis://secret@a", InvalidAddress::NoPassword),
            ("redis://secret:@a", InvalidAddress::NoPassword),
            ("redis-sentinel://:x@a/m?sentinel_username=secret", InvalidAddress::NoPassword),
            ("redis://a:1,b:2", InvalidAddress::Several),
            ("redis://a,b", InvalidAddress::Several),
        ];
        for (url, error) in cases {
            assert_eq!(Address::parse(url).err(), Some(error), "{url}");
            assert!(!error.to_string().contains("secret"));
        }
        #[cfg(not(feature = "tls"))]
        assert_eq!(Address::parse("rediss://a").err(), Some(InvalidAddress::NoTls));
    }
}
