//! A request, its answer by a CA that OpenSSL is, its renewal, and what is taken out again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tempfile::TempDir;

use super::{Desk, LISTENER, call, openssl};
use crate::common::ca::TestCa;
use crate::common::gatepost::{Gatepost, Site};
use crate::common::handshake::{Got, Kind, shake_hands};

/// A CA that signs requests: `openssl x509 -req`.
struct OpensslCa {
    folder: TempDir,
}

impl OpensslCa {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Self { folder };
        let key = "ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=Office -days 30 -x509";
        let constraints = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign";
        let paths = format!("-keyout {} -out {}", ca.file("ca.key"), ca.file("ca.pem"));
        let command = format!("req -newkey {key} {constraints} {paths}");
        openssl(&command.split(' ').collect::<Vec<_>>(), "");
        ca
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn certificate(&self) -> String {
        fs::read_to_string(self.folder.path().join("ca.pem")).unwrap()
    }

    /// Verifies and signs a request.
    fn sign(&self, request: &str) -> String {
        openssl(&["req", "-verify", "-noout"], request);
        let (certificate, key) = (self.file("ca.pem"), self.file("ca.key"));
        let mut arguments = vec!["x509", "-req", "-copy_extensions", "copy", "-days", "20"];
        arguments.extend(["-CA", &certificate, "-CAkey", &key]);
        openssl(&arguments, request)
    }

    /// A file with what came from the CA.
    fn answer(&self, contents: &[u8]) -> PathBuf {
        let path = self.folder.path().join("whatever.txt");
        fs::write(&path, contents).unwrap();
        path
    }
}

/// SHA-256 over the public key of a certificate or a request, as OpenSSL computes it.
fn public_key(what: &str, pem: &str) -> String {
    let key = openssl(&[what, "-noout", "-pubkey"], pem);
    let digest = openssl(&["pkey", "-pubin", "-pubout", "-outform", "PEM"], &key);
    digest.trim().to_owned()
}

#[track_caller]
fn serves(gatepost: &Gatepost, kind: Kind, name: &str, pem: &str) {
    let expected = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let got = shake_hands(gatepost.address("tcp"), kind, Some(name));
    assert_eq!(got, Got::Certificate(expected.to_vec()), "{name}");
}

#[test]
fn a_request_is_answered_served_renewed_and_given_out() {
    let (ca, office) = (TestCa::today(), OpensslCa::new());
    for (way, desk) in Desk::all(&ca, &office.certificate()) {
        let fields = json!({
            "hostnames": ["mail.example.org", "*.example.org", "192.0.2.7", "bücher.example"],
            "country": "DE", "organization": "Example", "unit": "Post", "city": "Köln",
            "state": "NRW",
        });
        let name = desk.request(&fields);
        assert_eq!(name, "mail.example.org", "{way}");
        let waiting = ["mail.example.org request", "server certificate"];
        assert_eq!(desk.list(), waiting, "{way}");
        let key = desk.file("mail.example.org.key");
        let request = desk.export(&name, "request");
        assert_eq!(request.as_bytes(), desk.file("mail.example.org.csr"));
        assert_eq!(desk.export(&name, "key").as_bytes(), key, "{way}");

        // As CAs send it: the issuer first, in a file of any name.
        let signed = office.sign(&request);
        let answer = office.answer(format!("{}{signed}", office.certificate()).as_bytes());
        assert_eq!(desk.import_signed(&answer), name, "{way}");
        let certified = ["mail.example.org certificate", "server certificate"];
        assert_eq!(desk.list(), certified, "{way}");
        assert!(!desk.has("mail.example.org.csr"), "{way}");
        assert_eq!(
            desk.file("mail.example.org.key"),
            key,
            "the key never moves, {way}"
        );
        assert_eq!(desk.export(&name, "certificate"), signed, "{way}");
        let shown = desk.show(&name);
        assert_eq!(shown["standing"], "trusted", "{way}");
        assert_eq!(shown["request"], json!(null), "{way}");

        // A renewal: everything but one field as it was, and the old one served meanwhile.
        assert_eq!(desk.request(&json!({"from": name, "unit": "Office"})), name);
        assert_eq!(desk.list()[..2], [certified[0], waiting[0]], "{way}");
        let renewal = desk.export(&name, "request");
        assert_eq!(public_key("req", &renewal), public_key("req", &request));
        let text = openssl(
            &[
                "req",
                "-noout",
                "-subject",
                "-nameopt",
                "RFC2253,utf8,-esc_msb",
            ],
            &renewal,
        );
        let subject = "subject=CN=mail.example.org,OU=Office,O=Example,L=Köln,ST=NRW,C=DE\n";
        assert_eq!(text, subject, "{way}");
        let shown = desk.show(&name);
        assert_eq!(
            shown["request"]["spki_sha256"], shown["spki_sha256"],
            "{way}"
        );
        assert_eq!(desk.export(&name, "certificate"), signed, "{way}");
        let renewed = office.sign(&renewal);
        let der = pem::parse(&renewed).unwrap().into_contents();
        assert_eq!(desk.import_signed(&office.answer(&der)), name, "{way}");
        assert_eq!(desk.list(), certified, "{way}");
        assert_eq!(desk.file("mail.example.org.key"), key, "{way}");
        assert_eq!(public_key("x509", &renewed), public_key("req", &request));

        let gatepost = desk.served();
        for asked in [
            "mail.example.org",
            "any.example.org",
            "xn--bcher-kva.example",
        ] {
            serves(&gatepost, Kind::Modern, asked, &renewed);
        }
    }
}

