//! Over HTTP: `/health`, `/metrics`, `/schemas/TYPE/VERSION`, and the journal
//! below `/journal/`. Nothing here changes anything, and nothing is about a
//! person.

use crate::fault::ListenFault;
use crate::hub::operator::{Answer, Handler, Request};
use crate::metrics;
use crate::ops::journal::{self, Published};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long the hub may take to answer before it counts as failing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes the port `address`; port 0 is any free one.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenFault> {
    TcpListener::bind(address).await.map_err(|source| ListenFault::of(address, "http.listen", source))
}

/// Answers on `listener`, for the hub `handler` and its journal `published`,
/// until `until` is done, then ends what is under way.
///
/// Fails only where the system does.
pub async fn serve(
    listener: TcpListener,
    handler: Arc<dyn Handler>,
    published: Published,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(handler, published)).with_graceful_shutdown(until).await
}

fn router(handler: Arc<dyn Handler>, published: Published) -> Router {
    let journal = Router::new()
        .route("/journal/checkpoint", get(journal::checkpoint))
        .route("/journal/checkpoint.cosigned", get(journal::cosigned))
        .route("/journal/tile/{*path}", get(journal::tile))
        .with_state(Arc::new(published));
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/schemas/{event_type}/{version}", get(schema))
        .with_state(handler)
        .merge(journal)
}

/// Asks the hub; a hub that doesn't answer in time is an answer too.
async fn ask(handler: &dyn Handler, request: Request) -> Answer {
    tokio::time::timeout(PATIENCE, handler.handle(request)).await.unwrap_or_else(|_| Answer::Failed {
        detail: format!("the hub didn't answer within {} seconds", PATIENCE.as_secs()),
    })
}

async fn health(State(handler): State<Arc<dyn Handler>>) -> Response {
    let problems = match ask(&*handler, Request::Status).await {
        Answer::Status(status) => status.problems,
        other => return unavailable(other),
    };
    if problems.is_empty() {
        Json(json!({ "status": "ok" })).into_response()
    } else {
        let body = json!({ "status": "failing", "problems": problems });
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    }
}

async fn metrics(State(handler): State<Arc<dyn Handler>>) -> Response {
    match ask(&*handler, Request::Metrics).await {
        Answer::Metrics { text } => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        other => unavailable(other),
    }
}

async fn schema(
    State(handler): State<Arc<dyn Handler>>,
    Path((event_type, version)): Path<(String, String)>,
) -> Response {
    // A version has one spelling: "01" and "+1" aren't found.
    let number = version.parse().ok().filter(|number: &u32| number.to_string() == version);
    let Some(version) = number else { return not_found("a schema's version is a number from 1") };
    match ask(&*handler, Request::Schema { event_type, version }).await {
        // The bytes as they are: recipients compare their SHA-256.
        Answer::Schema { json } => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Answer::NotFound { detail } => not_found(&detail),
        other => unavailable(other),
    }
}

fn not_found(detail: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "detail": detail }))).into_response()
}

