//! The demo's folder: a hub, two members, an agreement between them.

use crate::admin::prepare::{self, PrepareFault};
use crate::config::{ConfigFault, ConnectConfig, HubConfig};
use crate::event::MemberName;
use crate::keys::{Jwk, KeyUse, PrivateKey};
use std::path::{Path, PathBuf};

/// The hub's name.
pub(super) const HUB: &str = "nouvelle-caledonie";
/// Who publishes.
pub(super) const PROVIDER: &str = "province-sud";
/// Who receives.
pub(super) const RECIPIENT: &str = "gouvernement";
/// The fields of a jobseeker that the agreement grants.
pub(super) const GRANTED: [&str; 5] =
    ["person.family_name", "person.given_names", "person.birthdate", "status", "sought_occupations"];
/// The types that are loaded.
pub(super) const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
/// The types that are loaded.
pub(super) const OFFER: &str = "nc.employment.offer.published";
/// The demo's key for the Boost-like server, which only listens on this machine.
pub(super) const API_KEY: &str = "demo-key";

/// What the demo runs.
pub(super) struct Setup {
    pub(super) hub: HubConfig,
    pub(super) provider: ConnectConfig,
    pub(super) recipient: ConnectConfig,
    /// A key of the provider that it has revoked.
    pub(super) revoked: PrivateKey,
    pub(super) received: PathBuf,
    pub(super) agreement: String,
}

