use super::*;
use crate::journal::tile::TileBuilder;
use crate::journal::{Checkpoint, Hash, LogKey, cosign, verify_consistency};
use crate::keys::PrivateKey;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const NAME: &str = "witness.example/w1";

fn log_key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

fn witness_key() -> PrivateKey {
    PrivateKey::from_seed(&[9; 32])
}

/// A witness, as C2SP tlog-witness says what one does.
#[derive(Default)]
struct Server {
    /// What it cosigned last.
    known: Option<Head>,
    requests: usize,
    /// It has had enough.
    refuses: bool,
}

impl Server {
    fn answer(&mut self, body: &str) -> (StatusCode, String) {
        self.requests += 1;
        if self.refuses {
            return (StatusCode::FORBIDDEN, "go\u{7} away\nplease\n".into());
        }
        let Some((head, note)) = body.split_once("\n\n") else {
            return (StatusCode::BAD_REQUEST, String::new());
        };
        let mut lines = head.split('\n');
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let proof: Vec<Hash> = lines.map(|line| STANDARD.decode(line).unwrap().try_into().unwrap()).collect();
        let log = LogKey { name: "nc".into(), key: log_key().public().clone() };
        let Ok(checkpoint) = SignedCheckpoint::open(note, &log) else {
            return (StatusCode::FORBIDDEN, String::new());
        };
        let known = self.known.map_or(0, |known| known.size);
        let is_other = self.known.is_some_and(|known| known.size == checkpoint.head().size)
            && self.known != Some(checkpoint.head());
        if known != old || is_other {
            return (StatusCode::CONFLICT, format!("{known}\n"));
        }
        let is_consistent =
            self.known.is_none_or(|known| verify_consistency(&known, &checkpoint.head(), &proof).is_ok());
        if !is_consistent || (old == 0 && !proof.is_empty()) {
            return (StatusCode::UNPROCESSABLE_ENTITY, String::new());
        }
        self.known = Some(checkpoint.head());
        let text = checkpoint.checkpoint().text();
        (StatusCode::OK, cosign(&text, NAME, &witness_key(), 1_793_675_112) + "\n")
    }
}

async fn serve(server: &Arc<Mutex<Server>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |State(server): State<Arc<Mutex<Server>>>, body: String| async move {
        server.lock().unwrap().answer(&body)
    };
    let routes = Router::new().route("/nc/add-checkpoint", post(answer)).with_state(Arc::clone(server));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}/nc/")
}

fn vkey() -> String {
    WitnessKey { name: NAME.into(), key: witness_key().public().clone() }.verifier_key()
}

fn witness(url: &str) -> Witness {
    let mut all = all(&[config::Witness { url: url.into(), vkey: vkey() }]).unwrap();
    all.remove(0)
}

/// A log of so many entries in a folder, and its checkpoint.
fn grown(folder: &TempDir, size: u64, other: u64) -> SignedCheckpoint {
    let mut builder = TileBuilder::new();
    (0..size).for_each(|at| builder.push(&(at + other).to_be_bytes()).unwrap());
    for file in [builder.full(), builder.partial()].concat() {
        let path = folder.path().join(file.tile.to_string());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.bytes).unwrap();
    }
    Checkpoint::new("nc", builder.head()).sign(&log_key()).unwrap()
}

#[tokio::test]
async fn a_witness_cosigns_each_checkpoint_and_one_that_knows_another_size_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Arc::new(Mutex::new(Server::default()));
    let url = serve(&server).await;
    let mut asked = witness(&url);
    for (size, requests) in [(1, 1), (300, 2), (300, 3), (70_000, 4)] {
        let mut checkpoint = grown(&folder, size, 0);
        let line = asked.cosign(folder.path(), &checkpoint).await.unwrap();
        assert_eq!(checkpoint.add_cosignature(&line, &asked.key), Ok(1_793_675_112));
        let status = asked.status();
        assert_eq!((status.entries, status.at, status.problem), (size, Some(1_793_675_112_000), None));
        assert_eq!(server.lock().unwrap().requests, requests);
    }
    // After a restart of the hub.
    let mut asked = witness(&url);
    assert!(asked.cosign(folder.path(), &grown(&folder, 70_001, 0)).await.is_some());
    assert_eq!(server.lock().unwrap().requests, 6);
}

