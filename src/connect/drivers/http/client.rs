//! One request, repeated where that can help, within bounds.

use super::auth::{Credentials, apply};
use super::settings::{HttpConnection, Retry};
use super::{DriverFault, Settings};
use reqwest::header::{
    ACCEPT, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use reqwest::{StatusCode, Url, redirect};
use serde_json::Value;
use std::time::Duration;

/// How many redirects within one host are followed.
const MAX_REDIRECTS: usize = 5;

/// A client for one server.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
    retry: Retry,
    max_answer: u64,
    pace: Pace,
}

/// How the client waits.
#[derive(Clone)]
pub(super) enum Pace {
    /// It sleeps.
    Real,
    /// It writes down how long it would have waited.
    #[cfg(test)]
    Noted(std::sync::Arc<std::sync::Mutex<Vec<Duration>>>),
}

impl Pace {
    async fn wait(&self, time: Duration) {
        match self {
            Pace::Real => tokio::time::sleep(time).await,
            #[cfg(test)]
            Pace::Noted(notes) => notes.lock().expect("no test panics while it writes").push(time),
        }
    }
}

/// What a server answered.
pub(super) enum Answer {
    /// The page is what it was.
    NotModified,
    /// The page.
    Page { body: Value, etag: Option<String>, last_modified: Option<String> },
}

/// Why one attempt failed.
enum Failure {
    /// Another attempt can help, after what the server asked for.
    Again { after: Option<Duration>, detail: String },
    /// The credentials were refused.
    Unauthorized(StatusCode),
    /// Nothing but a change helps.
    Final(String),
}

impl Client {
    pub fn new(connection: &HttpConnection, settings: &Settings) -> Result<Client, DriverFault> {
        let base = settings.fill(&connection.base, "http.base")?;
        let base = directory(&base)?;
        refuse_plain(&base, connection.plain_http, "http.base")?;
        let http = build(&base, Duration::from_secs(connection.timeout_seconds.max(1)))?;
        Ok(Client {
            credentials: Credentials::new(connection, &http, settings)?,
            http,
            base,
            retry: connection.retry.clone(),
            max_answer: connection.max_answer_mib.max(1).saturating_mul(1024 * 1024),
            pace: Pace::Real,
        })
    }

    #[cfg(test)]
    pub fn set_pace(&mut self, pace: Pace, max_answer: u64, timeout: Duration) {
        self.pace = pace;
        self.max_answer = max_answer;
        self.http = build(&self.base, timeout).expect("it was built once");
        self.credentials.set_client(&self.http);
    }

    /// Gets `path` with `query`, if it changed since the validators (ETag,
    /// Last-Modified: RFC 9110 section 8.8) were given.
    pub async fn get(
        &mut self,
        path: &str,
        query: &[(String, String)],
        validators: Option<(Option<&str>, Option<&str>)>,
    ) -> Result<Answer, DriverFault> {
        let url = self.base.join(path).map_err(|_| {
            DriverFault::halt(format!("the path {path} of the connector isn't one; correct it"))
        })?;
        if url.origin() != self.base.origin() {
            return Err(DriverFault::halt(format!(
                "the path {path} of the connector leads to another server; correct it"
            )));
        }
        let mut renewed = false;
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(&url, query, validators).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let (after, detail) = match failure {
                Failure::Final(detail) => return Err(DriverFault::halt(detail)),
                Failure::Unauthorized(_) if self.credentials.renew() && !renewed => {
                    renewed = true;
                    continue;
                }
                Failure::Unauthorized(status) => {
                    return Err(DriverFault::halt(format!(
                        "{} answered {status}: it doesn't accept the credentials; check the secret {}, and what it may \
                         read there",
                        shown(&url),
                        self.credentials.name()
                    )));
                }
                Failure::Again { after, detail } => (after, detail),
            };
            let ceiling = Duration::from_secs(self.retry.ceiling_seconds);
            if attempt >= self.retry.attempts.max(1) || after.is_some_and(|after| after > ceiling) {
                return Err(DriverFault::Retry { after, detail: format!("{detail} (attempt {attempt})") });
            }
            self.pace.wait(after.unwrap_or_else(|| jitter(&self.retry, attempt))).await;
            attempt += 1;
        }
    }

    async fn attempt(
        &mut self,
        url: &Url,
        query: &[(String, String)],
        validators: Option<(Option<&str>, Option<&str>)>,
    ) -> Result<Answer, Failure> {
        let mut request = self.http.get(url.clone()).header(ACCEPT, "application/json").query(query);
        if let Some((etag, last_modified)) = validators {
            if let Some(etag) = etag {
                request = request.header(IF_NONE_MATCH, etag);
            }
            if let Some(last_modified) = last_modified {
                request = request.header(IF_MODIFIED_SINCE, last_modified);
            }
        }
        let token = self.credentials.token().await.map_err(from_driver)?;
        let request = apply(request, token);
        let response = request.send().await.map_err(|error| from_reqwest(url, &error))?;
        let status = response.status();
        let header = |name| text_header(response.headers(), name);
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Answer::NotModified);
        }
        check_status(url, status, response.headers())?;
        let (etag, last_modified) = (header(ETAG), header(LAST_MODIFIED));
        let body = limited(response, self.max_answer, url).await?;
        let body = serde_json::from_slice(&body).map_err(|_| Failure::Again {
            after: None,
            detail: format!("{} answered something that isn't JSON, or only part of it", shown(url)),
        })?;
        Ok(Answer::Page { body, etag, last_modified })
    }
}

