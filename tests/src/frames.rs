//! HTTP/2 frame by frame (RFC 9113 §4), for connections that no library would make.

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What a client begins with (§3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (§6): a piece of a body.
pub const DATA: u8 = 0;
/// A head.
pub const HEADERS: u8 = 1;
/// The end of a stream by force.
pub const RST_STREAM: u8 = 3;
/// What a side wants.
pub const SETTINGS: u8 = 4;
/// Is anybody there?
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// More of a head.
pub const CONTINUATION: u8 = 9;

/// The flags of a head that is whole, and of a request without a body.
pub const END_HEADERS: u8 = 4;
/// See [`END_HEADERS`].
pub const END_STREAM: u8 = 1;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The head of `GET /` of an authority, as HPACK has it (RFC 7541, literal without indexing).
pub fn get(authority: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84, 0x01];
    block.push(u8::try_from(authority.len()).expect("authorities are short"));
    block.extend(authority.as_bytes());
    block
}

/// One more line of a head, with a name of its own.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    head(&[(name.into(), value.into())])
}

/// A head of these fields in this order, as HPACK has it (RFC 7541, literal without indexing), whatever
/// they are.
pub fn head(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// A length in a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    if length < PREFIX {
        block.push(length as u8);
        return;
    }
    block.push(PREFIX as u8);
    let mut rest = length - PREFIX;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The status in the head of an answer, which stands first: an entry of the static table, or a literal of
/// it, plain or in Huffman's code (RFC 7541, appendices A and B).
pub fn status(block: &[u8]) -> Option<u16> {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let (first, rest) = block.split_first()?;
    if let Some(at) = first.checked_sub(0x88) {
        return STATIC.get(usize::from(at)).copied();
    }
    let (length, text) = rest.split_first()?;
    let text = text.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let mut bits = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| (byte >> at) & 1));
    let mut take = |count: usize| (0..count).try_fold(0, |all, _| Some((all << 1) | bits.next()?));
    let mut status = 0;
    for _ in 0..3 {
        // 0 to 2 have five bits, the others six.
        let five: u8 = take(5)?;
        let digit = match five {
            0..=2 => five,
            _ => ((five << 1) | take(1)?) - 0b01_1001 + 3,
        };
        status = status * 10 + u16::from(digit);
    }
    Some(status)
}

/// Begins a connection.
pub async fn begin(socket: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    socket.write_all(PREFACE).await?;
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    Ok(())
}

/// Reads one frame: its type, its stream and its payload.
pub async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Result<(u8, u32, Vec<u8>)> {
    let (kind, _, stream, payload) = read_with_flags(socket).await?;
    Ok((kind, stream, payload))
}

/// The same with its flags behind its type.
pub async fn read_with_flags(
    socket: &mut (impl AsyncRead + Unpin),
) -> Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.context("no frame")?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    let mut payload = vec![0; length as usize];
    socket
        .read_exact(&mut payload)
        .await
        .context("half a frame")?;
    Ok((head[3], head[4], stream, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_however_it_is_written() {
        for (block, expected) in [
            (&[0x88][..], Some(200)),
            (&[0x8d], Some(404)),
            (&[0x48, 0x03, b'4', b'3', b'1'], Some(431)),
            // RFC 7541, C.6.1: 302.
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),
            // 401 and 503.
            (&[0x48, 0x82, 0x68, 0x01], Some(401)),
            (&[0x48, 0x83, 0x6c, 0x0c, 0xff], Some(503)),
            (&[0x00], None),
        ] {
            assert_eq!(status(block), expected, "{block:x?}");
        }
    }
}
