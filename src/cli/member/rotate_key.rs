//! `pirogue member rotate-key`.

use super::now;
use crate::admin::joining::{self, next_file, spoken};
use crate::admin::prepare;
use crate::cli::keys::open_private;
use crate::cli::render::print;
use crate::config::ConnectConfig;
use crate::event::MemberName;
use crate::keys::KeyUse;
use anyhow::bail;
use std::path::PathBuf;

/// Replace one of the member's keys by a new one: the member's side.
///
/// In two steps, since the hub refuses what a key signs that it doesn't know yet:
///
/// First, with --out, it makes the new key beside the old (keys/event.next.pem), and
/// a request that both sign. Nothing else changes: `pirogue connect` goes on with
/// the old key. Send the request to the hub's operator, who runs `pirogue member
/// admit` on it; from then on both keys are good, the old one for --overlap-days
/// more.
///
/// Then, when the operator says that it is admitted, --switch puts the new key in
/// the place of the old, which is kept beside it. Start `pirogue connect` again, and
/// it signs with the new one. What a key signs before the hub knows it is refused.
///
/// Asking again asks for the same new key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pirogue member rotate-key --config connect.toml --out province-nord.rotation
  pirogue member rotate-key --config connect.toml --switch")]
pub(in crate::cli) struct RotateKeyCommand {
    /// The member's configuration file.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
    /// Which key: event, or agreement (keys/agreement.pem beside the event key).
    #[arg(long = "use", value_name = "USE", default_value = "event", value_parser = ["event", "agreement"])]
    key_use: String,
    /// The key's file, where it isn't that one.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// For how many days after its admission the old key goes on, 1 to 365.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    overlap_days: u32,
    /// Take the passphrase of an encrypted key from the first line of this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Where to write the request.
    #[arg(long, value_name = "FILE", required_unless_present = "switch", conflicts_with = "switch")]
    out: Option<PathBuf>,
    /// Put the new key in the place of the old one, once the hub has admitted it.
    #[arg(long)]
    switch: bool,
}

impl RotateKeyCommand {
    /// Makes the request, or puts the new key in place.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = ConnectConfig::load(&self.config)?;
        let member = MemberName::parse(&config.member).map_err(|fault| anyhow::anyhow!("member: {fault}"))?;
        let key_use: KeyUse = self.key_use.parse()?;
        let file = match (&self.key, key_use) {
            (Some(file), _) => file.clone(),
            (None, KeyUse::Agreement) => config.keys.event.with_file_name("agreement.pem"),
            (None, _) => config.keys.event.clone(),
        };
        let configured = match (key_use, &config.keys.event_passphrase) {
            (KeyUse::Event, Some(place)) => Some(place.read()?),
            _ => None,
        };
        let passphrase = match configured {
            Some(passphrase) => Some(passphrase),
            None => open_private(&file, self.passphrase_file.as_deref())?.1,
        };
        let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_str());
        if self.switch {
            let (new, kept) = joining::switch(&file, passphrase)?;
            let then = match key_use {
                KeyUse::Event => " Start pirogue connect again: it signs with the new key.",
                _ => "",
            };
            return print(&format!(
                "{} is the new key now, {new}. The old one is kept in {}.{then}",
                file.display(),
                kept.display()
            ));
        }
        let Some(out) = &self.out else { bail!("say where to write the request, --out FILE, or --switch") };
        let of = (config.hub.as_str(), &member, key_use);
        let rotation = joining::rotate(of, &file, passphrase, self.overlap_days, now())?;
        prepare::write_private(out, &rotation.request)?;
        print(&format!(
            "The new key waits in {}; {} goes on for now.\n\
             Send {} to the hub's operator, and compare on the telephone:\n  {:<10} {}\n             {}\n\
             When it is admitted: pirogue member rotate-key --config {} --switch{}",
            next_file(&file).display(),
            rotation.old,
            out.display(),
            self.key_use,
            rotation.new,
            spoken(&rotation.new),
            self.config.display(),
            if key_use == KeyUse::Event { "" } else { " --use agreement" },
        ))
    }
}
