//! Against a real server on a local port.

use super::client::Pace;
use super::*;
use crate::connect::drivers::{SecretText, Secrets};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a request was: path and query, and the headers that tests look at.
#[derive(Clone, Debug)]
struct Seen {
    query: String,
    headers: HeaderMap,
}

type Shared = (Arc<Mutex<Vec<Seen>>>, Arc<Reply>);
type Reply = dyn Fn(usize, &Seen) -> Response + Send + Sync;

#[derive(Clone)]
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// A server that answers everything under /base/ with `reply`, which is given
    /// how many requests came before.
    async fn start(reply: impl Fn(usize, &Seen) -> Response + Send + Sync + 'static) -> Server {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let reply: Arc<Reply> = Arc::new(reply);
        let handler = |State((seen, reply)): State<Shared>, RawQuery(query): RawQuery, headers: HeaderMap| async move {
            let request = Seen { query: query.unwrap_or_default(), headers };
            let before = {
                let mut seen = seen.lock().unwrap();
                seen.push(request.clone());
                seen.len() - 1
            };
            reply(before, &request)
        };
        let router = Router::new().route("/base/{*path}", any(handler)).with_state((seen.clone(), reply));
        Server { address: serve(router).await, seen }
    }

    fn queries(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.query.clone()).collect()
    }

    fn header(&self, request: usize, name: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        seen[request].headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn json(value: Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn status(status: u16) -> Response {
    StatusCode::from_u16(status).unwrap().into_response()
}

/// Records with these ids.
fn data(ids: &[u32]) -> Vec<Value> {
    let record = |id: &u32| json!({"id": id, "row_hash": format!("h{id}"), "at": format!("2026-03-{:02}T00:30:00+11:00", id % 28 + 1)});
    ids.iter().map(record).collect()
}

fn page(ids: &[u32], next: Option<Value>) -> Value {
    json!({"hasNextPage": next.is_some(), "paramsNextPageQuery": next, "data": data(ids)})
}

/// A source as Boost's manifest has it, with the defaults changed by `change`.
struct Setup {
    connection: String,
    read: String,
    base: String,
    waits: Arc<Mutex<Vec<Duration>>>,
    max_answer: u64,
    timeout: Duration,
}

impl Setup {
    fn new(server: &Server) -> Setup {
        Setup {
            connection: "auth = { kind = \"api-key\", in = \"query\", name = \"apiKey\", secret = \"key\" }"
                .into(),
            read:
                "path = \"t/data\"\nquery = { _order = \"id\" }\nitems = \"/data\"\nmore = \"/hasNextPage\"\n\
                   next_query = \"/paramsNextPageQuery\""
                    .into(),
            base: server.address.clone(),
            waits: Arc::default(),
            max_answer: 1024 * 1024,
            timeout: Duration::from_secs(20),
        }
    }

    fn connection(mut self, connection: &str) -> Setup {
        self.connection = connection.to_owned();
        self
    }

    fn read(mut self, added: &str) -> Setup {
        self.read = format!("{}\n{added}", self.read);
        self
    }

    fn settings(&self) -> Settings {
        Settings {
            values: BTreeMap::from([("base_url".to_owned(), self.base.clone())]),
            secrets: Secrets::new(None).with("key", SecretText::new("s3cret")),
        }
    }

    fn open(&self) -> HttpSource {
        let connection: HttpConnection =
            toml::from_str(&format!("base = \"{{base_url}}/base\"\n{}", self.connection)).unwrap();
        let read: HttpRead = toml::from_str(&self.read).unwrap();
        let mut source =
            HttpSource::new(&connection, &read, "/id", Some("/row_hash"), &self.settings()).unwrap();
        source.client.set_pace(Pace::Noted(self.waits.clone()), self.max_answer, self.timeout);
        source
    }

    fn waits(&self) -> Vec<Duration> {
        self.waits.lock().unwrap().clone()
    }
}

const MANY: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

fn keys(batch: &Batch) -> Vec<&str> {
    batch.records.iter().map(|record| record.key.as_str()).collect()
}

/// Pulls until the round ends. Returns all keys and the last checkpoint.
async fn round(
    source: &mut HttpSource,
    mut after: Option<Checkpoint>,
    max: NonZeroUsize,
) -> (Vec<String>, Option<Checkpoint>) {
    let mut all = Vec::new();
    loop {
        let batch = source.pull(after.as_ref(), max).await.unwrap();
        all.extend(keys(&batch).into_iter().map(str::to_owned));
        after = batch.next.or(after);
        if !batch.more {
            return (all, after);
        }
    }
}

/// A table of five records, two a page, paged by id as Boost's offers are.
fn by_id(_: usize, seen: &Seen) -> Response {
    match seen.query.as_str() {
        query if query.contains("id%7CGt=2") => json(page(&[3, 4], Some(json!({"id|Gt": "4"})))),
        query if query.contains("id%7CGt=4") => json(page(&[5], None)),
        _ => json(page(&[1, 2], Some(json!({"id|Gt": "2"})))),
    }
}

#[tokio::test]
async fn pages_are_followed_by_a_query_that_is_merged() {
    let server = Server::start(by_id).await;
    let setup = Setup::new(&server);
    let mut source = setup.open();
    let (all, after) = round(&mut source, None, MANY).await;
    assert_eq!(all, ["1", "2", "3", "4", "5"]);
    assert_eq!(
        server.queries(),
        ["_order=id&apiKey=s3cret", "_order=id&id%7CGt=2&apiKey=s3cret", "_order=id&id%7CGt=4&apiKey=s3cret"]
    );
    let (again, _) = round(&mut source, after, MANY).await;
    assert_eq!(again, all, "without since, a round reads everything");
}

#[tokio::test]
async fn pages_are_followed_by_a_start_and_the_next_round_begins_at_the_last_day() {
    let server = Server::start(|_, seen| {
        let first = json!({"start": 2});
        if seen.query.contains("start=2") { json(page(&[3], None)) } else { json(page(&[1, 2], Some(first))) }
    })
    .await;
    let setup = Setup::new(&server).read(
        "since = { time = \"/at\", form = \"date\", overlap_days = 1 }\n[query]\n_order = \"at\"\n\"at|datetimeGt\" = \"{since}\"",
    );
    let setup = Setup { read: setup.read.replacen("query = { _order = \"id\" }\n", "", 1), ..setup };
    let mut source = setup.open();
    let (all, after) = round(&mut source, None, MANY).await;
    assert_eq!(all, ["1", "2", "3"]);
    // The latest record is of the 4th, 00:30 in Nouméa: a day before that is the 3rd.
    round(&mut source, after, MANY).await;
    assert_eq!(
        server.queries(),
        [
            "_order=at&apiKey=s3cret",
            "_order=at&start=2&apiKey=s3cret",
            "_order=at&at%7CdatetimeGt=2026-03-03&apiKey=s3cret",
            "_order=at&at%7CdatetimeGt=2026-03-03&start=2&apiKey=s3cret"
        ]
    );
}

#[tokio::test]
async fn a_record_from_the_future_hides_nothing_that_comes_before_it() {
    let server = Server::start(|_, _| {
        let mut body = page(&[1, 2], None);
        body["data"][1]["at"] = json!("2999-01-01T00:00:00Z");
        json(body)
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.read = "path = \"t\"\nquery = { from = \"{since}\" }\nitems = \"/data\"\n\
                  since = { time = \"/at\", form = \"utc\" }"
        .into();
    let mut source = setup.open();
    let (_, after) = round(&mut source, None, MANY).await;
    round(&mut source, after, MANY).await;
    assert_eq!(server.queries()[1], "from=2026-03-01T13%3A30%3A00Z&apiKey=s3cret");
}

#[tokio::test]
async fn pages_are_followed_by_a_cursor() {
    let server = Server::start(|_, seen| {
        if seen.query.contains("after=c1") {
            json(json!({"data": data(&[2]), "pageInfo": {"endCursor": null}}))
        } else {
            json(json!({"data": data(&[1]), "pageInfo": {"endCursor": "c1"}}))
        }
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.read = "path = \"t\"\nitems = \"/data\"\nnext = { after = \"/pageInfo/endCursor\" }".into();
    let (all, _) = round(&mut setup.open(), None, MANY).await;
    assert_eq!(all, ["1", "2"]);
}

#[tokio::test]
async fn a_checkpoint_goes_on_in_another_process() {
    let server = Server::start(by_id).await;
    let setup = Setup::new(&server);
    let first = setup.open().pull(None, MANY).await.unwrap();
    assert_eq!(keys(&first), ["1", "2"]);
    let saved = serde_json::to_string(&first.next.unwrap()).unwrap();
    let saved: Checkpoint = serde_json::from_str(&saved).unwrap();
    let (rest, _) = round(&mut setup.open(), Some(saved), MANY).await;
    assert_eq!(rest, ["3", "4", "5"]);
}

#[tokio::test]
async fn a_page_larger_than_the_batch_is_given_in_parts() {
    let server = Server::start(|_, _| json(page(&[1, 2, 3, 4, 5], None))).await;
    let setup = Setup::new(&server);
    let mut source = setup.open();
    let two = NonZeroUsize::new(2).unwrap();
    let (all, _) = round(&mut source, None, two).await;
    assert_eq!((all.len(), server.queries().len()), (5, 1), "one request is enough");

    // Given an older checkpoint, after a failure, it gives those records again.
    let mut source = setup.open();
    let first = source.pull(None, two).await.unwrap();
    let second = source.pull(first.next.as_ref(), two).await.unwrap();
    assert_eq!((keys(&first), keys(&second)), (vec!["1", "2"], vec!["3", "4"]));
    let (again, _) = round(&mut source, first.next.clone(), two).await;
    assert!(["3", "4", "5"].iter().all(|key| again.iter().any(|k| k == key)), "{again:?}");
    // So does a part's checkpoint in another process.
    let (again, _) = round(&mut setup.open(), second.next, two).await;
    assert!(again.iter().any(|key| key == "5"), "{again:?}");
}

#[tokio::test]
async fn a_page_that_didnt_change_is_not_read_again() {
    let server = Server::start(|_, seen| {
        let etag = if seen.query.contains("Gt=2") { "\"b\"" } else { "\"a\"" };
        if seen.headers.get(header::IF_NONE_MATCH).is_some_and(|sent| sent == etag) {
            return status(304);
        }
        let body = if seen.query.contains("Gt=2") {
            page(&[3], None)
        } else {
            page(&[1, 2], Some(json!({"id|Gt": "2"})))
        };
        ([(header::ETAG, etag)], json(body)).into_response()
    })
    .await;
    let setup = Setup::new(&server);
    let mut source = setup.open();
    let (all, after) = round(&mut source, None, MANY).await;
    assert_eq!(all.len(), 3);
    let (again, after) = round(&mut source, after, MANY).await;
    // The last page is known once its checkpoint came back, as it did here.
    assert!(again.is_empty(), "{again:?}");
    assert_eq!(server.header(2, "if-none-match").as_deref(), Some("\"a\""));
    assert_eq!(server.header(3, "if-none-match").as_deref(), Some("\"b\""));
    assert!(round(&mut source, after, MANY).await.0.is_empty());
    // Its records may not be safe where the checkpoint didn't come back: another source asks for all.
    assert_eq!(round(&mut setup.open(), None, MANY).await.0.len(), 3);
}

#[tokio::test]
async fn a_page_whose_records_werent_safe_is_read_again_whole() {
    let server = Server::start(|_, seen| {
        if seen.headers.contains_key(header::IF_MODIFIED_SINCE) {
            return status(304);
        }
        ([(header::LAST_MODIFIED, "Wed, 21 Oct 2015 07:28:00 GMT")], json(page(&[1], None))).into_response()
    })
    .await;
    let mut source = Setup::new(&server).open();
    let first = source.pull(None, MANY).await.unwrap();
    let again = source.pull(None, MANY).await.unwrap();
    assert_eq!((keys(&first), keys(&again)), (vec!["1"], vec!["1"]), "the host gave no checkpoint back");
    let unchanged = source.pull(again.next.as_ref(), MANY).await.unwrap();
    assert!(unchanged.records.is_empty() && !unchanged.more);
}

#[tokio::test]
async fn a_500_is_asked_again_after_a_random_wait() {
    let server =
        Server::start(|before, seen| if before < 3 { status(500) } else { by_id(before, seen) }).await;
    let setup = Setup::new(&server);
    let batch = setup.open().pull(None, MANY).await.unwrap();
    assert_eq!(keys(&batch), ["1", "2"]);
    let waits = setup.waits();
    assert_eq!(waits.len(), 3);
    for (attempt, wait) in waits.iter().enumerate() {
        assert!(*wait <= Duration::from_millis(500 << attempt), "{waits:?}");
    }
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_left_to_the_host() {
    let server = Server::start(|_, _| status(503)).await;
    let setup = Setup::new(&server).connection("retry = { attempts = 3, first_ms = 1, ceiling_seconds = 1 }");
    let fault = setup.open().pull(None, MANY).await.unwrap_err();
    assert!(matches!(&fault, DriverFault::Retry { after: None, .. }));
    assert!(fault.to_string().contains("503") && fault.to_string().contains("attempt 3"), "{fault}");
    assert_eq!(server.queries().len(), 3);
}

#[tokio::test]
async fn a_429_is_asked_again_when_it_says() {
    let server = Server::start(|before, seen| match before {
        0 => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "7")]).into_response(),
        1 => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "11")]).into_response(),
        _ => by_id(before, seen),
    })
    .await;
    let setup = Setup::new(&server);
    setup.open().pull(None, MANY).await.unwrap();
    assert_eq!(setup.waits(), [Duration::from_secs(7), Duration::from_secs(11)]);
}

#[tokio::test]
async fn a_long_retry_after_is_left_to_the_host() {
    let server = Server::start(|_, _| {
        (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "3600")]).into_response()
    })
    .await;
    let setup = Setup::new(&server);
    let fault = setup.open().pull(None, MANY).await.unwrap_err();
    assert!(
        matches!(fault, DriverFault::Retry { after: Some(after), .. } if after == Duration::from_secs(3600))
    );
    assert!(setup.waits().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_announced_or_not() {
    let announced = Server::start(|_, _| json(json!({"data": ["x".repeat(2000)]}))).await;
    let streamed = Server { address: endless().await, seen: Arc::default() };
    for server in [announced, streamed] {
        let setup = Setup { max_answer: 1000, ..Setup::new(&server) };
        let fault = setup.open().pull(None, MANY).await.unwrap_err();
        assert!(matches!(fault, DriverFault::Halt { .. }), "{fault}");
        assert!(fault.to_string().contains("larger than 1000 bytes"), "{fault}");
    }
}

/// A server whose answer says no length and doesn't end.
async fn endless() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        // Until the client goes.
        while stream.write_all(b"5\r\n[1,2,\r\n").await.is_ok() {}
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_server_that_doesnt_answer_or_isnt_there_is_tried_again() {
    let address = serve(Router::new().route(
        "/base/{*path}",
        get(|| async {
            std::future::pending::<()>().await;
        }),
    ))
    .await;
    let server = Server { address, seen: Arc::default() };
    let setup = Setup { timeout: Duration::from_millis(50), ..Setup::new(&server) }
        .connection("retry = { attempts = 2, first_ms = 1, ceiling_seconds = 1 }");
    let fault = setup.open().pull(None, MANY).await.unwrap_err();
    assert!(fault.to_string().contains("didn't answer in time"), "{fault}");
    assert_eq!(setup.waits().len(), 1);

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let setup = Setup { base: format!("http://{nobody}"), ..setup };
    let fault = setup.open().pull(None, MANY).await.unwrap_err();
    assert!(
        matches!(fault, DriverFault::Retry { .. }) && fault.to_string().contains("can't be reached"),
        "{fault}"
    );
}

#[tokio::test]
async fn no_error_holds_a_secret_or_a_query() {
    for code in [400, 401, 403, 404, 500, 302] {
        let server = Server::start(move |_, _| status(code)).await;
        for auth in [
            "{ kind = \"api-key\", in = \"query\", name = \"apiKey\", secret = \"key\" }",
            "{ kind = \"api-key\", in = \"header\", name = \"x-api-key\", secret = \"key\" }",
            "{ kind = \"bearer\", secret = \"key\" }",
            "{ kind = \"basic\", user = \"u\", secret = \"key\" }",
        ] {
            let setup = Setup::new(&server).connection(&format!("auth = {auth}\nretry = {{ attempts = 1 }}"));
            let fault = setup.open().pull(None, MANY).await.unwrap_err();
            let text = format!("{fault} {fault:?}");
            assert!(
                !text.contains("s3cret") && !text.contains("apiKey") && !text.contains("_order"),
                "{text}"
            );
            assert!(text.contains("/base/t/data"), "{text}");
            assert_eq!(matches!(fault, DriverFault::Halt { .. }), code != 500, "{code}");
        }
    }
}

#[tokio::test]
async fn credentials_go_where_the_manifest_says() {
    let server = Server::start(by_id).await;
    for (auth, header, value) in [
        (
            "{ kind = \"api-key\", in = \"header\", name = \"x-api-key\", secret = \"key\" }",
            "x-api-key",
            "s3cret",
        ),
        ("{ kind = \"bearer\", secret = \"key\" }", "authorization", "Bearer s3cret"),
        ("{ kind = \"basic\", user = \"u\", secret = \"key\" }", "authorization", "Basic dTpzM2NyZXQ="),
    ] {
        server.seen.lock().unwrap().clear();
        let setup = Setup::new(&server).connection(&format!("auth = {auth}"));
        setup.open().pull(None, MANY).await.unwrap();
        assert_eq!(server.header(0, header).as_deref(), Some(value));
        assert!(!server.queries()[0].contains("s3cret"));
    }
}

#[tokio::test]
async fn a_token_is_kept_until_it_ends_and_renewed_when_it_is_refused() {
    // Tokens t0, t1, …: the first lives long and is refused after two requests, the second ends at once.
    let tokens = Server::start(|before, _| {
        json(json!({"access_token": format!("t{before}"), "token_type": "Bearer", "expires_in": if before == 0 { 3600 } else { 1 }}))
    })
    .await;
    let server = Server::start(|before, seen| {
        let token = seen.headers[header::AUTHORIZATION].to_str().unwrap();
        if before == 2 && token == "Bearer t0" { status(401) } else { by_id(before, seen) }
    })
    .await;
    let setup = Setup::new(&server).connection(&format!(
        "auth = {{ kind = \"oauth2\", token_url = \"{}/base/token\", client_id = \"me\", secret = \"key\", scope = \"read\" }}",
        tokens.address
    ));
    let mut source = setup.open();
    let (all, after) = round(&mut source, None, MANY).await;
    assert_eq!(all.len(), 5);
    let bearers: Vec<_> = (0..4).map(|at| server.header(at, "authorization").unwrap()).collect();
    assert_eq!(bearers, ["Bearer t0", "Bearer t0", "Bearer t0", "Bearer t1"]);
    assert_eq!(tokens.header(0, "authorization").as_deref(), Some("Basic bWU6czNjcmV0"));
    // It ends within the margin, so that it isn't used again.
    source.pull(after.as_ref(), MANY).await.unwrap();
    assert_eq!(server.header(4, "authorization").as_deref(), Some("Bearer t2"));
    assert_eq!(tokens.queries().len(), 3);
}

#[tokio::test]
async fn a_token_server_that_refuses_says_which_secret() {
    let tokens = Server::start(|_, _| status(401)).await;
    let server = Server::start(by_id).await;
    let setup = Setup::new(&server).connection(&format!(
        "auth = {{ kind = \"oauth2\", token_url = \"{}/base/token\", client_id = \"me\", secret = \"key\" }}",
        tokens.address
    ));
    let fault = setup.open().pull(None, MANY).await.unwrap_err();
    assert!(matches!(fault, DriverFault::Halt { .. }), "{fault}");
    assert!(fault.to_string().contains("the secret key") && !fault.to_string().contains("s3cret"), "{fault}");
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let elsewhere = Server::start(by_id).await;
    let location = format!("{}/base/t/data?stolen=1", elsewhere.address);
    let server = Server::start(move |before, seen| match before {
        0 => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/base/t2/data?x=1")]).into_response(),
        1 => by_id(before, seen),
        _ => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location.as_str())]).into_response(),
    })
    .await;
    let mut source = Setup::new(&server).open();
    assert_eq!(keys(&source.pull(None, MANY).await.unwrap()), ["1", "2"], "within the host it is followed");
    let fault = source.pull(None, MANY).await.unwrap_err();
    assert!(fault.to_string().contains("isn't followed") && !fault.to_string().contains("stolen"), "{fault}");
    assert!(elsewhere.queries().is_empty());
}

