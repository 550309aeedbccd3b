//! What is not imported, and what is imported with a warning; each says why.

use std::fs;
use std::fs::File;

use serde_json::Value;

use super::tools::openssl;
use super::{cert, folder, seen, served, site};
use crate::common::ca::{DAY, TestCa};
use crate::common::gatepost::{PROGRAM, Site};
use crate::common::handshake::Got;
use crate::common::process::run;

const FAILED: i32 = 1;
const USAGE: i32 = 64;

/// A site with files of every kind that can be got wrong.
fn prepared() -> Site {
    let ca = TestCa::today();
    let site = site(&ca);
    let (own, other) = (
        ca.leaf(&["mail.example"]).issue(),
        ca.leaf(&["a.example"]).issue(),
    );
    for (file, text) in [
        ("mail.crt", &own.certificate),
        ("mail.key", &own.key),
        ("other.key", &other.key),
        ("secret", &"right\n".to_owned()),
        ("wrong", &"wrong\n".to_owned()),
    ] {
        fs::write(site.path(file), text).unwrap();
    }
    for line in [
        "pkcs8 -topk8 -in mail.key -passout pass:right -out mail.p8",
        "pkcs12 -export -in mail.crt -inkey mail.key -passout pass:right -out mail.p12",
        "req -new -key mail.key -subj /CN=mail.example -out mail.csr",
        "req -new -key mail.key -subj /CN=mail.example -outform DER -out mail.csr.der",
        "genrsa -out weak.key 1024",
        "req -x509 -key weak.key -subj /CN=weak -out weak.crt",
        "pkcs12 -export -in weak.crt -inkey weak.key -passout pass:right -out weak.p12",
    ] {
        openssl(&site, line);
    }
    let ssh = site.path("id");
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", ssh.to_str().unwrap()];
    run("ssh-keygen", arguments, b"").ok();
    let large = File::create(site.path("large")).unwrap();
    large.set_len(50_000_000).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        site.path("fifo"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    site
}

fn key_id(site: &Site, key: &str) -> String {
    openssl(
        site,
        &format!("pkey -in {key} -pubout -outform DER -out public.der"),
    );
    let digest = openssl(site, "dgst -sha256 -r public.der");
    digest[..16].to_owned()
}

/// Panics unless the import is refused with this error, on one line, and changes nothing.
#[track_caller]
fn refused(site: &Site, line: &str, status: i32, error: &str) {
    let before = folder(site);
    let outcome = cert(site, &format!("import {line}"));
    assert_eq!(outcome.status.code(), Some(status), "{line}: {outcome:#?}");
    assert!(
        outcome.stderr.contains(error),
        "{line}: {outcome:#?}\n{error}"
    );
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    assert_eq!(outcome.stdout, "");
    assert!(folder(site) == before, "{line}");
}

#[test]
fn a_key_that_does_not_fit_or_cannot_sign_is_refused() {
    let site = prepared();
    let keys = format!(
        "gatepost: the key that was given (key id {}) is not the key of the certificate (key id {})",
        key_id(&site, "other.key"),
        key_id(&site, "mail.key"),
    );
    for (line, error) in [
        ("@mail.crt --key @other.key", keys.as_str()),
        (
            "@weak.crt --key @weak.key",
            "weak.key: RSA key of 1024 bits, at least 2048 needed",
        ),
        (
            "@weak.p12 --passphrase-file @secret",
            "weak.p12: RSA key of 1024 bits, at least 2048 needed",
        ),
    ] {
        refused(&site, line, FAILED, error);
    }
}

#[test]
fn a_pass_phrase_that_is_missing_and_one_that_is_wrong_are_told_apart() {
    let site = prepared();
    for (line, error) in [
        (
            "@mail.crt --key @mail.p8",
            "mail.p8: give the pass phrase with --passphrase-file FILE (- is standard input): the \
             private key cannot be opened: encrypted (PBES2, PBKDF2, AES-256-CBC), and no pass \
             phrase was given",
        ),
        (
            "@mail.crt --key @mail.p8 --passphrase-file @wrong",
            "mail.p8: the private key cannot be opened: the pass phrase is wrong (encrypted with \
             PBES2, PBKDF2, AES-256-CBC)",
        ),
        (
            "@mail.p12",
            "mail.p12: give the pass phrase with --passphrase-file FILE (- is standard input): the \
             PKCS#12 file cannot be opened: encrypted (PKCS#12), and no pass phrase was given",
        ),
        (
            "@mail.p12 --passphrase-file @wrong",
            "mail.p12: the PKCS#12 file cannot be opened: the pass phrase is wrong (encrypted with PKCS#12)",
        ),
    ] {
        refused(&site, line, FAILED, error);
    }
}

#[test]
fn what_is_no_certificate_and_no_key_is_called_by_its_name() {
    let site = prepared();
    let only = "no certificate and no private key found, only";
    let request = "a certificate request (what the CA makes of it is the certificate)";
    for (line, error) in [
        ("@mail.crt", "no key was given, and no key in "),
        ("@mail.key", "no certificate in "),
        (
            "@mail.crt --key @mail.crt",
            "mail.crt: no private key in it, only certificates",
        ),
        (
            "@mail.csr --key @mail.key",
            &format!("mail.csr: {only} {request}"),
        ),
        (
            "@mail.csr.der --key @mail.key",
            &format!("mail.csr.der: {only} {request}"),
        ),
        (
            "@mail.crt --key @id",
            &format!("id: {only} an SSH private key"),
        ),
        (
            "@id.pub",
            "id.pub: found an SSH public key, expected a certificate or a private key",
        ),
    ] {
        refused(&site, line, FAILED, error);
    }
}

#[test]
fn nothing_is_read_without_bound_or_waited_for() {
    let site = prepared();
    for (line, error) in [
        ("@large", "large: 50000000 bytes, expected at most 1048576"),
        ("@fifo", "fifo: a FIFO, expected a regular file"),
        (
            "@mail.crt --key @fifo",
            "fifo: a FIFO, expected a regular file",
        ),
        (
            "@mail.p12 --passphrase-file @fifo",
            "fifo: a FIFO, expected a regular file",
        ),
        ("@sslcert", "sslcert: a folder, expected a regular file"),
        ("/dev/zero", "/dev/zero: a device, expected a regular file"),
        (
            "@nothing",
            "nothing: cannot be read: No such file or directory",
        ),
        ("- --key -", "standard input (-) can be given only once"),
    ] {
        refused(&site, line, FAILED, error);
    }
}

#[test]
fn a_name_that_fits_no_file_system_is_refused() {
    let site = prepared();
    let long = "n".repeat(241);
    for name in ["../mail", "a/b", "\u{fc}", ".hidden", "default", &long] {
        let error = format!("gatepost: {name:?} cannot name a certificate: ");
        let line = format!("@mail.crt --key @mail.key --name {name}");
        refused(&site, &line, USAGE, &error);
    }
}

#[test]
fn descriptors_and_standard_input_are_read_where_they_are_named() {
    let site = prepared();
    let config = site.path("proxy.toml");
    let shell = |script: &str, input: &[u8]| {
        let script = format!("cd {} && {script}", site.path("").display());
        let arguments = ["-c", &script, PROGRAM, config.to_str().unwrap()];
        run("bash", arguments, input)
    };
    let import = "\"$0\" --config \"$1\" cert import";
    for script in [
        format!("{import} mail.crt --key mail.p8 --passphrase-file - --name a"),
        format!("{import} mail.crt --key mail.p8 --passphrase-file /dev/stdin --name b"),
        format!("{import} mail.p12 --passphrase-file /dev/fd/3 --name c 3<&0"),
        format!(
            "{import} <(cat mail.crt) --key <(cat mail.p8) --passphrase-file <(cat secret) --name d"
        ),
    ] {
        let outcome = shell(&script, b"right\r\nand more\n");
        assert!(outcome.status.success(), "{script}: {outcome:#?}");
    }
    let both = [
        fs::read(site.path("mail.crt")),
        fs::read(site.path("mail.key")),
    ];
    let both = both.map(Result::unwrap).concat();
    let outcome = shell(&format!("{import} - --name e"), &both);
    assert_eq!(outcome.ok(), "e\n");
    let outcome = shell(&format!("{import} - --name f"), &vec![b'x'; 1_048_577]);
    assert_eq!(outcome.stderr, "gatepost: -: more than 1048576 bytes\n");
}

#[test]
fn an_encrypted_key_in_the_folder_is_set_aside_with_the_way_out() {
    let site = prepared();
    for (from, to) in [("mail.crt", "one.crt"), ("mail.p8", "one.key")] {
        fs::copy(site.path(from), site.path("sslcert").join(to)).unwrap();
    }
    let checked = site.command(&["check"]);
    let expected = "one: set aside: one.key: the private key is encrypted (ENCRYPTED PRIVATE KEY): \
                    \"gatepost cert import\" takes it with its pass phrase\n";
    assert!(checked.stderr.contains(expected), "{checked:#?}");
    let outcome = cert(
        &site,
        "import @sslcert/one.crt --key @sslcert/one.key --passphrase-file @secret --name one",
    );
    assert_eq!(outcome.ok(), "one\n");
    assert!(!site.command(&["check"]).stderr.contains("one: set aside"));
}

#[test]
fn what_clients_would_not_trust_is_served_and_said() {
    let ca = TestCa::today();
    let gatepost = site(&ca).start();
    let site = &gatepost.site;
    let expired = ca
        .leaf(&["odd.example"])
        .dates(-9 * DAY, -DAY)
        .self_signed();
    fs::write(site.path("expired.crt"), &expired.certificate).unwrap();
    fs::write(site.path("expired.key"), &expired.key).unwrap();
    let names = "-subj /CN=odd.example -addext subjectAltName=DNS:odd.example";
    let critical = "-addext 1.2.3.4=critical,ASN1:NULL";
    let new = "req -x509 -newkey rsa:2048 -nodes -keyout odd.key";
    let end_entity = "-addext basicConstraints=CA:FALSE";
    openssl(
        site,
        "req -new -newkey rsa:2048 -nodes -keyout v1.key -subj /CN=odd.example -out v1.csr",
    );
    openssl(site, "x509 -req -in v1.csr -signkey v1.key -out v1.crt");
    for (name, line, codes) in [
        (
            "no-san",
            format!("{new} -subj /CN=odd.example {end_entity} -out no-san.crt"),
            &["no-subject-alt-name"][..],
        ),
        (
            "sha1",
            format!("{new} -sha1 {names} {end_entity} -out sha1.crt"),
            &["weak-signature"],
        ),
        (
            "ca",
            format!("{new} {names} -out ca.crt"),
            &["ca-certificate"],
        ),
        (
            "critical",
            format!("{new} {names} {end_entity} {critical} -out critical.crt"),
            &["unknown-critical-extension"],
        ),
        ("expired", String::new(), &["expired"]),
        ("v1", String::new(), &["no-subject-alt-name", "old-version"]),
    ] {
        let mut key = "odd.key";
        match name {
            "v1" => key = "v1.key",
            "expired" => key = "expired.key",
            _ => drop(openssl(site, &line)),
        }
        let outcome = cert(
            site,
            &format!("import @{name}.crt --key @{key} --name {name}"),
        );
        assert_eq!(outcome.stderr.lines().count(), codes.len(), "{outcome:#?}");
        assert_eq!(outcome.ok(), format!("{name}\n"));
        let shown: Value =
            serde_json::from_str(&cert(site, &format!("show {name} --json")).ok()).unwrap();
        let found: Vec<String> = super::problems(&shown)
            .into_iter()
            .map(|(code, _)| code)
            .collect();
        assert_eq!(found, codes, "{name}");
        let standing = if name == "expired" {
            "expired"
        } else {
            "self-signed"
        };
        assert_eq!(shown["standing"], standing, "{name}");
        let der = fs::read(site.path(&format!("{name}.crt"))).unwrap();
        let der = pem::parse(der).unwrap().into_contents();
        // As a client, rustls refuses both.
        let ask = if ["critical", "v1"].contains(&name) {
            seen
        } else {
            served
        };
        assert_eq!(
            ask(&gatepost, "odd.example"),
            Got::Certificate(der),
            "{name}"
        );
        cert(site, &format!("remove {name}")).ok();
    }
}
