//! What the lane takes, others read the same way.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generate;
use super::reference::{self, Read, sorted};
use crate::head::{Head, Index, Parsed, Scan};
use crate::response::{self, ResponseHead, ResponseIndex};

const MOST: usize = 16 * 1024;

/// A request as the lane reads it, if it takes it. Read in pieces it must be the same.
fn request(bytes: &[u8], random: &mut StdRng) -> Option<Read> {
    let mut index = Index::default();
    let whole = Scan::default().look(bytes, MOST, &mut index);
    let (mut scan, mut end, mut in_pieces) = (Scan::default(), 0, Parsed::Incomplete);
    while in_pieces == Parsed::Incomplete && end < bytes.len() {
        end = (end + random.gen_range(1..=bytes.len())).min(bytes.len());
        in_pieces = scan.look(&bytes[..end], MOST, &mut Index::default());
    }
    let (is_plain, same) = (whole == Parsed::Complete, in_pieces == Parsed::Complete);
    assert_eq!(is_plain, same, "{}", bytes.escape_ascii());
    let body = bytes.get(index.end..index.end + index.length);
    let body = body.filter(|_| is_plain)?;
    let head = Head::new(&bytes[..index.end], &index);
    Some(Read {
        start: format!("{} {}", head.method(), head.target()),
        headers: sorted(head.headers()),
        body: body.to_vec(),
    })
}

/// An answer as the lane reads it, if it is one and complete.
fn answer(bytes: &[u8], piece: usize) -> Option<Read> {
    let (mut raw, mut rest) = (Vec::new(), bytes.chunks(piece));
    let mut index = ResponseIndex::default();
    loop {
        if response::parse(&mut raw, MOST, &mut index).ok()? {
            if index.status == 101 {
                return None;
            }
            if !index.status.is_informational() {
                break;
            }
            raw.drain(..index.end);
            continue;
        }
        raw.extend_from_slice(rest.next()?);
    }
    let headers = sorted(ResponseHead::new(&raw, &index).headers());
    raw.drain(..index.end);
    let (mut framing, mut body) = (index.framing.clone(), Vec::new());
    loop {
        let decoded = framing.decode(&mut raw).ok()?;
        body.extend_from_slice(&raw[decoded.data.clone()]);
        assert!(decoded.data.end <= decoded.used && decoded.used <= raw.len());
        raw.drain(..decoded.used);
        if framing.is_done() {
            break;
        }
        match rest.next() {
            Some(piece) => raw.extend_from_slice(piece),
            None => framing.end().ok()?,
        }
    }
    Some(Read {
        start: index.status.as_u16().to_string(),
        headers,
        body,
    })
}

#[tokio::test]
async fn a_request_that_is_taken_is_read_by_others_in_the_same_way() {
    let (cases, mut random) = (super::cases(), StdRng::seed_from_u64(cases_seed()));
    let mut taken = 0;
    for _ in 0..cases {
        let bytes = generate::request(&mut random);
        if let Some(read) = request(&bytes, &mut random) {
            taken += 1;
            let other = reference::request(&bytes).await;
            assert_eq!(Some(read), other, "{}", bytes.escape_ascii());
        }
    }
    // Neither nearly all nor nearly none: the generator is of use.
    let share = taken * 100 / cases;
    assert!((20..80).contains(&share), "{share} of 100 were taken");
}

#[tokio::test]
async fn an_answer_that_is_taken_is_read_by_others_in_the_same_way() {
    let (cases, mut random) = (super::cases(), StdRng::seed_from_u64(cases_seed()));
    let mut taken = 0;
    for _ in 0..cases {
        let bytes = generate::answer(&mut random);
        let read = answer(&bytes, bytes.len().max(1));
        let in_pieces = answer(&bytes, random.gen_range(1..=bytes.len().max(1)));
        assert_eq!(read, in_pieces, "{}", bytes.escape_ascii());
        if let Some(read) = read {
            taken += 1;
            let other = reference::answer(&of_hyper(&bytes, &read)).await;
            let other = other.map(reference::Read::evenly_spaced);
            let read = Some(read.evenly_spaced());
            assert_eq!(read, other, "{}", bytes.escape_ascii());
        }
    }
    let share = taken * 100 / cases;
    assert!((20..90).contains(&share), "{share} of 100 were taken");
}

/// An answer as hyper takes it, which has no chunks of HTTP/1.0.
fn of_hyper(bytes: &[u8], read: &Read) -> Vec<u8> {
    let version = memchr::memmem::find(bytes, b"HTTP/1.0 ");
    let mut bytes = bytes.to_vec();
    if let Some(at) = version.filter(|_| read.has_coding()) {
        bytes[at + 7] = b'1';
    }
    bytes
}

/// `LANE_SEED` for another row of cases.
fn cases_seed() -> u64 {
    let told = std::env::var("LANE_SEED").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(10)
}
