//! One list out of the lists of several buckets, in order of keys, without reading much more than is asked
//! for.

use std::collections::VecDeque;

use futures_util::future::try_join_all;

use crate::error::StoreError;
use crate::store::Row;

/// What is read of a bucket at once, above its share.
const SPARE: usize = 16;

/// The list of one bucket, as far as it was read.
#[derive(Default)]
struct Part {
    rows: VecDeque<Row>,
    /// Where to read on.
    after: Option<String>,
    is_read_to_its_end: bool,
}

/// Up to `limit` rows of all buckets after `after`, in order. `read` reads a page of one bucket: its number,
/// where to begin, how many.
pub(super) async fn merged<F: Future<Output = Result<Vec<Row>, StoreError>>>(
    buckets: usize,
    after: Option<&str>,
    limit: usize,
    read: impl Fn(usize, Option<String>, usize) -> F,
) -> Result<Vec<Row>, StoreError> {
    if buckets == 1 {
        return read(0, after.map(str::to_owned), limit).await;
    }
    let share = (limit / buckets)
        .saturating_mul(2)
        .saturating_add(SPARE)
        .min(limit);
    let mut parts: Vec<Part> = Vec::new();
    parts.resize_with(buckets, || Part {
        after: after.map(str::to_owned),
        ..Part::default()
    });
    let mut page = Vec::new();
    while page.len() < limit {
        let empty: Vec<usize> = (0..buckets)
            .filter(|number| parts[*number].rows.is_empty() && !parts[*number].is_read_to_its_end)
            .collect();
        let reading = empty.iter().map(|number| {
            let after = parts[*number].after.clone();
            read(*number, after, share)
        });
        let read = try_join_all(reading).await?;
        for (number, rows) in empty.into_iter().zip(read) {
            let part = &mut parts[number];
            part.is_read_to_its_end = rows.len() < share;
            part.after = rows
                .last()
                .map(|(key, _)| key.clone())
                .or(part.after.take());
            part.rows = rows.into();
        }
        let first = parts.iter_mut().filter(|part| !part.rows.is_empty());
        let first = first.min_by(|one, other| one.rows[0].0.cmp(&other.rows[0].0));
        match first.and_then(|part| part.rows.pop_front()) {
            Some(row) => page.push(row),
            None => break,
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_merged_list_is_the_list_of_all_in_order() {
        let all: Vec<Row> = (0..500).map(|n| (format!("k{n:04}"), vec![1])).collect();
        for buckets in [1, 2, 7, 64] {
            let of = |bucket: usize| {
                // Very unevenly.
                let rows = all.iter().enumerate();
                let rows =
                    rows.filter(move |(n, _)| (n * n / 7) % buckets.min(n + 1) == bucket % buckets);
                rows.map(|(_, row)| row.clone()).collect::<Vec<_>>()
            };
            let mut expected: Vec<Row> = (0..buckets).flat_map(of).collect();
            expected.sort();
            let fetched = Cell::new(0);
            let read = |bucket: usize, after: Option<String>, limit: usize| {
                let rows = of(bucket).into_iter();
                let rows = rows.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
                let rows: Vec<Row> = rows.take(limit).collect();
                fetched.set(fetched.get() + rows.len());
                async move { Ok(rows) }
            };
            for limit in [1, 10, 499, 1000] {
                fetched.set(0);
                let mut seen: Vec<Row> = Vec::new();
                loop {
                    let after = seen.last().map(|(key, _)| key.as_str());
                    let page = merged(buckets, after, limit, read).await.unwrap();
                    assert!(page.len() <= limit);
                    if page.is_empty() {
                        break;
                    }
                    seen.extend(page);
                }
                assert_eq!(seen, expected, "{buckets} buckets, {limit} at a time");
            }
            fetched.set(0);
            let page = merged(buckets, None, 200, read).await.unwrap();
            assert_eq!(page.len(), 200.min(expected.len()));
            assert!(fetched.get() <= 3 * 200 + 64 * SPARE, "{}", fetched.get());
        }
    }
}
