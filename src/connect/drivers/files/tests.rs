use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

const OFFER: &str = "nc.employment.offer.published";
const PERSON: &str = "nc.employment.jobseeker.registered";

fn record(kind: &str, n: u32) -> Record {
    let raw = Message {
        content_type: Some("application/avro".into()),
        delivery_mode: Some(2),
        message_id: Some(format!("m{n}")),
        kind: Some(kind.into()),
        app_id: Some("hub".into()),
        user_id: None,
        headers: vec![
            ("cloudEvents_id".into(), HeaderValue::Text(format!("m{n}"))),
            ("x-delivery-count".into(), HeaderValue::Integer(2)),
            ("x-table".into(), HeaderValue::Other(vec![1])),
        ],
        body: Bytes::from_static(&[0xC3, 0x01, 0xFF]),
    };
    Record { key: format!("m{n}"), version: None, kind: kind.into(), value: json!({"n": n}), raw: Some(raw) }
}

fn sink(folder: &Path, rotate: u64) -> FilesSink {
    FilesSink::open(folder.to_owned(), rotate, true).unwrap()
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every line of a type's files, those put aside first.
fn lines(folder: &Path, stem: &str) -> Vec<String> {
    let mut all = String::new();
    let mut number = 1;
    while folder.join(format!("{}.jsonl", numbered(stem, number))).exists() {
        all.push_str(&read(folder, &format!("{}.jsonl", numbered(stem, number))));
        number += 1;
    }
    all.push_str(&read(folder, &format!("{stem}.jsonl")));
    all.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_type_has_its_file_and_the_raw_message_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), 1 << 20);
    sink.resume(None).await.unwrap();
    sink.push(&[record(OFFER, 1), record(PERSON, 2), record(OFFER, 3)]).await.unwrap();
    assert_eq!(read(folder.path(), &format!("{OFFER}.jsonl")), "{\"n\":1}\n{\"n\":3}\n");
    assert_eq!(read(folder.path(), &format!("{PERSON}.jsonl")), "{\"n\":2}\n");
    let raw: Value =
        serde_json::from_str(read(folder.path(), &format!("{PERSON}.raw.jsonl")).trim()).unwrap();
    assert_eq!(
        raw,
        json!({
            "properties": {"content_type": "application/avro", "delivery_mode": 2, "message_id": "m2",
                           "type": PERSON, "app_id": "hub", "user_id": null},
            "headers": {"cloudEvents_id": "m2", "x-delivery-count": "2"},
            "body": "wwH/",
        })
    );
    assert_eq!(names(folder.path()).len(), 4);
}

#[tokio::test]
async fn what_is_received_is_for_the_owner_and_the_group_alone() {
    let folder = tempfile::tempdir().unwrap();
    let received = folder.path().join("received");
    let mut sink = sink(&received, 1 << 20);
    sink.resume(None).await.unwrap();
    sink.push(&[record(PERSON, 1)]).await.unwrap();
    for (path, most) in [(received.clone(), 0o750), (received.join(format!("{PERSON}.jsonl")), 0o640)] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !most, 0, "{} has mode {mode:o}", path.display());
    }
}

#[tokio::test]
async fn without_raw_there_is_no_raw_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = FilesSink::open(folder.path().to_owned(), 1 << 20, false).unwrap();
    sink.resume(None).await.unwrap();
    sink.push(&[record(OFFER, 1)]).await.unwrap();
    assert_eq!(names(folder.path()), [format!("{OFFER}.jsonl")]);
}

