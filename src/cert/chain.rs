//! The chain that clients are sent, put together from whatever certificates there are.
//!
//! A search for the best of the possible paths, bounded whatever the certificates: they come
//! from outside, and a mesh of cross-signatures has more paths than anybody can count. Whether a
//! path is trusted is for `trust` to say.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;

use crate::cert::certificate::{parse, validity};
use crate::cert::credential::date_text;
use crate::cert::{Certificate, PrivateKey, Problem, ProblemCode, TrustAnchors, Validity};
use crate::cert::{algorithm, distinguished_name};

/// Most certificates between the end-entity certificate and the trust anchor. Real paths have
/// three at most.
const LONGEST_PATH: usize = 8;

/// Paths that are begun before the search ends with the best so far.
const MOST_STEPS: usize = 500;

/// Paths that are held against the trust anchors.
const MOST_JUDGED: usize = 32;

/// Signatures that are verified.
const MOST_SIGNATURES: usize = 200;

/// Unused certificates that are named one by one.
const MOST_NAMED: usize = 5;

/// A chain, and what there is to say about how it came to be.
#[derive(Clone, Debug)]
pub struct Chain {
    /// End-entity certificate first, no root at the end.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whether it is trusted from now until the end-entity certificate's own end: nothing that
    /// lies elsewhere could better it.
    pub complete: bool,
    /// What was given and not used, and what is expired.
    pub problems: Vec<Problem>,
}

impl Chain {
    /// Finds the best chain for a certificate among those that were `given` with it and those
    /// that are `known` otherwise: the one that is trusted longest from `now` on; of several
    /// such the one with most of what was given and least of what was not. Roots are left out,
    /// for clients have their own.
    pub fn find(
        end_entity: &Certificate,
        given: &[CertificateDer<'static>],
        known: &[CertificateDer<'static>],
        anchors: &TrustAnchors,
        now: UnixTime,
    ) -> Self {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let nodes = Node::all(end_entity, given, known);
        let mut search = Search::new(end_entity, &nodes, anchors, now);
        let best = match end_entity.self_signed {
            true => Candidate::default(),
            false => search.run(),
        };
        let problems = search.problems(&best.path);
        let on_path = best.path.iter().filter_map(|at| nodes.get(*at));
        let certificates = std::iter::once(end_entity.der.clone())
            .chain(on_path.map(|node| node.der.clone()))
            .collect();
        let trusted_to_the_end = best.score.trusted_until == Some(end_entity.validity.not_after);
        Self {
            certificates,
            complete: end_entity.self_signed || trusted_to_the_end,
            problems,
        }
    }
}

/// The certificates of a file in which the one that belongs to a key does not come first: it
/// first, then each by the one before it, then the others. `None` if no key fits.
pub fn end_entity_first(
    certificates: &[CertificateDer<'static>],
    keys: &[PrivateKey],
) -> Option<Vec<CertificateDer<'static>>> {
    let parsed: Vec<_> = certificates.iter().map(|der| parse(der).ok()).collect();
    let fits = |x509: &X509Certificate<'_>| {
        let spki = x509.public_key().raw;
        keys.iter().any(|key| key.spki() == spki)
    };
    let first = parsed
        .iter()
        .position(|x509| x509.as_ref().is_some_and(fits))?;
    let mut order = vec![first];
    let mut waiting: Vec<usize> = (0..parsed.len()).filter(|at| *at != first).collect();
    let mut last = parsed[first].as_ref();
    while let Some(issuer) = last.map(|x509| x509.issuer().as_raw()) {
        let named = |x509: &X509Certificate<'_>| x509.subject().as_raw() == issuer;
        let next = |at: &usize| parsed[*at].as_ref().is_some_and(named);
        let Some(place) = waiting.iter().position(next) else {
            break;
        };
        let at = waiting.remove(place);
        order.push(at);
        last = parsed[at].as_ref();
    }
    order.append(&mut waiting);
    Some(
        order
            .into_iter()
            .map(|at| certificates[at].clone())
            .collect(),
    )
}

/// A certificate that may stand above another.
struct Node<'n> {
    der: &'n CertificateDer<'static>,
    /// Whether it was given with the end-entity certificate.
    given: bool,
    links: Links,
    validity: Validity,
    subject_text: String,
    /// Signed with its own key: nothing stands above it.
    root: bool,
}

/// What ties certificates together; names as DER.
struct Links {
    subject: Box<[u8]>,
    issuer: Box<[u8]>,
    /// subjectKeyIdentifier.
    own_key: Option<Box<[u8]>>,
    /// authorityKeyIdentifier.
    issuers_key: Option<Box<[u8]>>,
}

