//! Over HTTP: `/health`, `/metrics`, `/schemas/TYPE/VERSION`. Nothing here
//! changes anything, and nothing is about a person.

use crate::hub::operator::{Answer, Handler, Request};
use crate::metrics;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long the hub may take to answer before it counts as failing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the port can't be had.
#[derive(Debug, thiserror::Error)]
pub enum HttpFault {
    /// Another program has it.
    #[error("another program already listens on {0}: stop it, or set http.listen to another port")]
    PortInUse(SocketAddr),
    /// Ports below 1024 are the system's.
    #[error("this user may not listen on {0}: set http.listen to a port from 1024 on")]
    NotAllowed(SocketAddr),
    /// The address isn't one of this machine.
    #[error("{0} isn't an address of this machine: set http.listen to one that is")]
    NotHere(SocketAddr),
    /// The system refused.
    #[error("it isn't possible to listen on {address}: {source}")]
    Io {
        /// The address and port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes the port `address`; port 0 is any free one.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpFault> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => HttpFault::PortInUse(address),
        ErrorKind::PermissionDenied => HttpFault::NotAllowed(address),
        ErrorKind::AddrNotAvailable => HttpFault::NotHere(address),
        _ => HttpFault::Io { address, source },
    })
}

/// Answers on `listener` until `until` is done, then ends what is under way.
///
/// Fails only where the system does.
pub async fn serve(
    listener: TcpListener,
    handler: Arc<dyn Handler>,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(handler)).with_graceful_shutdown(until).await
}

fn router(handler: Arc<dyn Handler>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/schemas/{event_type}/{version}", get(schema))
        .with_state(handler)
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
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, handler, async {
            let _ = stopped.await;
        }));
        // Another test may have chosen it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(format!("http://{address}{path}")).send().await.unwrap();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let answer = (response.status().as_u16(), content_type, response.text().await.unwrap());
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
