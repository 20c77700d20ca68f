//! A network that can be cut: a TCP proxy that drops, stalls and resets.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They carry.
    Open,
    /// They carry nothing, and nobody is told.
    Stalled,
    /// They are closed, those that are there and those that come.
    Closed,
    /// They are reset (`SO_LINGER` 0), those that are there and those that come.
    Reset,
}

#[derive(Clone, Copy)]
struct State {
    way: Way,
    /// Connections up to this one carry nothing any more, and aren't closed.
    frozen: u64,
}

/// A proxy before one or several ports of this machine. A connection goes to
/// the first that takes it, as behind a load balancer.
pub struct Proxy {
    pub port: u16,
    state: watch::Sender<State>,
    accepted: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts one on `runtime`, which it ends with.
    pub fn start(runtime: &Handle, targets: &[u16]) -> Proxy {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(State { way: Way::Open, frozen: 0 });
        let accepted = Arc::<AtomicU64>::default();
        let (subscriber, count, targets) = (state.clone(), Arc::clone(&accepted), targets.to_vec());
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let nth = count.fetch_add(1, SeqCst) + 1;
                tokio::spawn(carry(nth, client, targets.clone(), subscriber.subscribe()));
            }
        });
        Proxy { port, state, accepted }
    }

    /// How many connections have come.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(SeqCst)
    }

    /// Does to all connections as `way` says.
    pub fn turn(&self, way: Way) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.way, way) != way);
    }

    /// Stalls the connections that are there for ever, and not those that come:
    /// neither side hears of the other's end.
    pub fn freeze(&self) {
        let frozen = self.accepted();
        self.state.send_modify(|state| state.frozen = frozen);
    }
}

/// Waits until the state is so. Waits for ever once the proxy is gone.
async fn until(states: &mut watch::Receiver<State>, is_so: impl FnMut(&State) -> bool) {
    if states.wait_for(is_so).await.is_err() {
        std::future::pending().await
    }
}

async fn carry(nth: u64, mut client: TcpStream, targets: Vec<u16>, states: watch::Receiver<State>) {
    let flows = move |state: &State| state.way == Way::Open && nth > state.frozen;
    let cuts = move |state: &State| nth > state.frozen && matches!(state.way, Way::Closed | Way::Reset);
    let mut server = None;
    let carried = async {
        until(&mut states.clone(), flows).await;
        let server = server.insert(dial(&targets).await?);
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            ended = pump(from_client, to_server, states.clone(), flows) => ended,
            ended = pump(from_server, to_client, states.clone(), flows) => ended,
        }
    };
    let mut cut = states.clone();
    tokio::select! {
        biased;
        () = until(&mut cut, cuts) => {}
        _ = carried => {}
    }
    if states.borrow().way == Way::Reset {
        let _ = client.set_zero_linger();
        let _ = server.map(|server| server.set_zero_linger());
    }
}

async fn dial(targets: &[u16]) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("there is no target");
    for port in targets {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await {
            Ok(server) => {
                server.set_nodelay(true)?;
                return Ok(server);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Carries one direction until it ends.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut states: watch::Receiver<State>,
    flows: impl Fn(&State) -> bool,
) -> std::io::Result<()> {
    let mut stalling = states.clone();
    let mut bytes = vec![0; 16 << 10];
    loop {
        until(&mut states, &flows).await;
        let count = tokio::select! {
            biased;
            () = until(&mut stalling, |state| !flows(state)) => continue,
            count = from.read(&mut bytes) => count?,
        };
        if count == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}