impl Links {
    fn of(x509: &X509Certificate<'_>) -> Self {
        let (own_key, issuers_key) = algorithm::key_identifiers(x509);
        Self {
            subject: x509.subject().as_raw().into(),
            issuer: x509.issuer().as_raw().into(),
            own_key: own_key.map(Box::from),
            issuers_key: issuers_key.map(Box::from),
        }
    }

    /// Whether the names fit, and nothing says that the key is another.
    fn may_be_issued_by(&self, issuer: &Self) -> bool {
        let keys = self.issuers_key.as_ref().zip(issuer.own_key.as_ref());
        self.issuer == issuer.subject && keys.is_none_or(|(wanted, found)| wanted == found)
    }
}

impl<'n> Node<'n> {
    /// Every certificate once; what cannot be read is on no path.
    fn all(
        end_entity: &'n Certificate,
        given: &'n [CertificateDer<'static>],
        known: &'n [CertificateDer<'static>],
    ) -> Vec<Self> {
        let mut seen = HashSet::from([&*end_entity.der]);
        let given = given.iter().map(|der| (der, true));
        let all = given.chain(known.iter().map(|der| (der, false)));
        all.filter(|(der, _)| seen.insert(der))
            .filter_map(|(der, given)| Self::read(der, given))
            .collect()
    }

    fn read(der: &'n CertificateDer<'static>, given: bool) -> Option<Self> {
        let x509 = parse(der).ok()?;
        let root = algorithm::is_self_signed(&x509, algorithm::key_type(x509.public_key()));
        Some(Self {
            der,
            given,
            links: Links::of(&x509),
            validity: validity(&x509),
            subject_text: distinguished_name::text(x509.subject()),
            root,
        })
    }
}

/// How good a path is; greater is better.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Score {
    /// The last second of the trust that holds now.
    trusted_until: Option<i64>,
    /// The first second of trust to come.
    trusted_from: Option<Reverse<i64>>,
    /// Whether it leads to an anchor, or else to a root.
    arrives: u8,
    /// Whether nothing on it is out of date before that trust, or the end-entity certificate,
    /// ends.
    outlasts: bool,
    /// For what is not trusted: when the first certificate on it expires.
    lasts: i64,
    given: usize,
    others: Reverse<usize>,
}

/// A path by the positions of its nodes, nearest to the end-entity certificate first.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Candidate {
    score: Score,
    path: Vec<usize>,
}

/// A path that waits to be gone on with; the most promising is the greatest.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Waiting {
    /// Whether an anchor has its issuer's name.
    arrives: bool,
    /// When the first certificate on it expires, that of the server included.
    lasts: i64,
    length: Reverse<usize>,
    given: usize,
    path: Vec<usize>,
}

struct Search<'s> {
    end_entity: &'s Certificate,
    end_entity_links: Option<Links>,
    nodes: &'s [Node<'s>],
    by_subject: HashMap<&'s [u8], Vec<usize>>,
    anchors: &'s TrustAnchors,
    now: i64,
    /// Whether one (`None`: the end-entity certificate) is signed with the key of another.
    signed: HashMap<(Option<usize>, usize), bool>,
}

