//! What a hub's configuration and the folder of its members ask of RabbitMQ.

use super::credentials::{self, CredentialFault};
use crate::bus::manage::{Access, Layout, ManageFault, Management, User};
use crate::bus::{BusFault, HUB, amqp};
use crate::config::{BrokerLogin, BusSetting, HubConfig, SecretFault};
use crate::event::MemberName;
use crate::members::{Directory, DirectoryFault};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Why a broker can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionFault {
    /// There is no broker.
    #[error(
        "bus = \"embedded\" is a bus of the hub's own, which makes its queues itself: there is nothing to provision \
         until bus names RabbitMQ, amqps://HOST"
    )]
    Embedded,
    /// A member can't have the name of the API's user.
    #[error(
        "the member {0} has the name of the management API's user, [management] user: one of the two needs \
         another name"
    )]
    Administrator(MemberName),
    /// The broker's URL can't be used.
    #[error(transparent)]
    Bus(#[from] BusFault),
    /// The hub's password can't be had.
    #[error(transparent)]
    Secret(#[from] SecretFault),
    /// The members can't be read.
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
    /// A credential can't be read or kept.
    #[error(transparent)]
    Credential(#[from] CredentialFault),
    /// The management API doesn't do it.
    #[error(transparent)]
    Manage(#[from] ManageFault),
}

/// A password that had to be made for a member.
struct Made {
    member: MemberName,
    password: Zeroizing<String>,
    hash: String,
}

/// What a hub asks of its broker, with the credentials of its users.
pub struct Plan {
    layout: Layout,
    users: PathBuf,
    hub_hash: Option<String>,
    made: Vec<Made>,
}

impl Plan {
    /// The plan for every member of `config`.
    ///
    /// A member is given the password of which the hub has the hash. Where it
    /// has none, and members log in by password, one is made, unless the broker
    /// has such a user: then its password is left alone. `at_broker` are the
    /// broker's users, as far as they are known.
    pub fn of(config: &HubConfig, at_broker: &[User]) -> Result<Plan, ProvisionFault> {
        let directory = Directory::load(&config.members)?;
        Plan::for_members(config, directory.members().cloned(), at_broker)
    }

    /// As [`Plan::of`], for the hub and these members alone.
    pub fn for_members(
        config: &HubConfig,
        members: impl IntoIterator<Item = MemberName>,
        at_broker: &[User],
    ) -> Result<Plan, ProvisionFault> {
        let BusSetting::Amqp(url) = &config.bus else { return Err(ProvisionFault::Embedded) };
        let users = config.management.users.clone();
        let found = |name: &str| at_broker.iter().find(|user| user.name == name);
        let mut hub_hash = None;
        let hub = match (config.broker.login, &config.broker.password) {
            (BrokerLogin::Password, Some(place)) => {
                let at_broker = found(HUB).map(|user| user.password_hash.as_str());
                let hash = credentials::hash_of_known(&users, HUB, &place.read()?, at_broker)?;
                hub_hash = Some(hash.clone());
                Access::PasswordHash(hash)
            }
            (BrokerLogin::Password, None) => Access::Elsewhere,
            (BrokerLogin::Certificate, _) => Access::Certificate,
        };
        let mut plan = Plan {
            layout: Layout {
                vhost: amqp::vhost_of(url)?,
                queue_bytes: config.queue.max_bytes(),
                hub,
                members: Default::default(),
            },
            users,
            hub_hash,
            made: Vec::new(),
        };
        for member in members {
            if config.management.url.is_some() && member.as_str() == config.management.user {
                return Err(ProvisionFault::Administrator(member));
            }
            if let Some(user) = found(member.as_str()) {
                user.check_plain()?;
            }
            let access = match credentials::known_hash(&plan.users, member.as_str())? {
                Some(hash) => Access::PasswordHash(hash),
                None if config.broker.login == BrokerLogin::Certificate => Access::Certificate,
                None if found(member.as_str()).is_some() => Access::Elsewhere,
                None => {
                    let password = credentials::new_password()?;
                    let hash = credentials::hash_of(&password)?;
                    plan.made.push(Made { member: member.clone(), password, hash: hash.clone() });
                    Access::PasswordHash(hash)
                }
            };
            plan.layout.members.insert(member, access);
        }
        Ok(plan)
    }

    /// What the broker has to have.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The members for which a password had to be made.
    pub fn made(&self) -> impl Iterator<Item = &MemberName> {
        self.made.iter().map(|made| &made.member)
    }

    /// Where the password of `member` is kept that was made for it.
    pub fn password_file(&self, member: &MemberName) -> PathBuf {
        credentials::password_file(&self.users, member.as_str())
    }

    /// Keeps the credentials in the hub's folder: before they go to the broker,
    /// so that none is there that nobody has.
    pub fn keep(&self) -> Result<(), ProvisionFault> {
        if let Some(hash) = &self.hub_hash {
            credentials::keep_hash(&self.users, HUB, hash)?;
        }
        for made in &self.made {
            credentials::keep_password(&self.users, made.member.as_str(), &made.password, &made.hash)?;
        }
        Ok(())
    }

    /// Keeps the credentials and makes all that is missing at the broker. Each
    /// change is told when it is done.
    pub async fn carry_out(
        &self,
        management: &Management,
        told: &mut (dyn FnMut(String) + Send),
    ) -> Result<usize, ProvisionFault> {
        let missing = self.layout.missing(management).await?;
        self.keep()?;
        for change in &missing {
            self.layout.apply(management, change).await?;
            told(change.to_string());
        }
        Ok(missing.len())
    }

    /// The definitions file that RabbitMQ imports, as JSON for people.
    pub fn definitions(&self) -> Result<String, ProvisionFault> {
        let definitions = self.layout.definitions().map_err(CredentialFault::Random)?;
        Ok(format!("{definitions:#}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::prepare;
    use std::path::Path;

    fn config(folder: &Path, bus: &str, login: &str) -> HubConfig {
        prepare::hub(folder).unwrap();
        prepare::secret(&folder.join("keys/broker"), "kagou\n").unwrap();
        for name in ["province-sud", "gouvernement"] {
            let keys = prepare::member(&folder.join(name)).unwrap();
            let jwks = keys.public(&MemberName::parse(name).unwrap()).to_json();
            prepare::write(&folder.join(format!("members/{name}.jwks.json")), &jwks).unwrap();
        }
        let text = format!("name = 'nc'\nbus = '{bus}'\n[broker]\n{login}\n");
        std::fs::write(folder.join("hub.toml"), text).unwrap();
        HubConfig::load(&folder.join("hub.toml")).unwrap()
    }

    const BY_PASSWORD: &str = "password = { file = 'keys/broker' }";

    #[test]
    fn passwords_are_made_once_and_never_change() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "amqp://h/pays", BY_PASSWORD);
        let first = Plan::of(&config, &[]).unwrap();
        assert_eq!(first.layout().vhost, "pays");
        assert_eq!(first.made().count(), 2);
        first.keep().unwrap();
        let second = Plan::of(&config, &[]).unwrap();
        assert_eq!(second.made().count(), 0);
        assert_eq!(first.definitions().unwrap(), second.definitions().unwrap());
        // The hub's password alone is another's now.
        prepare::write_private(&folder.path().join("keys/broker"), "notou\n").unwrap();
        let third: serde_json::Value =
            serde_json::from_str(&Plan::of(&config, &[]).unwrap().definitions().unwrap()).unwrap();
        let before: serde_json::Value = serde_json::from_str(&first.definitions().unwrap()).unwrap();
        let changed: Vec<_> = (0..3).filter(|at| third["users"][at] != before["users"][at]).collect();
        assert_eq!(changed, [0], "the hub stands first");
        for kept in ["kagou", "notou"] {
            assert!(!third.to_string().contains(kept));
        }
    }

    #[test]
    fn a_user_that_the_broker_has_keeps_a_password_that_the_hub_doesnt_know() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "amqp://h", BY_PASSWORD);
        let user: User = serde_json::from_str(r#"{"name":"province-sud","password_hash":"x"}"#).unwrap();
        let plan = Plan::of(&config, &[user]).unwrap();
        assert_eq!(plan.made().map(MemberName::as_str).collect::<Vec<_>>(), ["gouvernement"]);
    }

    #[test]
    fn members_who_log_in_by_certificate_need_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let login = "login = 'certificate'\nca = 'ca.pem'\ncertificate = 'c.pem'\nkey = 'c.key'";
        let plan = Plan::of(&config(folder.path(), "amqps://h", login), &[]).unwrap();
        assert_eq!(plan.made().count(), 0);
        let definitions: serde_json::Value = serde_json::from_str(&plan.definitions().unwrap()).unwrap();
        assert!(definitions["users"].as_array().unwrap().iter().all(|user| user["password_hash"] == ""));
    }

    #[test]
    fn the_embedded_bus_and_a_member_called_as_the_administrator_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), "amqp://h", BY_PASSWORD);
        config.management.url = Some("http://h:15672".to_owned());
        config.management.user = "gouvernement".to_owned();
        let fault = Plan::of(&config, &[]).err().unwrap().to_string();
        assert!(fault.contains("[management] user"), "{fault}");
        config.bus = BusSetting::Embedded;
        assert!(matches!(Plan::of(&config, &[]), Err(ProvisionFault::Embedded)));
    }
}
