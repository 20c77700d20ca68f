//! The broker, as the hub's or the member's own user finds it.

use super::{Findings, Left, Running, day, days, files, left};
use crate::bus::amqp::Options;
use crate::bus::amqp::probe::{Visit, greet};
use crate::bus::{BusFault, DELIVERIES, EVENTS, HUB, INBOX, certificate, queue_of};
use crate::config::{Broker, BrokerLogin, ConnectConfig, HubConfig};
use crate::event::MemberName;
use jiff::Timestamp;
use std::path::Path;

const ADDRESS: &str = "broker";
const LOGIN: &str = "broker login";
const VERSION: &str = "broker version";
const CERTIFICATE: &str = "broker certificate";
const CLIENT: &str = "client certificate";

/// What the broker is to take and not more, in bytes (WIRE.md section 7).
const LARGEST: usize = 2 << 20;

/// Who looks, and whom to turn to.
struct Visitor<'a> {
    user: &'a str,
    broker: &'a Broker,
    /// What makes good what is missing at the broker.
    provision: String,
    /// Who knows the password.
    password: String,
}

/// The broker as the hub finds it.
pub(super) async fn of_hub(
    config: &HubConfig,
    url: &str,
    file: &Path,
    running: &Running,
    now: Timestamp,
    findings: &mut Findings,
) {
    let visitor = Visitor {
        user: HUB,
        broker: &config.broker,
        provision: format!("`pirogue provision --config {}` makes what is missing", file.display()),
        password: format!("or give the broker's user another one: `rabbitmqctl change_password {HUB} …`"),
    };
    let Some(visit) = visitor.arrive(url, now, findings).await else { return };
    if let Some(consumers) = visitor.consume(&visit, INBOX, findings).await
        && consumers > 0
        && matches!(running, Running::No)
    {
        findings.warning(
            "queue",
            format!("{INBOX} is consumed by someone, though no hub runs on this data folder"),
            "find out who: `rabbitmqctl list_consumers -p VHOST`; a second hub only waits behind the first",
        );
    }
    let routing_key = format!("{HUB}.doctor");
    if visitor.publish(&visit, DELIVERIES, &routing_key, findings).await {
        let most = config.limits.body_bytes + config.limits.headers_bytes;
        sizes(&visit, &routing_key, most, findings).await;
    }
    visit.close().await;
}

/// The broker as a member finds it.
pub(super) async fn of_member(config: &ConnectConfig, url: &str, now: Timestamp, findings: &mut Findings) {
    let visitor = Visitor {
        user: &config.member,
        broker: &config.broker,
        provision: "let the hub's operator run `pirogue provision`, which makes what is missing".to_owned(),
        password: "or ask the hub's operator".to_owned(),
    };
    let Some(visit) = visitor.arrive(url, now, findings).await else { return };
    if config.inbox.enabled
        && let Ok(member) = MemberName::parse(&config.member)
    {
        visitor.consume(&visit, &queue_of(&member), findings).await;
    }
    let routing_key = format!("{}.doctor", config.member);
    visitor.publish(&visit, EVENTS, &routing_key, findings).await;
    visit.close().await;
}