#[test]
fn an_answer_in_pkcs7_is_taken_with_its_chain_in_order() {
    let (ca, office) = (TestCa::today(), OpensslCa::new());
    for (way, desk) in Desk::all(&ca, &office.certificate()) {
        let name = desk.request(&json!({"hostnames": ["a.test"], "country": "DE"}));
        let signed = office.sign(&desk.export(&name, "request"));
        let both = office.answer(format!("{}{signed}", office.certificate()).as_bytes());
        let pkcs7 = office.file("answer.p7b");
        let mut arguments = vec!["crl2pkcs7", "-nocrl", "-outform", "DER", "-out", &pkcs7];
        arguments.extend(["-certfile", both.to_str().unwrap()]);
        openssl(&arguments, "");
        assert_eq!(desk.import_signed(&PathBuf::from(&pkcs7)), name, "{way}");
        assert_eq!(desk.export(&name, "certificate"), signed, "{way}");
        assert_eq!(desk.show(&name)["standing"], "trusted", "{way}");
        let gatepost = desk.served();
        serves(&gatepost, Kind::Modern, "a.test", &signed);
    }
}

#[test]
fn every_kind_of_key_is_signed_and_served() {
    let (ca, office) = (TestCa::today(), OpensslCa::new());
    let server = ca.leaf(&["server.test"]).issue();
    let gatepost = Gatepost::start(&ca, &[("server", &server)], LISTENER);
    let desk = Desk::Proxy(gatepost);
    let kinds = [
        ("ecdsa-p256", Kind::EcdsaOnly),
        ("ecdsa-p384", Kind::EcdsaOnly12),
        ("rsa-2048", Kind::RsaOnly),
        ("rsa-3072", Kind::RsaOnly12),
        ("rsa-4096", Kind::Tls12),
        ("ed25519", Kind::Ed25519Only),
    ];
    let signed = kinds.map(|(key, _)| {
        let host = format!("{key}.example.org");
        let fields = json!({"hostnames": [host], "country": "DE", "key_type": key, "name": key});
        assert_eq!(desk.request(&fields), key);
        let request = desk.export(key, "request");
        let signed = office.sign(&request);
        assert_eq!(desk.import_signed(&office.answer(signed.as_bytes())), key);
        assert_eq!(public_key("x509", &signed), public_key("req", &request));
        signed
    });
    let gatepost = desk.served();
    for ((key, kind), signed) in kinds.into_iter().zip(&signed) {
        serves(&gatepost, kind, &format!("{key}.example.org"), signed);
    }
}

