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

/// One more line of a head, with a name of its own (RFC 7541 §6.2.2).
pub fn header(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0x00];
    for text in [name, value] {
        // A length in a prefix of seven bits, and what is more of it in sevens (§5.1).
        match text.len().checked_sub(127) {
            None => block.push(u8::try_from(text.len()).expect("it is less than 127")),
            Some(mut rest) => {
                block.push(127);
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128 + 128).expect("it is less than 256"));
                    rest /= 128;
                }
                block.push(u8::try_from(rest).expect("it is less than 128"));
            }
        }
        block.extend(text.bytes());
    }
    block
}

/// Begins a connection.
pub async fn begin(socket: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    socket.write_all(PREFACE).await?;
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    Ok(())
}

/// Reads one frame: its type, its stream and its payload.
pub async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Result<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.context("no frame")?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    let mut payload = vec![0; length as usize];
    socket
        .read_exact(&mut payload)
        .await
        .context("half a frame")?;
    Ok((head[3], stream, payload))
}
