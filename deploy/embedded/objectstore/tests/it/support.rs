//! A store in a private folder, its client, and a receiver of notifications.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kinolog_objectstore::Config;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{ClientOptions, RetryConfig};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) const BUCKET: &str = "kinolog";
pub(crate) const ACCESS: &str = "test-access";
pub(crate) const SECRET: &str = "test-secret";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// On the disk the build is on: a temporary folder may be memory.
pub(crate) fn folder() -> TempDir {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    tempfile::tempdir_in(target).unwrap()
}

pub(crate) struct Server {
    pub(crate) dir: TempDir,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_in(folder(), |_| {}).await
    }

    pub(crate) async fn start_in(dir: TempDir, configure: impl FnOnce(&mut Config)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = Config::new(dir.path(), BUCKET, ACCESS, SECRET);
        configure(&mut config);
        let stop = CancellationToken::new();
        let task = tokio::spawn(kinolog_objectstore::serve(listener, config, stop.clone()));
        Self {
            dir,
            address,
            stop,
            task,
        }
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.dir
    }

    pub(crate) fn client(&self) -> AmazonS3 {
        client(self.address)
    }

    pub(crate) async fn presign(
        &self,
        method: Method,
        key: &str,
        headers: &[(&'static str, &str)],
    ) -> String {
        presign(self.address, method, key, headers).await
    }

    /// A PUT through a presigned URL, with `headers` signed.
    pub(crate) async fn put(
        &self,
        key: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let url = self.presign(Method::PUT, key, headers).await;
        let mut request = web().put(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, key: &str) -> reqwest::Response {
        let url = self.presign(Method::GET, key, &[]).await;
        web().get(url).send().await.unwrap()
    }

    pub(crate) fn blobs(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("blobs"))
            .unwrap()
            .count()
    }

    /// Waits until so many blobs are left: they are removed in the background.
    pub(crate) async fn blobs_become(&self, count: usize) {
        eventually(|| self.blobs() == count, "the right number of blobs").await;
    }
}

pub(crate) fn client(address: SocketAddr) -> AmazonS3 {
    let retry = RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    };
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}"))
        .with_bucket_name(BUCKET)
        .with_region("us-east-1")
        .with_access_key_id(ACCESS)
        .with_secret_access_key(SECRET)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(retry)
        .build()
        .unwrap()
}

