use rcgen::{CertifiedIssuer, ExtendedKeyUsagePurpose, Issuer, KeyPair};

use super::*;
use crate::cert::read_bundle;
use crate::cert::testing::{
    Authority, Leaf, NOW, ca_params, days, intermediate, issued, new_key, openssl_self_signed,
    params, root, same_key, self_signed,
};

fn anchors(all: &[&Authority]) -> TrustAnchors {
    let mut anchors = TrustAnchors::new();
    for authority in all {
        assert!(anchors.add(authority.der().clone(), AnchorSource::Roots));
    }
    anchors
}

fn leaf(period: Validity, issuer: &Issuer<'_, KeyPair>) -> Leaf {
    issued(&params("leaf", &["mail.example.com"], period), issuer)
}

fn periods(anchors: &TrustAnchors, leaf: &Leaf, below: &[&Authority]) -> Vec<Validity> {
    let certificate = Certificate::from_der(leaf.der.clone()).unwrap();
    let below: Vec<_> = below.iter().map(|step| step.der().clone()).collect();
    let periods = anchors.trusted_periods(&certificate, &below);
    // Shared with others, whose signatures may be known already, they are the same.
    let shared = anchors.share(below).unwrap();
    for _ in 0..2 {
        assert_eq!(anchors.trusted_through(&certificate, &shared), periods);
    }
    periods.into_vec()
}

#[test]
fn a_path_holds_as_long_as_each_certificate_on_it() {
    let top = root("Root", days(-100, 100));
    let middle = intermediate("Middle", days(-50, 20), new_key(), &top);
    for (root_period, middle_period, expected) in [
        (days(-100, 100), days(-50, 50), vec![days(-5, 30)]),
        (days(-100, 100), days(-50, 20), vec![days(-5, 20)]),
        (days(-100, 100), days(2, 50), vec![days(2, 30)]),
        (days(-100, 10), days(-50, 50), vec![days(-5, 10)]),
        (days(3, 100), days(-50, 20), vec![days(3, 20)]),
        (days(-100, 100), days(-50, -6), vec![]),
        (days(-100, -6), days(-50, 50), vec![]),
        (days(31, 100), days(-50, 50), vec![]),
    ] {
        let top = CertifiedIssuer::self_signed(ca_params("Root", root_period), same_key(top.key()))
            .unwrap();
        let middle = intermediate("Middle", middle_period, same_key(middle.key()), &top);
        let leaf = leaf(days(-5, 30), &middle);
        assert_eq!(periods(&anchors(&[&top]), &leaf, &[&middle]), expected);
    }
}

#[test]
fn a_path_needs_its_intermediates_and_its_anchor() {
    let top = root("Root", days(-100, 100));
    let middle = intermediate("Middle", days(-50, 50), new_key(), &top);
    let low = intermediate("Low", days(-50, 50), new_key(), &middle);
    let leaf = leaf(days(0, 10), &low);
    let trusting = anchors(&[&top]);
    let whole = vec![days(0, 10)];
    assert_eq!(periods(&trusting, &leaf, &[&low, &middle]), whole);
    assert_eq!(periods(&trusting, &leaf, &[&middle, &low, &top]), whole);
    assert_eq!(periods(&trusting, &leaf, &[&middle]), []);
    assert_eq!(periods(&trusting, &leaf, &[]), []);
    assert_eq!(
        periods(&TrustAnchors::new(), &leaf, &[&low, &middle, &top]),
        []
    );
    // Any certificate may be an anchor, as far as the administrator is concerned.
    assert_eq!(periods(&anchors(&[&low]), &leaf, &[]), whole);
    let other = root("Root", days(-100, 100));
    assert_eq!(periods(&anchors(&[&other]), &leaf, &[&low, &middle]), []);
}

#[test]
fn one_path_follows_another() {
    let (old, new) = (root("Old", days(-100, 100)), root("New", days(-100, 100)));
    let key = new_key();
    for (first, second, expected) in [
        (days(-10, 5), days(6, 20), vec![days(0, 20)]),
        (days(-10, 8), days(4, 12), vec![days(0, 12)]),
        (days(-10, 5), days(8, 20), vec![days(0, 5), days(8, 20)]),
        (days(8, 12), days(3, 5), vec![days(3, 5), days(8, 12)]),
        (days(-10, 50), days(3, 5), vec![days(0, 30)]),
    ] {
        let by_old = intermediate("Middle", first, same_key(&key), &old);
        let by_new = intermediate("Middle", second, same_key(&key), &new);
        let leaf = leaf(days(0, 30), &by_old);
        let trusting = anchors(&[&old, &new]);
        assert_eq!(periods(&trusting, &leaf, &[&by_old, &by_new]), expected);
        assert_eq!(periods(&trusting, &leaf, &[&by_new, &by_old]), expected);
    }
}

