//! What a mail server says of itself: its banner and its capabilities.

/// What a server told a health probe; shown, cut down, to clients that are still in clear.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Announced {
    /// The text of its greeting: what stands behind the code, the host name (SMTP), the
    /// `[CAPABILITY …]` code (IMAP), without `<timestamp>` and `[XCLIENT]`.
    pub banner: String,
    /// SMTP: EHLO keywords with their parameters, one an entry. IMAP: capability atoms. POP3:
    /// lines of CAPA. ManageSieve: capability lines as sent. No line ends.
    pub capabilities: Vec<String>,
}

impl Announced {
    /// What both say: the capabilities that stand in both (of SIZE the smaller), and the first
    /// banner if it is the same.
    pub fn in_common(&self, other: &Self) -> Self {
        let _ = other;
        todo!()
    }
}
