//! Tables of selections, as the files in `tests/data/selection` have them: certificates first, then
//! what is asked and what is served, a line each.
//!
//! ```text
//! [certificates]
//! NAME | how it is made | first..last second | names
//! [any other title]
//! what it shows | name asked for, or - | circumstances | NAME and rank, or a refusal
//! ```
//!
//! Times are relative to the start: `-1d`, `1h+1`, `600`. A name `CN=…` is the common name.

use std::cell::OnceCell;

use gatepost::cert::Outcome;

use crate::common::ca::{DAY, Key, Leaf, Pair, TestCa};
use crate::common::handshake::{Kind, can_be_sent};

/// Alerts (RFC 8446 section 6).
pub(super) const HANDSHAKE_FAILURE: u8 = 40;
pub(super) const ILLEGAL_PARAMETER: u8 = 47;
pub(super) const UNRECOGNIZED_NAME: u8 = 112;

/// A file.
pub(super) struct Table {
    text: &'static str,
}

/// A certificate of a folder.
pub(super) struct Made {
    pub(super) name: &'static str,
    pub(super) pair: Pair,
    /// Whether it is a trust anchor too.
    pub(super) anchor: bool,
}

/// One selection.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) listener: &'static str,
    pub(super) kind: Kind,
    /// What is sent; `None`: no server_name extension.
    pub(super) sent: Option<String>,
    /// What `cert explain` is asked.
    pub(super) asked: String,
    /// The second after the start.
    pub(super) at: i64,
    pub(super) expected: Expected,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expected {
    /// This NAME, by this rank.
    Served(&'static str, u8),
    /// This alert, and what `explain` calls it; the TLS library's own refusals it does not know.
    Refused(u8, Option<Outcome>),
}

impl Table {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text }
    }

    /// Its certificates, made by `ca`.
    pub(super) fn certificates(&self, ca: &TestCa) -> Vec<Made> {
        // One RSA key is enough for all, and takes long to make.
        let rsa = OnceCell::new();
        self.lines("certificates")
            .map(|cells| made(ca, &rsa, cells))
            .collect()
    }

    /// The selections under this title.
    pub(super) fn rows(&self, title: &str) -> Vec<Row> {
        let rows: Vec<_> = self.lines(title).map(Row::read).collect();
        assert!(!rows.is_empty(), "no selections under [{title}]");
        rows
    }

    fn lines(&self, title: &str) -> impl Iterator<Item = [&'static str; 4]> {
        let title = format!("[{title}]");
        let lines = self.text.lines().skip_while(move |line| *line != title);
        let lines = lines.skip(1).take_while(|line| !line.is_empty());
        lines.map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            cells
                .try_into()
                .unwrap_or_else(|_| panic!("{line:?} has not four cells"))
        })
    }
}

fn made(ca: &TestCa, rsa: &OnceCell<Pair>, cells: [&'static str; 4]) -> Made {
    let [name, how, dates, names] = cells;
    let (common, names): (Vec<_>, Vec<_>) =
        names.split(' ').partition(|name| name.starts_with("CN="));
    let mut leaf = match names.as_slice() {
        [name] if !name.is_ascii() => ca.leaf(&[]).raw_name(name),
        names => ca.leaf(names),
    };
    for name in common {
        leaf = leaf.common_name(name.trim_start_matches("CN="));
    }
    if let Some((from, until)) = dates.split_once("..") {
        leaf = leaf.dates(seconds(from), seconds(until));
    }
    let mut how = how.split(", ");
    let origin = how.next().unwrap();
    let (mut intermediate, mut anchor) = (None, false);
    for word in how {
        leaf = match word {
            "rsa" => leaf.key_of(rsa.get_or_init(|| rsa_key(ca))),
            "p384" => leaf.key(Key::EcdsaP384),
            "ed25519" => leaf.key(Key::Ed25519),
            "authority" => leaf.authority(),
            "for clients" => leaf.for_clients(),
            "anchor" => {
                anchor = true;
                leaf
            }
            word => {
                let until = word.strip_prefix("intermediate until ");
                let until = until.unwrap_or_else(|| panic!("{word:?} of {name}"));
                intermediate = Some(ca.intermediate_until(seconds(until)));
                leaf
            }
        };
    }
    let pair = match (origin, intermediate) {
        ("issued", Some(issuer)) => leaf.issued_by(&issuer),
        (origin, _) => finish(leaf, origin),
    };
    Made { name, pair, anchor }
}

/// Signs it: `issued`, `incomplete` (without its intermediate) or `self-signed`.
pub(super) fn finish(leaf: Leaf<'_>, origin: &str) -> Pair {
    match origin {
        "issued" => leaf.issue(),
        "incomplete" => leaf.issue().without_chain(),
        "self-signed" => leaf.self_signed(),
        _ => panic!("{origin:?} is no way to make a certificate"),
    }
}

fn rsa_key(ca: &TestCa) -> Pair {
    ca.leaf(&["key.example"]).key(Key::Rsa2048).self_signed()
}

impl Row {
    /// A client of today asks for `name`, or for none.
    pub(super) fn asking(title: &'static str, name: Option<&str>) -> Self {
        Self {
            title,
            listener: "plain",
            kind: Kind::Modern,
            sent: name.map(str::to_owned),
            asked: name.unwrap_or("-").to_owned(),
            at: 0,
            expected: Expected::Refused(0, None),
        }
    }

    fn read([title, name, circumstances, expected]: [&'static str; 4]) -> Self {
        // The one byte that an editor would not show.
        let name = name.replace("\\0", "\0");
        let mut row = Self::asking(title, (name != "-").then_some(&name));
        for circumstance in circumstances.split(", ").filter(|it| !it.is_empty()) {
            match circumstance.split_once(' ').unwrap() {
                ("on", listener) => row.listener = listener,
                ("by", client) => row.kind = kind(client),
                ("at", time) => row.at = seconds(time),
                ("as", asked) => asked.clone_into(&mut row.asked),
                _ => panic!("{circumstance:?} of {title:?}"),
            }
        }
        row.expected = match expected {
            "unrecognized_name" => Expected::Refused(UNRECOGNIZED_NAME, Some(Outcome::Rejected)),
            "no-usable-key" => Expected::Refused(HANDSHAKE_FAILURE, Some(Outcome::NoUsableKey)),
            "illegal_parameter" => Expected::Refused(ILLEGAL_PARAMETER, None),
            served => {
                let (name, rank) = served.split_once(' ').unwrap();
                Expected::Served(name, rank.parse().unwrap())
            }
        };
        row
    }

    /// Whether rustls can be the client; else the first half of the handshake is made by hand.
    pub(super) fn is_whole(&self) -> bool {
        self.sent.as_deref().is_none_or(can_be_sent)
    }
}

fn kind(client: &str) -> Kind {
    let known = Kind::ALL.iter().find(|(name, _)| *name == client);
    known.unwrap_or_else(|| panic!("no client {client:?}")).1
}

/// `-1d`, `1h+1`, `600`
fn seconds(text: &str) -> i64 {
    let term = |term: &str| {
        let (number, unit) = match term.as_bytes().last() {
            Some(b'd') => (&term[..term.len() - 1], DAY),
            Some(b'h') => (&term[..term.len() - 1], 3_600),
            _ => (term, 1),
        };
        number.parse::<i64>().unwrap() * unit
    };
    text.split('+').map(term).sum()
}