#[test]
fn a_root_that_was_issued_again_counts_with_both_its_periods() {
    let key = new_key();
    let issue =
        |period| CertifiedIssuer::self_signed(ca_params("Root", period), same_key(&key)).unwrap();
    let (first, second) = (issue(days(-100, 5)), issue(days(3, 100)));
    let leaf = leaf(days(0, 30), &first);
    for order in [[&first, &second], [&second, &first]] {
        assert_eq!(periods(&anchors(&order), &leaf, &[]), [days(0, 30)]);
    }
}

#[test]
fn what_clients_would_not_accept_is_never_trusted() {
    let top = root("Root", days(-100, 100));
    let trusting = anchors(&[&top]);
    let good = params("leaf", &["mail.example.com"], days(0, 10));
    assert_eq!(periods(&trusting, &issued(&good, &top), &[]), [days(0, 10)]);

    let nameless = params("mail.example.com", &[], days(0, 10));
    assert_eq!(periods(&trusting, &issued(&nameless, &top), &[]), []);
    let mut for_clients = good.clone();
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(periods(&trusting, &issued(&for_clients, &top), &[]), []);
    let mut authority = ca_params("leaf", days(0, 10));
    authority.subject_alt_names = good.subject_alt_names.clone();
    assert_eq!(periods(&trusting, &issued(&authority, &top), &[]), []);
    // An end-entity certificate is no CA for others.
    let poser = CertifiedIssuer::signed_by(good, new_key(), &top).unwrap();
    assert_eq!(
        periods(&trusting, &leaf(days(0, 10), &poser), &[&poser]),
        []
    );
}

#[test]
fn the_administrator_may_trust_a_self_signed_certificate() {
    // CA:TRUE, which is no end-entity certificate to clients.
    let named = |names: &[&str]| {
        let mut own = ca_params("own", days(0, 10));
        own.subject_alt_names = params("own", names, days(0, 10)).subject_alt_names;
        self_signed(&own)
    };
    let own = named(&["mail.example.com"]);
    let add = |leaf: &Leaf, source| {
        let mut anchors = TrustAnchors::new();
        assert!(anchors.add(leaf.der.clone(), source));
        anchors
    };
    let administered = add(&own, AnchorSource::Administrator);
    assert_eq!(periods(&administered, &own, &[]), [days(0, 10)]);
    assert_eq!(periods(&add(&own, AnchorSource::Roots), &own, &[]), []);
    assert_eq!(
        periods(&administered, &named(&["mail.example.com"]), &[]),
        []
    );

    let mut both = add(&own, AnchorSource::Roots);
    assert!(both.add(own.der.clone(), AnchorSource::Administrator));
    assert!(both.add(own.der.clone(), AnchorSource::Roots));
    assert_eq!(both.len(), 1);
    assert_eq!(periods(&both, &own, &[]), [days(0, 10)]);

    let renewed = Leaf {
        der: params("own", &["mail.example.com"], days(5, 20))
            .self_signed(&own.key)
            .unwrap()
            .der()
            .clone(),
        key: same_key(&own.key),
    };
    assert_eq!(periods(&administered, &renewed, &[]), [days(5, 20)]);

    let nameless = named(&[]);
    let administered = add(&nameless, AnchorSource::Administrator);
    assert_eq!(periods(&administered, &nameless, &[]), []);
}

#[test]
fn a_certificate_of_openssl_req_is_trusted_if_the_administrator_says_so() {
    // CA:TRUE, as `openssl req -x509` makes them.
    let san = ["-subj", "/CN=x", "-addext", "subjectAltName=DNS:a.example"];
    let der = read_bundle(&openssl_self_signed(&san))
        .unwrap()
        .certificates
        .remove(0);
    let mut anchors = TrustAnchors::new();
    assert!(anchors.add(der.clone(), AnchorSource::Administrator));
    let certificate = Certificate::from_der(der).unwrap();
    assert_eq!(
        *anchors.trusted_periods(&certificate, &[]),
        [certificate.validity]
    );
}

#[test]
fn times_that_no_clock_shows_do_no_harm() {
    let year_1950 = Validity {
        not_before: -631_152_000,
        not_after: NOW,
    };
    let year_9999 = Validity {
        not_before: NOW,
        not_after: 253_402_300_799,
    };
    let reversed = Validity {
        not_before: NOW,
        not_after: NOW - 1,
    };
    let top = root("Root", year_9999);
    let trusting = anchors(&[&top]);
    assert_eq!(periods(&trusting, &leaf(year_9999, &top), &[]), [year_9999]);
    assert_eq!(periods(&trusting, &leaf(year_1950, &top), &[]), []);
    assert_eq!(periods(&trusting, &leaf(reversed, &top), &[]), []);
}

#[test]
fn what_is_no_certificate_is_no_anchor() {
    let mut anchors = TrustAnchors::new();
    assert!(!anchors.add(b"\x30\x03abc".to_vec().into(), AnchorSource::Roots));
    assert!(anchors.is_empty());
    anchors.add_mozilla();
    assert!(anchors.len() > 100);
}