/// A base address as a folder: it ends in a slash, so that paths go under it.
fn directory(base: &str) -> Result<Url, DriverFault> {
    let wrong = || {
        DriverFault::halt(
            "http.base isn't an http or https address without user, password, query and fragment; correct the setting",
        )
    };
    let with_slash = if base.ends_with('/') { base.to_owned() } else { format!("{base}/") };
    let url = Url::parse(&with_slash).map_err(|_| wrong())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain { Ok(url) } else { Err(wrong()) }
}

/// Refuses plain http to another machine, unless it was allowed.
pub(super) fn refuse_plain(url: &Url, allowed: bool, name: &str) -> Result<(), DriverFault> {
    let here = url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    if url.scheme() == "https" || here || allowed {
        return Ok(());
    }
    Err(DriverFault::halt(format!(
        "{name} is plain http to another machine, and whoever is between could read the secrets and the records; set \
         an https address, or plain_http = true in [http] of the connector if the network is trusted"
    )))
}

/// The HTTP client. TLS is rustls with ring, named here because reqwest comes
/// without one, and the certificates are the system's; a plain-http server needs
/// none, so that a machine without any can read it.
pub(super) fn build(base: &Url, timeout: Duration) -> Result<reqwest::Client, DriverFault> {
    // An error says that a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = redirect::Policy::custom(|attempt| {
        let from = attempt.previous().last();
        let same = from.is_some_and(|from| from.origin() == attempt.url().origin());
        if same && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
    });
    let mut builder = reqwest::Client::builder()
        .timeout(timeout)
        .redirect(policy)
        .referer(false)
        .user_agent(concat!("pirogue/", env!("CARGO_PKG_VERSION")));
    if base.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|_| {
        DriverFault::halt(
            "TLS can't be set up: no certificate authority was found on this machine; install its ca-certificates",
        )
    })
}

pub(super) fn from_driver_status(
    url: &Url,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<(), DriverFault> {
    check_status(url, status, headers).map_err(|failure| match failure {
        Failure::Again { after, detail } => DriverFault::Retry { after, detail },
        Failure::Unauthorized(status) => DriverFault::halt(format!("{} answered {status}", shown(url))),
        Failure::Final(detail) => DriverFault::halt(detail),
    })
}

fn from_driver(fault: DriverFault) -> Failure {
    match fault {
        DriverFault::Retry { after, detail } => Failure::Again { after, detail },
        DriverFault::Halt { detail } => Failure::Final(detail),
    }
}

fn check_status(url: &Url, status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    let shown = shown(url);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Unauthorized(status)),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::Again { after: retry_after(headers), detail: format!("{shown} answered {status}") })
        }
        status if status.is_server_error() => {
            Err(Failure::Again { after: retry_after(headers), detail: format!("{shown} answered {status}") })
        }
        status if status.is_redirection() => Err(Failure::Final(format!(
            "{shown} answered {status} and sends to {}, which isn't followed; set http.base to where the data is",
            // A host is no secret; a query can be.
            text_header(headers, LOCATION)
                .and_then(|location| url.join(&location).ok())
                .and_then(|location| location.host_str().map(|host| format!("the host {host}")))
                .unwrap_or_else(|| "another place".to_owned())
        ))),
        StatusCode::OK => Ok(()),
        status => Err(Failure::Final(format!(
            "{shown} answered {status}; check the path, the query and the version of the software"
        ))),
    }
}

