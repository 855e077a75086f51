//! The log on a real disk: restarts, torn lines, rotation, failure.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use gateway_core::audit::{Event, Verifier};
use gateway_core::secret::TagKey;

mod old_files;

fn tags() -> TagKey {
    TagKey::new([9; 32])
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("gateway-audit-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn settings(folder: &Path) -> Settings {
    Settings {
        file: folder.join("audit.jsonl"),
        max_size: 1 << 20,
        keep: 3,
        max_age: None,
        keep_for: None,
        arguments: ArgumentsMode::Hash,
        checkpoint_every: Duration::from_secs(60),
        on_failure: OnFailure::Refuse,
    }
}

fn record(name: &str) -> Record {
    Record {
        name: Some(name.to_owned()),
        ..Record::new(Event::Call)
    }
}

/// Every line of both logs, what gives access first, each verified in its place.
fn verified(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for log in [settings.file.clone(), settings.calls_file()] {
        let mut verifier = Verifier::new(checkpoint_key(&tags()).public());
        for path in in_order(&log).unwrap() {
            for line in fs::read_to_string(path).unwrap().lines() {
                verifier.read(line).unwrap();
                lines.push(line.to_owned());
            }
        }
    }
    lines
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart_and_ends_signed() {
    let folder = folder("restart");
    let settings = settings(&folder);
    for start in 0..3 {
        let journal = Journal::open(&settings, &tags(), Clock).unwrap();
        journal
            .append_durable(record(&format!("durable-{start}")))
            .await
            .unwrap();
        // What was entered is there although nobody closed anything.
        assert_eq!(count(&verified(&settings), &format!("durable-{start}")), 1);
        journal.append(&record("noted")).unwrap();
        journal.close();
    }
    let lines = verified(&settings);
    assert_eq!(count(&lines, "\"event\":\"opened\""), 6);
    assert_eq!(count(&lines, "\"noted\""), 3);
    assert!(lines.last().unwrap().contains("\"event\":\"checkpoint\""));
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_record_that_nobody_waits_for_is_on_disk_soon() {
    let folder = folder("noted");
    let settings = settings(&folder);
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    journal.append(&record("noted")).unwrap();
    // Whoever closes the log, or enters another record, would write this one, too.
    for _ in 0..600 {
        let text = fs::read_to_string(settings.calls_file()).unwrap();
        if text.contains("\"noted\"") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(count(&verified(&settings), "\"noted\""), 1);
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test]
async fn an_unfinished_line_is_cut_off_and_the_chain_says_so() {
    let folder = folder("torn");
    let settings = settings(&folder);
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    journal.append_durable(record("kept")).await.unwrap();
    journal.close();
    let file = settings.calls_file();
    let whole = fs::read(&file).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap();
    for cut in [last + 2, last + 30, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        let journal = Journal::open(&settings, &tags(), Clock).unwrap();
        journal.close();
        let lines = verified(&settings);
        assert_eq!(count(&lines, "\"kept\""), 1, "{cut}");
        assert_eq!(count(&lines, "unfinished line"), 1, "{cut}");
    }
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_file_that_is_no_log_is_set_aside_and_never_continued() {
    let folder = folder("damaged");
    let settings = settings(&folder);
    fs::write(&settings.file, "{\"seq\":1}\nnonsense\n").unwrap();
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    journal.close();
    let aside = fs::read_to_string(folder.join("audit.jsonl.000001")).unwrap();
    assert_eq!(aside, "{\"seq\":1}\nnonsense\n");
    let own = fs::read_to_string(&settings.file).unwrap();
    assert!(own.contains("a new chain begins"), "{own}");
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test]
async fn rotation_keeps_the_chain_and_no_more_files_than_allowed() {
    let folder = folder("rotated");
    let settings = Settings {
        max_size: 4_000,
        ..settings(&folder)
    };
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    for at in 0..100 {
        journal
            .append_durable(record(&format!("call-{at}")))
            .await
            .unwrap();
    }
    journal.close();
    assert_eq!(in_order(&settings.calls_file()).unwrap().len(), 4);
    let lines = verified(&settings);
    assert_eq!(count(&lines, "\"call-99\""), 1);
    assert!(count(&lines, "\"event\":\"rotated\"") >= 3);
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_file_ends_by_its_age_and_is_kept_for_a_time() {
    let folder = folder("aged");
    let aged = Settings {
        keep: 100,
        max_age: Some(Duration::from_millis(30)),
        ..settings(&folder)
    };
    let journal = Journal::open(&aged, &tags(), Clock).unwrap();
    for at in 0..4 {
        journal
            .append_durable(record(&format!("call-{at}")))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    journal.close();
    let files = in_order(&aged.calls_file()).unwrap();
    assert!(files.len() >= 4, "{files:?}");
    assert_eq!(count(&verified(&aged), "\"name\":\"call-"), 4);
    // As if the first two had been written last a while ago.
    let long_ago = (Clock.now() - Duration::from_secs(100 * 24 * 3600)).to_system_time();
    for path in &files[..2] {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let kept = Settings {
        keep: 100,
        keep_for: Some(Duration::from_secs(90 * 24 * 3600)),
        ..settings(&folder)
    };
    let journal = Journal::open(&kept, &tags(), Clock).unwrap();
    journal.append_durable(record("later")).await.unwrap();
    journal.close();
    assert_eq!(in_order(&kept.calls_file()).unwrap(), files[2..]);
    assert_eq!(count(&verified(&kept), "\"name\":\"later\""), 1);
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn logs_of_many_replicas_are_found_below_a_folder_each_in_its_order() {
    let folder = folder("many");
    let names = [
        "a/audit.jsonl",
        "a/audit.jsonl.000010",
        "a/audit.jsonl.000009",
        "a/audit-calls.jsonl",
        "b/2026/audit.jsonl.000001",
    ];
    for name in names.into_iter().chain(["a/notes.txt", "a/audit.jsonl.gz"]) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let found = files_below(&folder).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|path| path.strip_prefix(&folder).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(found, [names[3], names[2], names[1], names[0], names[4]]);
    assert_eq!(logs(&files_below(&folder).unwrap()).len(), 3);
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_crash_between_two_files_breaks_no_chain() {
    let folder = folder("between");
    let settings = settings(&folder);
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    journal.append_durable(record("before")).await.unwrap();
    journal.close();
    for log in [settings.file.clone(), settings.calls_file()] {
        let mut rotated = log.clone().into_os_string();
        rotated.push(".000001");
        fs::rename(&log, rotated).unwrap();
        fs::write(&log, "").unwrap();
    }
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    journal.append_durable(record("after")).await.unwrap();
    journal.close();
    let lines = verified(&settings);
    assert_eq!(count(&lines, "\"before\"") + count(&lines, "\"after\""), 2);
    assert_eq!(count(&lines, "the file was empty"), 2);
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_enter_at_once_and_each_is_written_once() {
    let folder = folder("many");
    let settings = settings(&folder);
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    let mut tasks = Vec::new();
    for task in 0..16 {
        let journal = journal.clone();
        tasks.push(tokio::spawn(async move {
            for at in 0..50 {
                journal
                    .append_durable(record(&format!("<{task}-{at}>")))
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    journal.close();
    let lines = verified(&settings);
    for task in 0..16 {
        for at in 0..50 {
            assert_eq!(count(&lines, &format!("<{task}-{at}>")), 1);
        }
    }
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_refuses_until_it_can() {
    let folder = folder("failing");
    let settings = Settings {
        max_size: 1,
        ..settings(&folder)
    };
    let journal = Journal::open(&settings, &tags(), Clock).unwrap();
    journal.append_durable(record("kept")).await.unwrap();
    // The folder is gone and nothing can be made in its place, as when a disk went away.
    let away = folder.with_extension("away");
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "").unwrap();
    assert_eq!(
        journal.append_durable(record("lost")).await,
        Err(Unwritable)
    );
    assert_eq!(journal.ready(), Err(Unwritable));
    assert_eq!(journal.append(&record("lost too")), Err(Unwritable));
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if journal.ready().is_ok() {
            break;
        }
    }
    assert_eq!(journal.ready(), Ok(()));
    journal.close();
    let lines = verified(&settings);
    assert_eq!(count(&lines, "could not be written"), 1, "{lines:?}");
    let _ = fs::remove_dir_all(folder);
}

/// Its thread could not be started, or came to a bad end.
#[tokio::test]
async fn a_log_without_its_writer_is_not_ready_before_anything_was_entered() {
    let folder = folder("writerless");
    let settings = settings(&folder);
    for on_failure in [OnFailure::Refuse, OnFailure::Continue] {
        let settings = Settings {
            // The writer of the one before goes on.
            file: folder.join(format!("{on_failure:?}.jsonl")),
            on_failure,
            ..settings.clone()
        };
        let mut journal = Journal::open(&settings, &tags(), Clock).unwrap();
        assert!(!journal.is_failing());
        let shared = Arc::get_mut(journal.shared.as_mut().unwrap()).unwrap();
        // The writer of the calls goes on; the one of what gives access is gone.
        shared.access.queue = queue::Queue::new(QUEUE).0;
        assert!(journal.is_failing());
        let expected = match on_failure {
            OnFailure::Refuse => Err(Unwritable),
            OnFailure::Continue => Ok(()),
        };
        assert_eq!(journal.ready(), expected);
        let token = Record::new(Event::Token);
        assert_eq!(journal.append(&token), expected);
        assert_eq!(journal.append_durable(token).await, expected);
    }
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn equal_arguments_have_equal_hashes_that_need_the_key() {
    let folder = folder("arguments");
    let open = |tags: &TagKey, name: &str, arguments| {
        let settings = Settings {
            file: folder.join(name),
            arguments,
            ..settings(&folder)
        };
        Journal::open(&settings, tags, Clock).unwrap()
    };
    let one = open(&tags(), "a", ArgumentsMode::Hash);
    let other = open(&TagKey::new([8; 32]), "b", ArgumentsMode::Hash);
    let text = br#"{"path":"/secret"}"#;
    assert_eq!(one.arguments(text), one.arguments(text));
    assert_ne!(one.arguments(text), other.arguments(text));
    assert!(!format!("{:?}", one.arguments(text)).contains("secret"));
    assert_eq!(
        open(&tags(), "c", ArgumentsMode::None).arguments(text),
        None
    );
    let _ = fs::remove_dir_all(folder);
}

/// The process that has the log now: what others enter comes to it.
fn answer_at(socket: &Path, journal: Journal) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        let store = crate::memory::Memory::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (mut stream, mut line) = (BufReader::new(stream), String::new());
            stream.read_line(&mut line).await.unwrap();
            let question = serde_json::from_str(&line).unwrap();
            let answer = crate::neighbour::answer(question, &store, &journal).await;
            stream.write_all(&answer).await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_log_that_moves_loses_nothing_and_one_chain_goes_on() {
    let folder = folder("moves");
    let settings = settings(&folder);
    let open = || Journal::open(&settings, &tags(), Clock).unwrap();
    let old = open();
    old.append_durable(Record::new(Event::Login)).await.unwrap();
    let leave = |journal: &Journal| {
        let journal = journal.clone();
        tokio::task::spawn_blocking(move || journal.leave().unwrap())
    };
    // Given up: it goes on here, whether or not it had failed before.
    drop(leave(&old).await.unwrap());
    let shared = old.shared.as_ref().unwrap();
    shared.access.state.failing.store(true, Ordering::Relaxed);
    drop(leave(&old).await.unwrap());
    old.append_durable(Record::new(Event::Token)).await.unwrap();

    let leaving = leave(&old).await.unwrap();
    old.append(&record("meanwhile")).unwrap();
    let new = open();
    new.append(&record("new")).unwrap();
    let socket = folder.join("socket");
    answer_at(&socket, new.clone());
    leaving.moved(&crate::neighbour::Neighbour::at(socket));
    old.append_durable(Record::new(Event::Revocation))
        .await
        .unwrap();
    let closing = old.clone();
    tokio::task::spawn_blocking(move || closing.close())
        .await
        .unwrap();
    let closing = new.clone();
    tokio::task::spawn_blocking(move || closing.close())
        .await
        .unwrap();
    let lines = verified(&settings);
    for event in [
        "\"login\"",
        "\"token\"",
        "\"revocation\"",
        "\"meanwhile\"",
        "\"new\"",
    ] {
        assert_eq!(count(&lines, event), 1, "{event}: {lines:#?}");
    }
}

#[tokio::test]
async fn a_log_that_moved_is_entered_again_once_its_new_process_answers() {
    let folder = folder("away");
    let settings = settings(&folder);
    let old = Journal::open(&settings, &tags(), Clock).unwrap();
    let journal = old.clone();
    let leaving = tokio::task::spawn_blocking(move || journal.leave().unwrap());
    let leaving = leaving.await.unwrap();
    let socket = folder.join("socket");
    leaving.moved(&crate::neighbour::Neighbour::at(socket.clone()));
    // Nobody is there, for longer than is waited for.
    let lost = old.append_durable(Record::new(Event::Token)).await;
    assert_eq!(lost, Err(Unwritable));
    assert_eq!(old.ready(), Err(Unwritable));

    let new = Journal::open(&settings, &tags(), Clock).unwrap();
    answer_at(&socket, new.clone());
    let begun = std::time::Instant::now();
    while old.ready().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it stays lost");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    old.append_durable(Record::new(Event::Revocation))
        .await
        .unwrap();
    let closing = new.clone();
    tokio::task::spawn_blocking(move || closing.close())
        .await
        .unwrap();
    let lines = verified(&settings);
    assert_eq!(count(&lines, "\"revocation\""), 1, "{lines:#?}");
    assert_eq!(count(&lines, "1 records could not be written"), 1);
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_log_has_one_writer() {
    let folder = folder("one-writer");
    let settings = settings(&folder);
    let first = Journal::open(&settings, &tags(), Clock).unwrap();
    let refused = Journal::open(&settings, &tags(), Clock).unwrap_err();
    let sentence = refused.to_string();
    assert!(sentence.contains("another gateway writes"), "{sentence}");
    first.close();
    Journal::open(&settings, &tags(), Clock).unwrap();
    let _ = fs::remove_dir_all(folder);
}
