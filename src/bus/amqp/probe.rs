//! Looking at a broker without changing anything on it: what answers, who gets
//! in, and what a user may do there. For `pirogue doctor`.
//!
//! What a user may do is found out by requests that the broker judges and then
//! doesn't carry out: a consumer with an argument of the wrong type, which it
//! refuses after it has looked at the permissions; and a message in a
//! transaction that is rolled back. No message is taken, none is published.

use super::fault::{Cause, Doing, cause};
use super::mapping;
use super::socket::Wire;
use super::target::{Closed, Options, Target};
use crate::bus::BusFault;
use crate::bus::certificate;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ErrorKind};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long one answer of the broker may take. One that lacks memory doesn't
/// answer to who publishes.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first bytes of AMQP 0-9-1 (section 4.2.2).
const PROTOCOL: &[u8] = b"AMQP\x00\x00\x09\x01";
/// No first frame of a broker is longer, in bytes.
const LONGEST_START: usize = 128 * 1024;

/// What answers at an address, before anyone logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The program, `RabbitMQ` for instance, as it says itself.
    pub product: String,
    /// Its version, `3.10.8` for instance.
    pub version: String,
    /// With TLS, until when the broker's certificate is valid, in seconds since
    /// 1970.
    pub certificate_until: Option<i64>,
}

/// Asks what answers at `url`: connects, shakes hands for TLS, which checks the
/// certificate, and reads AMQP's first frame (`connection.start`).
///
/// Fails with [`BusFault::Address`] where the URL or a TLS file can't be used,
/// and with [`BusFault::Unreachable`] where no broker answers.
pub async fn greet(url: &str, options: Options) -> Result<Greeting, BusFault> {
    let target = Target::parse(url, options)?;
    let dial = target.dial()?;
    let unreachable = |why: String| BusFault::Unreachable(format!("{}: {why}", target.address()));
    let late = |_| unreachable("it doesn't answer in time".to_owned());
    let wire = timeout(dial.patience, dial.wire()).await.map_err(late)?;
    let wire = wire.map_err(|error| unreachable(error.to_string()))?;
    let (certificate_until, start) = match wire {
        Wire::Plain(mut tcp) => (None, timeout(PATIENCE, first_frame(&mut tcp)).await),
        Wire::Tls(mut tls) => {
            let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
            let end = certificates.first().and_then(|first| certificate::end_of(first));
            (end, timeout(PATIENCE, first_frame(&mut tls)).await)
        }
    };
    let start = start.map_err(late)?.map_err(|error| unreachable(error.to_string()))?;
    let said = |name| text_in(&start, name).unwrap_or_default();
    match said("product") {
        product if product.is_empty() => Err(unreachable("what answers there isn't RabbitMQ".to_owned())),
        product => Ok(Greeting { product, version: said("version"), certificate_until }),
    }
}