#[tokio::test]
async fn what_was_written_after_the_mark_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = sink(folder.path(), 1 << 20);
    let begun = first.resume(None).await.unwrap();
    let mark = first.push(&[record(OFFER, 1)]).await.unwrap().mark;
    // The host stopped before it kept this mark.
    first.push(&[record(OFFER, 2), record(PERSON, 3)]).await.unwrap();
    drop(first);

    let mut again = sink(folder.path(), 1 << 20);
    again.resume(Some(&mark)).await.unwrap();
    assert_eq!(lines(folder.path(), OFFER), ["{\"n\":1}"]);
    assert_eq!(lines(folder.path(), PERSON), Vec::<String>::new());
    again.push(&[record(OFFER, 2), record(PERSON, 3)]).await.unwrap();
    assert_eq!(lines(folder.path(), OFFER), ["{\"n\":1}", "{\"n\":2}"]);
    assert_eq!(lines(folder.path(), &format!("{OFFER}.raw")).len(), 2);

    // The mark before the first push takes everything back.
    let mut fresh = sink(folder.path(), 1 << 20);
    fresh.resume(Some(&begun)).await.unwrap();
    assert_eq!(lines(folder.path(), OFFER).len() + lines(folder.path(), PERSON).len(), 0);
}

#[tokio::test]
async fn a_torn_line_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), 1 << 20);
    sink.resume(None).await.unwrap();
    let mark = sink.push(&[record(OFFER, 1)]).await.unwrap().mark;
    let path = folder.path().join(format!("{OFFER}.jsonl"));
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"n\":").unwrap();
    sink.resume(Some(&mark)).await.unwrap();
    sink.push(&[record(OFFER, 2)]).await.unwrap();
    assert_eq!(lines(folder.path(), OFFER), ["{\"n\":1}", "{\"n\":2}"]);
}

#[tokio::test]
async fn a_file_that_is_large_is_put_aside_and_a_crash_after_that_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = sink(folder.path(), 10);
    first.resume(None).await.unwrap();
    let mut marks = Vec::new();
    for n in 1..=5 {
        marks.push(first.push(&[record(OFFER, n)]).await.unwrap().mark);
    }
    assert_eq!(read(folder.path(), &format!("{OFFER}.000001.jsonl")), "{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(read(folder.path(), &format!("{OFFER}.000002.jsonl")), "{\"n\":3}\n{\"n\":4}\n");
    assert_eq!(read(folder.path(), &format!("{OFFER}.jsonl")), "{\"n\":5}\n");
    assert_eq!(lines(folder.path(), &format!("{OFFER}.raw")).len(), 5);
    for (kept, mark) in marks.iter().enumerate().rev() {
        let mut again = sink(folder.path(), 10);
        again.resume(Some(mark)).await.unwrap();
        let expected: Vec<String> = (1..=kept + 1).map(|n| format!("{{\"n\":{n}}}")).collect();
        assert_eq!(lines(folder.path(), OFFER), expected);
        assert_eq!(lines(folder.path(), &format!("{OFFER}.raw")).len(), kept + 1);
        // The same mark a second time changes nothing.
        again.resume(Some(mark)).await.unwrap();
        assert_eq!(lines(folder.path(), OFFER), expected);
    }
}

#[tokio::test]
async fn a_lost_mark_or_a_lost_file_halts_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = sink(folder.path(), 1 << 20);
    first.resume(None).await.unwrap();
    let mark = first.push(&[record(OFFER, 1)]).await.unwrap().mark;

    let fault = sink(folder.path(), 1 << 20).resume(None).await.unwrap_err();
    assert!(matches!(&fault, DriverFault::Halt { detail } if detail.contains("mark is lost")), "{fault}");
    for damaged in [json!("x"), json!({"files": {OFFER: {"length": -1}}}), json!({"other": 1}), Value::Null] {
        let fault = sink(folder.path(), 1 << 20).resume(Some(&Checkpoint(damaged))).await.unwrap_err();
        assert!(matches!(fault, DriverFault::Halt { .. }));
    }
    assert_eq!(lines(folder.path(), OFFER), ["{\"n\":1}"]);

    std::fs::write(folder.path().join(format!("{OFFER}.jsonl")), "{\"n\"").unwrap();
    let fault = sink(folder.path(), 1 << 20).resume(Some(&mark)).await.unwrap_err();
    assert!(fault.to_string().contains("has 4 bytes and had 8"), "{fault}");
    std::fs::remove_file(folder.path().join(format!("{OFFER}.jsonl"))).unwrap();
    assert!(sink(folder.path(), 1 << 20).resume(Some(&mark)).await.is_err());
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["notes.txt", "other.jsonl", "Nc.A.B.jsonl", "nc.employment.offer.published.json"] {
        std::fs::write(folder.path().join(name), "mine").unwrap();
    }
    sink(folder.path(), 1 << 20).resume(None).await.unwrap();
    assert!(names(folder.path()).iter().all(|name| read(folder.path(), name) == "mine"));
    assert_eq!(names(folder.path()).len(), 4);
}

