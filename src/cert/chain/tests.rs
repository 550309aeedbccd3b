//! Chains of every kind, put together from certificates in every order.

use rcgen::{CertifiedIssuer, CustomExtension, Issuer, KeyPair};

use super::*;
use crate::cert::AnchorSource;
use crate::cert::testing::{
    Authority, Leaf, NOW, at, ca_params, days, intermediate, issued, new_key, params, root,
    same_key, self_signed,
};

type Der = CertificateDer<'static>;

fn anchors(all: &[&Authority]) -> TrustAnchors {
    let mut anchors = TrustAnchors::new();
    for authority in all {
        assert!(anchors.add(authority.der().clone(), AnchorSource::Roots));
    }
    anchors
}

fn leaf(issuer: &Issuer<'_, KeyPair>) -> Leaf {
    issued(&params("leaf", &["mail.example.com"], days(-1, 30)), issuer)
}

fn find(leaf: &Leaf, given: &[&Der], known: &[&Der], anchors: &TrustAnchors) -> Chain {
    let own = |ders: &[&Der]| ders.iter().map(|der| (*der).clone()).collect::<Vec<_>>();
    let certificate = Certificate::from_der(leaf.der.clone()).unwrap();
    Chain::find(&certificate, &own(given), &own(known), anchors, at(NOW))
}

/// A chain without its first certificate.
#[track_caller]
fn below<'c>(chain: &'c Chain, leaf: &Leaf) -> Vec<&'c Der> {
    let (first, below) = chain.certificates.split_first().unwrap();
    assert_eq!(*first, leaf.der);
    below.iter().collect()
}

fn messages(chain: &Chain) -> Vec<&str> {
    let messages = chain
        .problems
        .iter()
        .map(|problem| problem.message.as_str());
    messages.collect()
}

#[test]
fn any_order_becomes_the_right_one_without_duplicates_and_roots() {
    let top = root("Root", days(-100, 100));
    let high = intermediate("High", days(-50, 50), new_key(), &top);
    let low = intermediate("Low", days(-50, 50), new_key(), &high);
    let leaf = leaf(&low);
    let (trusting, nothing) = (anchors(&[&top]), TrustAnchors::new());
    let [leaf_der, low_der, high_der, top_der] = [&leaf.der, low.der(), high.der(), top.der()];
    for given in [
        vec![leaf_der, low_der, high_der],
        vec![leaf_der, low_der, high_der, top_der],
        vec![top_der, high_der, low_der, leaf_der],
        vec![
            high_der, high_der, leaf_der, low_der, top_der, low_der, leaf_der,
        ],
        vec![low_der, high_der],
    ] {
        for anchors in [&trusting, &nothing] {
            let chain = find(&leaf, &given, &[], anchors);
            assert_eq!(below(&chain, &leaf), [low_der, high_der]);
            assert_eq!(messages(&chain), [""; 0]);
            assert_eq!(chain.complete, !anchors.is_empty());
        }
    }
}

