//! Certificates that live 15 seconds, by the system's own clock.

use std::fs;

use gatepost::time::{Clock, rfc3339};

use super::{LISTENER, Watched};
use crate::common::ca::{Pair, TestCa};
use crate::common::gatepost::Site;
use crate::common::handshake::Got;
use crate::common::wait;

/// How long they live from the start of the test.
const LIFE: i64 = 15;

/// Seconds since `ca` was founded.
fn age(ca: &TestCa) -> i64 {
    let passed = Clock::System.now().as_secs() - ca.now().as_secs();
    i64::try_from(passed).unwrap()
}

#[test]
fn what_expires_gives_way_within_the_second_and_it_is_said() {
    let ca = TestCa::today();
    let short = ca.leaf(&["mail.example"]).dates(-60, LIFE).issue();
    // From then on its intermediate is none any more.
    let until = ca.intermediate_until(LIFE);
    let chained = ca.leaf(&["chain.example"]).issued_by(&until);
    let own = ca.leaf(&["chain.example"]).self_signed();
    let staged = ca.leaf(&["staged.example"]).dates(LIFE + 1, 3_600).issue();
    let wildcard = ca.leaf(&["*.example"]).issue();
    let names = [
        ("short", &short),
        ("chained", &chained),
        ("own", &own),
        ("staged", &staged),
        ("wildcard", &wildcard),
    ];
    // Under this order what is expired comes after the wildcard.
    let site = Site::new(&ca, &names, &format!("order = \"safe\"\n{LISTENER}"));
    fs::write(site.path("sslcert/default"), "short\n").unwrap();
    let proxy = Watched::start_on(site);
    let asked = [
        ("mail.example", &short, &wildcard),
        ("chain.example", &chained, &own),
        ("staged.example", &wildcard, &staged),
    ];
    let (mut before, mut after) = ([0; 3], [0; 3]);
    wait::until("the certificates to have changed places", || {
        for (at, (name, first, second)) in asked.iter().enumerate() {
            let began = age(&ca);
            let got = proxy.gets(name);
            let ended = age(&ca);
            let is = |pair: &Pair| got == Got::Certificate(pair.der().to_vec());
            // A handshake over the end of that second may see the one or the other.
            if ended <= LIFE {
                assert!(is(first), "{name} after {ended} s");
                before[at] += 1;
            } else if began > LIFE {
                assert!(is(second), "{name} after {began} s");
                after[at] += 1;
            }
        }
        after.iter().all(|&times| times > 10)
    });
    assert!(before.iter().all(|&times| times > 0), "{before:?}");

    let expired = proxy
        .gatepost
        .logged(&["certificate expired", r#""name":"short""#]);
    assert_eq!(expired["instead"], "wildcard");
    let untrusted = proxy
        .gatepost
        .logged(&["certificate no longer trusted", r#""name":"chained""#]);
    assert_eq!(untrusted["instead"], "own");
    proxy.gatepost.logged(&[
        "certificate changed its standing",
        r#""name":"staged""#,
        r#""trusted""#,
    ]);
    proxy
        .gatepost
        .logged(&["the default certificate has expired", r#""name":"short""#]);
    for (name, default, standing) in [
        ("short", true, "expired"),
        ("chained", false, "valid"),
        ("staged", false, "trusted"),
    ] {
        let info = format!(
            "gatepost_certificate_info{{default=\"{default}\",name=\"{name}\",standing=\"{standing}\"}}"
        );
        assert_eq!(proxy.gatepost.metric(&info), Some(1.0), "{info}");
    }
    assert_eq!(proxy.said("certificate expired"), 1);
}

#[test]
fn a_list_says_what_will_change_and_when() {
    let ca = TestCa::today();
    let soon = ca.leaf(&["mail.example"]).dates(-60, 3_600).issue();
    let proxy = Watched::start(
        &ca,
        &[("soon", &soon), ("later", &ca.leaf(&["a.example"]).issue())],
    );
    let change = &proxy.listed("soon")["next_change"];
    let at = i64::try_from(ca.now().as_secs()).unwrap() + 3_601;
    assert_eq!(change["at"], rfc3339(at));
    assert_eq!(change["standing"], "expired");
    let list = proxy.gatepost.site.command(&["cert", "list"]).ok();
    let line = format!("next change: {}, then \"soon\" is expired", rfc3339(at));
    assert!(list.ends_with(&format!("\n{line}\n")), "{list}");
}