/// The server's properties in `connection.start`, as an AMQP table without its
/// length.
async fn first_frame(wire: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Vec<u8>> {
    let other = || io::Error::other("what answers there doesn't speak AMQP 0-9-1");
    wire.write_all(PROTOCOL).await?;
    wire.flush().await?;
    let mut header = [0; 7];
    wire.read_exact(&mut header).await.map_err(|_| other())?;
    let [1, 0, 0, length @ ..] = header else { return Err(other()) };
    let length = u32::from_be_bytes(length) as usize;
    if !(14..=LONGEST_START).contains(&length) {
        return Err(other());
    }
    let mut frame = vec![0; length];
    wire.read_exact(&mut frame).await.map_err(|_| other())?;
    // Class and method 10.10, the protocol's version, then the table.
    let rest = frame.strip_prefix(&[0, 10, 0, 10, 0, 9]).ok_or_else(other)?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(other)?;
    let table = rest.get(..u32::from_be_bytes(*length) as usize).ok_or_else(other)?;
    Ok(table.to_vec())
}

/// The long string called `name` in a table of long strings, booleans and
/// tables, which is what RabbitMQ tells about itself.
fn text_in(mut table: &[u8], name: &str) -> Option<String> {
    loop {
        let (&length, rest) = table.split_first()?;
        let (key, rest) = rest.split_at_checked(length.into())?;
        let (&kind, rest) = rest.split_first()?;
        if kind == b't' {
            table = rest.get(1..)?;
            continue;
        }
        if kind != b'S' && kind != b'F' {
            return None;
        }
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if kind == b'S' && key == name.as_bytes() {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        table = rest;
    }
}

/// A queue, as a passive declaration tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    /// The messages that nobody was given yet.
    pub ready: u32,
    /// Who consumes it, of which only one gets messages.
    pub consumers: u32,
}

/// A user that has logged in, and looks around.
pub struct Visit {
    connection: lapin::Connection,
    user: String,
}

impl Visit {
    /// Logs in, in one attempt. Fails as [`super::Connection::connect`] does.
    pub async fn open(url: &str, options: Options) -> Result<Visit, BusFault> {
        let target = Target::parse(url, options)?;
        let connection = target.open("doctor").await.map_err(|closed| match closed {
            Closed::Fault(fault) => fault,
            Closed::Unreachable(why) => BusFault::Unreachable(why),
        })?;
        let user = connection.status().username();
        Ok(Visit { connection, user })
    }

    /// The name under which the broker knows the user, as far as the client
    /// gave it: empty where it logged in by certificate.
    pub fn user(&self) -> &str {
        &self.user
    }

    async fn channel(&self) -> Result<Channel, BusFault> {
        let opened = answered(self.connection.create_channel()).await?;
        opened.map_err(|error| BusFault::Unreachable(error.to_string()))
    }

    /// The facts of `queue` (`queue.declare`, passive, which takes no
    /// permission). Fails with [`BusFault::NoQueue`] where it isn't there.
    pub async fn queue(&self, queue: &str) -> Result<QueueFacts, BusFault> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = mapping::short("queue", queue)?;
        let declared = answered(channel.queue_declare(name, options, FieldTable::default())).await?;
        let found = declared.map_err(|error| fault(&error, Doing::Consuming(queue)))?;
        Ok(QueueFacts { ready: found.message_count(), consumers: found.consumer_count() })
    }

    /// Whether the user may consume `queue`. Nothing is consumed: the broker
    /// looks at the permission first, and then refuses a priority that isn't a
    /// number.
    pub async fn may_consume(&self, queue: &str) -> Result<(), BusFault> {
        let channel = self.channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongString("none".into()));
        let name = mapping::short("queue", queue)?;
        let options = BasicConsumeOptions::default();
        match answered(channel.basic_consume(name, "".into(), options, arguments)).await? {
            Err(error) if is_precondition(&error) => Ok(()),
            Err(error) => Err(fault(&error, Doing::Consuming(queue))),
            Ok(consumer) => {
                // A broker that minds no argument: the channel goes before the consumer,
                // and gives back in order what came.
                let _ = channel.close(200, "OK".into()).await;
                drop(consumer);
                Ok(())
            }
        }
    }

    /// Whether the user may publish messages of `size` bytes to `exchange` by
    /// `routing_key`, as `user`. Nothing is published: the broker judges the
    /// message, and keeps it in a transaction that is rolled back.
    pub async fn may_publish(
        &self,
        exchange: &str,
        routing_key: &str,
        user: &str,
        size: usize,
    ) -> Result<(), BusFault> {
        let mut tries = 5;
        loop {
            let judged = self.judge(exchange, routing_key, user, size).await;
            tries -= 1;
            match judged {
                // The broker closed the channel before the next question, whose answer
                // would have said why.
                Err(BusFault::Unreachable(why)) if why.contains(CLOSING) && tries > 0 => {}
                judged => return judged,
            }
        }
    }

    async fn judge(
        &self,
        exchange: &str,
        routing_key: &str,
        user: &str,
        size: usize,
    ) -> Result<(), BusFault> {
        let doing = Doing::Publishing(exchange);
        let channel = self.channel().await?;
        let told = |error: lapin::Error| fault(&error, doing);
        answered(channel.tx_select()).await?.map_err(told)?;
        let properties = BasicProperties::default().with_user_id(mapping::short("user_id", user)?);
        let (to, by) = (mapping::short("exchange", exchange)?, mapping::short("routing key", routing_key)?);
        let (body, options) = (vec![0; size], BasicPublishOptions::default());
        let published = answered(channel.basic_publish(to, by, options, &body, properties)).await?;
        // What the broker says against a message comes with the next answer.
        published.map_err(told)?;
        answered(channel.tx_rollback()).await?.map_err(told)
    }

    /// Leaves.
    pub async fn close(self) {
        // A broker that doesn't answer any more sees the connection end.
        let _ = timeout(PATIENCE, self.connection.close(200, "OK".into())).await;
    }
}

/// What the client library says of a channel that isn't open any more.
const CLOSING: &str = "invalid channel state";

fn is_precondition(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(said) if said.get_id() == 406)
}

fn fault(error: &lapin::Error, doing: Doing<'_>) -> BusFault {
    match cause(error, doing) {
        Cause::Fault(fault) => fault,
        Cause::Broken(why) => BusFault::Unreachable(why),
    }
}

/// What the broker answers, in time.
async fn answered<T>(asked: impl Future<Output = T>) -> Result<T, BusFault> {
    let late =
        "it doesn't answer in time; a broker that lacks memory or disk space answers nobody who publishes";
    timeout(PATIENCE, asked).await.map_err(|_| BusFault::Unreachable(late.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    #[test]
    fn a_text_is_found_in_a_table_behind_other_things() {
        let table = b"\x0ccapabilitiesF\0\0\0\x05\x02abt\x01\x02okt\x01\x07productS\0\0\0\x08RabbitMQ";
        assert_eq!(text_in(table, "product").as_deref(), Some("RabbitMQ"));
        assert_eq!(text_in(table, "version"), None);
        assert_eq!(text_in(&table[..table.len() - 1], "product"), None);
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(table in any::<Vec<u8>>()) {
            let _ = text_in(&table, "version");
        }
    }

    #[tokio::test]
    async fn what_isnt_a_broker_is_said_not_to_be_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://hub@{}", listener.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            client
        });
        let sentence = greet(&url, Options::default()).await.unwrap_err().to_string();
        assert!(sentence.contains("doesn't speak AMQP"), "{sentence}");
        answering.await.unwrap();
    }
}
