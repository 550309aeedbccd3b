//! Every form of every tool, in each of the three ways.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use data_encoding::BASE64;
use rustix::process::Signal;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::tools::{PASSPHRASE, Written, by_certtool, by_keytool, by_openssl};
use super::{cert, import_document, post, served, site};
use crate::common::ca::TestCa;
use crate::common::gatepost::{Gatepost, Site};
use crate::common::handshake::Got;

fn expected(written: &Written) -> Got {
    let der = CertificateDer::from_pem_slice(written.certificate.as_bytes()).unwrap();
    Got::Certificate(der.to_vec())
}

/// The arguments of `cert import`.
fn command_line(written: &Written) -> String {
    let mut line = "import".to_owned();
    for file in &written.files {
        line += &format!(" @{file}");
    }
    if let Some(key) = &written.key {
        line += &format!(" --key @{key}");
    }
    if written.encrypted {
        line += " --passphrase-file @secret";
    }
    line + " --name mail"
}

/// The same for the API, which takes text and bytes in fields of their own.
fn document(site: &Site, written: &Written) -> Value {
    let mut document = import_document(&[("name", "mail")]);
    if written.encrypted {
        document["passphrase"] = json!(PASSPHRASE);
    }
    let mut files: Vec<&String> = written.files.iter().collect();
    // A key in DER has no field of its own.
    files.extend(written.key.iter());
    let mut der = Vec::new();
    for file in files {
        let bytes = fs::read(site.path(file)).unwrap();
        let text = String::from_utf8(bytes.clone()).ok();
        let is_key = Some(file) == written.key.as_ref();
        match text.filter(|text| text.contains("-----BEGIN ")) {
            Some(text) if is_key => document["key_pem"] = json!(text),
            Some(text) => {
                let before = document["certificate_pem"].as_str().unwrap_or_default();
                document["certificate_pem"] = json!(format!("{before}{text}"));
            }
            None if file.contains(".p12") || file.contains(".pfx") => {
                document["pkcs12_base64"] = json!(BASE64.encode(&bytes));
            }
            None => der.extend(bytes),
        }
    }
    if !der.is_empty() {
        document["der_base64"] = json!(BASE64.encode(&der));
    }
    document
}

/// The folder has the certificate, and the key in clear for nobody else to read.
#[track_caller]
fn stored(site: &Site, what: &str) {
    let key = site.path("sslcert/mail.key");
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{what}");
    let text = fs::read_to_string(key).unwrap();
    assert!(text.contains("PRIVATE KEY-----"), "{what}");
    assert!(!text.contains("ENCRYPTED"), "{what}");
}

#[track_caller]
fn gone(gatepost: &Gatepost, name: &str, written: &Written) {
    cert(&gatepost.site, "remove mail").ok();
    assert_ne!(served(gatepost, name), expected(written));
}

/// Imports each in all three ways, and looks each time what a client gets for `name`.
fn in_every_way(name: &str, make: impl FnOnce(&Site) -> Vec<Written>) {
    let ca = TestCa::today();
    let mut gatepost = site(&ca).start();
    let all = make(&gatepost.site);
    fs::write(gatepost.site.path("secret"), format!("{PASSPHRASE}\n")).unwrap();
    for written in &all {
        let what = written.what;
        assert_ne!(served(&gatepost, name), expected(written), "{what}");
        let outcome = cert(&gatepost.site, &command_line(written));
        assert_eq!(outcome.ok(), "mail\n", "{what}");
        assert_eq!(
            served(&gatepost, name),
            expected(written),
            "{what}, command"
        );
        stored(&gatepost.site, what);
        gone(&gatepost, name, written);

        let document = document(&gatepost.site, written);
        let (status, answer) = post(&gatepost.site, "/v1/import", &document);
        assert_eq!(
            (status, &answer["name"]),
            (200, &json!("mail")),
            "{what}: {answer}"
        );
        assert_eq!(served(&gatepost, name), expected(written), "{what}, API");
        stored(&gatepost.site, what);
        gone(&gatepost, name, written);
    }
    let Gatepost { mut server, site } = gatepost;
    server.signal(Signal::TERM);
    server.end();
    let offline = |number| format!("offline-{number}");
    for (number, written) in all.iter().enumerate() {
        let name = offline(number);
        let line = command_line(written).replace("--name mail", &format!("--name {name}"));
        assert_eq!(
            cert(&site, &line).ok(),
            format!("{name}\n"),
            "{}",
            written.what
        );
    }
    gatepost = site.start();
    for (number, written) in all.iter().enumerate() {
        // All are for the same name: only as the default certificate each of them has its turn.
        cert(&gatepost.site, &format!("set-default {}", offline(number))).ok();
        let got = served(&gatepost, "unknown.example");
        assert_eq!(got, expected(written), "{}, offline", written.what);
    }
}

#[test]
fn what_openssl_writes_is_imported_and_served() {
    in_every_way("openssl.example", by_openssl);
}

#[test]
fn what_gnutls_writes_is_imported_and_served() {
    in_every_way("gnutls.example", by_certtool);
}

#[test]
fn what_java_writes_is_imported_and_served() {
    in_every_way("java.example", by_keytool);
}