/// What a request failed on, without the query, which can hold a secret.
fn from_reqwest(url: &Url, error: &reqwest::Error) -> Failure {
    Failure::Again { after: None, detail: transport(url, error) }
}

pub(super) fn transport(url: &Url, error: &reqwest::Error) -> String {
    let what = if error.is_timeout() {
        "didn't answer in time"
    } else if error.is_connect() {
        "can't be reached (name, port, firewall or certificate)"
    } else {
        "broke the connection off"
    };
    format!("{} {what}", shown(url))
}

/// The body, if it isn't larger than `limit` bytes.
pub(super) async fn read_limited(
    mut response: reqwest::Response,
    limit: u64,
    url: &Url,
) -> Result<Vec<u8>, DriverFault> {
    let too_large = || {
        DriverFault::halt(format!(
            "the answer of {} is larger than {} bytes; ask for smaller pages in the connector's query, or raise \
             max_answer_mib",
            shown(url),
            limit
        ))
    };
    let announced = response.content_length();
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(announced.unwrap_or(0) as usize);
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if (body.len() + chunk.len()) as u64 > limit => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(DriverFault::retry(transport(url, &error))),
        }
    }
}

async fn limited(response: reqwest::Response, limit: u64, url: &Url) -> Result<Vec<u8>, Failure> {
    read_limited(response, limit, url).await.map_err(from_driver)
}

/// The address without its query, which can hold a secret.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn text_header(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Retry-After (RFC 9110 section 10.2.3): seconds, or a time.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = text_header(headers, RETRY_AFTER)?;
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let wait = until.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

/// A random wait ("full jitter"), so that clients that failed together don't
/// come back together.
fn jitter(retry: &Retry, attempt: u32) -> Duration {
    let bound = retry
        .first_ms
        .saturating_mul(1u64.checked_shl(attempt - 1).unwrap_or(u64::MAX))
        .min(retry.ceiling_seconds.saturating_mul(1000));
    // Without randomness the whole bound is waited for.
    let random = getrandom::u64().unwrap_or(u64::MAX);
    Duration::from_millis(((u128::from(random) * (u128::from(bound) + 1)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_plain_address() {
        assert_eq!(directory("https://b.nc/x").unwrap().as_str(), "https://b.nc/x/");
        for wrong in ["ftp://b.nc", "b.nc", "https://u:p@b.nc", "https://b.nc/?k=v", "https://b.nc/#x", ""] {
            let fault = directory(wrong).unwrap_err().to_string();
            assert!(fault.starts_with("http.base"), "{wrong}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine_unless_it_is_allowed() {
        let refused =
            |url: &str, allowed| refuse_plain(&Url::parse(url).unwrap(), allowed, "http.base").is_err();
        for url in [
            "https://b.nc",
            "http://localhost:1",
            "http://127.0.0.1",
            "http://127.9.9.9:80",
            "http://[::1]:1",
        ] {
            assert!(!refused(url, false), "{url}");
        }
        for url in ["http://b.nc", "http://10.0.0.1", "http://localhost.b.nc", "http://127.0.0.1.b.nc"] {
            assert!(refused(url, false), "{url}");
            assert!(!refused(url, true), "{url}");
        }
    }

    #[test]
    fn a_wait_grows_up_to_the_ceiling_and_is_never_longer() {
        let retry = Retry { attempts: 9, first_ms: 100, ceiling_seconds: 2 };
        for attempt in 1..80 {
            let bound = 100u128.saturating_mul(1 << (attempt - 1).min(20)).min(2000);
            for _ in 0..20 {
                assert!(jitter(&retry, attempt).as_millis() <= bound);
            }
        }
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| jitter(&retry, 9)).collect();
        assert!(waits.len() > 10, "the waits are random");
    }

    #[test]
    fn retry_after_is_seconds_or_a_time() {
        let headers = |value: &str| HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers("Wed, 21 Oct 2015 07:28:00 GMT")), Some(Duration::ZERO));
        assert!(
            retry_after(&headers("Wed, 21 Oct 2099 07:28:00 GMT")).unwrap() > Duration::from_secs(1 << 30)
        );
        assert_eq!(retry_after(&headers("soon")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
