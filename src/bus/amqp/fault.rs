//! What an error of the client library means: a fault that someone has to mend,
//! or a broken connection or channel, after which all begins again.

use crate::bus::BusFault;
use lapin::{Error, ErrorKind};

/// What was tried.
#[derive(Clone, Copy)]
pub(super) enum Doing<'a> {
    /// Opening a connection to this virtual host.
    Connecting { vhost: &'a str, by_certificate: bool },
    /// Publishing to this exchange.
    Publishing(&'a str),
    /// Consuming this queue.
    Consuming(&'a str),
}

/// What to do about an error.
#[derive(Debug)]
pub(super) enum Cause {
    /// Nothing changes until someone has mended this.
    Fault(BusFault),
    /// The connection or the channel broke, for this reason: begin again.
    Broken(String),
}

/// Reply codes of AMQP 0-9-1, section 1.1 and RabbitMQ's use of them.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// Says what `error` means for what was being done. The broker's own sentence is
/// kept: it names users, exchanges, queues and routing keys, and no content.
pub(super) fn cause(error: &Error, doing: Doing<'_>) -> Cause {
    let ErrorKind::ProtocolError(said) = error.kind() else {
        return Cause::Broken(error.to_string());
    };
    let said = (said.get_id(), said.get_message().as_str());
    match refused(said, doing) {
        Some(fault) => Cause::Fault(fault),
        None => Cause::Broken(said.1.to_owned()),
    }
}

fn refused((code, text): (u16, &str), doing: Doing<'_>) -> Option<BusFault> {
    let refused = |what: String| Some(BusFault::Refused(format!("{what} ({text})")));
    match (doing, code) {
        (Doing::Connecting { by_certificate: true, .. }, ACCESS_REFUSED) => refused(
            "the broker has no user with the name in the client certificate: check the certificate's subject, the \
             broker's ssl_cert_login_from, and that the user exists"
                .to_owned(),
        ),
        (Doing::Connecting { .. }, ACCESS_REFUSED) => {
            refused("the broker refuses the user's name or password: check both".to_owned())
        }
        // A virtual host that starts is another matter: it comes by itself.
        (Doing::Connecting { vhost, .. }, NOT_ALLOWED) if !text.contains(" is down") => refused(format!(
            "the user can't enter the virtual host {vhost}: check its name, and the user's permissions there"
        )),
        (Doing::Publishing(exchange), ACCESS_REFUSED) => refused(format!(
            "the user may not publish to {exchange} with such a routing key: check its permissions and topic \
             permissions, which are in WIRE.md section 7, and that the routing key begins with the user's name"
        )),
        (Doing::Publishing(_), PRECONDITION_FAILED) if text.contains("user_id") => refused(
            "a message's user_id isn't the user of this connection: connect as the member that publishes".to_owned(),
        ),
        (Doing::Publishing(_), PRECONDITION_FAILED) if text.contains("message size") => refused(
            "a message is larger than the broker takes: set the broker's max_message_size as in WIRE.md section 7"
                .to_owned(),
        ),
        (Doing::Publishing(exchange), NOT_FOUND) if text.contains("no exchange") => {
            Some(BusFault::NoExchange(exchange.to_owned()))
        }
        (Doing::Consuming(queue), ACCESS_REFUSED) => refused(format!(
            "the user may not read {queue}: check its permissions, which are in WIRE.md section 7"
        )),
        (Doing::Consuming(queue), NOT_FOUND) if text.contains("no queue") => {
            Some(BusFault::NoQueue(queue.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_fault(code: u16, text: &str, doing: Doing<'_>) -> bool {
        refused((code, text), doing).is_some()
    }

    #[test]
    fn what_someone_has_to_mend_is_told_from_what_comes_by_itself() {
        let connecting = Doing::Connecting { vhost: "pirogue", by_certificate: false };
        for (code, text, doing, expected) in [
            (403, "ACCESS_REFUSED - Login was refused", connecting, true),
            (530, "NOT_ALLOWED - vhost pirogue not found", connecting, true),
            (530, "NOT_ALLOWED - vhost 'pirogue' is down", connecting, false),
            (320, "CONNECTION_FORCED - broker forced connection closure", connecting, false),
            (403, "ACCESS_REFUSED - write access", Doing::Publishing("x"), true),
            (406, "PRECONDITION_FAILED - user_id property set to 'a'", Doing::Publishing("x"), true),
            (404, "NOT_FOUND - no exchange 'x' in vhost 'pirogue'", Doing::Publishing("x"), true),
            (541, "INTERNAL_ERROR", Doing::Publishing("x"), false),
            (404, "NOT_FOUND - no queue 'q' in vhost 'pirogue'", Doing::Consuming("q"), true),
            (404, "NOT_FOUND - home node 'a' of durable queue 'q' is down", Doing::Consuming("q"), false),
            (406, "PRECONDITION_FAILED - delivery acknowledgement timed out", Doing::Consuming("q"), false),
        ] {
            assert_eq!(is_fault(code, text, doing), expected, "{code} {text}");
        }
    }

    #[test]
    fn an_error_without_a_reply_code_is_a_broken_connection() {
        let error = Error::from(ErrorKind::MissingHeartbeatError);
        assert!(matches!(cause(&error, Doing::Publishing("x")), Cause::Broken(_)));
    }
}