#[tokio::test]
async fn what_isnt_a_page_is_tried_again_and_never_taken_for_the_end() {
    for body in [
        json!({"hasNextPage": false}),
        json!({"data": []}),
        json!({"hasNextPage": true, "paramsNextPageQuery": null, "data": []}),
        json!({"hasNextPage": true, "paramsNextPageQuery": {}, "data": []}),
        json!({"hasNextPage": true, "paramsNextPageQuery": {"start": null}, "data": []}),
        json!({"hasNextPage": "yes", "data": []}),
    ] {
        let answer = body.clone();
        let server = Server::start(move |_, _| json(answer.clone())).await;
        let fault = Setup::new(&server).open().pull(None, MANY).await.unwrap_err();
        assert!(matches!(fault, DriverFault::Retry { .. }), "{body}: {fault}");
    }
    let server = Server::start(|_, _| "<html>".into_response()).await;
    let fault = Setup::new(&server).open().pull(None, MANY).await.unwrap_err();
    assert!(fault.to_string().contains("isn't JSON"), "{fault}");
}

#[tokio::test]
async fn a_page_that_names_itself_next_halts() {
    let server = Server::start(|_, _| json(page(&[1], Some(json!({"start": 50}))))).await;
    let mut source = Setup::new(&server).open();
    let first = source.pull(None, MANY).await.unwrap();
    let fault = source.pull(first.next.as_ref(), MANY).await.unwrap_err();
    assert!(matches!(fault, DriverFault::Halt { .. }) && fault.to_string().contains("never end"), "{fault}");
}

