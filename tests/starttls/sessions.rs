//! Each protocol, both ways to TLS, before each server that speaks it: clients log in, and data goes
//! both ways.

use super::{Front, both};
use crate::common::cyrus::Cyrus;
use crate::common::dovecot::Dovecot;
use crate::common::exim::Exim;
use crate::common::postfix::{Postfix, Service};
use crate::common::wait;

/// Both ways to TLS; the users are called after them.
const WAYS: [&str; 2] = ["starttls", "implicit"];

/// What reads and writes a mailbox.
const MAILBOX: [&str; 3] = ["imap", "pop3", "managesieve"];

/// A message is appended and retrieved, a script stored and read back, by each way.
fn read_and_write_a_mailbox(front: &Front) {
    for tls in WAYS {
        let client = |script: &str, protocol: &str| {
            let listener = format!("{protocol}-{tls}");
            front.python(script, &listener, tls, &[]).ok()
        };
        let appended = client("imap.py", "imap");
        let retrieved = client("pop3.py", "pop3");
        assert_eq!(retrieved, appended);
        let script = client("sieve.py", "managesieve");
        assert!(script.contains("fileinto"), "{script}");
    }
}

#[test]
fn a_mailbox_of_dovecot_is_read_and_written_over_starttls_and_implicit_tls() {
    let dovecot = Dovecot::start();
    let services = MAILBOX.map(|protocol| both(protocol, dovecot.at(protocol), "proxy-v2"));
    read_and_write_a_mailbox(&Front::start(&services.concat()));

    for protocol in MAILBOX {
        for user in WAYS.map(|tls| format!("user=<{tls}>")) {
            let name = format!("{protocol}-login");
            let login = [&name, "Login", &user, "rip=127.0.0.2", "secured"];
            dovecot.server.logged(&login);
        }
    }
}

#[test]
fn a_mailbox_of_cyrus_is_read_and_written_over_starttls_and_implicit_tls() {
    let cyrus = Cyrus::start();
    let services = MAILBOX.map(|protocol| both(protocol, cyrus.at(protocol), "none"));
    read_and_write_a_mailbox(&Front::start(&services.concat()));
}

#[test]
fn mail_through_postfix_is_delivered_over_starttls_and_implicit_tls() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let services = [
        both("smtp", postfix.at(Service::Mx), "proxy-v2"),
        both("submission", postfix.at(Service::Submission), "proxy-v2"),
    ];
    let front = Front::start(&services.concat());
    for (protocol, more) in [("smtp", &[][..]), ("submission", &["login"])] {
        for tls in WAYS {
            let (listener, user) = (format!("{protocol}-{tls}"), format!("{protocol}.{tls}"));
            front.python("smtp.py", &listener, &user, more).ok();
            let delivered = dovecot.delivered(&user);
            assert!(delivered.contains(&format!("over {tls}")), "{delivered}");
        }
    }
    let submitted = [
        "submission/smtpd",
        "[127.0.0.2]",
        "sasl_username=submission.starttls",
    ];
    postfix.server.logged(&submitted);
}

#[test]
fn mail_submitted_to_dovecot_is_delivered_over_starttls_and_implicit_tls() {
    let dovecot = Dovecot::start();
    // Dovecot hands it on to Postfix, which delivers.
    let _postfix = Postfix::start(&dovecot);
    let front = Front::start(&both("submission", dovecot.at("submission"), "proxy-v2"));
    for tls in WAYS {
        let listener = format!("submission-{tls}");
        front.python("smtp.py", &listener, tls, &["login"]).ok();
        let delivered = dovecot.delivered(tls);
        assert!(delivered.contains(&format!("over {tls}")), "{delivered}");
        let user = format!("user=<{tls}>");
        let login = [
            "submission-login",
            "Login",
            &user,
            "rip=127.0.0.2",
            "secured",
        ];
        dovecot.server.logged(&login);
    }
}

#[test]
fn mail_through_exim_is_delivered_over_starttls_and_implicit_tls() {
    let exim = Exim::start();
    let front = Front::start(&both("smtp", exim.at(), "proxy-v2"));
    for tls in WAYS {
        front
            .python("smtp.py", &format!("smtp-{tls}"), tls, &[])
            .ok();
        let text = format!("over {tls}");
        wait::until("the message to be delivered", || {
            exim.delivered()
                .iter()
                .any(|message| message.contains(&text))
        });
        let address = format!("<= {tls}@example.org");
        exim.server
            .logged(&[&address, "[127.0.0.2]", "PRX=127.0.0.1"]);
    }
}

#[test]
fn mail_through_a_postscreen_that_keeps_clients_waiting_is_delivered() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let front = Front::start(&both("smtp", postfix.at(Service::MxPostscreen), "proxy-v2"));
    for tls in WAYS {
        front
            .python("smtp.py", &format!("smtp-{tls}"), tls, &[])
            .ok();
        assert!(dovecot.delivered(tls).contains(&format!("over {tls}")));
    }
    postfix
        .server
        .logged(&["postscreen", "PASS NEW [127.0.0.2]"]);
    postfix
        .server
        .logged(&["smtpd", "client=unknown[127.0.0.2]"]);
    assert!(!postfix.server.log().contains("PREGREET"));
}
