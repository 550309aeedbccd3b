//! What becomes of chains on their way in, as the folder and the answer show it.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

use super::{cert, import_document, post, problems, served, site};
use crate::common::ca::{DAY, TestCa};
use crate::common::gatepost::Site;
use crate::common::handshake::Got;

/// What a file of certificates holds, end-entity certificate first.
fn chain(site: &Site, file: &str) -> Vec<String> {
    let text = fs::read_to_string(site.path(file)).unwrap();
    let ends = text.split_inclusive("-----END CERTIFICATE-----\n");
    ends.map(str::to_owned).collect()
}

fn same(pem: &str) -> String {
    pem.replace("\r\n", "\n")
}

#[test]
fn a_chain_is_put_in_order_completed_and_kept_so() {
    let ca = TestCa::today();
    let gatepost = site(&ca).start();
    let (leaf, root, middle) = (
        ca.leaf(&["mail.example"]).issue(),
        same(&ca.root()),
        same(&ca.intermediate()),
    );
    let expected = [same(&leaf.certificate), middle.clone()];
    for (number, text) in [
        format!("{root}{middle}{}{}", leaf.certificate, leaf.key),
        format!("{}{middle}{middle}{}{root}", leaf.key, leaf.certificate),
        // The intermediate is known: the other certificate has it.
        format!("{}{}", leaf.certificate, leaf.key),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("mail-{number}");
        let document = import_document(&[("certificate_pem", text), ("name", &name)]);
        let (status, answer) = post(&gatepost.site, "/v1/import", &document);
        assert_eq!(
            (status, &answer),
            (200, &json!({"name": name, "problems": []}))
        );
        assert_eq!(
            chain(&gatepost.site, &format!("sslcert/{name}.crt")),
            expected
        );
        let shown = cert(&gatepost.site, &format!("show {name} --json")).ok();
        assert!(shown.contains(r#""standing": "trusted""#), "{shown}");
    }
    let got = served(&gatepost, "mail.example");
    assert_eq!(got, Got::Certificate(leaf.der().to_vec()));
}

#[test]
fn what_is_missing_left_out_or_expired_is_said() {
    let ca = TestCa::today();
    let site = site(&ca);
    let leaf = ca.leaf(&["mail.example"]).issue();
    let other = TestCa::today();
    fs::write(
        site.path("leaf.pem"),
        format!("{}{}", leaf.certificate, leaf.key),
    )
    .unwrap();
    let stranger = other.intermediate_until(90 * DAY);
    fs::write(site.path("other.pem"), stranger.pem()).unwrap();
    let outcome = cert(&site, "import @leaf.pem @other.pem --name mail");
    assert_eq!(
        outcome.stderr,
        "mail: warning: certificate \"CN=Test Intermediate With An End\" has nothing to do with this one, and was left out\n"
    );
    assert_eq!(outcome.ok(), "mail\n");

    let gone = ca.intermediate_until(-DAY);
    let leaf = ca.leaf(&["gone.example"]).issued_by(&gone);
    fs::write(site.path("gone.pem"), format!("{}{}", leaf.chain, leaf.key)).unwrap();
    let outcome = cert(&site, "import @gone.pem --name gone");
    let start = "gone: warning: intermediate \"CN=Test Intermediate With An End\" expired on ";
    assert!(outcome.stderr.starts_with(start), "{outcome:#?}");
    assert_eq!(outcome.ok(), "gone\n");
}

#[test]
fn a_missing_issuer_is_named_with_its_address() {
    // authorityInfoAccess: caIssuers, an address.
    const ADDRESS: &str = "http://ca.example/middle.cer";
    const AUTHORITY_INFO_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
    let ca = TestCa::today();
    let site = site(&ca);
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "Middle");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let middle = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let method = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2];
    let location = [
        &[0x86, u8::try_from(ADDRESS.len()).unwrap()],
        ADDRESS.as_bytes(),
    ]
    .concat();
    let sequence =
        |content: Vec<u8>| [&[0x30, u8::try_from(content.len()).unwrap()][..], &content].concat();
    let access = sequence(sequence([&method[..], &location].concat()));
    let mut params = CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
    params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(
        AUTHORITY_INFO_ACCESS,
        access,
    )];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &middle).unwrap();
    fs::write(site.path("leaf.pem"), leaf.pem() + &key.serialize_pem()).unwrap();
    let outcome = cert(&site, "import @leaf.pem --name mail");
    let name = "CN=Middle,CN=rcgen self signed cert";
    let plain = "the issuer \"CN=Middle\" is missing: it is neither in the chain nor a trust anchor \
                 (its CA offers it at http://ca.example/middle.cer)";
    let expected = format!("mail: warning: {plain}\n");
    assert_eq!(outcome.stderr.replace(name, "CN=Middle"), expected);
    assert_eq!(outcome.ok(), "mail\n");
    let listed: serde_json::Value =
        serde_json::from_str(&cert(&site, "show mail --json").ok()).unwrap();
    let [(code, message)] = &problems(&listed)[..] else {
        panic!("{listed}");
    };
    assert_eq!(code, "missing-intermediate");
    assert_eq!(message.replace(name, "CN=Middle"), plain);
}
