//! Running the binary, and a client that speaks HTTP by hand. Every wait is bounded.

use simulator::{Provider, Server, Simulator};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Longest any step may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of the test's own.
pub(crate) fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("blackbox-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The binary in this folder, with an empty environment.
pub(crate) fn mainstay(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(arguments).current_dir(folder).env_clear();
    command
}

/// Runs a command that ends by itself.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    mainstay(folder, arguments).output().unwrap()
}

/// What it printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `mainstay check` over this text: whether it is valid, and what was said.
pub(crate) fn check(yaml: &str, more: &[&str]) -> (bool, String) {
    let folder = folder();
    std::fs::write(folder.join("mainstay.yaml"), yaml).unwrap();
    let output = run(&folder, &[&["check"], more].concat());
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// A gateway that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) file: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Running {
    /// Starts it with this configuration, on a free port.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_on("127.0.0.1:0", yaml)
    }

    /// Starts it with this configuration, on this address.
    pub(crate) fn start_on(listen: &str, yaml: &str) -> Self {
        Self::start_with(&["--listen", listen], yaml)
    }

    /// Starts it with this configuration and these options.
    pub(crate) fn start_with(options: &[&str], yaml: &str) -> Self {
        let folder = folder();
        let file = folder.join("mainstay.yaml");
        std::fs::write(&file, yaml).unwrap();
        let mut child = mainstay(&folder, &[&["serve"], options].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, mut stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut piece) {
                lines.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..n]));
            }
        });
        let mut greeting = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        greeting.read_line(&mut first).unwrap();
        let address = first.trim().rsplit("http://").next().unwrap().parse();
        let address = address.unwrap_or_else(|_| panic!("{first}: {}", log.lock().unwrap()));
        std::thread::spawn(move || std::io::copy(&mut greeting, &mut std::io::sink()));
        Self { child, address, file, log }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// One request on a connection of its own.
    pub(crate) fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut socket = connect(self.address);
        socket.write_all(head.as_bytes()).unwrap();
        // A request that is refused at its head need not be read.
        let _ = socket.write_all(body);
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes);
        Answer::of(&text(&bytes))
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"), b"")
    }

    /// `POST` with these header lines.
    pub(crate) fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.send(&head, body.as_bytes())
    }

    /// A chat request for this model.
    pub(crate) fn ask(&self, model: &str) -> Answer {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}"#);
        self.post("/v1/chat/completions", "content-type: application/json\r\n", &body)
    }

    /// Waits for its end, and says with which code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        assert!(holds(|| self.child.try_wait().unwrap().is_some()), "it ends");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects with bounded reads and writes.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// The JSON of the body, chunked or not.
    pub(crate) fn json(&self) -> serde_json::Value {
        let json = self.body.find('{').zip(self.body.rfind('}'));
        let (start, end) = json.unwrap_or_else(|| panic!("no JSON: {self:?}"));
        serde_json::from_str(self.body.get(start..=end).unwrap()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Waits until a condition holds, within [`PATIENCE`].
pub(crate) fn holds(mut condition: impl FnMut() -> bool) -> bool {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if condition() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    condition()
}

/// A simulated `openai-chat` provider behind a socket.
pub(crate) struct Upstream {
    pub(crate) server: Server,
    _runtime: Runtime,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let provider = Provider::new("simulated", canon::DialectName::OpenaiChat);
        let server = runtime.block_on(Server::start(Simulator::new(provider))).unwrap();
        Self { server, _runtime: runtime }
    }

    /// The row of a provider of this name.
    pub(crate) fn row(&self, name: &str) -> String {
        format!(
            "  {name}: {{ dialect: openai-chat, base_url: \"http://{}/v1\", keys: [sk-1] }}\n",
            self.server.address()
        )
    }
}
