//! The benchmark's own virtual host on a broker.

use super::setup::{SOURCES, Site};
use super::{BenchFault, Options};
use crate::bus::amqp::{self, Connection, Login};
use crate::bus::manage::{Access, Change, Layout, Management, Permissions, account_of};
use crate::bus::{DELIVERIES, EVENTS, Tls, queue_of};
use crate::event::MemberName;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Where the shovel takes the messages from: it gets what the inbox gets.
pub(super) const FROM: &str = "bench.from";
/// Where the shovel puts them.
pub(super) const TO: &str = "bench.to";
/// The one queue of the bare hop.
pub(super) const BARE: &str = "bench.bare";
/// The routing key of the bare hop. No member's begins so.
pub(super) const BARE_KEY: &str = "bare";
/// The shovel's name, and that of its connections.
const SHOVEL: &str = "bench";
/// Enough for any number of events that a benchmark publishes.
const QUEUE_BYTES: u64 = 8 << 30;
/// How many messages of a publisher are in flight.
const WINDOW: usize = 512;

/// A virtual host and a user that nobody else uses.
pub(super) struct Place {
    management: Management,
    /// The name of both.
    name: String,
    password: Zeroizing<String>,
    url: reqwest::Url,
    tls: Tls,
    pub(super) version: String,
}

impl Place {
    /// Looks at the broker, and names a virtual host that isn't there yet.
    pub(super) async fn find(options: &Options) -> Result<Place, BenchFault> {
        let tls = Tls { ca: options.ca.clone(), ..Tls::default() };
        let broker = address(&options.broker, "--broker")?;
        let management = address(&options.management, "--management")?;
        let (management, user, password) = administrator(management, &broker)?;
        let management = Management::new(management.as_str(), &user, password, &tls)?;
        let version = management.version().await?;
        management.check_shovel().await?;
        let name = format!("pirogue-bench-{}", random(4)?);
        Ok(Place { management, name, password: random(16)?.into(), url: broker, tls, version })
    }

    /// The name of the virtual host and of the user.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The user's password.
    pub(super) fn password(&self) -> &Zeroizing<String> {
        &self.password
    }

    /// Makes the virtual host, with what a hub and its members need and with the
    /// queues of what it is compared with.
    ///
    /// One user is the hub and every member: users are the whole broker's, and
    /// one called `hub` may be there for its own hub. Each message still says
    /// whose it is, and the hub checks it.
    pub(super) async fn make(&self, site: &Site) -> Result<(), BenchFault> {
        let (management, name) = (&self.management, self.name.as_str());
        // RabbitMQ checks of all others that a message's user_id is their own.
        management.put_tagged_user(name, &self.password, "impersonator").await?;
        let layout = Layout {
            vhost: name.to_owned(),
            queue_bytes: QUEUE_BYTES,
            hub: Access::Elsewhere,
            members: site.members().map(|member| (member.clone(), Access::Elsewhere)).collect(),
        };
        for change in layout.changes() {
            if !matches!(change, Change::User(..) | Change::Permissions(_) | Change::TopicPermissions(_)) {
                layout.apply(management, &change).await?;
            }
        }
        for (queue, exchange, pattern) in
            [(FROM, Some(EVENTS), "#"), (TO, None, ""), (BARE, Some(DELIVERIES), BARE_KEY)]
        {
            layout.apply(management, &Change::Queue(queue.to_owned())).await?;
            if let Some(exchange) = exchange {
                management.bind(name, exchange, queue, pattern).await?;
            }
        }
        let all = || ".*".to_owned();
        let permissions = Permissions { user: name.to_owned(), configure: all(), write: all(), read: all() };
        Ok(management.put_permissions(name, &permissions).await?)
    }

    /// Removes the virtual host and the user.
    pub(super) async fn remove(&self) -> Result<(), BenchFault> {
        self.management.delete_vhost(&self.name).await?;
        Ok(self.management.delete_user(&self.name).await?)
    }

    /// The broker's URL with the virtual host and the user, without a password.
    pub(super) fn url(&self) -> Result<reqwest::Url, BenchFault> {
        let mut url = self.url.clone();
        let set = url.set_username(&self.name).and_then(|()| url.set_password(None));
        set.map_err(|()| BenchFault::Address("--broker"))?;
        url.set_path(&self.name);
        Ok(url)
    }