impl Visitor<'_> {
    fn options(&self, findings: &mut Findings) -> Option<Options> {
        if let (BrokerLogin::Password, Some(place)) = (self.broker.login, &self.broker.password) {
            files::secret("broker password", place, findings)?;
        }
        match Options::configured(self.user, self.broker) {
            Ok(options) => Some(options),
            Err(fault) => {
                findings.failed("broker password", fault.to_string(), "set broker.password to its place");
                None
            }
        }
    }

    /// From the address to being logged in.
    async fn arrive(&self, url: &str, now: Timestamp, findings: &mut Findings) -> Option<Visit> {
        if let Some(path) = &self.broker.certificate {
            match certificate::valid_until(path) {
                Ok(end) => lasting(CLIENT, end, now, "ask the broker's operator for a new one", findings),
                Err(fault) => {
                    findings.failed(CLIENT, fault.to_string(), "set broker.certificate to a PEM file")
                }
            }
        }
        let options = self.options(findings)?;
        let greeting = match greet(url, options.clone()).await {
            Ok(greeting) => greeting,
            Err(fault) => {
                let (found, remedy) = unreachable(&fault, self.broker);
                findings.failed(ADDRESS, found, remedy);
                return None;
            }
        };
        findings.ok(ADDRESS, format!("{} {} answers", greeting.product, greeting.version));
        version(&greeting.version, findings);
        if let Some(end) = greeting.certificate_until {
            lasting(CERTIFICATE, end, now, "let the broker's operator renew it before", findings);
        }
        match Visit::open(url, options).await {
            Ok(visit) => {
                findings.ok(LOGIN, format!("{} is let in, and into the virtual host", self.user));
                Some(visit)
            }
            Err(fault) => {
                let (found, remedy) = self.refused(&fault);
                findings.failed(LOGIN, found, remedy);
                None
            }
        }
    }

    fn refused(&self, fault: &BusFault) -> (String, String) {
        let found = fault.to_string();
        let remedy = match fault {
            BusFault::Refused(why) if why.contains("virtual host") => self.provision.clone(),
            BusFault::Refused(_) if self.broker.login == BrokerLogin::Certificate => {
                format!("let the broker have a user with the name in the certificate: {}", self.provision)
            }
            BusFault::Refused(_) => {
                let place =
                    self.broker.password.as_ref().map_or_else(|| "its place".to_owned(), files::place);
                format!("put the password of {} into {place}, {}", self.user, self.password)
            }
            _ => "try again; if it stays, look at the broker's log".to_owned(),
        };
        (found, remedy)
    }

    /// The queue: whether it is there and may be consumed. Returns by how many it
    /// is.
    async fn consume(&self, visit: &Visit, queue: &str, findings: &mut Findings) -> Option<u32> {
        const CHECK: &str = "queue";
        let found = match visit.queue(queue).await {
            Ok(found) => visit.may_consume(queue).await.map(|()| found),
            Err(fault) => Err(fault),
        };
        match found {
            Ok(found) => {
                findings.ok(
                    CHECK,
                    format!(
                        "{queue} may be consumed: {} messages wait in it, consumers: {}",
                        found.ready, found.consumers
                    ),
                );
                Some(found.consumers)
            }
            Err(BusFault::NoQueue(_)) => {
                findings.failed(CHECK, format!("there is no queue {queue}"), self.provision.clone());
                None
            }
            Err(fault) => {
                findings.failed(CHECK, fault.to_string(), self.provision.clone());
                None
            }
        }
    }

    /// Whether messages of this user may be published to `exchange`.
    async fn publish(
        &self,
        visit: &Visit,
        exchange: &str,
        routing_key: &str,
        findings: &mut Findings,
    ) -> bool {
        const CHECK: &str = "exchange";
        match visit.may_publish(exchange, routing_key, self.user, 0).await {
            Ok(()) => {
                findings.ok(CHECK, format!("{} may publish to {exchange}", self.user));
                return true;
            }
            Err(BusFault::NoExchange(_)) => {
                findings.failed(CHECK, format!("there is no exchange {exchange}"), self.provision.clone());
            }
            Err(BusFault::Refused(why)) if why.contains("user_id") => findings.failed(
                CHECK,
                format!("the broker knows this user by another name than {}: {why}", self.user),
                format!("let bus name the user {}, or none", self.user),
            ),
            Err(fault @ BusFault::Unreachable(_)) => findings.failed(
                CHECK,
                format!("the broker takes nothing now: {fault}"),
                "look whether it lacks memory or disk space: `rabbitmq-diagnostics alarms`",
            ),
            Err(fault) => findings.failed(CHECK, fault.to_string(), self.provision.clone()),
        }
        false
    }
}

