//! Buffers of one size, kept per thread and borrowed only while there is something in them.

use std::cell::RefCell;

/// Room beside it for the headers, nonces and tags of the records that hold this plaintext:
/// 29 bytes each in TLS 1.2, 22 in TLS 1.3, and one record more than it fills.
const RECORDS: usize = (Buffer::PLAINTEXT / (16 * 1024) + 1) * 32;

/// Size of a buffer in bytes.
const SIZE: usize = Buffer::PLAINTEXT + RECORDS + Buffer::SPARE;

/// How many unused buffers a thread keeps for the next connection.
const KEPT: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of the pool, with the range of it that is filled. It goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Plaintext that is read or sealed at once at the most, in bytes. With half of it a download
    /// costs a fifth more, for the other end is woken more often; of twice as much, twice as much
    /// could lie with each peer that stalls.
    pub const PLAINTEXT: usize = 128 * 1024;

    /// Room beside a whole buffer of sealed plaintext, in bytes.
    pub const SPARE: usize = 1024;

    /// An empty buffer, from the pool if it has one.
    pub fn take() -> Self {
        let bytes = POOL
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        Self {
            bytes,
            start: 0,
            end: 0,
        }
    }

    /// What is in it.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// What is in it, for decryption in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Free room behind what is in it, all of it: for ciphertext.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Free room of an empty buffer for plaintext that still fits into one buffer when sealed.
    pub fn plaintext_room(&mut self) -> &mut [u8] {
        debug_assert!(self.is_empty(), "plaintext is read into an empty buffer");
        (self.start, self.end) = (0, 0);
        &mut self.bytes[..Self::PLAINTEXT]
    }

    /// Counts `n` bytes of the room as filled.
    pub fn advance(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
    }

    /// Appends what fits; the number of bytes taken.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.advance(n);
        n
    }

    /// Drops `n` bytes from the front.
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        POOL.with_borrow_mut(|pool| {
            if pool.len() < KEPT {
                pool.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_not_consumed_in_order() {
        let mut buffer = Buffer::take();
        assert_eq!(buffer.append(b"abcdef"), 6);
        buffer.consume(2);
        assert_eq!(buffer.append(b"gh"), 2);
        assert_eq!(buffer.filled(), b"cdefgh");
        buffer.consume(100);
        assert!(buffer.is_empty());
    }

    #[test]
    fn takes_no_more_than_its_room() {
        let mut buffer = Buffer::take();
        let much = vec![7; Buffer::PLAINTEXT * 2];
        assert_eq!(buffer.append(&much), SIZE);
        assert_eq!(buffer.append(&much), 0);
    }

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let first = Buffer::take();
        let address = first.bytes.as_ptr();
        drop(first);
        assert_eq!(Buffer::take().bytes.as_ptr(), address);
    }
}
