//! Files that are dropped, changed, renamed and removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::{LISTENER, Watched, certbot, put_by_rename};
use crate::common::ca::TestCa;
use crate::common::gatepost::Site;

const SET_ASIDE: &str = "gatepost_certificates_set_aside";

#[test]
fn each_kind_of_change_takes_effect() {
    let ca = TestCa::today();
    let issue = |name: &str| ca.leaf(&[name]).issue();
    let fallback = issue("fallback.invalid");
    let proxy = Watched::start(&ca, &[("fallback", &fallback)]);
    let folder = proxy.folder();
    proxy.serves("mail.example", &fallback);

    // Dropped.
    let first = issue("mail.example");
    first.write(&folder, "mail");
    proxy.serves("mail.example", &first);
    let line = proxy
        .gatepost
        .logged(&["certificate effective", r#""name":"mail""#]);
    assert_eq!(line["standing"], "trusted");
    proxy.counts("gatepost_certificate_index_names", 2.0);

    // Changed in its place.
    let second = issue("mail.example");
    second.write(&folder, "mail");
    proxy.serves("mail.example", &second);

    // Replaced as rsync does it.
    let third = issue("mail.example");
    put_by_rename(&folder.join("mail.key"), &third.key);
    put_by_rename(&folder.join("mail.crt"), &third.chain);
    proxy.serves("mail.example", &third);

    // Renamed.
    for ending in ["key", "crt"] {
        let (from, to) = (format!("mail.{ending}"), format!("post.{ending}"));
        fs::rename(folder.join(from), folder.join(to)).unwrap();
    }
    let info = r#"gatepost_certificate_info{default="false",name="post",standing="trusted"}"#;
    proxy.counts(info, 1.0);
    proxy
        .gatepost
        .logged(&["certificate gone", r#""name":"mail""#]);
    proxy.serves("mail.example", &third);

    // Key and chain in one file.
    let wildcard = issue("*.example");
    let both = format!("{}{}", wildcard.key, wildcard.chain);
    put_by_rename(&folder.join("wild.pem"), &both);
    proxy.serves("other.example", &wildcard);

    // Chosen as the default.
    fs::write(folder.join("default"), "wild\n").unwrap();
    proxy.serves("unknown.invalid", &wildcard);

    // Removed.
    fs::remove_file(folder.join("post.crt")).unwrap();
    fs::remove_file(folder.join("post.key")).unwrap();
    proxy.serves("mail.example", &wildcard);
    proxy
        .gatepost
        .logged(&["certificate gone", r#""name":"post""#]);
    assert_eq!(proxy.gatepost.metric(SET_ASIDE), Some(0.0));
}

#[test]
fn a_bad_file_is_reported_and_the_good_one_served_on() {
    let ca = TestCa::today();
    let (good, next) = (
        ca.leaf(&["mail.example"]).issue(),
        ca.leaf(&["mail.example"]).issue(),
    );
    let proxy = Watched::start(&ca, &[("mail", &good)]);
    let certificate = proxy.folder().join("mail.crt");
    put_by_rename(&certificate, "-----BEGIN NOTHING-----\n");
    proxy.counts(SET_ASIDE, 1.0);
    let line = proxy
        .gatepost
        .logged(&["certificate set aside", r#""name":"mail""#]);
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.starts_with("mail.crt: "), "{reason}");
    proxy.serves("mail.example", &good);
    let end = r#"gatepost_certificate_not_after_timestamp_seconds{name="mail"}"#;
    assert!(proxy.gatepost.metric(end).is_some());
    assert_eq!(proxy.listed("mail")["problems"][0]["code"], "set-aside");

    // Another pair's certificate, and then its key.
    put_by_rename(&certificate, &next.chain);
    proxy
        .gatepost
        .logged(&["certificate set aside", "is not the key in mail.key"]);
    proxy.serves("mail.example", &good);
    put_by_rename(&proxy.folder().join("mail.key"), &next.key);
    proxy.serves("mail.example", &next);
    proxy.counts(SET_ASIDE, 0.0);
}

#[test]
fn trust_anchors_are_taken_up() {
    let ca = TestCa::today();
    let other = TestCa::today();
    let pair = other.leaf(&["mail.example"]).issue();
    let proxy = Watched::start(&ca, &[("mail", &pair)]);
    let is = |standing: &str| {
        let info = "gatepost_certificate_info{default=\"true\",name=\"mail\",standing=";
        proxy.counts(&format!("{info}\"{standing}\"}}"), 1.0);
    };
    is("valid");
    let trust = proxy.folder().join("trust");
    fs::create_dir(&trust).unwrap();
    fs::write(trust.join("company.pem"), other.root()).unwrap();
    is("trusted");
    fs::remove_file(trust.join("company.pem")).unwrap();
    is("valid");
    put_by_rename(&trust.join("again.pem"), &other.root());
    is("trusted");
}

#[test]
fn links_are_followed_wherever_they_lead() {
    let ca = TestCa::today();
    let issue = || ca.leaf(&["mail.example"]).issue();
    let proxy = Watched::start(&ca, &[("other", &ca.leaf(&["other.example"]).issue())]);
    let site = &proxy.gatepost.site;
    let (first, second, third) = (issue(), issue(), issue());
    certbot(&site.path("le"), "mail.example", 1, &first);
    for (file, link) in [("fullchain", "mail.crt"), ("privkey", "mail.key")] {
        let target = format!("../le/live/mail.example/{file}.pem");
        symlink(target, proxy.folder().join(link)).unwrap();
    }
    proxy.serves("mail.example", &first);
    // The link in the middle leads elsewhere.
    certbot(&site.path("le"), "mail.example", 2, &second);
    proxy.serves("mail.example", &second);
    // The file at its end is another one.
    let archive = site.path("le/archive/mail.example");
    put_by_rename(&archive.join("privkey2.pem"), &third.key);
    put_by_rename(&archive.join("fullchain2.pem"), &third.chain);
    proxy.serves("mail.example", &third);
}

#[test]
fn another_folder_in_its_place_is_read_and_watched() {
    let ca = TestCa::today();
    let issue = |name: &str| ca.leaf(&[name]).issue();
    let (old, new, more) = (issue("a.example"), issue("a.example"), issue("b.example"));
    let proxy = Watched::start(&ca, &[("old", &old)]);
    let site = &proxy.gatepost.site;
    let next = site.path("next");
    fs::create_dir(&next).unwrap();
    new.write(&next, "new");
    fs::rename(proxy.folder(), site.path("away")).unwrap();
    fs::rename(&next, proxy.folder()).unwrap();
    proxy.serves("a.example", &new);
    more.write(&proxy.folder(), "more");
    proxy.serves("b.example", &more);
}

#[test]
fn without_notification_the_folder_is_looked_at() {
    let ca = TestCa::today();
    let issue = |name: &str| ca.leaf(&[name]).issue();
    let (first, second) = (issue("a.example"), issue("b.example"));
    let site = Site::new(&ca, &[("first", &first)], LISTENER);
    let run = site.run_command();
    let mut without = Command::new("strace");
    without
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=inotify_init1"])
        .args(["-e", "inject=inotify_init1:error=EMFILE"])
        .arg(run.get_program())
        .args(run.get_args());
    let proxy = Watched::of(site.start_by(without));
    proxy
        .gatepost
        .logged(&["they are looked at again and again"]);
    second.write(&proxy.folder(), "second");
    proxy.serves("b.example", &second);
    fs::remove_file(proxy.folder().join("second.crt")).unwrap();
    proxy.serves("b.example", &first);
}
