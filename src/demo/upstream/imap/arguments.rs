//! Arguments of a command: atoms, quoted strings and literals (RFC 3501 section 4).

/// `{n}` or `{n+}` at the end of a line: n, and whether the client waits to be asked for it.
pub(super) fn literal_at_end(line: &[u8]) -> Option<(usize, bool)> {
    let line = line.strip_suffix(b"}")?;
    let open = line.iter().rposition(|byte| *byte == b'{')?;
    let inner = std::str::from_utf8(line.get(open + 1..)?).ok()?;
    let digits = inner.strip_suffix('+').unwrap_or(inner);
    Some((digits.parse().ok()?, digits.len() == inner.len()))
}

/// Arguments not read yet.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    /// A word up to the next space.
    pub(super) fn atom(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == b' ');
        let (word, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.strip_prefix(b" ").unwrap_or(rest);
        std::str::from_utf8(word)
            .ok()
            .filter(|word| !word.is_empty())
    }

    /// An atom, a quoted string or a literal.
    pub(super) fn string(&mut self) -> Option<Vec<u8>> {
        let text = match self.0.first()? {
            b'"' => self.quoted()?,
            b'{' => self.literal()?,
            _ => return self.atom().map(|atom| atom.as_bytes().to_vec()),
        };
        // Whatever follows is another argument.
        match self.0.first() {
            None => {}
            Some(b' ') => self.0 = self.0.get(1..)?,
            Some(_) => return None,
        }
        Some(text)
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut bytes = self.0.get(1..)?.iter();
        loop {
            match *bytes.next()? {
                b'"' => break,
                b'\\' => text.push(*bytes.next()?),
                byte => text.push(byte),
            }
        }
        self.0 = bytes.as_slice();
        Some(text)
    }

    fn literal(&mut self) -> Option<Vec<u8>> {
        let end = self.0.windows(2).position(|pair| pair == b"\r\n")?;
        let (length, _) = literal_at_end(self.0.get(..end)?)?;
        let start = end + 2;
        let text = self.0.get(start..start.checked_add(length)?)?.to_vec();
        self.0 = self.0.get(start + length..)?;
        Some(text)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_done(self) -> bool {
        self.0.is_empty()
    }
}
