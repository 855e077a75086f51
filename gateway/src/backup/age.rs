//! The format of the program `age` (<https://age-encryption.org/v1>) with a passphrase: a header that wraps
//! a key, and chunks of 64 KiB that are each authenticated, the last one as the last. So a backup can be
//! opened without the gateway, and one that was cut short or changed anywhere is noticed.
//!
//! Owns: that format, for streams of any length. Not: what is in them.

use std::io::{self, BufRead, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::RngCore;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};

/// The first line of such a file.
pub const VERSION: &str = "age-encryption.org/v1";

/// The work of a guess at the passphrase when we encrypt: 2^17 blocks of 1 KiB, which takes 128 MiB and
/// some tenths of a second (OWASP's Password Storage Cheat Sheet).
const WORK: u8 = 17;
/// The most that a file may ask of whoever opens it: 1 GiB.
const MOST_WORK: u8 = 20;

const SALT: usize = 16;
const FILE_KEY: usize = 16;
const KEY: usize = 32;
const TAG: usize = 16;
const CHUNK: usize = 64 * 1024;
/// No header of ours has longer lines, nor more of them.
const LONGEST_LINE: u64 = 256;

/// Why a file can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum AgeError {
    /// Reading it failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is of another kind.
    #[error("it is no backup of a gateway")]
    Foreign,
    /// It begins as one, and is not encrypted with a passphrase.
    #[error("it is not encrypted with a passphrase that this program can try: {0}")]
    Unsupported(&'static str),
    /// The header does not open.
    #[error("the passphrase is wrong, or the file was damaged at its beginning")]
    Passphrase,
}

/// Encrypts what is written to it. Without [`Encryptor::finish`] the file is one that was cut short.
pub struct Encryptor<W> {
    out: W,
    chunks: Chunks,
    waiting: Vec<u8>,
}

impl<W: Write> Encryptor<W> {
    /// Writes the header to `out`.
    pub fn new(
        mut out: W,
        passphrase: &str,
        random: &mut (impl RngCore + rand::CryptoRng),
    ) -> io::Result<Self> {
        let (mut file_key, mut salt, mut nonce) = ([0; FILE_KEY], [0; SALT], [0; SALT]);
        random.fill_bytes(&mut file_key);
        random.fill_bytes(&mut salt);
        random.fill_bytes(&mut nonce);
        let wrapping = wrapping_key(passphrase, &salt, WORK).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut wrapped = file_key.to_vec();
        wrapping
            .seal_in_place_append_tag(no_nonce(), Aad::empty(), &mut wrapped)
            .map_err(|_| io::Error::other("the key can't be encrypted"))?;
        let [salt, wrapped] = [&salt[..], &wrapped].map(|it| STANDARD_NO_PAD.encode(it));
        let header = format!("{VERSION}\n-> scrypt {salt} {WORK}\n{wrapped}\n---");
        let mac = hmac::sign(&header_key(&file_key), header.as_bytes());
        let mac = STANDARD_NO_PAD.encode(mac.as_ref());
        out.write_all(format!("{header} {mac}\n").as_bytes())?;
        out.write_all(&nonce)?;
        Ok(Self {
            out,
            chunks: Chunks::new(&file_key, &nonce),
            waiting: Vec::with_capacity(CHUNK + TAG),
        })
    }

    /// Writes the last chunk, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = self.chunks.next(is_last);
        self.chunks
            .key
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut self.waiting)
            .map_err(|_| io::Error::other("a chunk can't be encrypted"))?;
        self.out.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until there is more: only the last one is marked as the last.
        if self.waiting.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decrypts what it reads. What it gives is as it was written, and its end is the end: a chunk that was
/// changed, moved or removed is an error of the kind `InvalidData`.
pub struct Decryptor<R> {
    from: R,
    chunks: Chunks,
    chunk: Vec<u8>,
    given: usize,
    is_over: bool,
}