    /// A connection to the virtual host.
    pub(super) async fn connect(&self, role: &str) -> Result<Arc<Connection>, BenchFault> {
        let options = amqp::Options {
            login: Login::Password(self.password.clone()),
            tls: self.tls.clone(),
            name: format!("pirogue bench {role}"),
            window: WINDOW,
            ..amqp::Options::default()
        };
        Ok(Arc::new(Connection::connect(self.url()?.as_str(), options).await?))
    }

    /// A connection for each source.
    pub(super) async fn sources(&self) -> Result<Vec<Arc<Connection>>, BenchFault> {
        let mut connections = Vec::new();
        for _ in 0..SOURCES {
            connections.push(self.connect("source").await?);
        }
        Ok(connections)
    }

    /// Empties the queues of members and those of the comparison.
    pub(super) async fn empty(&self, members: impl Iterator<Item = &MemberName>) -> Result<(), BenchFault> {
        let queues = [crate::bus::INBOX, FROM, TO, BARE].map(str::to_owned);
        for queue in queues.into_iter().chain(members.map(queue_of)) {
            self.management.purge_queue(&self.name, &queue).await?;
        }
        Ok(())
    }

    /// Starts the broker's shovel.
    pub(super) async fn start_shovel(&self) -> Result<(), BenchFault> {
        let mut url = self.url()?;
        url.set_password(Some(&self.password)).map_err(|()| BenchFault::Address("--broker"))?;
        // The broker comes back to itself, by the same address.
        if url.scheme() == "amqps" {
            url.set_query(Some("verify=verify_none"));
        }
        let started = self.management.put_shovel(&self.name, SHOVEL, url.as_str(), (FROM, TO), 1000);
        Ok(started.await?)
    }

    /// Ends the shovel.
    pub(super) async fn end_shovel(&self) -> Result<(), BenchFault> {
        Ok(self.management.delete_shovel(&self.name, SHOVEL).await?)
    }
}

/// How often the broker's counts are asked for.
pub(super) const GLANCE: Duration = Duration::from_millis(5);

fn address(url: &str, option: &'static str) -> Result<reqwest::Url, BenchFault> {
    let parsed = reqwest::Url::parse(url).ok().filter(reqwest::Url::has_host);
    parsed.ok_or(BenchFault::Address(option))
}

/// The management's URL without a user, and the administrator: whom it names, or
/// the broker's.
fn administrator(
    management: reqwest::Url,
    broker: &reqwest::Url,
) -> Result<(reqwest::Url, String, Zeroizing<String>), BenchFault> {
    let read = |url| account_of(url).ok_or(BenchFault::Administrator);
    let (management, own) = read(management)?;
    let account = if own.is_some() { own } else { read(broker.clone())?.1 };
    let (user, password) = account.ok_or(BenchFault::Administrator)?;
    Ok((management, user, password))
}

/// So many random bytes as hexadecimal digits.
fn random(bytes: usize) -> Result<String, BenchFault> {
    let mut drawn = vec![0; bytes];
    getrandom::fill(&mut drawn).map_err(|_| BenchFault::Own)?;
    Ok(drawn.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrator_is_whom_the_url_names() {
        let url = address("amqp://gu%40est:p%C3%A9@127.0.0.1:5672", "--broker").unwrap();
        let management = address("http://127.0.0.1:15672", "--management").unwrap();
        let (_, user, password) = administrator(management.clone(), &url).unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("gu@est", "pé"));
        let named = address("http://boss:x@127.0.0.1:15672", "--management").unwrap();
        let (nameless, user, _) = administrator(named, &url).unwrap();
        assert_eq!((nameless.as_str(), user.as_str()), ("http://127.0.0.1:15672/", "boss"));
        let nobody = administrator(management.clone(), &management).unwrap_err();
        assert!(nobody.to_string().contains("administrator"), "{nobody}");
        for wrong in ["127.0.0.1", "secret", "amqp:"] {
            let sentence = address(wrong, "--broker").unwrap_err().to_string();
            assert!(sentence.contains("--broker") && !sentence.contains("secret"), "{sentence}");
        }
    }
}