#[tokio::test]
async fn a_checkpoint_that_cant_be_read_halts() {
    let server = Server::start(by_id).await;
    for damaged in [json!("x"), json!(null), json!([1]), json!({"page": 3}), json!({"unknown": 1})] {
        let fault =
            Setup::new(&server).open().pull(Some(&Checkpoint(damaged.clone())), MANY).await.unwrap_err();
        assert!(matches!(fault, DriverFault::Halt { .. }), "{damaged}");
    }
    assert!(server.queries().is_empty(), "it doesn't start afresh");
}

#[tokio::test]
async fn a_record_without_a_key_is_set_aside_and_the_others_go_on() {
    let server = Server::start(|_, _| {
        json(json!({"hasNextPage": false, "data": [{"id": "a"}, {"nom": "DUPONT"}, {"id": " "}, {"id": 4, "row_hash": "h"}]}))
    })
    .await;
    let batch = Setup::new(&server).open().pull(None, MANY).await.unwrap();
    assert_eq!(keys(&batch), ["a", "4"]);
    assert_eq!((batch.records[0].version.as_deref(), batch.records[1].version.as_deref()), (None, Some("h")));
    assert_eq!(batch.rejected.len(), 2);
    assert_eq!(batch.rejected[0].key, "record 2 of a page");
    assert!(!format!("{batch:?}").contains("DUPONT"));
}

#[tokio::test]
async fn what_is_missing_is_said_before_anything_is_asked() {
    let server = Server::start(by_id).await;
    let setup = Setup::new(&server);
    let read: HttpRead = toml::from_str(&setup.read).unwrap();
    let open = |base: &str, secret: &str| {
        let auth = format!("base = \"{base}\"\nauth = {{ kind = \"bearer\", secret = \"{secret}\" }}");
        HttpSource::new(&toml::from_str(&auth).unwrap(), &read, "/id", None, &setup.settings())
            .err()
            .unwrap()
            .to_string()
    };
    assert!(open("{absent}/x", "key").contains("the setting absent"));
    assert!(open("{base_url}", "other").contains("PIROGUE_SECRET_OTHER"));
    assert!(open("{base_url}?k=1", "key").contains("http.base"));
}
