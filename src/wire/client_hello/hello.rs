//! What stands in the body of a ClientHello.

use super::usize_from;

/// The longest list of ALPN protocols that is kept; the rest of a longer one is of no interest.
pub(super) const MAX_ALPN: usize = 16;

pub(super) const SERVER_NAME: u16 = 0;
pub(super) const SUPPORTED_GROUPS: u16 = 10;
pub(super) const EC_POINT_FORMATS: u16 = 11;
pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
pub(super) const ALPN: u16 = 16;
pub(super) const SUPPORTED_VERSIONS: u16 = 43;
pub(super) const KEY_SHARE: u16 = 51;

const TLS13: u16 = 0x0304;

/// What a ClientHello says, as far as a proxy needs it before TLS begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientHello {
    /// `host_name` of the server_name extension, if it is printable ASCII; as sent.
    pub server_name: Option<String>,
    /// Whether TLS 1.3 is offered (supported_versions).
    pub offers_tls13: bool,
    /// The highest version that a client without supported_versions offers: 0x0301 is TLS 1.0,
    /// 0x0303 TLS 1.2.
    pub legacy_version: u16,
    /// The application protocols offered (RFC 7301), the first sixteen of them.
    pub alpn: Vec<Vec<u8>>,
    /// Whether a key share is there, without which there is no TLS 1.3 (RFC 8446 section 4.2.8).
    pub key_share: bool,
    /// Whether it insists on compression: the null method is not offered.
    pub compressed_only: bool,
    /// Whether it insists on compressed points of elliptic curves (RFC 8422 section 5.1.2).
    pub compressed_points_only: bool,
    pub(super) lists: Lists,
}

/// The lists of numbers, one behind the other: every connection has them, and one allocation is
/// enough for all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Lists {
    numbers: Vec<u16>,
    /// Where each list ends; the last one ends with the numbers.
    suites: usize,
    versions: usize,
    groups: usize,
}

impl ClientHello {
    /// Reads the body of a ClientHello; `None` if a length in it contradicts another.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let legacy_version = u16::from_be_bytes(body.array()?);
        body.take(32)?; // random
        body.vector::<1>()?; // session id
        let suites = pairs(body.vector::<2>()?)?;
        let compressions = body.vector::<1>()?;
        // Clients before TLS 1.2 may end here (RFC 5246 section 7.4.1.2).
        let extensions = match body.is_empty() {
            true => Extensions::default(),
            false => Extensions::read(body.vector::<2>()?)?,
        };
        if !body.is_empty() {
            return None;
        }
        let lists = Lists::read(suites, &extensions)?;
        Some(Self {
            server_name: extensions.server_name.and_then(server_name),
            offers_tls13: lists.versions().contains(&TLS13),
            legacy_version,
            alpn: extensions.alpn.map_or(Some(Vec::new()), protocols)?,
            key_share: extensions.key_share.is_some(),
            compressed_only: !compressions.contains(&0),
            compressed_points_only: match extensions.point_formats {
                Some(extension) => !whole::<1>(extension)?.contains(&0),
                None => false,
            },
            lists,
        })
    }

    /// The cipher suites offered, by their numbers in IANA's registry, best first.
    pub fn cipher_suites(&self) -> &[u16] {
        self.lists.suites()
    }

    /// The versions offered in supported_versions; empty if the client knows no such extension,
    /// so none before TLS 1.3 does.
    pub fn supported_versions(&self) -> &[u16] {
        self.lists.versions()
    }

    /// The groups for the key exchange; empty if none are named.
    pub fn named_groups(&self) -> &[u16] {
        self.lists.groups()
    }

    /// The schemes in which the server may sign; empty if none are named.
    pub fn signature_schemes(&self) -> &[u16] {
        self.lists.schemes()
    }
}

impl Lists {
    fn read(suites: &[[u8; 2]], extensions: &Extensions<'_>) -> Option<Self> {
        Some(Self::new([
            suites,
            list::<1>(extensions.versions)?,
            list::<2>(extensions.groups)?,
            list::<2>(extensions.schemes)?,
        ]))
    }

