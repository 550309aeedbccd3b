use std::sync::LazyLock;

use proptest::prelude::*;
use rustls_pki_types::ServerName;
use webpki::EndEntityCert;

use super::*;
use crate::cert::testing::{days, new_key, params};

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

#[test]
fn names_are_normalised() {
    let long_label = "a".repeat(63);
    let longest = format!("{0}.{0}.{0}.{1}", long_label, "a".repeat(61));
    for (text, normal) in [
        ("example.com", "example.com"),
        ("Mail.EXAMPLE.Com", "mail.example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example.", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        (&long_label, &long_label),
        (&longest, &longest),
    ] {
        assert_eq!(name(text).as_str(), normal, "{text}");
    }
    assert_eq!(longest.len(), MAX_NAME);
    assert_eq!(name("a.b.c").parent(), Some("b.c"));
    assert_eq!(name("a").parent(), None);
}

#[test]
fn what_is_no_name_is_refused_in_words() {
    let long = "a.".repeat(127);
    let label = format!("{}.com", "a".repeat(64));
    for (text, error) in [
        ("", "an empty host name"),
        (".", "an empty host name"),
        ("10.0.0.5", "\"10.0.0.5\" is an IP address, not a host name"),
        (
            "10.0.0.5.",
            "\"10.0.0.5.\" is an IP address, not a host name",
        ),
        (
            "１０.0.0.5",
            "\"１０.0.0.5\" is an IP address, not a host name",
        ),
        ("::1", "\"::1\" is an IP address, not a host name"),
        (
            "[2001:db8::1]",
            "\"[2001:db8::1]\" is an IP address, not a host name",
        ),
        ("a..b", "host name \"a..b\" has an empty label"),
        (".a", "host name \".a\" has an empty label"),
        ("a..", "host name \"a..\" has an empty label"),
        (
            "-a.b",
            "host name \"-a.b\" has a label that begins or ends with \"-\"",
        ),
        (
            "a-.b",
            "host name \"a-.b\" has a label that begins or ends with \"-\"",
        ),
        ("mail.5", "host name \"mail.5\" ends in a number"),
        (
            "a b.c",
            "host name \"a b.c\" contains ' ', expected letters, digits, \"-\", \"_\" and \".\"",
        ),
        (
            "a\n.c",
            "host name \"a\\n.c\" contains '\\n', expected letters, digits, \"-\", \"_\" and \".\"",
        ),
        (
            "user@a.c",
            "host name \"user@a.c\" contains '@', expected letters, digits, \"-\", \"_\" and \".\"",
        ),
        (
            "*.a.b",
            "\"*.a.b\" is a wildcard, a single host name is needed",
        ),
        (
            "xn--a-ä.b",
            "\"xn--a-ä.b\" is not an internationalised host name",
        ),
        (
            &label,
            &format!("host name {label:?} has a label of 64 bytes, at most 63 are allowed"),
        ),
        (
            &format!("{long}b"),
            &format!(
                "host name \"{}…\" has 255 bytes, at most 253 are allowed",
                "a.".repeat(50)
            ),
        ),
    ] {
        let found = DnsName::parse(text).unwrap_err();
        assert_eq!(found.to_string(), error, "{text}");
    }
    let endless = "ü".repeat(100_000);
    assert!(matches!(
        DnsName::parse(&endless),
        Err(NameError::TooLong { found: 200_000, .. })
    ));
}

#[test]
fn a_star_stands_for_the_whole_first_label_only() {
    for (text, normal) in [
        ("*.Example.com.", "*.example.com"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("*.lan", "*.lan"),
        ("Example.com", "example.com"),
    ] {
        assert_eq!(NamePattern::parse(text).unwrap().to_string(), normal);
    }
    type Make = fn(String) -> NameError;
    let cases: [(&str, Make); 10] = [
        ("*", NameError::BareWildcard),
        ("*.", NameError::BareWildcard),
        ("f*.x", NameError::PartialWildcard),
        ("*f.x", NameError::PartialWildcard),
        ("**.x", NameError::PartialWildcard),
        ("*.*.x", NameError::RepeatedWildcard),
        ("*.a*.x", NameError::RepeatedWildcard),
        ("a.*.x", NameError::InnerWildcard),
        ("a.b*.x", NameError::InnerWildcard),
        ("*.10.0.0.5", NameError::IpLiteral),
    ];
    for (text, error) in cases {
        assert_eq!(NamePattern::parse(text), Err(error(text.to_owned())));
    }
    let parent = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(60));
    assert!(matches!(
        NamePattern::parse(&format!("*.{parent}")),
        Err(NameError::TooLong { found: 254, .. })
    ));
}

#[test]
fn the_truth_table_of_matching() {
    for (presented, reference, expected) in [
        ("example.com", "example.com", true),
        ("example.com", "www.example.com", false),
        ("*.example.com", "www.example.com", true),
        ("*.example.com", "example.com", false),
        ("*.example.com", "a.b.example.com", false),
        ("*.b.example.com", "a.b.example.com", true),
        ("*.example.com", "www.EXAMPLE.com.", true),
        ("*.example.com", "xn--bcher-kva.example.com", true),
        ("*.example.com", "www.badexample.com", false),
        ("*.com", "example.com", true),
    ] {
        let pattern = NamePattern::parse(presented).unwrap();
        assert_eq!(
            pattern.matches(&name(reference)),
            expected,
            "{presented} {reference}"
        );
    }
}

static KEY: LazyLock<rcgen::KeyPair> = LazyLock::new(new_key);

/// Whether webpki takes a certificate with this dNSName for this host.
fn webpki_matches(presented: &str, reference: &str) -> bool {
    let certificate = params("oracle", &[presented], days(0, 1))
        .self_signed(&*KEY)
        .unwrap();
    let reference = ServerName::try_from(reference).unwrap();
    EndEntityCert::try_from(certificate.der())
        .unwrap()
        .verify_is_valid_for_subject_name(&reference)
        .is_ok()
}

/// Names of a small world, so that matches are frequent.
fn world() -> impl Strategy<Value = Vec<&'static str>> {
    let label = prop::sample::select(vec!["a", "B", "b", "mail", "_x", "x-y", "xn--bcher-kva"]);
    prop::collection::vec(label, 1..5)
}