#[tokio::test]
async fn nothing_is_written_before_resuming_and_no_type_leaves_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), 1 << 20);
    assert!(matches!(sink.push(&[record(OFFER, 1)]).await, Err(DriverFault::Halt { .. })));
    sink.resume(None).await.unwrap();
    for kind in ["../../etc/passwd", "", "a/b.c.d", "Nc.a.b"] {
        assert!(matches!(sink.push(&[record(kind, 1)]).await, Err(DriverFault::Halt { .. })), "{kind}");
    }
    assert!(names(folder.path()).is_empty());
    sink.push(&[]).await.unwrap();
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn a_write_that_fails_needs_a_resume_and_then_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), 1 << 20);
    sink.resume(None).await.unwrap();
    let mark = sink.push(&[record(OFFER, 1)]).await.unwrap().mark;
    // A folder stands where the next type's file should be.
    let path = folder.path().join(format!("{PERSON}.jsonl"));
    std::fs::create_dir(&path).unwrap();
    assert!(sink.push(&[record(OFFER, 2), record(PERSON, 3)]).await.is_err());
    assert!(sink.push(&[record(OFFER, 2)]).await.is_err(), "it isn't known what was written");
    std::fs::remove_dir(&path).unwrap();
    sink.resume(Some(&mark)).await.unwrap();
    sink.push(&[record(OFFER, 2), record(PERSON, 3)]).await.unwrap();
    assert_eq!(lines(folder.path(), OFFER), ["{\"n\":1}", "{\"n\":2}"]);
}

proptest! {
    // Each case syncs files some dozen times.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A host that stops at any push, before or after it kept the mark, and
    /// starts again: every record is there once, in order.
    #[test]
    fn stopped_anywhere_every_record_is_there_once(
        pushes in prop::collection::vec((1usize..4, any::<bool>()), 1..12),
        rotate in 1u64..60,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let mut kept = sink(folder.path(), rotate).resume(None).await.unwrap();
            let mut handled = 0;
            for (size, kept_mark) in pushes {
                let mut sink = sink(folder.path(), rotate);
                sink.resume(Some(&kept)).await.unwrap();
                let kind = |n: u32| if n.is_multiple_of(3) { PERSON } else { OFFER };
                let batch: Vec<Record> =
                    (handled..handled + size as u32).map(|n| record(kind(n), n)).collect();
                let pushed = sink.push(&batch).await.unwrap();
                if kept_mark {
                    kept = pushed.mark;
                    handled += size as u32;
                }
            }
            sink(folder.path(), rotate).resume(Some(&kept)).await.unwrap();
            for (stem, of_person) in [(OFFER, false), (PERSON, true)] {
                let expected: Vec<String> =
                    (0..handled).filter(|n| n.is_multiple_of(3) == of_person).map(|n| format!("{{\"n\":{n}}}")).collect();
                prop_assert_eq!(lines(folder.path(), stem), expected.clone());
                prop_assert_eq!(lines(folder.path(), &format!("{stem}.raw")).len(), expected.len());
            }
            Ok(())
        })?;
    }
}
