//! The HTTP server.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query as Pairs, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::draw::{Draw, first_after};
use super::page::{Page, TableName};
use super::query::{Order, Parameters, Query};
use super::served::{Served, Table};
use super::{Jobseeker, MAX_PAGE, MAX_ROWS, Offer, offers, people};

/// How the server is to be.
#[derive(Clone)]
pub struct BoostConfig {
    /// The seed of the rows and of the failures.
    pub seed: u64,
    /// How many offers there are at the start.
    pub offers: usize,
    /// How many jobseekers there are at the start.
    pub jobseekers: usize,
    /// Rows in a page unless a query's `_limit` says otherwise, from 1 to
    /// [`MAX_PAGE`]. Boost's own is 50; 500 makes bulk loads ten times fewer
    /// round trips.
    pub page: usize,
    /// The key that every query must carry as `apiKey`.
    pub api_key: String,
    /// Whether one request in 40 is answered by HTTP 500, and the third, so
    /// that a short load meets one too; never twice in a row for one query.
    pub errors: bool,
}

impl Default for BoostConfig {
    /// Seed 1, no rows, pages of 500, no API key (which [`BoostServer::start`]
    /// refuses), failures on.
    fn default() -> BoostConfig {
        BoostConfig { seed: 1, offers: 0, jobseekers: 0, page: 500, api_key: String::new(), errors: true }
    }
}

/// Leaves the API key out.
impl std::fmt::Debug for BoostConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoostConfig")
            .field("seed", &self.seed)
            .field("offers", &self.offers)
            .field("jobseekers", &self.jobseekers)
            .field("page", &self.page)
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}

/// Why the server didn't start.
#[derive(Debug, thiserror::Error)]
pub enum BoostFault {
    /// Another program listens there.
    #[error("the port {} of {} is in use: stop the program that listens there, or choose another port (0 takes any free one)", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}; choose an address of this machine and a port above 1023")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// More rows than a table may hold.
    #[error("{asked} rows were asked for; a table holds at most {MAX_ROWS}")]
    TooManyRows {
        /// The number asked for.
        asked: usize,
    },
    /// The API key is empty.
    #[error("the API key is empty: give one of at least one character")]
    NoApiKey,
    /// The page is empty or too large.
    #[error("a page of {0} rows: it has from 1 to {MAX_PAGE}")]
    PageSize(usize),
}

/// A running server. Dropping it stops it without waiting.
pub struct BoostServer {
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Shared {
    config: BoostConfig,
    url: String,
    rows: [AtomicUsize; 2],
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    served: Served,
    /// Requests with the right key.
    requests: u64,
    /// The queries whose last answer was a deliberate failure.
    failed: HashSet<u64>,
}

/// How many failed queries are remembered; over it, none is made to fail.
const FAILED: usize = 4_096;

/// How long [`BoostServer::shutdown`] waits for requests that are being answered.
const GRACE: Duration = Duration::from_secs(5);

impl BoostServer {
    /// Starts a server at `address`; port 0 takes a free one. It answers when
    /// this returns. Needs a Tokio runtime.
    pub async fn start(address: SocketAddr, config: BoostConfig) -> Result<BoostServer, BoostFault> {
        if let Some(&asked) = [config.offers, config.jobseekers].iter().find(|&&asked| asked > MAX_ROWS) {
            return Err(BoostFault::TooManyRows { asked });
        }
        if config.api_key.is_empty() {
            return Err(BoostFault::NoApiKey);
        }
        if !(1..=MAX_PAGE).contains(&config.page) {
            return Err(BoostFault::PageSize(config.page));
        }
        let fault = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => BoostFault::PortInUse(address),
            _ => BoostFault::Listen { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let url = format!("http://{}", listener.local_addr().map_err(fault)?);
        let rows = [AtomicUsize::new(config.offers), AtomicUsize::new(config.jobseekers)];
        let shared = Arc::new(Shared { config, url, rows, ledger: Mutex::default() });
        let app = Router::new()
            .route("/drhouseweb/api/GOUV_WEB/societe/{table}/data", get(answer))
            .fallback(async || refusal(StatusCode::NOT_FOUND, "there is nothing at this address"))
            .with_state(Arc::clone(&shared));
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = axum::serve(listener, app).with_graceful_shutdown(async move {
            // A sender that was dropped stops the server too.
            let _ = stopped.await;
        });
        let task = tokio::spawn(async move {
            if let Err(fault) = serve.await {
                tracing::error!(%fault, "the Boost-like server stopped");
            }
        });
        Ok(BoostServer { shared, stop, task })
    }

    /// `http://ADDRESS:PORT`, without a slash at its end: what a connector's
    /// `base_url` is.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// What was served until now.
    pub fn served(&self) -> Served {
        self.shared.ledger().served.clone()
    }

    /// How many rows `table` holds now.
    pub fn rows(&self, table: Table) -> usize {
        self.shared.rows(table)
    }

    /// One more row in each table, for later queries to find; a full table
    /// stays as it is.
    pub fn add_trickle(&self) {
        for rows in &self.shared.rows {
            // An error is a full table, which stays as it is.
            let _ = rows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rows| {
                (rows < MAX_ROWS).then_some(rows + 1)
            });
        }
    }