/// Whether the broker takes the largest message of the hub's limits, and nothing
/// above what WIRE.md section 7 says.
async fn sizes(visit: &Visit, routing_key: &str, most: usize, findings: &mut Findings) {
    const CHECK: &str = "message size";
    let remedy = format!("set max_message_size = {LARGEST} in rabbitmq.conf, and restart the broker");
    match visit.may_publish(DELIVERIES, routing_key, HUB, most).await {
        Ok(()) => match visit.may_publish(DELIVERIES, routing_key, HUB, LARGEST + 1).await {
            Ok(()) => findings.warning(
                CHECK,
                format!(
                    "the broker takes messages over {LARGEST} bytes: a member could fill its memory with them"
                ),
                remedy,
            ),
            Err(_) => findings.ok(
                CHECK,
                format!("the broker takes {most} bytes, the hub's limits, and not more than {LARGEST}"),
            ),
        },
        Err(fault) => findings.failed(
            CHECK,
            format!("the broker doesn't take {most} bytes, which the hub's limits allow: {fault}"),
            remedy,
        ),
    }
}

fn unreachable(fault: &BusFault, broker: &Broker) -> (String, String) {
    let found = fault.to_string();
    let ca = broker.ca.as_ref().map_or_else(|| "broker.ca".to_owned(), |path| path.display().to_string());
    let remedy = match fault {
        BusFault::Unreachable(why) if why.contains("certificate") => format!(
            "let {ca} be the authority that signed the broker's certificate, and bus name the host that the certificate \
             is for"
        ),
        BusFault::Unreachable(why) if why.contains("AMQP") || why.contains("RabbitMQ") => {
            "correct the host and the port in bus: 5672 for amqp://, 5671 for amqps://, where no other is set"
                .to_owned()
        }
        BusFault::Unreachable(_) => {
            "start the broker (`systemctl start rabbitmq-server`), or correct the host and the port in bus; \
             between the two no firewall may stand"
                .to_owned()
        }
        _ => "correct bus and [broker] in the configuration".to_owned(),
    };
    (found, remedy)
}

/// How long a certificate is valid still.
fn lasting(check: &str, end: i64, now: Timestamp, renew: &str, findings: &mut Findings) {
    let now = now.as_second();
    match left(end, now) {
        Left::Over => findings.failed(check, format!("it ended on {}", day(end)), renew),
        Left::Soon => {
            findings.warning(check, format!("it ends on {}, in {}", day(end), days(end - now)), renew);
        }
        Left::Long => findings.ok(check, format!("it is valid until {}, for {}", day(end), days(end - now))),
    }
}

/// Whether WIRE.md section 7 holds for this version.
fn version(version: &str, findings: &mut Findings) {
    let number = |nth| version.split('.').nth(nth).and_then(|part: &str| part.parse::<u32>().ok());
    let remedy = "run RabbitMQ 3.10 to 4.x, for which the queues' behaviour is known";
    match (number(0), number(1)) {
        (Some(3), Some(10..)) | (Some(4), _) => {
            findings.ok(VERSION, format!("RabbitMQ {version} is one of 3.10 to 4.x"))
        }
        (Some(major), Some(minor)) if (major, minor) < (3, 10) => {
            findings.failed(VERSION, format!("RabbitMQ {version} is older than 3.10"), remedy);
        }
        _ => findings.warning(VERSION, format!("nothing is known of RabbitMQ {version}"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn versions_from_3_10_to_4_are_known() {
        for (text, level) in [
            ("3.10.8", Level::Ok),
            ("3.13.7", Level::Ok),
            ("4.0.5", Level::Ok),
            ("4.2.0", Level::Ok),
            ("3.9.29", Level::Failed),
            ("2.8", Level::Failed),
            ("5.0.0", Level::Warning),
            ("", Level::Warning),
        ] {
            let mut findings = Findings::default();
            version(text, &mut findings);
            assert_eq!(findings.0[0].level, level, "{text}");
        }
    }

    #[test]
    fn a_certificate_is_told_a_month_before_its_end() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (rest, level, words) in [
            (-1, Level::Failed, "ended on 2027-01-15"),
            (86_400, Level::Warning, "in 1 day"),
            (30 * 86_400, Level::Warning, "in 30 days"),
            (31 * 86_400, Level::Ok, "for 31 days"),
        ] {
            let mut findings = Findings::default();
            lasting("c", now.as_second() + rest, now, "renew it", &mut findings);
            assert_eq!(findings.0[0].level, level);
            assert!(findings.0[0].found.contains(words), "{}", findings.0[0].found);
        }
    }
}