#[test]
fn an_answer_to_nobody_says_what_was_looked_for_and_what_waits() {
    let (ca, office) = (TestCa::today(), OpensslCa::new());
    let stranger = ca.leaf(&["stranger.test"]).issue();
    for (way, desk) in Desk::all(&ca, &office.certificate()) {
        desk.request(&json!({"hostnames": ["a.test"], "country": "DE"}));
        let id = desk.show("a.test")["request"]["key_id"].clone();
        let waits = format!("; waiting: a.test (key id {})", id.as_str().unwrap());
        let file = office.answer(stranger.certificate.as_bytes());
        let said = match &desk {
            Desk::Api(gatepost) => {
                let document = json!({"certificate_pem": stranger.certificate});
                let answer = call(gatepost, "POST", "/v1/import-signed", &document);
                assert_eq!(answer.0, 422, "{way}");
                answer.1
            }
            desk => {
                let outcome = desk.command(&["cert", "import-signed", file.to_str().unwrap()]);
                assert_eq!(outcome.status.code(), Some(1), "{way}");
                assert_eq!(outcome.stdout, "", "{way}");
                outcome.stderr
            }
        };
        let expected = "no request waits for the certificate: looked for key id ";
        assert!(
            said.contains(expected) && said.contains(&waits),
            "{way}: {said}"
        );
        assert_eq!(
            desk.list(),
            ["a.test request", "server certificate"],
            "{way}"
        );
    }
}

#[test]
fn other_names_than_asked_for_are_taken_with_a_warning() {
    let (ca, office) = (TestCa::today(), OpensslCa::new());
    for (way, desk) in Desk::all(&ca, &office.certificate()) {
        desk.request(&json!({"hostnames": ["a.test", "b.test"], "country": "DE"}));
        let request = desk.export("a.test", "request");
        // A CA that takes the common name alone.
        let (certificate, key) = (office.file("ca.pem"), office.file("ca.key"));
        let arguments = [
            "x509",
            "-req",
            "-days",
            "9",
            "-CA",
            &certificate,
            "-CAkey",
            &key,
        ];
        let signed = openssl(&arguments, &request);
        let expected = "not the names that were asked for: the certificate is not for b.test";
        match &desk {
            Desk::Api(gatepost) => {
                let document = json!({"certificate_pem": signed});
                let (status, answer) = call(gatepost, "POST", "/v1/import-signed", &document);
                assert_eq!(status, 200, "{way}");
                assert!(
                    answer.contains(expected) && answer.contains("other-names"),
                    "{answer}"
                );
            }
            desk => {
                let file = office.answer(signed.as_bytes());
                let outcome = desk.command(&["cert", "import-signed", file.to_str().unwrap()]);
                let warning = format!("a.test: warning: {expected}");
                assert!(outcome.stderr.contains(&warning), "{outcome:#?}");
                assert_eq!(outcome.ok(), "a.test\n");
            }
        }
        assert_eq!(
            desk.list(),
            ["a.test certificate", "server certificate"],
            "{way}"
        );
    }
}