    /// The id of row `row` of `table`.
    pub fn id(&self, table: Table, row: usize) -> String {
        self.shared.id(table, row)
    }

    /// The row of `table` that has `id`.
    pub fn row_of(&self, table: Table, id: &str) -> Option<usize> {
        let after = self.shared.first_above(table, id);
        after.checked_sub(1).filter(|&row| self.shared.id(table, row) == id)
    }

    /// Offer `row`, as it is served.
    pub fn offer(&self, row: usize) -> serde_json::Value {
        // Null can't be: texts, numbers and lists always have a JSON form.
        serde_json::to_value(Offer::row(self.shared.config.seed, row)).unwrap_or_default()
    }

    /// Jobseeker `row`, as it is served.
    pub fn jobseeker(&self, row: usize) -> serde_json::Value {
        // Null can't be, as in `offer`.
        serde_json::to_value(Jobseeker::row(self.shared.config.seed, row)).unwrap_or_default()
    }

    /// Stops: takes no new request, and waits a few seconds for those that are
    /// being answered.
    pub async fn shutdown(self) {
        let BoostServer { stop, mut task, .. } = self;
        // The receiver is gone only where the server stopped already.
        let _ = stop.send(());
        if tokio::time::timeout(GRACE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // The ledger is counters and sets: whole after any panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self, table: Table) -> usize {
        self.rows[table.index()].load(Ordering::Relaxed)
    }

    fn id(&self, table: Table, row: usize) -> String {
        match table {
            Table::Offers => Offer::id(self.config.seed, row),
            Table::Jobseekers => Jobseeker::id(self.config.seed, row),
        }
    }

    /// The first row of `table` whose id is above `id`, by bisection: no id is kept.
    fn first_above(&self, table: Table, id: &str) -> usize {
        let (mut low, mut high) = (0, self.rows(table));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.id(table, middle).as_str() <= id { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The rows of the page that `query` asks for, and whether more follow.
    fn page(&self, table: Table, query: &Query) -> (Range<usize>, usize) {
        let total = self.rows(table);
        let first = match &query.order {
            Order::Id { after: None } => 0,
            Order::Id { after: Some(id) } => self.first_above(table, id),
            Order::Date { after, start } => {
                let salt = match table {
                    Table::Offers => offers::SALT,
                    Table::Jobseekers => people::SALT,
                };
                let from = after.map_or(0, |time| first_after(self.config.seed, salt, time) as usize);
                from.saturating_add(*start)
            }
        }
        .min(total);
        (first..first.saturating_add(query.limit).min(total), total)
    }
}

impl Ledger {
    /// Counts a request, and says whether it is to fail.
    fn fails(&mut self, seed: u64, query: u64) -> bool {
        self.requests += 1;
        let chosen = self.requests == 3 || Draw::of(seed, 0xE5, self.requests).below(40) == 0;
        let again = self.failed.remove(&query);
        let fails = chosen && !again && self.failed.len() < FAILED;
        if fails {
            self.failed.insert(query);
            self.served.failure();
        }
        fails
    }
}

/// Answers one request for a table.
async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Pairs(pairs): Pairs<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let parameters = match Parameters::new(pairs) {
        Ok(parameters) => parameters,
        Err(fault) => return refusal(StatusCode::BAD_REQUEST, &fault),
    };
    if parameters.api_key.as_deref() != Some(shared.config.api_key.as_str()) {
        shared.ledger().served.refusal();
        return refusal(
            StatusCode::UNAUTHORIZED,
            "the parameter `apiKey` is missing or isn't the server's key",
        );
    }
    let Some(name) = TableName::parse(&name) else {
        return refusal(StatusCode::NOT_FOUND, &format!("the tables are: {}", TableName::list()));
    };
    let query = match parameters.query(shared.config.page) {
        Ok(query) => query,
        Err(fault) => return refusal(StatusCode::BAD_REQUEST, &fault),
    };
    if shared.config.errors {
        let mut hasher = DefaultHasher::new();
        (name.as_str(), &parameters.others).hash(&mut hasher);
        if shared.ledger().fails(shared.config.seed, hasher.finish()) {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        }
    }
    let (rows, total) = shared.page(name.table(), &query);
    let page = Page::new(&shared.config, &shared.url, name, rows, total, &query, parameters.others);
    let etag = format!("\"{}\"", page.hash());
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let served = page.rows();
    // Some milliseconds of work: off the threads that drive connections.
    match tokio::task::spawn_blocking(move || page.json()).await {
        Ok(Ok(body)) => {
            shared.ledger().served.page(name.table(), served);
            ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, etag)], body)
                .into_response()
        }
        Ok(Err(_)) | Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the page couldn't be written"),
    }
}

/// An answer that isn't a page: a sentence in JSON.
fn refusal(status: StatusCode, sentence: &str) -> Response {
    (status, axum::Json(serde_json::json!({"status": status.as_u16(), "error": sentence}))).into_response()
}

#[cfg(test)]
mod tests;
