//! `pirogue journal key`.

use super::super::render::print;
use super::place;
use crate::config::{HubConfig, SecretSource};
use crate::keys::{Jwks, KeyUse, PrivateKey, PublicKey, note};
use anyhow::{Context, bail};
use std::path::PathBuf;

/// Print the key of a hub's checkpoints, as those who check its journal take it.
///
/// It is one line NAME+ID+BASE64, a C2SP verifier key, made of the hub's name and
/// its `checkpoint` key: from the hub's configuration, or from the file of public
/// keys that a member has of the hub. Whoever checks the journal should have it
/// from the hub's operator by another way than the journal: on paper, for one.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("from").required(true).args(["config", "jwks"]),
    after_help = "Example:\n  pirogue journal key --config /etc/pirogue/hub.toml"
)]
pub struct KeyCommand {
    /// The hub's configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The hub's public keys, as a member has them.
    #[arg(long, value_name = "FILE", requires = "name")]
    jwks: Option<PathBuf>,
    /// The hub's name, which the file of its keys doesn't hold.
    #[arg(long)]
    name: Option<String>,
}

impl KeyCommand {
    /// Prints the line.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (name, key) = match (&self.config, &self.jwks, self.name) {
            (Some(config), _, _) => {
                let config = HubConfig::load(config)?;
                let passphrase =
                    config.keys.checkpoint_passphrase.as_ref().map(SecretSource::read).transpose()?;
                let key = PrivateKey::read(&config.keys.checkpoint, passphrase.as_ref().map(|p| p.as_str()))?;
                (config.name, key.public().clone())
            }
            (None, Some(jwks), Some(name)) => {
                let keys = Jwks::parse(&place::read(jwks)?)
                    .with_context(|| format!("{} isn't a file of public keys", jwks.display()))?;
                (name, one(&keys).with_context(|| format!("{} can't say it", jwks.display()))?)
            }
            _ => bail!("say which hub: --config FILE, or --jwks FILE with --name NAME"),
        };
        if !note::is_name(&name) {
            bail!("{name:?} can't name a key: a hub's name has no space and no plus");
        }
        print(&note::verifier_key(&name, &key))
    }
}

/// The one `checkpoint` key that isn't revoked.
fn one(keys: &Jwks) -> anyhow::Result<PublicKey> {
    let mut of_checkpoints =
        keys.keys.iter().filter(|key| key.key_use == KeyUse::Checkpoint && key.revoked.is_none());
    match (of_checkpoints.next(), of_checkpoints.next()) {
        (Some(key), None) => Ok(key.public.clone()),
        (None, _) => bail!("it has no key for checkpoints: is it the hub's?"),
        (Some(_), Some(_)) => {
            bail!("it has several keys for checkpoints: ask the hub's operator which one signs")
        }
    }
}
