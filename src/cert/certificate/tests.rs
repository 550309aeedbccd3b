use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::string::{BmpString, TeletexString};
use rcgen::{DnType, DnValue, KeyPair, PKCS_ECDSA_P521_SHA512, SanType};

use super::*;
use crate::cert::read_bundle;
use crate::cert::testing::{
    Leaf, ca_params, days, issued, openssl, openssl_self_signed, params, root, self_signed,
};

fn read(leaf: &Leaf) -> Certificate {
    Certificate::from_der(leaf.der.clone()).unwrap()
}

fn read_pem(pem: &[u8]) -> Certificate {
    // The key beside it may be one that is refused.
    let start = pem
        .windows(27)
        .position(|part| part == b"-----BEGIN CERTIFICATE-----");
    let der = read_bundle(&pem[start.unwrap()..])
        .unwrap()
        .certificates
        .remove(0);
    Certificate::from_der(der).unwrap()
}

fn texts(certificate: &Certificate) -> Vec<String> {
    certificate.names.iter().map(ToString::to_string).collect()
}

fn codes(certificate: &Certificate) -> Vec<ProblemCode> {
    certificate
        .problems
        .iter()
        .map(|problem| problem.code)
        .collect()
}

#[test]
fn all_that_it_says_is_read() {
    let authority = root("Test CA", days(-10, 100));
    let mut params = params(
        "mail.example.com",
        &["Mail.example.com", "*.example.org", "mail.example.com"],
        days(-1, 30),
    );
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    params
        .subject_alt_names
        .extend(addresses.map(SanType::IpAddress));
    params
        .subject_alt_names
        .push(SanType::Rfc822Name("a@b.example".try_into().unwrap()));
    params.serial_number = Some(vec![0x80, 1].into());
    let leaf = issued(&params, &authority);
    let certificate = read(&leaf);
    assert_eq!(certificate.subject(), "CN=mail.example.com");
    assert_eq!(certificate.issuer(), "CN=Test CA");
    assert_eq!(certificate.serial(), "8001");
    assert_eq!(texts(&certificate), ["mail.example.com", "*.example.org"]);
    assert_eq!(certificate.addresses, addresses);
    assert_eq!(certificate.name_source, NameSource::SubjectAltName);
    assert_eq!(certificate.validity, days(-1, 30));
    assert_eq!(certificate.key_type, KeyType::EcdsaP256);
    assert_eq!(certificate.spki(), leaf.private_key().spki());
    assert_eq!(certificate.signature_algorithm(), "ecdsa-with-SHA256");
    assert!(!certificate.self_signed);
    assert_eq!(certificate.problems, []);
}

#[test]
fn fingerprints_are_those_of_openssl() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.crt");
    let file = path.to_str().unwrap();
    std::fs::write(&path, openssl_self_signed(&["-subj", "/CN=a.example"])).unwrap();
    let certificate = read_pem(&std::fs::read(&path).unwrap());
    let x509 = |arguments: &[&str]| {
        let output = openssl(&[&["x509", "-noout", "-in", file], arguments].concat());
        let text = String::from_utf8(output).unwrap().to_lowercase();
        let (_, value) = text.trim().split_once('=').unwrap();
        value.replace(':', "")
    };
    assert_eq!(
        certificate.fingerprint(),
        x509(&["-fingerprint", "-sha256"])
    );
    assert_eq!(certificate.serial(), x509(&["-serial"]));
    let public = folder.path().join("a.pub");
    std::fs::write(&public, certificate.spki()).unwrap();
    let digest = openssl(&["dgst", "-sha256", "-r", public.to_str().unwrap()]);
    let digest = String::from_utf8(digest).unwrap();
    assert!(digest.starts_with(&hex(&certificate.spki_sha256())));
}

#[test]
fn the_common_name_counts_only_without_any_name_or_address() {
    let period = days(0, 1);
    let bare = read(&self_signed(&params("Bücher.example", &[], period)));
    assert_eq!(texts(&bare), ["xn--bcher-kva.example"]);
    assert_eq!(bare.name_source, NameSource::CommonName);
    assert_eq!(codes(&bare), [ProblemCode::NoSubjectAltName]);

    let mut by_mail = params("a.example", &[], period);
    by_mail.subject_alt_names = vec![SanType::Rfc822Name("a@b.example".try_into().unwrap())];
    assert_eq!(texts(&read(&self_signed(&by_mail))), ["a.example"]);

    let unusable = read(&self_signed(&params("a.example", &["f*.x"], period)));
    assert_eq!(texts(&unusable), [""; 0]);
    assert_eq!(unusable.name_source, NameSource::SubjectAltName);
    assert_eq!(codes(&unusable), [ProblemCode::UnusableName]);
    assert!(unusable.problems[0].message.contains("\"f*.x\""));

    let mut by_address = params("a.example", &[], period);
    by_address.subject_alt_names = vec![SanType::IpAddress("192.0.2.1".parse().unwrap())];
    assert_eq!(texts(&read(&self_signed(&by_address))), [""; 0]);

    let words = read(&self_signed(&params("My Server", &[], period)));
    assert_eq!(
        codes(&words),
        [ProblemCode::NoSubjectAltName, ProblemCode::UnusableName]
    );
}

#[test]
fn names_are_read_in_every_string_type() {
    let ucs2 = BmpString::try_from("ä.example").unwrap();
    let teletex = TeletexString::try_from("t.example").unwrap();
    for (value, expected) in [
        (DnValue::BmpString(ucs2), "xn--4ca.example"),
        (DnValue::TeletexString(teletex), "t.example"),
    ] {
        let mut params = params("x", &[], days(0, 1));
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, value);
        assert_eq!(texts(&read(&self_signed(&params))), [expected]);
    }
    // Many have U-labels in a dNSName, where only A-labels belong.
    let made = openssl_self_signed(&[
        "-subj",
        "/CN=x",
        "-addext",
        "subjectAltName=DNS:bücher.example",
    ]);
    assert_eq!(texts(&read_pem(&made)), ["xn--bcher-kva.example"]);
}

