//! Files that were rotated away and can't be removed.

use super::*;

#[tokio::test]
async fn an_old_file_that_cannot_be_removed_fails_no_record() {
    let folder = folder("unremovable");
    let settings = Settings {
        max_size: 1,
        keep: 1,
        ..settings(&folder)
    };
    // As one that is protected: no file system removes a folder as if it were a file, not for root either.
    let protected = folder.join("audit-calls.jsonl.000001");
    fs::create_dir_all(protected.join("within")).unwrap();
    for start in 0..2 {
        let journal = Journal::open(&settings, &tags(), Clock).unwrap();
        for at in 0..3 {
            let name = format!("call-{start}-{at}");
            let written = journal.append_durable(record(&name)).await;
            assert_eq!(written, Ok(()), "{name}");
            assert!(!journal.is_failing());
        }
        assert!(journal.figures().iter().all(|log| log.lost == 0));
        journal.close();
    }
    // Once it can be removed, so is what waited behind it.
    fs::remove_dir_all(&protected).unwrap();
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    journal.append_durable(record("later")).await.unwrap();
    journal.close();
    let files = in_order(&settings.calls_file()).unwrap();
    assert!(files.len() <= 2, "{files:?}");
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_file_that_somebody_else_removed_stops_no_cleaning_up() {
    let folder = folder("gone");
    let log = folder.join("audit.jsonl");
    let numbered = |number: u32| folder.join(format!("audit.jsonl.{number:06}"));
    // Of a link without its target nothing is known, as of a file that went away after it was listed.
    std::os::unix::fs::symlink(folder.join("nothing"), numbered(1)).unwrap();
    fs::write(numbered(2), "").unwrap();
    fs::write(numbered(3), "").unwrap();
    let written = fs::metadata(numbered(3)).unwrap().modified().unwrap();
    let later = written + Duration::from_secs(60);
    files::prune(&log, 100, Some(later)).unwrap();
    assert!(!numbered(2).exists() && numbered(3).exists());
    let _ = fs::remove_dir_all(folder);
}