#[test]
fn requests_are_given_up_and_certificates_removed() {
    let ca = TestCa::today();
    for (way, desk) in Desk::all(&ca, &ca.root()) {
        let fields = json!({"hostnames": ["a.test"], "country": "DE", "name": "a"});
        desk.new_certificate(&fields);
        let key = desk.file("a.key");
        desk.request(&fields);
        assert_ne!(desk.file("a.key"), key, "{way}: both keys");
        let arguments = ["cert", "remove", "a", "--request"];
        desk.ask(
            "DELETE",
            "/v1/certificates/a/request",
            &json!(null),
            &arguments,
        );
        assert_eq!(
            desk.list(),
            ["a certificate", "server certificate"],
            "{way}"
        );
        assert_eq!(desk.file("a.key"), key, "{way}");

        let arguments = ["cert", "set-default", "a"];
        desk.ask("PUT", "/v1/default", &json!({"name": "a"}), &arguments);
        assert_eq!(desk.show("a")["default"], json!(true), "{way}");
        let arguments = ["cert", "remove", "a", "--force"];
        desk.ask(
            "DELETE",
            "/v1/certificates/a?force=true",
            &json!(null),
            &arguments,
        );
        assert_eq!(desk.list(), ["server certificate"], "{way}");
        assert!(!desk.has("a.key"), "{way}");
        assert_eq!(desk.show("server")["default"], json!(true), "{way}");
    }
}

#[test]
fn a_key_goes_to_a_file_for_its_owner_alone_and_is_logged() {
    let ca = TestCa::today();
    for (way, desk) in Desk::all(&ca, &ca.root()) {
        let key = desk.file("server.key");
        let file = desk.site().path("key.pem");
        let path = file.to_str().unwrap();
        let refused = desk.command(&["cert", "export", "server", "--key"]);
        assert_eq!(refused.status.code(), Some(64), "{way}");
        assert_eq!(
            (refused.stdout.as_str(), file.exists()),
            ("", false),
            "{way}"
        );
        let export = ["cert", "export", "server", "--key", "-o", path];
        assert_eq!(desk.command(&export).ok(), "", "{way}");
        assert_eq!(fs::read(&file).unwrap(), key, "{way}");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{way}");
        let again = desk.command(&export);
        assert_eq!(again.status.code(), Some(1), "{way}");
        let expected = "exists already, choose another file or replace it with --force";
        assert!(again.stderr.contains(expected), "{again:#?}");
        desk.command(&[&export[..], &["--force"]].concat()).ok();
        assert_eq!(desk.export("server", "key").as_bytes(), key, "{way}");

        let (Desk::Proxy(gatepost) | Desk::Api(gatepost)) = &desk else {
            continue;
        };
        let line = gatepost.logged(&["private key given out", "\"server\""]);
        let text = line.to_string();
        let uid = rustix::process::getuid().as_raw();
        assert!(text.contains(&format!("\"uid\":{uid}")), "{text}");
        assert!(text.contains("\"pid\":"), "{text}");
        assert!(!gatepost.server.log().contains("PRIVATE KEY-----"), "{way}");
    }
}

#[test]
fn what_the_api_gives_out_says_what_it_is() {
    let ca = TestCa::today();
    let server = ca.leaf(&["server.test"]).issue();
    let site = Site::new(&ca, &[("server", &server)], LISTENER);
    let desk = Desk::Api(site.start());
    desk.request(&json!({"hostnames": ["a.test"], "country": "DE"}));
    let Desk::Api(gatepost) = &desk else {
        unreachable!()
    };
    let socket = gatepost.site.path("gatepost.sock");
    for (path, kind, block) in [
        (
            "server/certificate",
            "application/pem-certificate-chain",
            "CERTIFICATE",
        ),
        (
            "server/chain",
            "application/pem-certificate-chain",
            "CERTIFICATE",
        ),
        ("server/key", "application/x-pem-file", "PRIVATE KEY"),
        (
            "a.test/request",
            "application/x-pem-file",
            "CERTIFICATE REQUEST",
        ),
    ] {
        let url = format!("http://gatepost/v1/certificates/{path}");
        let arguments = [
            "--silent",
            "--include",
            "--unix-socket",
            socket.to_str().unwrap(),
            &url,
        ];
        let answer = crate::common::process::run("curl", arguments, b"").ok();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
        assert_eq!(
            head.contains("cache-control: no-store"),
            path.ends_with("key"),
            "{head}"
        );
        assert!(
            body.starts_with(&format!("-----BEGIN {block}-----\n")),
            "{path}"
        );
    }
}