#[test]
fn subjects_are_rfc_4514_text() {
    let subject = r"/C=DE/O=Ex\, Inc. <x>/OU= #1 /CN=a.example/emailAddress=a@b.example";
    let made = openssl_self_signed(&["-subj", subject]);
    assert_eq!(
        read_pem(&made).subject(),
        r"emailAddress=a@b.example,CN=a.example,OU=\ #1\ ,O=Ex\, Inc. \<x\>,C=DE"
    );
    let made = openssl_self_signed(&[
        "-subj",
        "/pseudonym=x/O=\x1b[31m\n/CN=a+OU=b",
        "-multivalue-rdn",
    ]);
    assert_eq!(
        read_pem(&made).subject(),
        r"CN=a+OU=b,O=\1b[31m\0a,2.5.4.65=#0c0178"
    );
}

#[test]
fn oddities_are_reported_and_served_all_the_same() {
    let san = ["-addext", "subjectAltName=DNS:a.example"];
    let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let make = |arguments: &[&str]| {
        read_pem(&openssl_self_signed(
            &[&["-subj", "/CN=a.example"], arguments].concat(),
        ))
    };
    let rsa = |bits| ["-newkey", bits];
    let sha1 = make(&[&rsa("rsa:2048")[..], &["-sha1"], &san, &leaf].concat());
    assert_eq!(codes(&sha1), [ProblemCode::WeakSignature]);
    assert_eq!(sha1.signature_algorithm(), "sha1WithRSAEncryption");
    assert!(sha1.self_signed);

    let md5 = make(&[&rsa("rsa:2048")[..], &["-md5"], &san, &leaf].concat());
    assert_eq!(codes(&md5), [ProblemCode::WeakSignature]);

    let small = make(&[&rsa("rsa:1024")[..], &san, &leaf].concat());
    assert_eq!(small.key_type, KeyType::Rsa(1024));

    let ca = make(&[&rsa("rsa:2048")[..], &san].concat());
    assert_eq!(codes(&ca), [ProblemCode::CaCertificate]);
    assert!(ca.self_signed);

    let pss = [
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:digest",
    ];
    let modern = make(&[&rsa("rsa:2048")[..], &pss, &san, &leaf].concat());
    assert_eq!(codes(&modern), []);
    assert_eq!(modern.signature_algorithm(), "rsassaPss");
    assert!(modern.self_signed);
    let old = make(&[&rsa("rsa:2048")[..], &pss, &["-sha1"], &san, &leaf].concat());
    assert_eq!(codes(&old), [ProblemCode::WeakSignature]);

    let ed448 = make(&["-newkey", "ed448"]);
    assert_eq!(ed448.key_type, KeyType::Other);
}

#[test]
fn version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, request) = (file("key"), file("request"));
    openssl(&[
        "req",
        "-new",
        "-nodes",
        "-keyout",
        &key,
        "-out",
        &request,
        "-subj",
        "/CN=a.example",
    ]);
    let made = openssl(&["x509", "-req", "-in", &request, "-signkey", &key]);
    let certificate = read_pem(&made);
    assert_eq!(
        codes(&certificate),
        [ProblemCode::NoSubjectAltName, ProblemCode::OldVersion]
    );
    assert!(certificate.self_signed);
    assert_eq!(texts(&certificate), ["a.example"]);
}

#[test]
fn self_signed_means_by_its_own_key() {
    let authority = root("Same Name", days(0, 10));
    let impostor = issued(&params("Same Name", &["a.example"], days(0, 1)), &authority);
    assert_eq!(read(&impostor).subject(), read(&impostor).issuer());
    assert!(!read(&impostor).self_signed);

    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
    let der = params("a", &["a.example"], days(0, 1))
        .self_signed(&key)
        .unwrap();
    let certificate = Certificate::from_der(der.der().clone()).unwrap();
    assert_eq!(certificate.key_type, KeyType::EcdsaP521);
    assert!(certificate.self_signed);
}

#[test]
fn what_is_no_certificate_is_refused_in_words() {
    let good = self_signed(&ca_params("a", days(0, 1))).der.to_vec();
    let longer = [&good[..], b"more"].concat();
    for (der, error) in [
        (Vec::new(), "not an X.509 certificate"),
        (good[..good.len() - 1].to_vec(), "not an X.509 certificate"),
        (longer, "4 bytes follow the end of the certificate"),
        (
            vec![0x30; 70_000],
            "certificate of 70000 bytes, at most 65536 are read",
        ),
    ] {
        let found = Certificate::from_der(der.into()).unwrap_err();
        assert_eq!(found.to_string(), error);
    }
    let mut twice = params("a", &["a.example"], days(0, 1));
    let san = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0]);
    twice.custom_extensions.push(san);
    let found = Certificate::from_der(self_signed(&twice).der).unwrap_err();
    assert_eq!(
        found.to_string(),
        "the certificate's subjectAltName extension cannot be read"
    );
}

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let names = ["a.example", "*.b.example"];
    self_signed(&params("Größe", &names, days(0, 1)))
        .der
        .to_vec()
});

proptest! {
    #[test]
    fn damaged_bytes_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut der = SAMPLE.clone();
        for (at, byte) in damage {
            let at = at.index(der.len());
            der[at] = byte;
        }
        if let Ok(certificate) = Certificate::from_der(der.into()) {
            prop_assert_eq!(certificate.fingerprint().len(), 64);
        }
    }
}
