//! TLS with a private authority, and login by certificate.

use super::broker::shared;
use super::lab::{Lab, SUD, message};
use pirogue::bus::amqp::{Connection, Login, Options};
use pirogue::bus::{Bus, BusFault, Confirm, EVENTS, Tls};
use std::fs;
use std::path::Path;
use std::process::Command;

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.current_dir(folder).args(arguments.split(' ')).output();
    let output = output.expect("openssl isn't there: run ./tests/run, which installs it");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes an authority, the broker's certificate, and members'.
pub fn make_certificates(folder: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
    for name in ["ca", "other-ca"] {
        openssl(folder, &format!("req -x509 {key} -subj /CN={name} -keyout {name}.key -out {name}.pem"));
    }
    fs::write(folder.join("broker.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost").unwrap();
    fs::write(folder.join("member.ext"), "extendedKeyUsage=clientAuth").unwrap();
    for (name, extension) in [("broker", "broker"), (SUD, "member"), ("nobody", "member")] {
        openssl(folder, &format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile \
                 {extension}.ext -out {name}.pem"
            ),
        );
    }
}

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
