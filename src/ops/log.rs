//! Another's journal, over HTTP: tiles and checkpoint are fetched with plain GETs
//! (C2SP tlog-tiles).

use crate::journal::tile::{MAX_ENTRY_BYTES, TileFault, TileSource, WIDTH};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{StatusCode, Url};
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The longest file of a log: a bundle of the longest entries.
const MAX_BYTES: usize = WIDTH * (MAX_ENTRY_BYTES + 2);

/// A log on a server.
pub struct RemoteLog {
    http: reqwest::Client,
    base: Url,
    token: Option<HeaderValue>,
    runtime: Handle,
}

impl RemoteLog {
    /// The log whose files are below `url`. Requests run on `runtime`, which has
    /// threads of its own: whoever asks waits for it.
    ///
    /// Bundles of entries are asked for with `token`, where there is one.
    ///
    /// Fails where `url` isn't an HTTP address, or the token can't be one.
    pub fn new(url: &str, token: Option<&str>, runtime: Handle) -> Result<RemoteLog, TileFault> {
        let wrong = |why: &str| TileFault::Unreachable { path: url.to_owned(), why: why.to_owned() };
        // Below it: without the slash, a file would stand beside the last part.
        let base =
            Url::parse(&format!("{}/", url.trim_end_matches('/'))).map_err(|_| wrong("this isn't a URL"))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong("this begins neither with http:// nor with https://"));
        }
        // reqwest takes the process's provider. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60))
            .build()
            .map_err(|_| wrong("an HTTP client can't be made"))?;
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose();
        let mut token = token.map_err(|_| wrong("the token has characters that no token has"))?;
        token.iter_mut().for_each(|token| token.set_sensitive(true));
        Ok(RemoteLog { http, base, token, runtime })
    }
}

async fn fetch(
    http: reqwest::Client,
    url: Url,
    token: Option<HeaderValue>,
) -> Result<Option<Vec<u8>>, String> {
    let why = |error: reqwest::Error| {
        let mut why: &dyn std::error::Error = &error;
        while let Some(source) = why.source() {
            why = source;
        }
        why.to_string()
    };
    let mut request = http.get(url);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let mut response = request.send().await.map_err(why)?;
    match response.status() {
        status if status.is_success() => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let why = "the server refuses it: entries are for members and auditors, who have a token (--token-file)";
            return Err(why.to_owned());
        }
        status => return Err(format!("the server answers {status}")),
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BYTES {
            return Err("it is longer than any tile".to_owned());
        }
    }
    Ok(Some(bytes))
}

impl TileSource for RemoteLog {
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, TileFault> {
        let unreachable = |why| TileFault::Unreachable { path: path.to_owned(), why };
        let url = self.base.join(path).map_err(|_| unreachable("its address can't be made".to_owned()))?;
        let (send, receive) = mpsc::channel();
        let http = self.http.clone();
        let token = self.token.clone().filter(|_| path.starts_with("tile/entries/"));
        self.runtime.spawn(async move {
            // Whoever asked has gone: nobody misses the answer.
            let _ = send.send(fetch(http, url, token).await);
        });
        let answer = receive.recv().map_err(|_| unreachable("the program ends".to_owned()))?;
        answer.map_err(unreachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn files_are_fetched_and_what_is_not_there_is_none() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/log/checkpoint", get(|| async { "nc\n" }))
            .route("/log/tile/entries/000", get(|| async { StatusCode::FORBIDDEN }))
            .route("/log/tile/0/000", get(|| async { vec![0u8; MAX_BYTES + 1] }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        for base in [format!("http://{address}/log"), format!("http://{address}/log/")] {
            let log = RemoteLog::new(&base, None, Handle::current()).unwrap();
            assert_eq!(log.get("checkpoint").unwrap().as_deref(), Some(&b"nc\n"[..]));
            assert_eq!(log.get("tile/1/000").unwrap(), None);
            let refused = log.get("tile/entries/000").unwrap_err().to_string();
            assert!(
                refused.contains("tile/entries/000") && refused.contains("members and auditors"),
                "{refused}"
            );
            assert!(log.get("tile/0/000").unwrap_err().to_string().contains("longer than any tile"));
        }
        for bad in ["", "ftp://a/", "http:"] {
            assert!(RemoteLog::new(bad, None, Handle::current()).is_err(), "{bad}");
        }
        let closed = RemoteLog::new("http://127.0.0.1:1/", None, Handle::current()).unwrap();
        assert!(matches!(closed.get("checkpoint"), Err(TileFault::Unreachable { .. })));
    }
}
