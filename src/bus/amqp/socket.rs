//! The socket under the client library: TCP or TLS, with the filter on what
//! comes in.

use super::filter::Filter;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::client::TlsStream;

/// How many bytes are read at once.
const READ: usize = 64 * 1024;

/// The bytes under a connection.
pub(super) enum Wire {
    /// As they are.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection to a broker.
pub(super) struct Socket {
    wire: Wire,
    filter: Filter,
    part: Box<[u8]>,
    /// Until AMQP's own heartbeats guard the connection: when to give up.
    handshake: Option<(Pin<Box<Sleep>>, Arc<AtomicBool>)>,
}

/// What a socket is opened with.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    /// How long connecting, the TLS handshake and AMQP's may take together.
    pub(super) patience: Duration,
    /// Set once the AMQP connection is open.
    pub(super) opened: Arc<AtomicBool>,
}

impl Dial {
    /// Opens the socket. Runs on tokio.
    pub(super) async fn open(&self) -> io::Result<Socket> {
        let deadline = Box::pin(tokio::time::sleep(self.patience));
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it doesn't answer in time");
        let wire = tokio::time::timeout(self.patience, self.wire()).await.map_err(|_| late())??;
        Ok(Socket { handshake: Some((deadline, Arc::clone(&self.opened))), ..Socket::new(wire) })
    }

    /// Connects, and shakes hands for TLS.
    pub(super) async fn wire(&self) -> io::Result<Wire> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Wire::Plain(tcp)) };
        let name = rustls::pki_types::ServerName::try_from(self.host.clone())
            .map_err(|_| io::Error::other("TLS needs a host name or an address"))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        Ok(Wire::Tls(Box::new(connector.connect(name, tcp).await?)))
    }
}

impl Socket {
    fn new(wire: Wire) -> Socket {
        Socket { wire, filter: Filter::default(), part: vec![0; READ].into(), handshake: None }
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some((deadline, opened)) = &mut self.handshake else { return Ok(()) };
        if opened.load(Relaxed) {
            self.handshake = None;
        } else if deadline.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it doesn't answer in time"));
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.poll_handshake(context)?;
        loop {
            let taken = this.filter.take(out);
            if taken > 0 || out.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            let mut part = ReadBuf::new(&mut this.part);
            ready!(match &mut this.wire {
                Wire::Plain(wire) => Pin::new(wire).poll_read(context, &mut part),
                Wire::Tls(wire) => Pin::new(wire).poll_read(context, &mut part),
            })?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(0));
            }
            this.filter.feed(part.filled());
        }
    }
}

/// Calls a method of whichever wire it is.
macro_rules! wire {
    ($socket:expr, $method:ident($($argument:expr),*)) => {
        match &mut $socket.get_mut().wire {
            Wire::Plain(wire) => Pin::new(wire).$method($($argument),*),
            Wire::Tls(wire) => Pin::new(wire).$method($($argument),*),
        }
    };
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        wire!(self, poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        wire!(self, poll_write_vectored(context, parts))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        wire!(self, poll_flush(context))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        wire!(self, poll_shutdown(context))
    }
}

/// tokio, with this module's socket in place of a bare one.
#[derive(Clone, Debug)]
pub(super) struct Net(Tokio);

/// What lapin runs on.
pub(super) type NetRuntime = Runtime<RuntimeParts<Tokio, Net>>;

/// What lapin runs on: the current tokio runtime.
pub(super) fn runtime() -> NetRuntime {
    Runtime::new(RuntimeParts::new(Tokio::current(), Net(Tokio::current())))
}

impl Reactor for Net {
    type TcpStream = Socket;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        handle: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(handle)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    #[expect(clippy::manual_async_fn, reason = "an async fn would borrow, and the trait's future doesn't")]
    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Socket>> + Send + 'static {
        async move { Ok(Socket::new(Wire::Plain(TcpStream::connect(address).await?))) }
    }
}
