//! A virtual host beside that of the exchange, in which newcomers test.

use crate::bus::BusFault;
use crate::bus::amqp::{Connection, Options};
use crate::bus::manage::{Access, Change, Layout, ManageFault, Management};
use crate::event::MemberName;

/// What one queue of the sandbox holds at most, in bytes: nobody waits for what
/// is in it.
const QUEUE_BYTES: u64 = 16 << 20;

/// The sandbox at the broker.
pub struct Place {
    /// The virtual host, that of the exchange and `-sandbox`.
    pub vhost: String,
    /// The broker's URL with that virtual host, without a password.
    pub url: String,
    /// What was made.
    pub made: Vec<Change>,
    /// Members whom the broker doesn't know: they can't be let in.
    pub unknown: Vec<MemberName>,
}

/// Makes the virtual host of the sandbox beside that of `url`, with the queues
/// and the permissions of WIRE.md section 7 for these members. The users are left
/// alone, and so is all that is there already.
pub async fn prepare(
    url: &str,
    hub: &str,
    members: impl IntoIterator<Item = &MemberName>,
    management: &Management,
) -> Result<Place, SandboxFault> {
    let (vhost, url) = beside(url, hub)?;
    let users = management.users().await?;
    let is_known = |member: &&MemberName| users.iter().any(|user| user.name == member.as_str());
    let (known, unknown): (Vec<_>, Vec<_>) = members.into_iter().partition(is_known);
    let layout = Layout {
        vhost: vhost.clone(),
        queue_bytes: QUEUE_BYTES,
        hub: Access::Elsewhere,
        members: known.into_iter().map(|member| (member.clone(), Access::Elsewhere)).collect(),
    };
    let made = layout.provision(management).await?;
    Ok(Place { vhost, url, made, unknown: unknown.into_iter().cloned().collect() })
}

/// Why the sandbox can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxFault {
    /// The broker's URL can't be used.
    #[error(transparent)]
    Bus(#[from] BusFault),
    /// The management API doesn't do it.
    #[error(transparent)]
    Manage(#[from] ManageFault),
}

/// The virtual host of the sandbox, and the URL with it.
fn beside(url: &str, hub: &str) -> Result<(String, String), SandboxFault> {
    // TLS and the login don't matter for the name.
    let plain = url.replacen("amqps://", "amqp://", 1);
    let options = Options { user: hub.to_owned(), ..Options::default() };
    let vhost = format!("{}-sandbox", Connection::new(&plain, options)?.vhost());
    let wrong = || SandboxFault::Bus(BusFault::Address("it isn't a URL".to_owned()));
    let mut url = reqwest::Url::parse(url).map_err(|_| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.clear().push(&vhost);
    Ok((vhost, url.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandbox_stands_beside_the_exchange() {
        for (url, vhost, beside_it) in [
            ("amqp://broker.nc", "pirogue-sandbox", "amqp://broker.nc/pirogue-sandbox"),
            ("amqps://hub@broker.nc:5671/pays", "pays-sandbox", "amqps://hub@broker.nc:5671/pays-sandbox"),
            ("amqp://broker.nc/%2f", "/-sandbox", "amqp://broker.nc/%2F-sandbox"),
        ] {
            assert_eq!(beside(url, "hub").unwrap(), (vhost.to_owned(), beside_it.to_owned()));
        }
        assert!(beside("broker.nc", "hub").is_err());
    }
}