#[test]
fn a_chain_is_completed_from_what_is_known() {
    let top = root("Root", days(-100, 100));
    let high = intermediate("High", days(-50, 50), new_key(), &top);
    let low = intermediate("Low", days(-50, 50), new_key(), &high);
    let other = intermediate("Other", days(-50, 50), new_key(), &top);
    let leaf = leaf(&low);
    let trusting = anchors(&[&top]);
    let known = [other.der(), high.der(), low.der()];
    for given in [
        vec![],
        vec![low.der()],
        vec![high.der()],
        vec![low.der(), high.der()],
    ] {
        let chain = find(&leaf, &given, &known, &trusting);
        assert_eq!(below(&chain, &leaf), [low.der(), high.der()]);
        assert!(chain.complete);
        assert_eq!(messages(&chain), [""; 0]);
    }
    // As far as it goes, whether or not anybody trusts it.
    let chain = find(&leaf, &[], &[low.der()], &trusting);
    assert_eq!(below(&chain, &leaf), [low.der()]);
    assert!(!chain.complete);
    let chain = find(&leaf, &[high.der()], &[], &trusting);
    assert!(below(&chain, &leaf).is_empty());
    assert_eq!(
        messages(&chain),
        [r#"certificate "CN=High" has nothing to do with this one, and was left out"#]
    );
}

#[test]
fn of_two_paths_the_one_that_is_trusted_longer_is_kept() {
    let (old, new) = (root("Old", days(-100, 100)), root("New", days(-100, 100)));
    let key = new_key();
    let trusting = anchors(&[&old, &new]);
    for (by_old, by_new, first, expired) in [
        (days(-10, 5), days(-10, 20), false, 0),
        (days(-10, 20), days(-10, 5), true, 0),
        (days(-10, -1), days(-10, 5), false, 0),
        (days(-10, 3), days(4, 90), true, 0),
        (days(-10, -1), days(4, 90), false, 0),
        (days(-10, -5), days(-10, -2), false, 1),
    ] {
        let by_old = intermediate("Middle", by_old, same_key(&key), &old);
        let by_new = intermediate("Middle", by_new, same_key(&key), &new);
        let leaf = leaf(&by_old);
        let expected = if first { by_old.der() } else { by_new.der() };
        for (given, known) in [
            (vec![by_old.der(), by_new.der()], vec![]),
            (vec![by_new.der(), by_old.der()], vec![]),
            (vec![by_old.der()], vec![by_new.der()]),
            (vec![by_new.der()], vec![by_old.der()]),
            (vec![], vec![by_old.der(), by_new.der()]),
        ] {
            let chain = find(&leaf, &given, &known, &trusting);
            assert_eq!(below(&chain, &leaf), [expected]);
            // Where both are gone, it is said.
            assert_eq!(messages(&chain).len(), expired, "{:?}", chain.problems);
        }
    }
}

#[test]
fn an_expired_intermediate_is_said_where_there_is_no_other() {
    let top = root("Root", days(-100, 100));
    let key = new_key();
    let expired = intermediate("Middle", days(-50, -1), same_key(&key), &top);
    let renewed = intermediate("Middle", days(-2, 50), key, &top);
    let leaf = leaf(&expired);
    let trusting = anchors(&[&top]);
    let chain = find(&leaf, &[expired.der()], &[], &trusting);
    assert_eq!(below(&chain, &leaf), [expired.der()]);
    assert_eq!(
        messages(&chain),
        [r#"intermediate "CN=Middle" expired on 2027-01-15T07:59:59Z, and no other is known"#]
    );
    let chain = find(&leaf, &[expired.der()], &[renewed.der()], &trusting);
    assert_eq!(below(&chain, &leaf), [renewed.der()]);
    assert_eq!(messages(&chain), [""; 0]);
}

#[test]
fn a_cross_signature_that_was_given_is_kept_for_clients_that_need_it() {
    let (old, new) = (root("Old", days(-100, 100)), root("New", days(-10, 100)));
    let cross = |period| intermediate("New", period, same_key(new.key()), &old);
    let middle = intermediate("Middle", days(-5, 50), new_key(), &new);
    let leaf = leaf(&middle);
    let middle_der = middle.der();
    let lasting = cross(days(-10, 90));
    let short = cross(days(-10, 5));
    for trusting in [anchors(&[&new]), anchors(&[&old, &new])] {
        let chain = find(&leaf, &[lasting.der(), middle_der], &[], &trusting);
        assert_eq!(below(&chain, &leaf), [middle_der, lasting.der()]);
        // Nobody asked for it.
        let chain = find(&leaf, &[middle_der], &[lasting.der()], &trusting);
        assert_eq!(below(&chain, &leaf), [middle_der]);
        // It would end before the certificate does.
        let chain = find(&leaf, &[middle_der, short.der()], &[], &trusting);
        assert_eq!(below(&chain, &leaf), [middle_der]);
        assert!(chain.complete);
    }
    // Where only the old root is trusted, there is no way without it.
    let trusting = anchors(&[&old]);
    let chain = find(&leaf, &[middle_der], &[lasting.der()], &trusting);
    assert_eq!(below(&chain, &leaf), [middle_der, lasting.der()]);
}

#[test]
fn a_name_alone_makes_no_issuer() {
    let top = root("Root", days(-100, 100));
    let right = intermediate("Middle", days(-50, 50), new_key(), &top);
    let wrong = intermediate("Middle", days(-50, 90), new_key(), &top);
    let leaf = leaf(&right);
    let trusting = anchors(&[&top]);
    let chain = find(&leaf, &[wrong.der(), right.der()], &[], &trusting);
    assert_eq!(below(&chain, &leaf), [right.der()]);
    let chain = find(&leaf, &[wrong.der()], &[], &trusting);
    assert!(below(&chain, &leaf).is_empty());
    assert_eq!(chain.problems[0].code, ProblemCode::UnusedCertificate);
}

#[test]
fn what_has_nothing_to_do_with_it_is_left_out_and_said() {
    let top = root("Root", days(-100, 100));
    let leaf = leaf(&top);
    let strangers: Vec<_> = (0..8)
        .map(|number| intermediate(&format!("Stranger {number}"), days(0, 9), new_key(), &top))
        .collect();
    let other_root = root("Another Root", days(-9, 9));
    let given: Vec<&Der> = strangers.iter().map(|it| it.der()).collect();
    let chain = find(
        &leaf,
        &[&given[..], &[other_root.der()]].concat(),
        &[],
        &anchors(&[&top]),
    );
    assert!(below(&chain, &leaf).is_empty());
    let messages = messages(&chain);
    assert_eq!(messages.len(), MOST_NAMED + 1);
    assert_eq!(
        messages[0],
        r#"certificate "CN=Stranger 0" has nothing to do with this one, and was left out"#
    );
    assert_eq!(messages[MOST_NAMED], "3 more certificates were left out");
}

#[test]
fn the_certificate_of_a_key_comes_to_stand_first() {
    let top = root("Root", days(-100, 100));
    let high = intermediate("High", days(-50, 50), new_key(), &top);
    let low = intermediate("Low", days(-50, 50), new_key(), &high);
    let leaf = leaf(&low);
    let keys = [
        crate::cert::testing::private_key(&new_key()),
        leaf.private_key(),
    ];
    let [leaf_der, low_der, high_der, top_der] =
        [&leaf.der, low.der(), high.der(), top.der()].map(Clone::clone);
    let garbage = Der::from(b"garbage".to_vec());
    let order = |given: &[&Der]| {
        let given: Vec<_> = given.iter().map(|der| (*der).clone()).collect();
        end_entity_first(&given, &keys)
    };
    let whole = [&leaf_der, &low_der, &high_der, &top_der]
        .map(Clone::clone)
        .to_vec();
    assert_eq!(
        order(&[&top_der, &high_der, &low_der, &leaf_der]),
        Some(whole.clone())
    );
    assert_eq!(
        order(&[&high_der, &leaf_der, &top_der, &low_der]),
        Some(whole)
    );
    assert_eq!(
        order(&[&garbage, &high_der, &leaf_der]),
        Some(vec![leaf_der, garbage, high_der.clone()])
    );
    assert_eq!(order(&[&high_der, &top_der]), None);
    assert_eq!(order(&[]), None);
}

#[test]
fn one_that_is_signed_with_its_own_key_is_alone() {
    let own = self_signed(&params("own", &["mail.example.com"], days(-1, 9)));
    let top = root("Root", days(-100, 100));
    let chain = find(&own, &[&own.der, top.der()], &[], &TrustAnchors::new());
    assert!(below(&chain, &own).is_empty());
    assert!(chain.complete);
    assert_eq!(messages(&chain), [""; 0]);
}

#[test]
fn key_identifiers_that_differ_are_believed() {
    const AUTHORITY_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 35];
    let top = root("Root", days(-100, 100));
    let middle = intermediate("Middle", days(-50, 50), new_key(), &top);
    let identified = |id: &[u8]| {
        let mut own = params("leaf", &["mail.example.com"], days(-1, 30));
        let content = [&[0x30, 22, 0x80, 20], id].concat();
        own.custom_extensions = vec![CustomExtension::from_oid_content(
            AUTHORITY_KEY_IDENTIFIER,
            content,
        )];
        issued(&own, &middle)
    };
    let trusting = anchors(&[&top]);
    let stranger = identified(&[7; 20]);
    let chain = find(&stranger, &[middle.der()], &[], &trusting);
    assert!(below(&chain, &stranger).is_empty());

    let x509 = parse(middle.der()).unwrap();
    let (own, _) = algorithm::key_identifiers(&x509);
    let own = identified(own.unwrap());
    let chain = find(&own, &[middle.der()], &[], &trusting);
    assert_eq!(below(&chain, &own), [middle.der()]);
}

/// Every one of `count` names signed by every other: more paths than atoms.
fn mesh(count: usize, top: &Authority) -> Vec<Authority> {
    let keys: Vec<KeyPair> = (0..count).map(|_| new_key()).collect();
    let name = |number| format!("Mesh {number}");
    let period = days(-50, 50);
    let own: Vec<Authority> = (0..count)
        .map(|number| {
            let key = same_key(&keys[number]);
            CertifiedIssuer::self_signed(ca_params(&name(number), period), key).unwrap()
        })
        .collect();
    let mut all = vec![intermediate(&name(0), period, same_key(&keys[0]), top)];
    for (subject, key) in keys.iter().enumerate() {
        for issuer in own.iter().enumerate().filter(|(at, _)| *at != subject) {
            all.push(intermediate(
                &name(subject),
                period,
                same_key(key),
                issuer.1,
            ));
        }
    }
    all
}

#[test]
fn a_mesh_of_cross_signatures_costs_no_more_than_is_allowed() {
    let top = root("Root", days(-100, 100));
    let mesh = mesh(12, &top);
    let last = mesh.last().unwrap();
    let leaf = leaf(last);
    let certificate = Certificate::from_der(leaf.der.clone()).unwrap();
    let given: Vec<Der> = mesh.iter().map(|it| it.der().clone()).collect();
    let trusting = anchors(&[&top]);
    let nodes = Node::all(&certificate, &given, &[]);
    assert_eq!(nodes.len(), 12 * 11 + 1);
    let mut search = Search::new(&certificate, &nodes, &trusting, NOW);
    let best = search.run();
    assert!(search.signed.len() <= MOST_SIGNATURES);
    assert!(best.path.len() <= LONGEST_PATH);
    let chain = Chain::find(&certificate, &given, &[], &trusting, at(NOW));
    assert!(chain.complete, "{:?}", best.score);
}