proptest! {
    #[test]
    fn matches_as_webpki_does(
        presented in world(),
        wildcard: bool,
        reference in world(),
        covered: bool,
        dot: bool,
    ) {
        // Clients want two labels behind the star, as a public suffix has no certificate;
        // an administrator's own `*.lan` is served all the same.
        prop_assume!(!wildcard || presented.len() > 1);
        let presented = presented.join(".");
        let mut reference = reference.join(".");
        if covered {
            let first = reference.split('.').next().unwrap_or_default();
            reference = if wildcard { format!("{first}.{presented}") } else { presented.clone() };
        }
        if dot {
            reference.push('.');
        }
        let presented = if wildcard { format!("*.{presented}") } else { presented };
        prop_assert_eq!(
            NamePattern::parse(&presented).unwrap().matches(&name(&reference)),
            webpki_matches(&presented, &reference)
        );
    }

    #[test]
    fn a_presented_name_that_is_refused_matches_nothing_in_webpki(
        presented in "[a*.-]{1,6}",
        reference in world(),
    ) {
        prop_assume!(NamePattern::parse(&presented).is_err());
        prop_assert!(!webpki_matches(&presented, &reference.join(".")));
    }

    #[test]
    fn accepts_exactly_the_server_names_of_the_tls_library(text in "[a0._ *:-]{0,12}") {
        prop_assert_eq!(
            DnsName::parse(&text).is_ok(),
            rustls_pki_types::DnsName::try_from(text.as_str()).is_ok()
        );
    }

    #[test]
    fn a_normal_name_stays_as_it_is(text in "\\PC{0,40}") {
        if let Ok(normal) = DnsName::parse(&text) {
            prop_assert_eq!(DnsName::parse(normal.as_str()).unwrap(), normal);
        }
    }
}