#[tokio::test]
async fn one_that_knows_more_of_the_journal_or_another_is_told_as_a_problem_of_the_hub() {
    let (folder, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Arc::new(Mutex::new(Server::default()));
    let url = serve(&server).await;
    assert!(witness(&url).cosign(folder.path(), &grown(&folder, 500, 0)).await.is_some());
    for other in [grown(&older, 400, 0), grown(&older, 500, 1)] {
        let mut asked = witness(&url);
        assert_eq!(asked.cosign(older.path(), &other).await, None);
        let ahead = asked.ahead.unwrap();
        assert!(ahead.contains("with 500 entries") && ahead.contains("restore a newer backup"), "{ahead}");
    }
    // A longer one that isn't its continuation.
    let mut asked = witness(&url);
    assert_eq!(asked.cosign(older.path(), &grown(&older, 600, 1)).await, None);
    assert!(asked.status().problem.unwrap().contains("422"));
    assert_eq!(server.lock().unwrap().known.unwrap().size, 500);
}

#[tokio::test]
async fn one_that_is_away_or_refuses_or_answers_something_else_gives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = grown(&folder, 5, 0);
    let mut away = witness("http://127.0.0.1:1/");
    assert_eq!(away.cosign(folder.path(), &checkpoint).await, None);
    assert!(away.status().problem.unwrap().contains("can't be reached"));

    let server = Arc::new(Mutex::new(Server { refuses: true, ..Server::default() }));
    let url = serve(&server).await;
    let mut refusing = witness(&url);
    assert_eq!(refusing.cosign(folder.path(), &checkpoint).await, None);
    let why = refusing.status().problem.unwrap();
    assert!(why.contains("403") && why.ends_with("go away"), "{why}");
    server.lock().unwrap().refuses = false;
    assert!(refusing.cosign(folder.path(), &checkpoint).await.is_some());
    assert_eq!(refusing.status().problem, None);

    // Its answer is good, and of a key that isn't the configured one.
    let other = WitnessKey { name: NAME.into(), key: log_key().public().clone() };
    let settings = config::Witness { url, vkey: other.verifier_key() };
    let mut mistaken = all(&[settings]).unwrap().remove(0);
    assert_eq!(mistaken.cosign(folder.path(), &checkpoint).await, None);
    assert!(mistaken.status().problem.unwrap().contains("is `vkey` its key?"));
}

#[tokio::test]
async fn asking_what_a_witness_knows_teaches_it_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Arc::new(Mutex::new(Server::default()));
    let settings = config::Witness { url: serve(&server).await, vkey: vkey() };
    let probe = async |checkpoint: Option<&SignedCheckpoint>, folder: &TempDir| {
        let probed = probe_witness(&settings, folder.path(), checkpoint).await.unwrap();
        assert_eq!(probed.name, NAME);
        probed.answer
    };
    assert_eq!(probe(None, &folder).await, Ok(Knows::Unasked));
    let first = grown(&folder, 300, 0);
    assert_eq!(probe(Some(&first), &folder).await, Ok(Knows::Entries(0)));
    assert_eq!(server.lock().unwrap().known, None);
    assert!(witness(&settings.url).cosign(folder.path(), &first).await.is_some());
    let (other, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (checkpoint, folder, known) in [
        (&first, &folder, Knows::Entries(300)),
        (&grown(&folder, 500, 0), &folder, Knows::Entries(300)),
        (&grown(&other, 200, 0), &other, Knows::Entries(300)),
        (&grown(&others, 300, 1), &others, Knows::Others),
    ] {
        assert_eq!(probe(Some(checkpoint), folder).await, Ok(known));
        assert_eq!(server.lock().unwrap().known.unwrap().size, 300);
    }
    server.lock().unwrap().refuses = true;
    assert!(probe(Some(&first), &folder).await.unwrap_err().contains("403"));
    let away = config::Witness { url: "http://127.0.0.1:1/".into(), vkey: vkey() };
    let away = probe_witness(&away, folder.path(), Some(&first)).await.unwrap();
    assert!(away.answer.unwrap_err().contains("can't be reached"));
}

#[tokio::test]
async fn the_newest_checkpoint_comes_back_with_the_lines_of_those_who_cosigned() {
    let folder = tempfile::tempdir().unwrap();
    let server = Arc::new(Mutex::new(Server::default()));
    let witnesses = vec![witness("http://127.0.0.1:1/"), witness(&serve(&server).await)];
    let newest = watch::Sender::new(Some(grown(&folder, 3, 0)));
    let (send, mut answers) = mpsc::channel(1);
    let every = Duration::from_millis(1);
    let running = tokio::spawn(run(witnesses, folder.path().into(), every, newest.subscribe(), send));
    for size in [3, 400] {
        let answer = answers.recv().await.unwrap();
        let key: WitnessKey = vkey().parse().unwrap();
        let cosigned = answer.checkpoint.unwrap();
        assert_eq!(cosigned.head().size, size);
        assert_eq!(cosigned.cosigned(std::slice::from_ref(&key)).unwrap().len(), 1);
        assert!(answer.witnesses[0].problem.is_some() && answer.witnesses[1].problem.is_none());
        newest.send_replace(Some(grown(&folder, 400, 0)));
    }
    drop(newest);
    drop(answers);
    running.await.unwrap();
}

#[test]
fn a_witness_that_can_not_be_asked_is_named() {
    for (url, key, why) in [
        ("https://w.example/", "w.example", "signature type 04"),
        ("ftp://w.example/", vkey().as_str(), "http:// or https://"),
    ] {
        let fault = all(&[config::Witness { url: url.into(), vkey: key.into() }]).map(|_| ()).unwrap_err();
        let text = fault.to_string();
        assert!(text.starts_with("journal.witness: ") && text.contains(why) && text.contains(url), "{text}");
    }
}
