//! Buffers of two sizes, kept per thread and borrowed only while there is something in them.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Plaintext of a large buffer and of a small one, in bytes.
///
/// Large ones make bulk cheap, for most of its cost is the kernel's work for each call: with a
/// quarter of it an upload costs a third more. Small ones are given out while many large ones
/// are out, that is with peers that stall: so these cannot hold much memory together.
const LARGE: usize = 512 * 1024;
const SMALL: usize = 32 * 1024;

/// Large buffers of one thread that may be out at once; 16 MiB.
const OUT: usize = 32;

/// How many unused buffers of each size a thread keeps for the next connection.
const KEPT: usize = 8;

/// Size of a buffer whose plaintext still fits into another one like it when it is sealed: beside
/// it there is room for headers, nonces and tags of its records (29 bytes each in TLS 1.2, 22 in
/// TLS 1.3, and one record more than it fills).
const fn size(plaintext: usize) -> usize {
    plaintext + (plaintext / (16 * 1024) + 1) * 32 + Buffer::SPARE
}

/// The buffers of a thread.
struct Pool {
    large: Vec<Box<[u8]>>,
    small: Vec<Box<[u8]>>,
    /// Of its large ones, how many are out; they may come back from another thread.
    out: &'static AtomicUsize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool {
        large: Vec::with_capacity(KEPT),
        small: Vec::with_capacity(KEPT),
        // Threads live as long as the process.
        out: Box::leak(Box::default()),
    });
}

/// A buffer of the pool, with the range of it that is filled. It goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Where it is counted, if it is a large one.
    out: Option<&'static AtomicUsize>,
}

impl Buffer {
    /// Room beside a whole buffer of sealed plaintext, in bytes.
    pub const SPARE: usize = 1024;

    /// An empty buffer, from the pool if it has one.
    pub fn take() -> Self {
        Self::with_room(0)
    }

    /// An empty buffer with room for `n` bytes of plaintext, which are then sealed perhaps, or as
    /// many as a large one has room for.
    pub fn with_room(n: usize) -> Self {
        POOL.with_borrow_mut(|pool| {
            let large = n > SMALL || pool.out.load(Ordering::Relaxed) < OUT;
            let (kept, size) = match large {
                true => (&mut pool.large, size(LARGE)),
                false => (&mut pool.small, size(SMALL)),
            };
            let bytes = kept.pop();
            if large {
                pool.out.fetch_add(1, Ordering::Relaxed);
            }
            Self {
                bytes: bytes.unwrap_or_else(|| vec![0; size].into_boxed_slice()),
                start: 0,
                end: 0,
                out: large.then_some(pool.out),
            }
        })
    }

    /// Makes an empty buffer one that `n` bytes of any kind fit into, if a large one has the room.
    pub fn make_room(&mut self, n: usize) {
        if n > self.bytes.len() && self.is_empty() {
            *self = Self::with_room(n);
        }
    }

    /// Plaintext that is read or sealed at once at the most, in bytes.
    fn plaintext(&self) -> usize {
        match self.out {
            Some(_) => LARGE,
            None => SMALL,
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

    /// Free room for plaintext, all of which still fits into one buffer when sealed.
    pub fn plaintext_room(&mut self) -> &mut [u8] {
        let most = self.plaintext();
        let filled = self.filled().len();
        let room = self.room();
        let n = most.saturating_sub(filled).min(room.len());
        &mut room[..n]
    }

    /// Counts `n` bytes of the room as filled.
    pub fn advance(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
    }

    /// Appends what fits; the number of bytes taken.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let n = copy(bytes, self.room());
        self.advance(n);
        n
    }

    /// Appends what fits and may then be sealed; the number of bytes taken.
    pub fn append_plaintext(&mut self, bytes: &[u8]) -> usize {
        let n = copy(bytes, self.plaintext_room());
        self.advance(n);
        n
    }

    /// Drops `n` bytes from the front.
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }
}

/// Copies as much as there is room for; the number of bytes.
fn copy(bytes: &[u8], room: &mut [u8]) -> usize {
    let n = room.len().min(bytes.len());
    room[..n].copy_from_slice(&bytes[..n]);
    n
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(out) = self.out {
            out.fetch_sub(1, Ordering::Relaxed);
        }
        let bytes = std::mem::take(&mut self.bytes);
        let large = self.out.is_some();
        // Without a pool the thread is at its end.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let kept = match large {
                true => &mut pool.large,
                false => &mut pool.small,
            };
            if kept.len() < KEPT {
                kept.push(bytes);
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
        let much = vec![7; LARGE * 2];
        let mut buffer = Buffer::take();
        assert_eq!(buffer.append(&much), size(LARGE));
        assert_eq!(buffer.append(&much), 0);
        let mut buffer = Buffer::take();
        assert_eq!(buffer.append_plaintext(b"some"), 4);
        assert_eq!(buffer.append_plaintext(&much), LARGE - 4);
        assert_eq!(buffer.append_plaintext(&much), 0);
    }

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let first = Buffer::take();
        let address = first.bytes.as_ptr();
        drop(first);
        assert_eq!(Buffer::take().bytes.as_ptr(), address);
    }

    #[test]
    fn many_that_are_out_are_small_but_what_must_fit_does() {
        let out: Vec<_> = (0..OUT * 10).map(|_| Buffer::take()).collect();
        let held: usize = out.iter().map(|buffer| buffer.bytes.len()).sum();
        assert_eq!(held, OUT * size(LARGE) + OUT * 9 * size(SMALL));

        let mut buffer = Buffer::take();
        assert_eq!(buffer.append_plaintext(&vec![7; LARGE]), SMALL);
        assert!(Buffer::with_room(SMALL + 1).bytes.len() > size(SMALL));
        let mut buffer = Buffer::take();
        buffer.make_room(size(SMALL));
        assert_eq!(buffer.bytes.len(), size(SMALL));
        buffer.make_room(size(SMALL) + 1);
        assert_eq!(buffer.bytes.len(), size(LARGE));

        // Wherever they come back.
        std::thread::spawn(move || drop(out)).join().unwrap();
        drop(buffer);
        assert_eq!(Buffer::take().bytes.len(), size(LARGE));
    }
}