    /// Suites, versions, groups and signature schemes.
    pub(super) fn new(lists: [&[[u8; 2]]; 4]) -> Self {
        let mut numbers = Vec::with_capacity(lists.iter().map(|list| list.len()).sum());
        let [suites, versions, groups, _] = lists.map(|list| {
            numbers.extend(list.iter().copied().map(u16::from_be_bytes));
            numbers.len()
        });
        Self {
            numbers,
            suites,
            versions,
            groups,
        }
    }

    fn suites(&self) -> &[u16] {
        self.numbers.get(..self.suites).unwrap_or_default()
    }

    fn versions(&self) -> &[u16] {
        let range = self.suites..self.versions;
        self.numbers.get(range).unwrap_or_default()
    }

    fn groups(&self) -> &[u16] {
        let range = self.versions..self.groups;
        self.numbers.get(range).unwrap_or_default()
    }

    fn schemes(&self) -> &[u16] {
        self.numbers.get(self.groups..).unwrap_or_default()
    }
}

/// The extensions that are read, as they came.
#[derive(Default)]
struct Extensions<'a> {
    server_name: Option<&'a [u8]>,
    groups: Option<&'a [u8]>,
    point_formats: Option<&'a [u8]>,
    schemes: Option<&'a [u8]>,
    alpn: Option<&'a [u8]>,
    versions: Option<&'a [u8]>,
    key_share: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    fn read(extensions: &'a [u8]) -> Option<Self> {
        let mut extensions = Reader(extensions);
        let mut found = Self::default();
        while !extensions.is_empty() {
            let kind = u16::from_be_bytes(extensions.array()?);
            let value = extensions.vector::<2>()?;
            let place = match kind {
                SERVER_NAME => &mut found.server_name,
                SUPPORTED_GROUPS => &mut found.groups,
                EC_POINT_FORMATS => &mut found.point_formats,
                SIGNATURE_ALGORITHMS => &mut found.schemes,
                ALPN => &mut found.alpn,
                SUPPORTED_VERSIONS => &mut found.versions,
                KEY_SHARE => &mut found.key_share,
                _ => continue,
            };
            // Twice the same extension: two readers could take two different answers from it.
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

/// The first entry of a server_name extension, if it is a `host_name`. One that is malformed
/// counts as none: the connection may still be served without a name.
fn server_name(extension: &[u8]) -> Option<String> {
    let mut extension = Reader(extension);
    let mut list = Reader(extension.vector::<2>()?);
    let [kind] = list.array()?;
    let name = list.vector::<2>()?;
    let is_host_name = kind == 0 && matches!(name.len(), 1..=255);
    if !is_host_name || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    std::str::from_utf8(name).ok().map(str::to_owned)
}

fn protocols(extension: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(whole::<2>(extension)?);
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.vector::<1>()?;
        if protocols.len() < MAX_ALPN {
            protocols.push(protocol.to_owned());
        }
    }
    Some(protocols)
}

/// The numbers in an extension that holds nothing else; of one that is missing, none.
fn list<const N: usize>(extension: Option<&[u8]>) -> Option<&[[u8; 2]]> {
    extension.map_or(Some(&[]), |extension| pairs(whole::<N>(extension)?))
}

/// The one vector that an extension consists of.
fn whole<const N: usize>(extension: &[u8]) -> Option<&[u8]> {
    let mut extension = Reader(extension);
    let vector = extension.vector::<N>()?;
    extension.is_empty().then_some(vector)
}

fn pairs(bytes: &[u8]) -> Option<&[[u8; 2]]> {
    let (pairs, odd) = bytes.as_chunks();
    odd.is_empty().then_some(pairs)
}

/// Bytes not yet read; every step is `None` if there are too few.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// A vector with a length of `N` bytes before it (RFC 8446 section 3.4).
    fn vector<const N: usize>(&mut self) -> Option<&'a [u8]> {
        let length = usize_from(self.array::<N>()?);
        self.take(length)
    }
}
