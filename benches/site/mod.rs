//! The site that benchmarks measure: a hub on the embedded bus, a publisher of
//! jobseekers, and a recipient who is granted five fields of them.

use pirogue::admin::prepare;
use pirogue::connect::Signer;
use pirogue::connect::drivers::Record;
use pirogue::connect::manifest::Connector;
use pirogue::demo::boost::Jobseeker;
use pirogue::event::{MemberName, Message};
use pirogue::schema::{EventSchema, Registry};
use pirogue::seal::Secret32;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
pub const PROVIDER: &str = "province-sud";
pub const RECIPIENT: &str = "gouvernement";

const AGREEMENT: &str = r#"id = "bench"
version = 1
title = "Mesure"
provider = "province-sud"
recipient = "gouvernement"
purpose = "Mesure"
legal_basis = "public-interest"
retention_months = 1
valid_from = 2020-01-01
valid_until = 2099-12-31

[[grant]]
type = "nc.employment.jobseeker.registered"
versions = [1]
fields = ["person.family_name", "person.given_names", "person.birthdate", "status", "sought_occupations"]
"#;

/// Prepares the hub's folder, two members and their agreement. What is there
/// already stays.
pub fn members(at: &Path) -> Result<Signer, Box<dyn Error>> {
    prepare::hub(at)?;
    let (provider, recipient) = (MemberName::parse(PROVIDER)?, MemberName::parse(RECIPIENT)?);
    let provider_keys = prepare::member(&at.join(PROVIDER))?;
    let recipient_keys = prepare::member(&at.join(RECIPIENT))?;
    for (member, keys) in [(&provider, &provider_keys), (&recipient, &recipient_keys)] {
        prepare::write(
            &at.join("members").join(format!("{member}.jwks.json")),
            &keys.public(member).to_json(),
        )?;
    }
    prepare::agreement(
        &at.join("agreements/bench.note"),
        AGREEMENT,
        (&provider, &provider_keys.agreement),
        (&recipient, &recipient_keys.agreement),
    )?;
    Ok(Signer {
        member: provider,
        hub: "bench".to_owned(),
        key: provider_keys.event,
        id_secret: Secret32::new([7; 32]),
    })
}

/// The settings of the hub that [`members`] prepared.
pub fn settings(batch: usize, checkpoint_ms: u32) -> String {
    format!(
        "name = \"bench\"\ndata = \"data\"\n[http]\nenabled = false\n[store]\nlow_water_mib = 64\n[limits]\n\
         batch_events = {batch}\n[journal]\ncheckpoint_ms = {checkpoint_ms}\n"
    )
}

/// Made-up jobseekers, mapped and signed as a connector does it.
pub struct Jobseekers {
    connector: Connector,
    pub schema: Arc<EventSchema>,
}

impl Jobseekers {
    pub fn new() -> Result<Jobseekers, Box<dyn Error>> {
        let registry = Registry::embedded()?;
        let schema = Arc::clone(registry.get(JOBSEEKER, 1).ok_or("no such schema")?);
        Ok(Jobseekers { connector: Connector::embedded("boost")?, schema })
    }

    /// The signed event of row `row`, with its routing key.
    pub fn event(&self, signer: &Signer, row: usize) -> Result<(String, Message), Box<dyn Error>> {
        let stream = self.connector.sources.iter().find(|s| s.event_type.as_str() == JOBSEEKER);
        let record = Record {
            key: Jobseeker::id(988, row),
            version: Some("1".into()),
            kind: String::new(),
            value: serde_json::to_value(Jobseeker::row(988, row))?,
            raw: None,
        };
        let events = signer.events(&record, stream.ok_or("no such stream")?, &self.schema, 1)?;
        Ok(events.into_iter().next().ok_or("a jobseeker is no event")?)
    }
}

/// The CPU time that this process has used, in user and in kernel mode: fields
/// 14 and 15 of /proc/self/stat, in ticks of 10 ms.
pub fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
