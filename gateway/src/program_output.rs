//! What programs print that run beside the gateway. They are not ours: a line may have no end, or be no
//! text.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// The next line of a program's output, without its end; `None` once it is closed. Of one that is longer
/// than `longest` bytes it is the next piece. What is not UTF-8 is replaced.
pub async fn next_line(output: &mut (impl AsyncBufRead + Unpin), longest: u64) -> Option<String> {
    let mut line = Vec::new();
    let read = output.take(longest).read_until(b'\n', &mut line).await;
    if !matches!(read, Ok(1..)) {
        return None;
    }
    let line = String::from_utf8_lossy(&line);
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_long_comes_in_pieces_and_what_is_no_text_ends_nothing() {
        let mut output = &b"one\r\n\xff\xfe!\n\n0123456789abcdef\nlast"[..];
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut output, 10).await {
            lines.push(line);
        }
        let expected = [
            "one",
            "\u{fffd}\u{fffd}!",
            "",
            "0123456789",
            "abcdef",
            "last",
        ];
        assert_eq!(lines, expected);
    }
}
