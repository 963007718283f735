//! A network between a log and its node, which fails on demand.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
    cut: watch::Sender<()>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct State {
    node: u16,
    is_down: AtomicBool,
    swallows_answers: AtomicBool,
    refused: AtomicUsize,
}

impl Proxy {
    pub async fn to(node: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            node,
            ..State::default()
        });
        let (cut, cuts) = watch::channel(());
        let accepting = tokio::spawn(accept(listener, state.clone(), cuts)).abort_handle();
        Self {
            port,
            state,
            cut,
            accepting,
        }
    }

    /// New connections are closed at once, the old ones now.
    pub fn set_down(&self, is_down: bool) {
        self.state.is_down.store(is_down, Ordering::SeqCst);
        if is_down {
            self.cut.send_replace(());
        }
    }

    /// Requests arrive, answers do not.
    pub fn swallow_answers(&self) {
        self.state.swallows_answers.store(true, Ordering::SeqCst);
    }

    /// Closes what is open; new connections are whole again.
    pub fn cut(&self) {
        self.state.swallows_answers.store(false, Ordering::SeqCst);
        self.cut.send_replace(());
    }

    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, cuts: watch::Receiver<()>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if state.is_down.load(Ordering::SeqCst) {
            state.refused.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let (state, mut cuts) = (state.clone(), cuts.clone());
        cuts.mark_unchanged();
        tokio::spawn(async move {
            tokio::select! {
                _ = cuts.changed() => {}
                () = forward(client, &state) => {}
            }
        });
    }
}

async fn forward(client: TcpStream, state: &State) {
    let Ok(node) = TcpStream::connect(("127.0.0.1", state.node)).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_node, mut to_node) = node.into_split();
    let requests = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_node).await;
    };
    let answers = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from_node.read(&mut buffer).await {
            if state.swallows_answers.load(Ordering::SeqCst) {
                continue;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}
