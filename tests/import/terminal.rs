//! The pass phrase asked for on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::site;
use super::tools::openssl;
use crate::common::ca::TestCa;
use crate::common::gatepost::{PROGRAM, Site};

/// Both ends of a terminal: that of the person, and that of the programs.
struct Terminal {
    person: File,
    programs: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let programs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        Self {
            person: person.into(),
            programs,
        }
    }

    fn import(&self, site: &Site) -> Child {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(site.path("proxy.toml"));
        command.args(["cert", "import", "--name", "mail"]);
        command.arg(site.path("mail.p12"));
        command.stdin(Stdio::from(self.programs.try_clone().unwrap()));
        command.stderr(Stdio::from(self.programs.try_clone().unwrap()));
        command.stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Reads until the end of the question is there.
    fn asked(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with(": ") {
            let mut byte = [0];
            self.person.read_exact(&mut byte).unwrap();
            text.push(char::from(byte[0]));
        }
        text
    }

    fn shows(&self) -> bool {
        let modes = tcgetattr(self.programs.as_fd()).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }
}

fn prepared() -> Site {
    let ca = TestCa::today();
    let site = site(&ca);
    let pair = ca.leaf(&["mail.example"]).issue();
    std::fs::write(site.path("mail.pem"), pair.certificate + &pair.key).unwrap();
    openssl(
        &site,
        "pkcs12 -export -in mail.pem -passout pass:s\u{fc}\u{df} -out mail.p12",
    );
    site
}

#[test]
fn the_pass_phrase_is_asked_for_and_not_shown() {
    let site = prepared();
    for (typed, status, said) in [
        // With a letter of two bytes taken back, and a whole line.
        ("wrong\u{15}s\u{fc}x\u{e4}\u{7f}\u{7f}\u{df}\r", 0, ""),
        ("wrong\r", 1, "the pass phrase is wrong"),
        (
            "s\u{fc}\u{3}",
            1,
            "no pass phrase was read from the terminal",
        ),
        ("\u{4}", 1, "no pass phrase was read from the terminal"),
    ] {
        let mut terminal = Terminal::new();
        assert!(terminal.shows());
        let mut child = terminal.import(&site);
        let question = terminal.asked();
        let expected = format!("Pass phrase of {}: ", site.path("mail.p12").display());
        assert_eq!(question, expected);
        assert!(!terminal.shows());
        terminal.person.write_all(typed.as_bytes()).unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.code(), Some(status), "{typed:?}");
        assert!(terminal.shows());
        // With the last of the programs' ends gone, the terminal ends too.
        let Terminal {
            mut person,
            programs,
        } = terminal;
        drop(programs);
        let mut rest = Vec::new();
        // On Linux the end of a terminal is an error.
        drop(person.read_to_end(&mut rest));
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.contains(said), "{rest:?}");
        assert!(
            !rest.contains("wrong\r") && !rest.contains('\u{fc}'),
            "{rest:?}"
        );
    }
}
