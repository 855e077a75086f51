//! A flood of hostile tokens beside a good client.

use super::*;

/// Tokens that cost most to judge, properly signed by their holder.
fn flood(token: &str) -> Result<Vec<String>> {
    let facts = |count: usize| -> String { (0..count).map(|n| format!("f({n});")).collect() };
    let mut tokens = Vec::new();
    for n in 0..40 {
        for code in [
            format!(
                "{} check if f($a), f($b), f($c), f($d), f($e), $a == {n};",
                facts(20)
            ),
            format!("check if user($u), $u.matches(\"((a*)*)*{n}$\");"),
            format!("check if {}{n} > 0;", "1 + ".repeat(150)),
            format!("{} p($a, $b) <- f($a), f($b);", facts(30 + n)),
        ] {
            tokens.push(append(token, &code)?);
        }
        // Eight good blocks: as many signatures as are ever checked. Damaged in the last.
        let mut long = token.to_owned();
        for at in 0..8 {
            long = append(&long, &format!("check if tool(\"t{n}{at}\")"))?;
        }
        let end = long.len() - 20;
        let other = if &long[end..=end] == "A" { "B" } else { "A" };
        long.replace_range(end..=end, other);
        tokens.push(long);
    }
    Ok(tokens)
}

fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * part) as usize;
    times[at]
}

async fn good_calls(fixture: &Fixture, token: &str, count: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for n in 0..count {
        let start = Instant::now();
        let reply = send(
            &fixture.url("/mcp"),
            token,
            &call(n as u64, "echo", &json!({})),
        )
        .await?;
        times.push(start.elapsed());
        assert_eq!(
            reply.status, 200,
            "a good call among the hostile: {}",
            reply.text
        );
    }
    Ok(times)
}

#[tokio::test]
async fn a_good_client_beside_a_flood_of_hostile_tokens_notices_nothing() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let hostile = flood(&token)?;
    let mut calm = good_calls(&fixture, &token, 150).await?;
    let url = fixture.url("/mcp");
    let attack = async {
        let lanes = hostile.chunks(hostile.len().div_ceil(4)).map(|lane| {
            let url = url.clone();
            async move {
                let mut worst = Duration::ZERO;
                for token in lane {
                    let start = Instant::now();
                    let body = call(1, "echo", &json!({"marker": "forged"}));
                    let reply = send(&url, token, &body).await?;
                    worst = worst.max(start.elapsed());
                    assert_eq!(reply.status, 401, "{}", reply.text);
                }
                anyhow::Ok(worst)
            }
        });
        futures::future::try_join_all(lanes).await
    };
    let (worst, beside) = tokio::join!(attack, good_calls(&fixture, &token, 150));
    let (worst, mut beside) = (worst?, beside?);
    let worst = worst.into_iter().max().unwrap_or_default();
    println!(
        "{} hostile tokens, 0 accepted, slowest 401 {worst:?}; good calls p50/p99 calm {:?}/{:?}, beside them {:?}/{:?}",
        hostile.len(),
        percentile(&mut calm, 0.5),
        percentile(&mut calm, 0.99),
        percentile(&mut beside, 0.5),
        percentile(&mut beside, 0.99),
    );
    assert!(fixture.backend.marked("forged").is_empty());
    // A bomb that ran would take seconds; this leaves room for a busy machine.
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    assert!(percentile(&mut beside, 0.99) < Duration::from_secs(2));
    Ok(())
}