impl<'s> Search<'s> {
    fn new(
        end_entity: &'s Certificate,
        nodes: &'s [Node<'s>],
        anchors: &'s TrustAnchors,
        now: i64,
    ) -> Self {
        let mut by_subject: HashMap<_, Vec<_>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            by_subject.entry(&*node.links.subject).or_default().push(at);
        }
        Self {
            end_entity,
            end_entity_links: parse(&end_entity.der).ok().map(|x509| Links::of(&x509)),
            nodes,
            by_subject,
            anchors,
            now,
            signed: HashMap::new(),
        }
    }

    fn run(&mut self) -> Candidate {
        let mut best: Option<Candidate> = None;
        let mut judged = 0;
        let mut waiting = BinaryHeap::from([self.waiting(Vec::new())]);
        for _ in 0..MOST_STEPS {
            let Some(Waiting { arrives, path, .. }) = waiting.pop() else {
                break;
            };
            let issuers = self.issuers(&path);
            let at_root = issuers.iter().any(|at| self.nodes[*at].root);
            let mut leads_on = false;
            for at in issuers {
                if !self.nodes[at].root && path.len() < LONGEST_PATH && !path.contains(&at) {
                    leads_on = true;
                    let longer = path.iter().copied().chain([at]).collect();
                    waiting.push(self.waiting(longer));
                }
            }
            let arrives = if arrives { 2 } else { u8::from(at_root) };
            if (arrives > 0 || !leads_on) && judged < MOST_JUDGED {
                judged += 1;
                let score = self.score(&path, arrives);
                best = best.max(Some(Candidate { score, path }));
            }
        }
        best.unwrap_or_default()
    }

    fn waiting(&self, path: Vec<usize>) -> Waiting {
        Waiting {
            arrives: self.anchors.names(self.issuer_name(&path)),
            lasts: self.lasts(&path).min(self.end_entity.validity.not_after),
            length: Reverse(path.len()),
            given: self.given(&path),
            path,
        }
    }

    fn given(&self, path: &[usize]) -> usize {
        path.iter().filter(|at| self.nodes[**at].given).count()
    }

    fn lasts(&self, path: &[usize]) -> i64 {
        let ends = path.iter().map(|at| self.nodes[*at].validity.not_after);
        ends.min().unwrap_or(i64::MAX)
    }

    fn score(&self, path: &[usize], arrives: u8) -> Score {
        let chain: Vec<_> = path.iter().map(|at| self.nodes[*at].der.clone()).collect();
        let periods = self.anchors.trusted_periods(self.end_entity, &chain);
        let holds =
            |period: &&Validity| period.not_before <= self.now && self.now <= period.not_after;
        let trusted_until = periods.iter().find(holds).map(|period| period.not_after);
        let later = periods.iter().map(|period| period.not_before);
        let trusted_from = later.filter(|from| *from > self.now).min().map(Reverse);
        let lasts = self.lasts(path);
        let given = self.given(path);
        Score {
            trusted_until,
            trusted_from,
            arrives: if trusted_until.is_some() { 2 } else { arrives },
            outlasts: lasts >= trusted_until.unwrap_or(self.end_entity.validity.not_after),
            lasts: if trusted_until.is_some() { 0 } else { lasts },
            given,
            others: Reverse(path.len() - given),
        }
    }

    fn links(&self, path: &[usize]) -> Option<&Links> {
        match path.last() {
            Some(top) => self.nodes.get(*top).map(|node| &node.links),
            None => self.end_entity_links.as_ref(),
        }
    }

    /// The issuer's name above a path, without its outer SEQUENCE.
    fn issuer_name(&self, path: &[usize]) -> &[u8] {
        let issuer = self.links(path).map_or(&[][..], |links| &links.issuer);
        crate::cert::path::content(issuer)
    }

    /// The certificates whose key has signed the last one of a path.
    fn issuers(&mut self, path: &[usize]) -> Vec<usize> {
        let Some(links) = self.links(path) else {
            return Vec::new();
        };
        let named = self.by_subject.get(&*links.issuer);
        let fitting: Vec<usize> = named
            .into_iter()
            .flatten()
            .copied()
            .filter(|at| links.may_be_issued_by(&self.nodes[*at].links))
            .collect();
        let top = path.last().copied();
        fitting
            .into_iter()
            .filter(|at| Some(*at) != top && self.is_signed(top, *at))
            .collect()
    }

    fn is_signed(&mut self, subject: Option<usize>, issuer: usize) -> bool {
        let pair = (subject, issuer);
        if let Some(known) = self.signed.get(&pair) {
            return *known;
        }
        if self.signed.len() == MOST_SIGNATURES {
            return false;
        }
        let der = subject.map_or(&self.end_entity.der, |at| self.nodes[at].der);
        let verified = is_signed_by(der, self.nodes[issuer].der);
        self.signed.insert(pair, verified);
        verified
    }

    fn problems(&self, path: &[usize]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for node in path.iter().filter_map(|at| self.nodes.get(*at)) {
            if node.validity.not_after < self.now {
                problems.push(Problem {
                    code: ProblemCode::Expired,
                    message: format!(
                        "intermediate {:?} expired on {}, and no other is known",
                        node.subject_text,
                        date_text(node.validity.not_after)
                    ),
                });
            }
        }
        // Another certificate of the same issuer was better, or roots: nobody misses them.
        let on_path = |subject: &[u8]| {
            path.iter()
                .any(|at| *self.nodes[*at].links.subject == *subject)
        };
        let unused: Vec<&Node<'_>> = self
            .nodes
            .iter()
            .filter(|node| node.given && !node.root && !on_path(&node.links.subject))
            .collect();
        for node in unused.iter().take(MOST_NAMED) {
            problems.push(unused_problem(format!(
                "certificate {:?} has nothing to do with this one, and was left out",
                node.subject_text
            )));
        }
        if unused.len() > MOST_NAMED {
            let more = unused.len() - MOST_NAMED;
            problems.push(unused_problem(format!(
                "{more} more certificates were left out"
            )));
        }
        problems
    }
}

fn unused_problem(message: String) -> Problem {
    Problem {
        code: ProblemCode::UnusedCertificate,
        message,
    }
}

fn is_signed_by(der: &[u8], issuer: &[u8]) -> bool {
    match (parse(der), parse(issuer)) {
        (Ok(x509), Ok(issuer)) => algorithm::is_signed_by(&x509, issuer.public_key()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
