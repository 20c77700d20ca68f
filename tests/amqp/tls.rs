//! TLS with a private authority, and login by certificate.

use super::broker::shared;
use super::lab::{Lab, SUD, message};
use pirogue::bus::amqp::{Connection, Login, Options};
use pirogue::bus::{Bus, BusFault, Confirm, EVENTS, Tls};
use std::path::Path;

fn options(folder: &Path, ca: &str, member: &str) -> Options {
    let at = |file: String| Some(folder.join(file));
    let tls = Tls {
        ca: at(format!("{ca}.pem")),
        certificate: at(format!("{member}.pem")),
        key: at(format!("{member}.key")),
    };
    Options { login: Login::Certificate, tls, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_logs_in_by_its_certificate_and_publishes() {
    let node = shared().node();
    let folder = node.certificates();
    Lab::open(node, "tls", 1 << 30).await;
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("amqps://{host}:{}/tls", node.tls_port);
        let sud = Connection::connect(&url, options(folder, "ca", SUD)).await.unwrap();
        let batch = (0..200).map(|n| message(SUD, n)).collect();
        assert_eq!(sud.publish(EVENTS, batch).await.unwrap(), vec![Confirm::Accepted; 200]);
    }

    let url = format!("amqps://127.0.0.1:{}/tls", node.tls_port);
    let stranger = Connection::connect(&url, options(folder, "ca", "nobody")).await.unwrap_err();
    assert!(matches!(&stranger, BusFault::Refused(why) if why.contains("certificate")), "{stranger}");

    // By password, over TLS without a client certificate.
    let by_password = Options {
        login: Login::Password(super::lab::PASSWORD.to_owned().into()),
        tls: Tls { ca: Some(folder.join("ca.pem")), ..Tls::default() },
        ..Options::default()
    };
    let url = format!("amqps://{SUD}@127.0.0.1:{}/tls", node.tls_port);
    Connection::connect(&url, by_password).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_another_authority_isnt_trusted() {
    let node = shared().node();
    let folder = node.certificates();
    let url = format!("amqps://127.0.0.1:{}/tls", node.tls_port);
    let fault = Connection::connect(&url, options(folder, "other-ca", SUD)).await.unwrap_err();
    assert!(matches!(&fault, BusFault::Unreachable(why) if why.contains("certificate")), "{fault}");
    // Plain AMQP to a TLS port ends too.
    let url = format!("amqp://{SUD}:x@127.0.0.1:{}/tls", node.tls_port);
    let fault = Connection::connect(&url, Options::default()).await.unwrap_err();
    assert!(matches!(fault, BusFault::Unreachable(_)), "{fault}");
    let missing = options(folder, "no-such", SUD);
    let fault =
        Connection::connect(&format!("amqps://127.0.0.1:{}", node.tls_port), missing).await.unwrap_err();
    assert!(matches!(&fault, BusFault::Address(why) if why.contains("no-such.pem")), "{fault}");
}