pub(crate) async fn presign(
    address: SocketAddr,
    method: Method,
    key: &str,
    headers: &[(&'static str, &str)],
) -> String {
    let options = headers
        .iter()
        .fold(SignedUrlOptions::new(), |options, (name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            options.with_signed_header(HeaderName::from_static(name), value)
        });
    let hour = Duration::from_secs(3600);
    let signed = client(address)
        .signed_url_opts(method, &Path::from(key), hour, &options)
        .await;
    signed.unwrap().to_string()
}

/// A presigned URL whose key no client library would let through, its slashes percent-encoded.
pub(crate) fn presign_odd(address: SocketAddr, method: &str, key: &str) -> String {
    let mac = |key: &[u8], message: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(message.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let now = time::OffsetDateTime::now_utc();
    let day = format!(
        "{:04}{:02}{:02}",
        now.year(),
        u8::from(now.month()),
        now.day()
    );
    let stamp = format!(
        "{day}T{:02}{:02}{:02}Z",
        now.hour(),
        now.minute(),
        now.second()
    );
    let scope = format!("{day}/us-east-1/s3/aws4_request");
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={ACCESS}%2F{}&X-Amz-Date={stamp}\
         &X-Amz-Expires=60&X-Amz-SignedHeaders=host",
        scope.replace('/', "%2F")
    );
    let canonical =
        format!("{method}\n/{BUCKET}/{key}\n{query}\nhost:{address}\n\nhost\nUNSIGNED-PAYLOAD");
    let digest = hex::encode(Sha256::digest(canonical));
    let signing_key = ["us-east-1", "s3", "aws4_request"].iter().fold(
        mac(format!("AWS4{SECRET}").as_bytes(), &day),
        |key, part| mac(&key, part),
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
    let signature = hex::encode(mac(&signing_key, &to_sign));
    let spelt = key.replace('/', "%2F");
    format!("http://{address}/{BUCKET}/{spelt}?{query}&X-Amz-Signature={signature}")
}

pub(crate) fn web() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Waits for a condition with a deadline.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool, what: &str) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The real program, on a socket that we bound and it inherits.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    pub(crate) fn start(
        dir: &std::path::Path,
        notify: Option<&str>,
        file_bytes_max: Option<u64>,
    ) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let fd = socket.as_raw_fd();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinolog-objectstore"));
        command
            .args(["serve", "--bucket", BUCKET, "--dir"])
            .arg(dir)
            .env("KINOLOG_S3_ACCESS_KEY", ACCESS)
            .env("KINOLOG_S3_SECRET_KEY", SECRET)
            .env("KINOLOG_HOOK_TOKEN", "hook-token")
            .env("KINOLOG_LISTEN_FD", fd.to_string());
        if let Some(url) = notify {
            command.args(["--notify-url", url]);
        }
        let prepare = move || {
            use nix::fcntl::{FcntlArg, FdFlag, fcntl};
            use nix::sys::resource::{Resource, setrlimit};
            // SAFETY: the socket lives until after the fork.
            let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
            if let Some(bytes) = file_bytes_max {
                setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes)?;
            }
            Ok(())
        };
        // SAFETY: only system calls between fork and exec.
        let child = unsafe { command.pre_exec(prepare) }.spawn().unwrap();
        Self { child, address }
    }

    /// SIGKILL, at this very moment.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself, with an error.
    pub(crate) async fn fails(mut self) {
        let mut ended = None;
        eventually(
            || {
                ended = self.child.try_wait().unwrap();
                ended.is_some()
            },
            "the program ends",
        )
        .await;
        assert!(!ended.unwrap().success());
    }

    pub(crate) fn terminate(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
        assert!(
            self.child.wait().unwrap().success(),
            "it ends well on SIGTERM"
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After `kill` or `terminate` there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody who is told about created objects.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    answer: Arc<Mutex<StatusCode>>,
    accepted: Arc<Mutex<Vec<serde_json::Value>>>,
    refused: Arc<Mutex<usize>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            url: format!(
                "http://{}/hooks/object-created",
                listener.local_addr().unwrap()
            ),
            answer: Arc::new(Mutex::new(StatusCode::OK)),
            accepted: Arc::default(),
            refused: Arc::default(),
        };
        let served = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let served = served.clone();
                let service = hyper::service::service_fn(move |request| {
                    let served = served.clone();
                    async move { Ok::<_, std::convert::Infallible>(served.take(request).await) }
                });
                tokio::spawn(async move {
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        receiver
    }

    pub(crate) fn answer(&self, status: StatusCode) {
        *self.answer.lock().unwrap() = status;
    }

    pub(crate) fn refused(&self) -> usize {
        *self.refused.lock().unwrap()
    }

    pub(crate) fn accepted(&self) -> Vec<serde_json::Value> {
        self.accepted.lock().unwrap().clone()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let key = |event: &serde_json::Value| {
            event["Records"][0]["s3"]["object"]["key"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        self.accepted().iter().map(key).collect()
    }

    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        assert_eq!(request.headers()["authorization"], "Bearer hook-token");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let status = *self.answer.lock().unwrap();
        if status.is_success() {
            self.accepted
                .lock()
                .unwrap()
                .push(serde_json::from_slice(&body).unwrap());
        } else {
            *self.refused.lock().unwrap() += 1;
        }
        Response::builder()
            .status(status)
            .body(Full::default())
            .unwrap()
    }
}
