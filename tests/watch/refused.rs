//! Files that cannot be used: each is named with its reason, and nobody else suffers.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::Watched;
use crate::common::ca::TestCa;
use crate::common::process::run;

#[test]
fn whatever_is_dropped_the_others_go_on() {
    let ca = TestCa::today();
    let issue = |name: &str| ca.leaf(&[name]).issue();
    let (good, extra) = (issue("good.example"), issue("extra.example"));
    let proxy = Watched::start(&ca, &[("good", &good), ("extra", &extra)]);
    let folder = proxy.folder();
    let pair = issue("x.example");

    let huge = File::create(folder.join("huge.pem")).unwrap();
    huge.set_len(50 * 1024 * 1024).unwrap();
    mknodat(CWD, folder.join("fifo.pem"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink("gone", folder.join("dangling.pem")).unwrap();
    symlink("loop.pem", folder.join("loop.pem")).unwrap();
    fs::write(folder.join("x y.crt"), &pair.chain).unwrap();
    pair.write(&folder, "keyless");
    fs::remove_file(folder.join("keyless.key")).unwrap();
    pair.write(&folder, "locked");
    let (key, locked) = (folder.join("plain"), folder.join("locked.key"));
    fs::write(&key, &pair.key).unwrap();
    let (key, locked) = (key.to_str().unwrap(), locked.to_str().unwrap());
    let arguments = [
        "pkey",
        "-aes256",
        "-passout",
        "pass:secret",
        "-in",
        key,
        "-out",
        locked,
    ];
    run("openssl", arguments, b"").ok();
    // Two files claim one NAME: the first wins, and the other is named.
    fs::write(
        folder.join("good.pem"),
        format!("{}{}", pair.key, pair.chain),
    )
    .unwrap();

    proxy.counts("gatepost_certificates_set_aside", 7.0);
    let reasons = [
        ("huge", "52428800 bytes, expected at most 1048576"),
        ("fifo", "a FIFO, expected a regular file"),
        ("dangling", "a symbolic link to nothing"),
        ("loop", "oo many levels of symbolic links"),
        ("x y.crt", "the name cannot be used"),
        ("keyless", "no key, keyless.key is missing"),
        ("locked", "the private key is encrypted"),
    ];
    for (name, reason) in reasons {
        let entry = proxy.listed(name);
        let message = entry["problems"][0]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{name}: {message}");
        proxy.gatepost.logged(&["certificate set aside", reason]);
    }
    let locked = proxy.listed("locked");
    let how = locked["problems"][0]["message"].as_str().unwrap();
    assert!(how.contains("gatepost cert import"), "{how}");
    // Monitoring still sees when they end, as far as they say so.
    let end = |name: &str| {
        let metric = "gatepost_certificate_not_after_timestamp_seconds";
        proxy
            .gatepost
            .metric(&format!("{metric}{{name=\"{name}\"}}"))
    };
    assert!(end("keyless").is_some() && end("keyless") == end("locked"));
    assert_eq!(end("huge"), None);
    for name in ["huge", "keyless"] {
        let info = format!(
            "gatepost_certificate_info{{default=\"false\",name=\"{name}\",standing=\"set-aside\"}}"
        );
        assert_eq!(proxy.gatepost.metric(&info), Some(1.0));
    }
    let shadowed = &proxy.listed("good")["problems"][0];
    assert_eq!(shadowed["code"], "shadowed");

    proxy.serves("good.example", &good);
    let more = issue("more.example");
    more.write(&folder, "more");
    proxy.serves("more.example", &more);
    let list = proxy.gatepost.site.command(&["check"]);
    assert!(list.stdout.contains("7 set aside"), "{}", list.stdout);
}
