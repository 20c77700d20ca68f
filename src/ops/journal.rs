//! The journal over HTTP, as C2SP tlog-tiles asks (<https://c2sp.org/tlog-tiles>):
//! checkpoint and hashes for everyone, entries for those who have a token.

use crate::journal::tile::{CHECKPOINT, Tile, TileKind};
use crate::journal::{COSIGNED, unhex};
use axum::Json;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a checkpoint is: another, a moment later.
const CHECKPOINT_CACHE: &str = "no-store";
/// A full tile never changes.
const FULL_CACHE: &str = "public, max-age=31536000, immutable";
/// A partial one doesn't either, and goes once the full one is there.
const PARTIAL_CACHE: &str = "public, max-age=60, immutable";
/// A bundle is for whoever asked.
const FULL_ENTRIES_CACHE: &str = "private, max-age=31536000, immutable";
const PARTIAL_ENTRIES_CACHE: &str = "private, max-age=60, immutable";

/// Why the file of readers can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadersFault {
    /// It can't be read.
    #[error("the file of journal.readers, {file}, can't be read: {source}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line isn't of the form.
    #[error(
        "line {line} of the file of journal.readers, {file}, isn't NAME SHA256: the reader's name, a space, and the \
         SHA-256 of its token in 64 hexadecimal digits (printf %s TOKEN | sha256sum)", file = .file.display()
    )]
    Form {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// The files of a journal, and who may read its entries.
#[derive(Clone, Debug)]
pub struct Published {
    folder: PathBuf,
    readers: Option<PathBuf>,
}

/// One who may read entries.
struct Reader {
    name: String,
    /// Of its token.
    digest: [u8; 32],
}

impl Published {
    /// The journal in `folder`, whose entries are for those in the file `readers`;
    /// for nobody where there is none. The file is read again at each request:
    /// a reader that is struck out reads no more.
    ///
    /// Fails where the file can't be used now.
    pub fn new(folder: PathBuf, readers: Option<PathBuf>) -> Result<Published, ReadersFault> {
        if let Some(file) = &readers {
            self::readers(file)?;
        }
        Ok(Published { folder, readers })
    }

    /// Whether who sent `headers` may read entries; otherwise the answer.
    fn may_read(&self, headers: &HeaderMap) -> Result<(), Response> {
        let refused = |status, detail: &str| (status, Json(json!({ "detail": detail }))).into_response();
        let Some(file) = &self.readers else {
            let detail = "this hub gives entries to nobody: its operator sets journal.readers";
            return Err(refused(StatusCode::FORBIDDEN, detail));
        };
        let readers = readers(file).map_err(|fault| {
            tracing::error!(%fault, "nobody can read the journal's entries");
            refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "the hub's list of readers can't be used; its log says why",
            )
        })?;
        let token = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let digest: Option<[u8; 32]> = token.map(|token| Sha256::digest(token).into());
        // All of them, and all bytes of each: how long it takes says nothing.
        let mut found = None;
        for reader in &readers {
            if digest.is_some_and(|digest| is_same(&digest, &reader.digest)) {
                found = Some(&reader.name);
            }
        }
        match found {
            Some(reader) => {
                tracing::debug!(reader, "entries of the journal are read");
                Ok(())
            }
            None => {
                let detail = "entries are for members and auditors: send the token that the hub's operator gave you \
                              (Authorization: Bearer TOKEN)";
                let mut answer = refused(StatusCode::UNAUTHORIZED, detail);
                answer
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
                Err(answer)
            }
        }
    }

    async fn file(&self, path: &str, content_type: &'static str, cache: &'static str) -> Response {
        let absent = || (StatusCode::NOT_FOUND, Json(json!({ "detail": "the journal has no such file" })));
        match tokio::fs::read(self.folder.join(path)).await {
            Ok(bytes) => ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, cache)], bytes)
                .into_response(),
            Err(fault) if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                absent().into_response()
            }
            Err(fault) => {
                tracing::error!(path, %fault, "a file of the journal can't be read");
                let detail = "a file of the journal can't be read; the hub's log says why";
                (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "detail": detail }))).into_response()
            }
        }
    }
}

/// Whether two digests are the same, in a time that doesn't depend on where they
/// differ.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

fn readers(file: &Path) -> Result<Vec<Reader>, ReadersFault> {
    let unreadable = |source| ReadersFault::Unreadable { file: file.to_owned(), source };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let mut readers = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let reader = reader(text).ok_or_else(|| ReadersFault::Form { file: file.to_owned(), line })?;
        readers.push(reader);
    }
    Ok(readers)
}

fn reader(line: &str) -> Option<Reader> {
    let (name, hex) = line.split_once(char::is_whitespace)?;
    let digest = unhex(hex.trim())?;
    Some(Reader { name: name.to_owned(), digest })
}

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// `GET /journal/checkpoint`.
pub(super) async fn checkpoint(State(published): State<Arc<Published>>) -> Response {
    published.file(CHECKPOINT, TEXT, CHECKPOINT_CACHE).await
}

/// `GET /journal/checkpoint.cosigned`.
pub(super) async fn cosigned(State(published): State<Arc<Published>>) -> Response {
    published.file(COSIGNED, TEXT, CHECKPOINT_CACHE).await
}

/// `GET /journal/tile/…`. Only what is a tile's one right path names a file.
pub(super) async fn tile(
    State(published): State<Arc<Published>>,
    UrlPath(path): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    let Some(tile) = Tile::parse(&format!("tile/{path}")) else {
        let detail = "this isn't the path of a tile (C2SP tlog-tiles)";
        return (StatusCode::NOT_FOUND, Json(json!({ "detail": detail }))).into_response();
    };
    let cache = match (tile.kind(), tile.is_full()) {
        (TileKind::Hashes(_), true) => FULL_CACHE,
        (TileKind::Hashes(_), false) => PARTIAL_CACHE,
        (TileKind::Entries, is_full) => {
            if let Err(answer) = published.may_read(&headers) {
                return answer;
            }
            if is_full { FULL_ENTRIES_CACHE } else { PARTIAL_ENTRIES_CACHE }
        }
    };
    published.file(&tile.to_string(), BYTES, cache).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_readers_is_read_and_a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("readers");
        let digest = "0123456789abcdef".repeat(4);
        std::fs::write(
            &file,
            format!("# members\n\ngouvernement {digest}\naudit\t{}\n", digest.to_uppercase()),
        )
        .unwrap();
        let known = readers(&file).unwrap();
        assert_eq!(
            known.iter().map(|reader| reader.name.as_str()).collect::<Vec<_>>(),
            ["gouvernement", "audit"]
        );
        assert!(is_same(&known[0].digest, &known[1].digest));
        for wrong in [
            "gouvernement",
            "gouvernement 12",
            &format!("a {}", "g".repeat(64)),
            &format!("a +{}", &digest[1..]),
        ] {
            std::fs::write(&file, format!("\n{wrong}\n")).unwrap();
            let fault = readers(&file).map(|_| ()).unwrap_err().to_string();
            assert!(fault.contains("line 2") && fault.contains("sha256sum"), "{fault}");
        }
        let fault = Published::new(folder.path().into(), Some(folder.path().join("none"))).unwrap_err();
        assert!(fault.to_string().contains("can't be read"), "{fault}");
    }
}
