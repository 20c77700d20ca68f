//! Where a broker is, and what to connect with.

use super::fault::{Cause, Doing, cause};
use super::socket::{self, Dial};
use crate::bus::{BusFault, Tls};
use lapin::ConnectionProperties;
use lapin::auth::AuthProvider;
use lapin::types::{LongString, ShortString};
use lapin::uri::{AMQPAuthority, AMQPScheme, AMQPUri, AMQPUserInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use zeroize::Zeroizing;

/// The virtual host where a URL names none (WIRE.md section 7).
const VHOST: &str = "pirogue";
/// A connection without a sign of life for twice as long, in seconds, is dead.
const HEARTBEAT: u16 = 10;

/// How a user proves who it is.
#[derive(Clone)]
pub enum Login {
    /// By the name and the password in the URL.
    Url,
    /// By the name in the URL, and this password.
    Password(Zeroizing<String>),
    /// By its client certificate (SASL EXTERNAL): the broker takes the user's
    /// name from the certificate.
    Certificate,
}

/// How to connect.
#[derive(Clone)]
pub struct Options {
    /// The user's name, where the URL names none.
    pub user: String,
    /// How the user proves who it is.
    pub login: Login,
    /// Files for TLS.
    pub tls: Tls,
    /// What the broker's operator sees as the connection's name.
    pub name: String,
    /// How many messages of one publishing are sent before the first of them
    /// is confirmed; 0 counts as 1.
    pub window: usize,
    /// How long connecting may take, up to the end of AMQP's handshake.
    pub patience: Duration,
}

impl Default for Options {
    /// The password of the URL, no TLS files, 256 messages in flight, 10 seconds.
    fn default() -> Options {
        Options {
            user: String::new(),
            login: Login::Url,
            tls: Tls::default(),
            name: "pirogue".to_owned(),
            window: 256,
            patience: Duration::from_secs(10),
        }
    }
}

/// Why a connection can't be opened now.
pub(super) enum Closed {
    /// Someone has to mend it.
    Fault(BusFault),
    /// It may come by itself.
    Unreachable(String),
}

/// A broker, and what to connect with.
pub(super) struct Target {
    secure: bool,
    host: String,
    port: u16,
    user: String,
    password: Zeroizing<String>,
    pub(super) vhost: String,
    options: Options,
}

impl Target {
    /// Reads a URL, `amqp[s]://USER[:PASSWORD]@HOST[:PORT][/VHOST]`.
    pub(super) fn parse(url: &str, options: Options) -> Result<Target, BusFault> {
        // The URL may hold a password: no sentence repeats it.
        let wrong = |what: &str| BusFault::Address(what.to_owned());
        let parsed = reqwest::Url::parse(url).map_err(|_| wrong("it isn't a URL"))?;
        let secure = match parsed.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err(wrong("it begins neither with amqp:// nor with amqps://")),
        };
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("nothing may follow the virtual host"));
        }
        let host =
            parsed.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let decoded = |text: &str| percent_decoded(text).ok_or_else(|| wrong("it isn't UTF-8"));
        let vhost = vhost_in(&parsed).ok_or_else(|| wrong("it isn't UTF-8"))?;
        let password = Zeroizing::new(decoded(parsed.password().unwrap_or_default())?);
        let password = match &options.login {
            Login::Password(password) => password.clone(),
            Login::Url | Login::Certificate => password,
        };
        let user = match parsed.username() {
            "" => options.user.clone(),
            user => decoded(user)?,
        };
        match options.login {
            Login::Certificate if !secure || options.tls.certificate.is_none() => {
                return Err(wrong("to log in by certificate takes amqps:// and a client certificate"));
            }
            Login::Url | Login::Password(_) if user.is_empty() => {
                return Err(wrong("it names no user: write amqp://USER@HOST"));
            }
            _ => {}
        }
        if secure && options.tls.ca.is_none() {
            return Err(wrong(
                "amqps:// takes the file of the authority that signed the broker's certificate",
            ));
        }
        if options.tls.certificate.is_some() != options.tls.key.is_some() {
            return Err(wrong("a client certificate and its key go together"));
        }
        let port = parsed.port().unwrap_or(if secure { 5671 } else { 5672 });
        Ok(Target { secure, host, port, user, password, vhost, options })
    }

    /// The host and the port, for people.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// How many messages of one publishing may be unconfirmed.
    pub(super) fn window(&self) -> usize {
        self.options.window.max(1)
    }

    /// What a socket to it is opened with.
    pub(super) fn dial(&self) -> Result<Dial, BusFault> {
        let tls = match self.secure {
            true => Some(Arc::new(self.options.tls.client()?)),
            false => None,
        };
        Ok(Dial {
            host: self.host.clone(),
            port: self.port,
            tls,
            patience: self.options.patience,
            opened: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Opens a connection. `role` is added to its name.
    pub(super) async fn open(&self, role: &str) -> Result<lapin::Connection, Closed> {
        let dial = self.dial().map_err(Closed::Fault)?;
        let opened = Arc::clone(&dial.opened);
        let by_certificate = matches!(self.options.login, Login::Certificate);
        let mut uri = AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo { username: self.user.clone(), password: self.password.to_string() },
                host: self.host.clone(),
                port: self.port,
            },
            vhost: self.vhost.clone(),
            query: Default::default(),
        };
        uri.query.heartbeat = Some(HEARTBEAT);
        let name = format!("{} {role}", self.options.name);
        let mut properties = ConnectionProperties::default()
            .with_connection_name(name.into())
            .with_client_property("product".into(), "Pirogue".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        if by_certificate {
            properties = properties.with_auth_provider(External);
        }
        let connecting = lapin::Connection::connector(
            uri,
            socket::runtime(),
            async move |_, _| Ok(lapin::AsyncTcpStream::Plain(dial.open().await?)),
            properties,
        );
        let connection = connecting.await.map_err(|error| {
            match cause(&error, Doing::Connecting { vhost: &self.vhost, by_certificate }) {
                Cause::Fault(fault) => Closed::Fault(fault),
                Cause::Broken(why) => Closed::Unreachable(format!("{}: {why}", self.address())),
            }
        })?;
        opened.store(true, Relaxed);
        Ok(connection)
    }
}

/// The virtual host that the URL of a broker names, `pirogue` where it names
/// none. Fails where it isn't a URL.
pub fn vhost_of(url: &str) -> Result<String, BusFault> {
    // The URL may hold a password: no sentence repeats it.
    let parsed = reqwest::Url::parse(url).ok();
    let vhost = parsed.as_ref().and_then(vhost_in);
    vhost.ok_or_else(|| BusFault::Address("it isn't a URL with a virtual host".to_owned()))
}

fn vhost_in(url: &reqwest::Url) -> Option<String> {
    match url.path() {
        "" | "/" => Some(VHOST.to_owned()),
        path => percent_decoded(&path[1..]),
    }
}

/// What `%41` and the like stand for in a part of a URL; none where that isn't UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// SASL EXTERNAL (RFC 4422 appendix A): who it is, the certificate says.
struct External;

impl AuthProvider for External {
    fn mechanism(&self) -> ShortString {
        "EXTERNAL".into()
    }

    fn auth_starter(&self) -> Result<LongString, String> {
        Ok(LongString::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, BusFault> {
        Target::parse(url, Options::default())
    }

    #[test]
    fn a_url_says_where_and_who() {
        let target = target("amqp://province-sud:s%40cret@broker.nc/exchange").unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.vhost.as_str()),
            ("broker.nc", 5672, "exchange")
        );
        assert_eq!((target.user.as_str(), target.password.as_str()), ("province-sud", "s@cret"));
        let target = self::target("amqp://hub@[::1]:7000").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.vhost.as_str()), ("::1", 7000, "pirogue"));
        assert_eq!(self::target("amqp://hub@127.0.0.1/%2f").unwrap().vhost, "/");
    }

    #[test]
    fn what_is_missing_is_said_and_the_password_is_not() {
        for (url, word) in [
            ("broker.nc", "URL"),
            ("http://hub:secret@broker.nc", "amqp://"),
            ("amqp://broker.nc", "no user"),
            ("amqps://hub:secret@broker.nc", "authority"),
            ("amqp://hub:secret@broker.nc/v?heartbeat=1", "follow"),
        ] {
            let sentence = target(url).map(drop).unwrap_err().to_string();
            assert!(sentence.contains(word) && !sentence.contains("secret"), "{sentence}");
        }
        let by_certificate = Options { login: Login::Certificate, ..Options::default() };
        assert!(Target::parse("amqp://hub@broker.nc", by_certificate).is_err());
    }
}
