//! What goes the other road goes there whole.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::AsyncWriteExt;

use crate::support::{BackendStep, Rig, limits, post, read_until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn what_is_not_plain_goes_the_other_road_and_nowhere_else() {
    let mut rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    for odd in [
        "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nhello",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST /mcp HTTP/1.1\r\nHost: a\r\n X: y\r\nContent-Length: 5\r\n\r\nhello",
        "POST /mcp HTTP/1.1\r\nHost: a\nContent-Length: 5\r\n\r\nhello",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nX: a\rb\r\nContent-Length: 5\r\n\r\nhello",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
        "POST http://a/mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n",
        "GET /mcp HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "GET /mcp HTTP/1.0\r\n\r\n",
        "GET /mcp HTTP/1.1\n\n",
        "HEAD /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
        "GET /other HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /late-other HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        // First on its connection, and behind one that was plain.
        for before in ["", &post("/mcp", "x")] {
            let mut client = rig.connect();
            let all = format!("{before}{odd}GET /next");
            client.write_all(all.as_bytes()).await.unwrap();
            let answer = read_until(&mut client, "the other road").await;
            assert_eq!(answer.contains("200 OK"), !before.is_empty());
            drop(client);
            let handed = rig.handed_over().await;
            assert_eq!(String::from_utf8_lossy(&handed), format!("{odd}GET /next"));
        }
    }
    let requests = rig
        .received()
        .into_iter()
        .filter(|met| !met.starts_with('('));
    for request in requests {
        assert!(request.ends_with("\r\n\r\nx"), "{request}");
    }
}

#[tokio::test]
async fn every_byte_is_put_back_wherever_it_was_split() {
    let mut rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let mut random = StdRng::seed_from_u64(10);
    for round in 0..150 {
        let plain = random.gen_range(0..4);
        let tail: String = (0..random.gen_range(0..30_000))
            .map(|_| random.gen_range(' '..='~'))
            .collect();
        let odd = match round % 4 {
            0 => "PUT /mcp HTTP/1.1\r\n".to_owned(),
            1 => "GET /other?x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            2 => post("/late-other", &"y".repeat(random.gen_range(0..20_000))),
            _ => format!("POST /mcp HTTP/1.1\r\nHost: {}\r\n\r\n", "h".repeat(20_000)),
        };
        let all = post("/mcp", "body").repeat(plain) + &odd + &tail;
        let mut client = rig.connect();
        let mut rest = all.as_bytes();
        while !rest.is_empty() {
            let piece = random.gen_range(1..=rest.len().min(9000));
            client.write_all(&rest[..piece]).await.unwrap();
            rest = &rest[piece..];
            if random.gen_bool(0.5) {
                tokio::task::yield_now().await;
            }
        }
        // Leaving earlier would end the calls before it.
        read_until(&mut client, "the other road").await;
        drop(client);
        let handed = rig.handed_over().await;
        assert!(
            handed == (odd.clone() + &tail).as_bytes(),
            "{round}: {}",
            odd.len()
        );
    }
}
