//! Folders of other programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{LISTENER, Watched, certbot};
use crate::common::ca::TestCa;
use crate::common::gatepost::Site;

/// Every file below a folder, with its contents; of a link where it leads.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let shown = path.display().to_string();
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(shown, target.display().to_string().into_bytes());
            } else if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(shown, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn what_certbot_keeps_is_served_as_it_is_and_never_written() {
    let ca = TestCa::today();
    let issue = |name: &str| ca.leaf(&[name]).issue();
    let own = issue("own.example");
    let site = Site::new(&ca, &[("own", &own)], "");
    let base = site.path("letsencrypt");
    let (first, second) = (issue("mail.example"), issue("mail.example"));
    certbot(&base, "mail.example", 1, &first);
    site.configure(&format!("also = [\"letsencrypt/live\"]\n{LISTENER}"));
    let checked = site.command(&["check"]).ok();
    assert!(checked.contains("2 certificates"), "{checked}");
    let proxy = Watched::start_on(site);
    let site = &proxy.gatepost.site;
    proxy.serves("mail.example", &first);
    assert_eq!(proxy.listed("live/mail.example")["standing"], "trusted");

    certbot(&base, "mail.example", 2, &second);
    proxy.serves("mail.example", &second);
    let more = issue("more.example");
    certbot(&base, "more.example", 1, &more);
    proxy.serves("more.example", &more);

    let before = tree(&base);
    for (arguments, why) in [
        (
            &["cert", "remove", "live/mail.example"][..],
            "belongs to another program",
        ),
        (
            &[
                "cert",
                "new",
                "--hostname",
                "a",
                "--country",
                "DE",
                "--name",
                "live/mail.example",
            ],
            "are allowed",
        ),
    ] {
        let refused = site.command(arguments);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    site.command(&["cert", "set-default", "live/mail.example"])
        .ok();
    proxy.serves("unknown.invalid", &second);
    let default = fs::read_to_string(site.path("sslcert/default")).unwrap();
    assert_eq!(default, "live/mail.example\n");
    let shown = site.command(&["cert", "show", "live/mail.example"]).ok();
    assert!(shown.contains("live/mail.example"), "{shown}");
    assert_eq!(tree(&base), before, "nothing was written there");

    fs::remove_dir_all(base.join("live/more.example")).unwrap();
    proxy.serves("more.example", &second);
}

#[test]
fn a_reload_takes_folders_up_and_gives_them_up() {
    let ca = TestCa::today();
    let issue = |name: &str| ca.leaf(&[name]).issue();
    let (own, flat) = (issue("own.example"), issue("flat.example"));
    let proxy = Watched::start(&ca, &[("own", &own)]);
    let site = &proxy.gatepost.site;
    fs::create_dir(site.path("more")).unwrap();
    flat.write(&site.path("more"), "flat");
    proxy.serves("flat.example", &own);
    let configured = |also: &str| {
        site.configure(&format!("also = [{also}]\n{LISTENER}"));
        site.command(&["reload"])
    };
    configured("\"more\", \"later\"").ok();
    proxy.serves("flat.example", &flat);
    proxy
        .gatepost
        .logged(&["certificate set aside", "later: cannot list the folder"]);
    fs::create_dir(site.path("later")).unwrap();
    let late = issue("late.example");
    late.write(&site.path("later"), "late");
    proxy.serves("late.example", &late);
    proxy.counts("gatepost_certificates_set_aside", 0.0);

    let refused = configured("\"more\", \"sslcert/../more\"");
    assert!(
        refused.stderr.contains("would be called the same"),
        "{}",
        refused.stderr
    );
    proxy.serves("flat.example", &flat);
    configured("").ok();
    proxy.serves("flat.example", &own);
}
