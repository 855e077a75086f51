//! What has expired is removed by one gateway at a time, and by none whose clock is ahead.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_gateways_one_at_a_time_sweeps() {
    let server = Server::start(&[]);
    let (one, other) = (open(&server.url()), open(&server.url()));
    // All of it is over by the clock of Redis, too.
    let begun = Clock.now() - Duration::from_secs(60);
    let at = |seconds| begun + Duration::from_secs(seconds);
    let left = async || one.sizes().await.unwrap().tables[Table::Session as usize];
    for (name, ends) in [("a", 5), ("b", 12)] {
        let key = Key::in_table(Table::Session, name);
        one.put(&key, b"1", Some(at(ends))).await.unwrap();
    }
    crate::sweep_in_turn(one.as_ref(), at(11), at(11))
        .await
        .unwrap();
    assert_eq!(left().await, 1);
    crate::sweep_in_turn(other.as_ref(), at(13), at(13))
        .await
        .unwrap();
    assert_eq!(left().await, 1, "it is not its turn");
    crate::sweep_in_turn(other.as_ref(), at(21), at(21))
        .await
        .unwrap();
    assert_eq!(left().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_clock_is_ahead_takes_nothing_live_away_and_keeps_nobody_from_sweeping() {
    let server = Server::start(&[]);
    let (ahead, other) = (open(&server.url()), open(&server.url()));
    let now = Clock.now();
    let tomorrow = now + Duration::from_secs(86_400);
    let (live, over) = (now + Duration::from_secs(600), now - Duration::from_secs(1));
    let keep = async |name, until| {
        let key = Key::in_table(Table::Session, name);
        other.put(&key, b"1", Some(until)).await.unwrap();
    };
    let left = async || other.sizes().await.unwrap();
    let revocation = Revocation {
        id: "g_1".to_owned(),
        expires: live,
    };
    other.revoke(&revocation, now).await.unwrap();
    keep("live", live).await;
    keep("over", over).await;
    crate::sweep_in_turn(ahead.as_ref(), tomorrow, tomorrow)
        .await
        .unwrap();
    let sizes = left().await;
    assert_eq!(sizes.tables[Table::Session as usize], 1);
    assert_eq!(sizes.revocations, 1);
    keep("over", over).await;
    crate::sweep_in_turn(other.as_ref(), now, now)
        .await
        .unwrap();
    assert_eq!(left().await.tables[Table::Session as usize], 1);
}