impl<R: BufRead> Decryptor<R> {
    /// Reads the header.
    pub fn new(mut from: R, passphrase: &str) -> Result<Self, AgeError> {
        if line(&mut from)? != VERSION {
            return Err(AgeError::Foreign);
        }
        let recipient = line(&mut from)?;
        let wrapped = line(&mut from)?;
        let end = line(&mut from)?;
        let mut words = recipient.split(' ');
        if (words.next(), words.next()) != (Some("->"), Some("scrypt")) {
            return Err(AgeError::Unsupported("it is for a key"));
        }
        let salt = bytes::<SALT>(words.next())?;
        let work: u8 = words
            .next()
            .and_then(|work| work.parse().ok())
            .ok_or(AgeError::Passphrase)?;
        if work == 0 || work > MOST_WORK {
            return Err(AgeError::Unsupported("it asks for too much memory"));
        }
        let mut key = bytes::<{ FILE_KEY + TAG }>(Some(&wrapped))?;
        let mac = end.strip_prefix("--- ").ok_or(AgeError::Passphrase)?;
        let mac = bytes::<KEY>(Some(mac))?;
        let wrapping = wrapping_key(passphrase, &salt, work)
            .ok_or(AgeError::Unsupported("there is not enough memory"))?;
        let file_key = wrapping
            .open_in_place(no_nonce(), Aad::empty(), &mut key)
            .map_err(|_| AgeError::Passphrase)?;
        let header = format!("{VERSION}\n{recipient}\n{wrapped}\n---");
        hmac::verify(&header_key(file_key), header.as_bytes(), &mac)
            .map_err(|_| AgeError::Passphrase)?;
        let mut nonce = [0; SALT];
        from.read_exact(&mut nonce)?;
        Ok(Self {
            chunks: Chunks::new(file_key, &nonce),
            from,
            chunk: Vec::new(),
            given: 0,
            is_over: false,
        })
    }

    fn open_next(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.given = 0;
        let limit = (CHUNK + TAG) as u64;
        let length = (&mut self.from).take(limit).read_to_end(&mut self.chunk)?;
        let is_last = length < CHUNK + TAG || self.from.fill_buf()?.is_empty();
        let is_first = self.chunks.number == 0;
        let nonce = self.chunks.next(is_last);
        let opened = self
            .chunks
            .key
            .open_in_place(nonce, Aad::empty(), &mut self.chunk);
        let length = opened.map_err(|_| damaged())?.len();
        // An empty chunk would be a second way to write the same.
        if length == 0 && !is_first {
            return Err(damaged());
        }
        self.chunk.truncate(length);
        self.is_over = is_last;
        Ok(())
    }
}

impl<R: BufRead> Read for Decryptor<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() && !self.is_over {
            self.open_next()?;
        }
        let rest = &self.chunk[self.given..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.given += length;
        Ok(length)
    }
}

/// The key of the chunks, and the number of the next.
struct Chunks {
    key: LessSafeKey,
    number: u64,
}

impl Chunks {
    fn new(file_key: &[u8], nonce: &[u8; SALT]) -> Self {
        let key = derived(file_key, nonce, b"payload");
        Self {
            key: cipher(&key),
            number: 0,
        }
    }

    fn next(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        // Eleven bytes of number, of which eight are enough for any file, and whether it is the last.
        nonce[3..NONCE_LEN - 1].copy_from_slice(&self.number.to_be_bytes());
        nonce[NONCE_LEN - 1] = u8::from(is_last);
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it was damaged or cut short: a part of it is not as it was written",
    )
}

/// `None` where the memory for it is not there.
fn wrapping_key(passphrase: &str, salt: &[u8; SALT], work: u8) -> Option<LessSafeKey> {
    let salt = [b"age-encryption.org/v1/scrypt".as_slice(), salt].concat();
    let parameters = scrypt::Params::new(work, 8, 1).ok()?;
    let mut key = [0; KEY];
    scrypt::scrypt(passphrase.as_bytes(), &salt, &parameters, &mut key).ok()?;
    Some(cipher(&key))
}

fn cipher(key: &[u8; KEY]) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key);
    LessSafeKey::new(key.expect("the key has the 256 bits of this cipher"))
}

/// The key that a wrapping key encrypts is the only thing that it ever does.
fn no_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn header_key(file_key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &derived(file_key, &[], b"header"))
}

