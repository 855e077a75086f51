//! Many generated messages, read by the lane and by hyper.

mod differential;
mod generate;
mod reference;

/// How many messages are generated: `LANE_CASES`, or as many as take a few seconds.
fn cases() -> usize {
    let told = std::env::var("LANE_CASES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(20_000)
}