/// Why the demo's folder can't be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupFault {
    #[error(transparent)]
    Prepare(#[from] PrepareFault),
    #[error(transparent)]
    Config(#[from] ConfigFault),
    #[error("a name of the demo isn't one")]
    Name,
}

/// Prepares `at` for the Boost-like server at `boost`. Where it is `live`, the
/// connector looks more often than the repository's. A folder that was prepared
/// before keeps its keys and its data.
///
/// `bus` is a URL of RabbitMQ without a password, which stands in
/// `broker/password` of the folder; without it the bus is embedded.
pub(super) fn prepare(at: &Path, boost: &str, live: bool, bus: Option<&str>) -> Result<Setup, SetupFault> {
    let name = |text| MemberName::parse(text).map_err(|_| SetupFault::Name);
    let (provider, recipient) = (name(PROVIDER)?, name(RECIPIENT)?);
    let folder = |name: &str| at.join(name);
    prepare::hub(&folder("hub"))?;
    let provider_keys = prepare::member(&folder(PROVIDER))?;
    let recipient_keys = prepare::member(&folder(RECIPIENT))?;
    let revoked = prepare::key(&folder(PROVIDER).join("keys/event-revoked.pem"))?;

    let mut published = provider_keys.public(&provider);
    let mut old = Jwk::new(revoked.public().clone(), KeyUse::Event, Some(PROVIDER.to_owned()));
    // Revoked on 1 January 2026.
    old.revoked = Some(1_767_225_600);
    published.keys.push(old);
    let members = folder("hub").join("members");
    prepare::write(&members.join(format!("{PROVIDER}.jwks.json")), &published.to_json())?;
    let keys = recipient_keys.public(&recipient).to_json();
    prepare::write(&members.join(format!("{RECIPIENT}.jwks.json")), &keys)?;

    let agreement = folder("hub").join("agreements/emploi-gouvernement.note");
    if !agreement.exists() {
        prepare::agreement(
            &agreement,
            &agreement_text(),
            (&provider, &provider_keys.agreement),
            (&recipient, &recipient_keys.agreement),
        )?;
    }

    for (name, text) in BOOST {
        let text = if live { often(text) } else { text.to_owned() };
        prepare::write(&folder(PROVIDER).join("connectors/boost").join(name), &text)?;
    }
    let key_file = folder(PROVIDER).join("keys/boost-api-key");
    prepare::secret(&key_file, API_KEY)?;
    let carried = |text: &str| carried_by(bus, text);
    prepare::write(&folder("hub").join("hub.toml"), &carried(HUB_TOML))?;
    let provider_toml = folder(PROVIDER).join("connect.toml");
    prepare::write(&provider_toml, &carried(PROVIDER_TOML).replace("{boost}", boost))?;
    let recipient_toml = folder(RECIPIENT).join("connect.toml");
    prepare::write(&recipient_toml, &carried(RECIPIENT_TOML))?;
    Ok(Setup {
        hub: HubConfig::load(&folder("hub").join("hub.toml"))?,
        provider: ConnectConfig::load_beside_hub(&provider_toml)?,
        recipient: ConnectConfig::load_beside_hub(&recipient_toml)?,
        revoked,
        received: folder(RECIPIENT).join("received"),
        agreement: "emploi-gouvernement:1".to_owned(),
    })
}

/// The connector, as it stands in the repository.
const BOOST: [(&str, &str); 3] = [
    ("connector.toml", include_str!("../../connectors/boost/connector.toml")),
    ("jobseekers.jq", include_str!("../../connectors/boost/jobseekers.jq")),
    ("offers.jq", include_str!("../../connectors/boost/offers.jq")),
];

/// A manifest that looks every five seconds, for someone who waits to see it.
fn often(text: &str) -> String {
    let line = |line: &str| match line.starts_with("every_seconds = ") {
        true => "every_seconds = 5\n".to_owned(),
        false => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// A configuration for the bus of the demo: what stands between the marks
/// `{embedded}` and `{/embedded}` is for the embedded one.
fn carried_by(bus: Option<&str>, text: &str) -> String {
    let Some((before, rest)) = text.split_once("{embedded}\n") else { return text.to_owned() };
    let (embedded, after) = rest.split_once("{/embedded}\n").unwrap_or((rest, ""));
    match bus {
        None => format!("{before}{embedded}{after}"),
        Some(url) => {
            let tables = "\n[broker]\npassword = { file = \"../broker/password\" }\n";
            format!("{before}bus = \"{url}\"\n{after}{tables}")
        }
    }
}

const HUB_TOML: &str = r#"# The demo's hub. `pirogue hub --config hub.toml` runs it again (start
# examples/boost_server.rs on the port of province-sud/connect.toml first).
name = "nouvelle-caledonie"
data = "."
{embedded}
# Its members run in the same process.
connect = ["../province-sud/connect.toml", "../gouvernement/connect.toml"]
{/embedded}

[http]
enabled = false

[store]
low_water_mib = 64
"#;

const PROVIDER_TOML: &str = r#"# The demo's publisher: it reads from the Boost-like server.
member = "province-sud"
hub = "nouvelle-caledonie"
hub_keys = "../hub/hub.jwks.json"
members = "../hub/members"
{embedded}
{/embedded}

[inbox]
# What the hub refuses comes back as a notice.
enabled = true
[inbox.files]
raw = true

[[connector]]
folder = "connectors/boost"
[connector.settings]
base_url = "{boost}"
[connector.secrets]
boost-api-key = { file = "keys/boost-api-key" }
"#;

const RECIPIENT_TOML: &str = r#"# The demo's recipient.
member = "gouvernement"
hub = "nouvelle-caledonie"
hub_keys = "../hub/hub.jwks.json"
members = "../hub/members"
{embedded}
{/embedded}

[inbox]
enabled = true
[inbox.files]
folder = "received"
# The raw messages are kept too, so that anyone can verify them.
raw = true
"#;

fn agreement_text() -> String {
    let fields: Vec<String> = GRANTED.iter().map(|field| format!("\"{field}\"")).collect();
    format!(
        r#"id = "emploi-gouvernement"
version = 1
title = "Suivi des demandeurs d'emploi et des offres"
provider = "{PROVIDER}"
recipient = "{RECIPIENT}"
purpose = "Instruction des aides à l'embauche"
legal_basis = "public-interest"
legal_reference = "Délibération n° 140/CP du 16 avril 2021 (exemple de démonstration)"
retention_months = 12
valid_from = 2026-01-01
valid_until = 2099-12-31

[[grant]]
type = "{JOBSEEKER}"
versions = [1]
fields = [{}]
subject = "pseudonym"

[[grant]]
type = "{OFFER}"
versions = [1]
fields = ["*"]
subject = "publisher"
"#,
        fields.join(", ")
    )
}
