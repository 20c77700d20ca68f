//! The demo on a RabbitMQ: a virtual host of its own, with the users that it
//! takes.

use super::options::BrokerOptions;
use super::setup::{PROVIDER, RECIPIENT};
use crate::admin::credentials::random_text;
use crate::admin::prepare::{self, PrepareFault};
use crate::bus::amqp::percent_decoded;
use crate::bus::manage::{Access, Layout, ManageFault, Management, account_of};
use crate::bus::{HUB, Tls};
use crate::event::MemberName;
use reqwest::Url;
use std::path::Path;
use zeroize::Zeroizing;

/// The tag of the users that a demo made, and may change and take away.
const TAG: &str = "pirogue-demo";
/// The most bytes that a queue holds.
const QUEUE_BYTES: u64 = 1 << 30;

/// Why a RabbitMQ can't be used for a demo.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoBrokerFault {
    #[error("--{option} isn't an address: {why}")]
    Address { option: &'static str, why: &'static str },
    #[error(
        "the user {0} is on this broker already, and no demo made it: use a broker where nothing else runs, since \
         the demo would have to change the user's password"
    )]
    Taken(String),
    #[error(transparent)]
    Manage(#[from] ManageFault),
    #[error(transparent)]
    Prepare(#[from] PrepareFault),
    #[error("a file of the demo's folder can't be read: {0}")]
    Read(std::io::Error),
    #[error("the system gives no randomness")]
    Randomness,
    #[error("a name of the demo isn't one")]
    Name,
}

/// What a demo has on a RabbitMQ.
pub(super) struct DemoBroker {
    management: Management,
    vhost: String,
    /// Whether the virtual host is the demo's own, to take away.
    is_own: bool,
    /// The broker's address for anyone: without a user.
    url: String,
}

impl DemoBroker {
    /// Makes what the demo in `folder` needs. What an earlier demo there made is
    /// used again.
    pub(super) async fn prepare(
        folder: &Path,
        options: &BrokerOptions,
    ) -> Result<DemoBroker, DemoBrokerFault> {
        let url = parse(&options.url, "broker", &["amqp"])?;
        let management = management(&url, options.management.as_deref())?;
        let named = match url.path().trim_start_matches('/') {
            "" => None,
            // What isn't text becomes what no broker knows.
            vhost => Some(percent_decoded(vhost).unwrap_or_default()),
        };
        let kept = folder.join("broker");
        let vhost = match &named {
            Some(vhost) => vhost.clone(),
            None => {
                once(&kept.join("vhost"), || Ok(format!("{TAG}-{}", random(6)?.as_str()).into()))?.to_string()
            }
        };
        let password = once(&kept.join("password"), || random(32))?;
        let users = [HUB, PROVIDER, RECIPIENT];
        let there = management.users().await?;
        for user in there.iter().filter(|user| users.contains(&user.name.as_str())) {
            if !user.tags.0.iter().any(|tag| tag == TAG) {
                return Err(DemoBrokerFault::Taken(user.name.clone()));
            }
        }
        for user in users {
            management.put_tagged_user(user, &password, TAG).await?;
        }
        let member = |name| MemberName::parse(name).map_err(|_| DemoBrokerFault::Name);
        let layout = Layout {
            vhost: vhost.clone(),
            queue_bytes: QUEUE_BYTES,
            hub: Access::Elsewhere,
            members: [(member(PROVIDER)?, Access::Elsewhere), (member(RECIPIENT)?, Access::Elsewhere)].into(),
        };
        layout.provision(&management).await?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port().unwrap_or(5672);
        let path = match &named {
            Some(_) => url.path().to_owned(),
            None => format!("/{vhost}"),
        };
        let url = format!("amqp://{host}:{port}{path}");
        Ok(DemoBroker { management, vhost, is_own: named.is_none(), url })
    }

    /// The broker's address, with the virtual host and without a user.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Takes away what the demo made.
    pub(super) async fn remove(&self) -> Result<(), DemoBrokerFault> {
        if self.is_own {
            self.management.delete_vhost(&self.vhost).await?;
        }
        for user in [HUB, PROVIDER, RECIPIENT] {
            self.management.delete_user(user).await?;
        }
        Ok(())
    }
}

fn parse(text: &str, option: &'static str, schemes: &[&str]) -> Result<Url, DemoBrokerFault> {
    let fault = |why| DemoBrokerFault::Address { option, why };
    let url = Url::parse(text).map_err(|_| fault("it isn't a URL"))?;
    if !schemes.contains(&url.scheme()) {
        return Err(fault(match option {
            "broker" => {
                "it begins with amqp:// (for TLS, write a hub's configuration: `pirogue config defaults hub`)"
            }
            _ => "it begins with http:// or https://",
        }));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(fault("it has no host"));
    }
    Ok(url)
}

/// The management API: where `given` says, as the user that it names, or else as
/// the broker's.
fn management(broker: &Url, given: Option<&str>) -> Result<Management, DemoBrokerFault> {
    let url = match given {
        Some(given) => parse(given, "management", &["http", "https"])?,
        None => {
            let host = broker.host_str().unwrap_or_default();
            parse(&format!("http://{host}:15672"), "management", &["http"])?
        }
    };
    let read = |url, option| {
        let why = "the user's name or password in it isn't text";
        account_of(url).ok_or(DemoBrokerFault::Address { option, why })
    };
    let (url, own) = read(url, "management")?;
    let account = if own.is_some() { own } else { read(broker.clone(), "broker")?.1 };
    let (user, password) = account.unwrap_or_else(|| ("guest".to_owned(), "guest".to_owned().into()));
    Ok(Management::new(url.as_str(), &user, password, &Tls::default())?)
}

fn random(bytes: usize) -> Result<Zeroizing<String>, DemoBrokerFault> {
    random_text(bytes).map_err(|_| DemoBrokerFault::Randomness)
}

/// The text in the file `path`; `make` gives it where there is none.
fn once(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<String>, DemoBrokerFault>,
) -> Result<Zeroizing<String>, DemoBrokerFault> {
    if !path.exists() {
        prepare::secret(path, &make()?)?;
    }
    Ok(Zeroizing::new(std::fs::read_to_string(path).map_err(DemoBrokerFault::Read)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_management_api_is_beside_the_broker_unless_it_is_named() {
        let broker = Url::parse("amqp://boss:p%40ss@rabbit.nc:5673/").unwrap();
        assert_eq!(management(&broker, None).unwrap().address(), "rabbit.nc:15672");
        let named = management(&broker, Some("https://other.nc")).unwrap();
        assert_eq!(named.address(), "other.nc:443");
        let odd = Url::parse("amqp://boss:%FF@rabbit.nc").unwrap();
        let sentence = management(&odd, None).unwrap_err().to_string();
        assert!(sentence.starts_with("--broker") && sentence.contains("isn't text"), "{sentence}");
    }

    #[test]
    fn an_address_that_cant_be_used_is_said_without_its_password() {
        for (text, option, schemes) in [
            ("localhost:5672", "broker", ["amqp"]),
            ("amqps://guest:secret@h", "broker", ["amqp"]),
            ("ftp://guest:secret@h", "management", ["http"]),
        ] {
            let sentence = parse(text, option, &schemes).unwrap_err().to_string();
            assert!(
                sentence.starts_with(&format!("--{option}")) && !sentence.contains("secret"),
                "{sentence}"
            );
        }
    }
}