fn derived(file_key: &[u8], salt: &[u8], purpose: &[u8]) -> [u8; KEY] {
    let mut key = [0; KEY];
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(file_key);
    let purpose = [purpose];
    pseudorandom
        .expand(&purpose, hkdf::HKDF_SHA256)
        .and_then(|expanded| expanded.fill(&mut key))
        .expect("HKDF gives as many bytes as its hash has");
    key
}

/// A line of the header, without its end.
fn line(from: &mut impl BufRead) -> Result<String, AgeError> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(AgeError::Foreign);
    }
    String::from_utf8(line).map_err(|_| AgeError::Foreign)
}

fn bytes<const N: usize>(text: Option<&str>) -> Result<[u8; N], AgeError> {
    text.and_then(|text| STANDARD_NO_PAD.decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(AgeError::Passphrase)
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    const PASSPHRASE: &str = "a passphrase of some length";

    fn encrypted(text: &[u8]) -> Vec<u8> {
        let mut encryptor = Encryptor::new(Vec::new(), PASSPHRASE, &mut OsRng).unwrap();
        // In pieces that don't fit its chunks.
        for piece in text.chunks(9_999) {
            encryptor.write_all(piece).unwrap();
        }
        encryptor.finish().unwrap()
    }

    fn decrypted(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut decryptor = Decryptor::new(bytes, PASSPHRASE).map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        decryptor
            .read_to_end(&mut text)
            .map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn what_was_encrypted_is_read_again_whatever_its_length() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
            let text: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let bytes = encrypted(&text);
            assert!(decrypted(&bytes) == Ok(text), "{length}");
        }
    }

    #[test]
    fn what_is_cut_short_changed_or_longer_is_refused_wherever_that_is() {
        let text = vec![7; 3 * CHUNK];
        let bytes = encrypted(&text);
        let header = bytes.len() - 3 * (CHUNK + TAG) - SALT;
        let ends = [1, 2, 3].map(|chunks| bytes.len() - chunks * (CHUNK + TAG));
        for cut in ends.into_iter().chain([bytes.len() - 1, header, 30, 0]) {
            assert!(decrypted(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in [header + 1, header + SALT + 5, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decrypted(&changed).is_err(), "changed at {at}");
        }
        assert!(decrypted(&[&bytes[..], b"x"].concat()).is_err());
        // Chunks in another order.
        let first = header + SALT;
        let mut moved = bytes.clone();
        moved[first..first + 2 * (CHUNK + TAG)].rotate_left(CHUNK + TAG);
        assert!(decrypted(&moved).is_err());
    }

    #[test]
    fn another_passphrase_and_other_files_are_told_apart() {
        let bytes = encrypted(b"x");
        let told = |bytes: &[u8], passphrase: &str| match Decryptor::new(bytes, passphrase) {
            Ok(_) => "opened".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(told(&bytes, PASSPHRASE), "opened");
        assert!(told(&bytes, "another passphrase").contains("passphrase is wrong"));
        assert!(told(b"SQLite format 3\0\n", PASSPHRASE).contains("no backup"));
        let header = String::from_utf8_lossy(&bytes).into_owned();
        let greedy = header.replacen(" 17\n", " 30\n", 1);
        assert!(told(greedy.as_bytes(), PASSPHRASE).contains("too much memory"));
        let for_a_key = header.replacen("scrypt", "X25519", 1);
        assert!(told(for_a_key.as_bytes(), PASSPHRASE).contains("for a key"));
    }

    /// `age -p`, version 1.1.1, wrote it.
    const BY_AGE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBRSEwzSCtUQ3JRVEtKc3IwcXp1ZUpnIDE4ClFS\
         b2ZGTk5qRTNOMU40VmNvY2V2QWpsMndEY2JGb3FiNnExc0NEbVhiR0EKLS0tIGdzTUYvVVppdGwrTjVv\
         ZExuSkd6SWYzTG1CMlFQOHYrUnBrRktJYjRGSzgK1UReQiAvWymKKfdy1xuMY/TSKUoV1y4Pfz/Qz+2g\
         5+TBr/7fBH1gtDLjEeGROqCqPsU=";

    #[test]
    fn what_the_program_age_encrypted_is_read() {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(BY_AGE)
            .unwrap();
        let mut text = String::new();
        Decryptor::new(bytes.as_slice(), "a passphrase of the real age")
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "a recorded secret\n");
    }
}
