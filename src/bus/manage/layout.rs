//! What a hub needs on a broker, and what is missing there.

use super::{ManageFault, Management, Permissions, Queue, TopicPermissions, User};
use crate::bus::{DELIVERIES, EVENTS, HUB, INBOX, queue_of};
use crate::event::MemberName;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// How a user of the broker logs in.
#[derive(Clone)]
pub enum Access {
    /// By this password, which is set when the user is made and left alone
    /// later.
    Password(Zeroizing<String>),
    /// By the password of which this is the hash
    /// ([`password_hash`](super::password_hash)). A user that has another is
    /// given this one.
    PasswordHash(String),
    /// By its certificate, whose subject is its name.
    Certificate,
    /// The broker knows it by other means, or it is made by someone else:
    /// nothing is done about the user, only about its permissions.
    Elsewhere,
}

/// What a hub needs on a broker (WIRE.md section 7).
#[derive(Clone)]
pub struct Layout {
    /// The virtual host.
    pub vhost: String,
    /// The most bytes that one queue holds.
    pub queue_bytes: u64,
    /// How the hub logs in.
    pub hub: Access,
    /// The members, and how each logs in.
    pub members: BTreeMap<MemberName, Access>,
}

/// Something that is missing on a broker. Its `Display` says what is done about
/// it.
#[derive(Clone)]
pub enum Change {
    /// Make the virtual host.
    Vhost,
    /// Make an exchange.
    Exchange(&'static str),
    /// Make a queue.
    Queue(String),
    /// Bind a queue: exchange, queue, pattern.
    Binding(&'static str, String, String),
    /// Make a user, or give it this access.
    User(String, Access),
    /// Give permissions.
    Permissions(Permissions),
    /// Give topic permissions.
    TopicPermissions(TopicPermissions),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Vhost => write!(f, "make the virtual host"),
            Change::Exchange(name) => write!(f, "make the exchange {name}"),
            Change::Queue(name) => write!(f, "make the queue {name}"),
            Change::Binding(exchange, queue, pattern) => {
                write!(f, "bind the queue {queue} to {exchange} by {pattern}")
            }
            Change::User(name, Access::PasswordHash(_)) => write!(f, "give the user {name} its password"),
            Change::User(name, _) => write!(f, "make the user {name}"),
            Change::Permissions(Permissions { user, configure, write, read }) => {
                write!(f, "let {user} configure {configure}, write {write}, read {read}")
            }
            Change::TopicPermissions(TopicPermissions { user, exchange, write, .. }) => {
                write!(f, "let {user} publish to {exchange} by routing keys {write}")
            }
        }
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The arguments of each queue.
pub(super) fn queue_arguments(queue_bytes: u64) -> Map<String, Value> {
    let arguments = json!({
        "x-queue-type": "quorum",
        "x-single-active-consumer": true,
        "x-overflow": "reject-publish",
        "x-max-length-bytes": queue_bytes,
        // A small limit, which 4.x has by default, drops messages.
        "x-delivery-limit": 1_000_000_000,
    });
    arguments.as_object().cloned().unwrap_or_default()
}

impl Layout {
    /// Everything, in the order in which it has to be made.
    pub fn changes(&self) -> Vec<Change> {
        let mut all = vec![Change::Vhost, Change::Exchange(EVENTS), Change::Exchange(DELIVERIES)];
        all.push(Change::Queue(INBOX.to_owned()));
        all.push(Change::Binding(EVENTS, INBOX.to_owned(), "#".to_owned()));
        for member in self.members.keys() {
            all.push(Change::Queue(queue_of(member)));
            all.push(Change::Binding(DELIVERIES, queue_of(member), format!("{member}.#")));
        }
        let permissions = |user: &str, write: String, read: String| {
            Change::Permissions(Permissions {
                user: user.to_owned(),
                configure: "^$".to_owned(),
                write,
                read,
            })
        };
        let exactly = |name: &str| format!("^{}$", name.replace('.', "\\."));
        self.user(HUB, &self.hub, &mut all);
        all.push(permissions(HUB, exactly(DELIVERIES), exactly(INBOX)));
        for (member, access) in &self.members {
            let name = member.as_str();
            self.user(name, access, &mut all);
            all.push(permissions(name, exactly(EVENTS), exactly(&queue_of(member))));
            all.push(Change::TopicPermissions(TopicPermissions {
                user: name.to_owned(),
                exchange: EVENTS.to_owned(),
                write: format!("^{name}\\."),
                read: "^$".to_owned(),
            }));
        }
        all
    }

    fn user(&self, name: &str, access: &Access, all: &mut Vec<Change>) {
        if !matches!(access, Access::Elsewhere) {
            all.push(Change::User(name.to_owned(), access.clone()));
        }
    }

    /// What of it is missing on the broker, in the order in which it has to be
    /// made. What is there and can't be changed in place is
    /// [`ManageFault::Conflict`].
    ///
    /// A user that is there already is left as it is, unless its password's hash
    /// is given and is another. One with tags is somebody else's, the
    /// administrator's for instance: that is a conflict too.
    pub async fn missing(&self, management: &Management) -> Result<Vec<Change>, ManageFault> {
        let vhost = self.vhost.as_str();
        let users = management.users().await?;
        if !management.has_vhost(vhost).await? {
            let mut missing = Vec::new();
            for change in self.changes() {
                let is_there = match &change {
                    Change::User(name, access) => check_user(&users, name, access)?,
                    _ => false,
                };
                if !is_there {
                    missing.push(change);
                }
            }
            return Ok(missing);
        }
        let exchanges = management.exchanges(vhost).await?;
        let queues = management.queues(vhost).await?;
        let bindings = management.bindings(vhost).await?;
        let permissions = management.permissions(vhost).await?;
        let topic_permissions = management.topic_permissions(vhost).await?;
        let mut missing = Vec::new();
        for change in self.changes() {
            let is_there = match &change {
                Change::Vhost => true,
                Change::Exchange(name) => match exchanges.iter().find(|exchange| exchange.name == *name) {
                    Some(exchange) if exchange.kind != "topic" || !exchange.durable => {
                        return Err(ManageFault::Conflict(format!(
                            "the exchange {name} is there and isn't a durable topic exchange: delete it, then run \
                             this again"
                        )));
                    }
                    found => found.is_some(),
                },
                Change::Queue(name) => match queues.iter().find(|queue| queue.name == *name) {
                    Some(queue) => self.check_queue(queue)?,
                    None => false,
                },
                Change::Binding(exchange, queue, pattern) => bindings.iter().any(|binding| {
                    binding.source == *exchange
                        && binding.destination_type == "queue"
                        && binding.destination == *queue
                        && binding.routing_key == *pattern
                }),
                Change::User(name, access) => check_user(&users, name, access)?,
                Change::Permissions(wanted) => permissions.contains(wanted),
                Change::TopicPermissions(wanted) => topic_permissions.contains(wanted),
            };
            if !is_there {
                missing.push(change);
            }
        }
        Ok(missing)
    }

    /// A queue's arguments can't be changed.
    fn check_queue(&self, queue: &Queue) -> Result<bool, ManageFault> {
        for (name, wanted) in queue_arguments(self.queue_bytes) {
            let found = queue.arguments.get(&name).unwrap_or(&Value::Null);
            if *found != wanted {
                return Err(ManageFault::Conflict(format!(
                    "the queue {} has {name} = {found}, and needs {wanted}, which can't be changed: set this as it \
                     is there, or empty and delete the queue, then run this again",
                    queue.name
                )));
            }
        }
        Ok(true)
    }

    /// Does what `change` says.
    pub async fn apply(&self, management: &Management, change: &Change) -> Result<(), ManageFault> {
        let vhost = self.vhost.as_str();
        match change {
            Change::Vhost => management.put_vhost(vhost).await,
            Change::Exchange(name) => management.put_exchange(vhost, name).await,
            Change::Queue(name) => {
                management.put_queue(vhost, name, &queue_arguments(self.queue_bytes)).await
            }
            Change::Binding(exchange, queue, pattern) => {
                management.bind(vhost, exchange, queue, pattern).await
            }
            Change::User(name, access) => match access {
                Access::Password(password) => management.put_user(name, Some(password.as_str())).await,
                Access::PasswordHash(hash) => management.put_user_with_hash(name, hash).await,
                Access::Certificate | Access::Elsewhere => management.put_user(name, None).await,
            },
            Change::Permissions(permissions) => management.put_permissions(vhost, permissions).await,
            Change::TopicPermissions(permissions) => {
                management.put_topic_permissions(vhost, permissions).await
            }
        }
    }

    /// Makes all that is missing, and says what that was.
    pub async fn provision(&self, management: &Management) -> Result<Vec<Change>, ManageFault> {
        let missing = self.missing(management).await?;
        for change in &missing {
            let mut done = self.apply(management, change).await;
            if let Err(ManageFault::Refused { .. }) = done {
                // A cluster that was slow to make the virtual host left it without
                // its maker's rights.
                management.put_vhost(&self.vhost).await?;
                done = self.apply(management, change).await;
            }
            done?;
        }
        Ok(missing)
    }
}

/// Whether `name` is among the users, with its password where that is known.
fn check_user(users: &[User], name: &str, access: &Access) -> Result<bool, ManageFault> {
    let Some(user) = users.iter().find(|user| user.name == name) else { return Ok(false) };
    user.check_plain()?;
    Ok(match access {
        Access::PasswordHash(hash) => user.password_hash == *hash,
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_what_the_wire_format_says() {
        let members =
            ["province", "province-sud"].map(|name| (MemberName::parse(name).unwrap(), Access::Certificate));
        let layout = Layout {
            vhost: "pirogue".to_owned(),
            queue_bytes: 1 << 30,
            hub: Access::Password("secret".to_owned().into()),
            members: members.into(),
        };
        let lines: Vec<String> = layout.changes().iter().map(ToString::to_string).collect();
        for line in [
            "make the exchange pirogue.events",
            "bind the queue pirogue.inbox to pirogue.events by #",
            "bind the queue pirogue.to.province-sud to pirogue.deliveries by province-sud.#",
            "let province configure ^$, write ^pirogue\\.events$, read ^pirogue\\.to\\.province$",
            "let province-sud publish to pirogue.events by routing keys ^province-sud\\.",
            "let hub configure ^$, write ^pirogue\\.deliveries$, read ^pirogue\\.inbox$",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line} in {lines:#?}");
        }
        assert!(!format!("{lines:?} {:?}", layout.changes()).contains("secret"));
        assert_eq!(queue_arguments(5)["x-max-length-bytes"], 5);
    }
}