fn unavailable(answer: Answer) -> Response {
    let detail = match answer {
        Answer::Failed { detail } | Answer::NotFound { detail } => detail,
        _ => "the hub answered something else than what was asked".to_owned(),
    };
    let body = json!({ "status": "failing", "problems": [detail] });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::operator::StatusReport;
    use sha2::Digest;
    use std::pin::Pin;
    use std::sync::Mutex;

    /// A hub with these problems; none is a hub that never answers.
    struct Fake(Mutex<Option<Vec<String>>>);

    impl Handler for Fake {
        fn handle(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
            let problems = self.0.lock().unwrap().clone();
            Box::pin(async move {
                let Some(problems) = problems else { return std::future::pending().await };
                match request {
                    Request::Status => Answer::Status(StatusReport { problems, ..StatusReport::default() }),
                    Request::Metrics => Answer::Metrics { text: "pirogue_commits_total 1\n".into() },
                    Request::Schema { event_type, version: 1 } if event_type == "nc.a.b" => {
                        Answer::Schema { json: "{ \"type\":  \"record\" }".into() }
                    }
                    Request::Schema { .. } => Answer::NotFound { detail: "there is no such schema".into() },
                    _ => panic!("HTTP asks for nothing else"),
                }
            })
        }
    }

    async fn get(handler: Arc<Fake>, path: &str) -> (u16, String, String) {
        let published = Published::new("/nowhere".into(), None).unwrap();
        let response = fetch(handler, published, path, None).await;
        (response.0, response.1["content-type"].to_str().unwrap().to_owned(), response.2)
    }

    async fn fetch(
        handler: Arc<Fake>,
        published: Published,
        path: &str,
        token: Option<&str>,
    ) -> (u16, reqwest::header::HeaderMap, String) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, handler, published, async {
            let _ = stopped.await;
        }));
        // Another test may have chosen it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.get(format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        let answer = (response.status().as_u16(), headers, response.text().await.unwrap());
        drop(client);
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
        answer
    }

    fn hub(problems: &[&str]) -> Arc<Fake> {
        Arc::new(Fake(Mutex::new(Some(problems.iter().map(|p| p.to_string()).collect()))))
    }

    #[tokio::test]
    async fn health_is_200_or_503_with_why() {
        let (status, kind, body) = get(hub(&[]), "/health").await;
        assert_eq!((status, kind.as_str(), body.as_str()), (200, "application/json", r#"{"status":"ok"}"#));
        let (status, _, body) = get(hub(&["the disk is nearly full"]), "/health").await;
        assert_eq!(status, 503);
        assert_eq!(body, r#"{"status":"failing","problems":["the disk is nearly full"]}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hub_that_does_not_answer_is_failing() {
        let answer = ask(&Fake(Mutex::new(None)), Request::Status).await;
        assert!(matches!(answer, Answer::Failed { detail } if detail.contains("5 seconds")));
    }

    #[tokio::test]
    async fn metrics_come_with_their_content_type() {
        let (status, kind, body) = get(hub(&[]), "/metrics").await;
        assert_eq!((status, kind.as_str()), (200, metrics::CONTENT_TYPE));
        assert_eq!(body, "pirogue_commits_total 1\n");
    }

    #[tokio::test]
    async fn a_schema_comes_as_the_bytes_that_are_registered() {
        let (status, kind, body) = get(hub(&[]), "/schemas/nc.a.b/1").await;
        assert_eq!(
            (status, kind.as_str(), body.as_str()),
            (200, "application/json", "{ \"type\":  \"record\" }")
        );
        for path in ["/schemas/nc.a.b/2", "/schemas/nc.a.b/01", "/schemas/nc.a.b/one", "/schemas/nc.x.y/1"] {
            assert_eq!(get(hub(&[]), path).await.0, 404, "{path}");
        }
    }

    #[tokio::test]
    async fn the_journal_comes_with_its_headers_and_its_entries_for_who_has_a_token() {
        let folder = tempfile::tempdir().unwrap();
        for path in
            ["tile/0/000", "tile/0/001.p/7", "tile/entries/000", "tile/entries/001.p/7", "recent/0.log"]
        {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "bytes").unwrap();
        }
        std::fs::write(folder.path().join("checkpoint"), "nc\n").unwrap();
        let readers = folder.path().join("readers");
        let digest: String =
            sha2::Sha256::digest("letmein").iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(&readers, format!("other {}\naudit {digest}\n", "0".repeat(64))).unwrap();
        let published = Published::new(folder.path().into(), Some(readers.clone())).unwrap();
        let get = async |path: &str, token| {
            let (status, headers, body) = fetch(hub(&[]), published.clone(), path, token).await;
            let text =
                |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            (status, text("content-type"), text("cache-control"), body)
        };
        let (status, kind, cache, body) = get("/journal/checkpoint", None).await;
        assert_eq!((status, kind.as_str(), cache.as_str()), (200, "text/plain; charset=utf-8", "no-store"));
        assert_eq!(body, "nc\n");
        for (path, token, cache) in [
            ("/journal/tile/0/000", None, "public, max-age=31536000, immutable"),
            ("/journal/tile/0/001.p/7", None, "public, max-age=60, immutable"),
            ("/journal/tile/entries/000", Some("letmein"), "private, max-age=31536000, immutable"),
            ("/journal/tile/entries/001.p/7", Some("letmein"), "private, max-age=60, immutable"),
        ] {
            let got = get(path, token).await;
            let expected = (200, "application/octet-stream".into(), cache.into(), "bytes".into());
            assert_eq!(got, expected, "{path}");
        }
        for token in [None, Some("letmeout"), Some("")] {
            let (status, _, _, body) = get("/journal/tile/entries/000", token).await;
            assert!(status == 401 && body.contains("members and auditors"), "{body}");
        }
        for path in [
            "/journal/tile/0/002",
            "/journal/tile/0/0",
            "/journal/tile/0/000/",
            "/journal/tile/..%2Fcheckpoint",
            "/journal/tile/0/..%2F..%2F..%2Freaders",
            "/journal/tile/%252e%252e/checkpoint",
            "/journal/checkpoint.cosigned",
            "/journal/readers",
            "/journal/recent/0.log",
            "/journal/tile/",
        ] {
            assert_eq!(get(path, Some("letmein")).await.0, 404, "{path}");
        }
        // Struck out, and nobody any more.
        std::fs::write(&readers, "").unwrap();
        assert_eq!(get("/journal/tile/entries/000", Some("letmein")).await.0, 401);
        std::fs::remove_file(&readers).unwrap();
        assert_eq!(get("/journal/tile/entries/000", Some("letmein")).await.0, 503);
        let closed = Published::new(folder.path().into(), None).unwrap();
        let (status, _, body) = fetch(hub(&[]), closed, "/journal/tile/entries/000", Some("letmein")).await;
        assert!(status == 403 && body.contains("journal.readers"), "{body}");
    }

    #[tokio::test]
    async fn a_port_in_use_is_one_sentence_that_says_what_to_do() {
        let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let fault = bind(address).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            format!(
                "another program already listens on {address}: stop it, or set http.listen to another port"
            )
        );
    }
}
