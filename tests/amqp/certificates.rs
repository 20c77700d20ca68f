//! Certificates of a private authority, for the nodes and for members.

use super::lab::SUD;
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
