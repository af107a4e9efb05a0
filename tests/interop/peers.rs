//! Starting other programs, feeding them and reading what they say. Every wait has an end, and no program outlives its
//! test.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Long enough for a busy machine and for a few retransmissions.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The key that both ends share, unless a test is about another.
pub const KEY: &str = "hardfault_secure_key";
/// The identity of the key.
pub const IDENTITY: &str = "client1";
/// Both.
pub const GOOD: (&str, &str) = (IDENTITY, KEY);

/// A running program.
pub struct Peer {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Said>,
}

/// What a program has printed so far.
#[derive(Default)]
struct Said {
    text: Mutex<Text>,
    grown: Condvar,
}

#[derive(Default)]
struct Text {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    open: u8,
}

impl Text {
    /// The first line of either stream in which `needle` begins, once the line has ended.
    fn line_with(&self, needle: &str) -> Option<String> {
        [&self.stdout, &self.stderr].into_iter().find_map(|stream| {
            let text = String::from_utf8_lossy(stream);
            let at = text.find(needle)?;
            let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let end = at + text[at..].find('\n')?;
            Some(text[start..end].to_owned())
        })
    }

    fn shown(&self) -> String {
        format!(
            "--- stdout\n{}\n--- stderr\n{}",
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        )
    }
}

/// How a program ended and all it said.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Ended {
    /// Whether either stream holds `needle`.
    pub fn said(&self, needle: &str) -> bool {
        [&self.stdout, &self.stderr]
            .into_iter()
            .any(|stream| String::from_utf8_lossy(stream).contains(needle))
    }

    /// Fails with all that was said, unless either stream holds `needle`.
    #[track_caller]
    pub fn must_say(&self, needle: &str) -> &Self {
        assert!(self.said(needle), "did not say `{needle}`:\n{self}");
        self
    }

    /// Fails with all that was said, if either stream holds `needle`.
    #[track_caller]
    pub fn must_not_say(&self, needle: &str) -> &Self {
        assert!(!self.said(needle), "said `{needle}`:\n{self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        )
    }
}

/// A program of `PATH`. That it is missing is a failure, never a reason to test less.
pub fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(found, "the peer `{name}` is not installed: `cargo xtask test` installs it");
    Command::new(name)
}

impl Peer {
    /// Starts a program with its input open.
    pub fn spawn(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot start: {error}"));
        let said = Arc::new(Said::default());
        said.text.lock().unwrap().open = 2;
        listen(child.stdout.take().unwrap(), &said, |text| &mut text.stdout);
        listen(child.stderr.take().unwrap(), &said, |text| &mut text.stderr);
        Self { name, stdin: child.stdin.take(), child, said }
    }

    /// Waits until the program has said a line with `needle`, and returns it. A needle that ends with the line's end is
    /// told from one that is longer.
    #[track_caller]
    pub fn wait_for(&self, needle: &str) -> String {
        self.within(PATIENCE, needle)
            .unwrap_or_else(|text| panic!("{} never said `{needle}`:\n{text}", self.name))
    }

    fn within(&self, patience: Duration, needle: &str) -> Result<String, String> {
        let deadline = Instant::now() + patience;
        let mut text = self.said.text.lock().unwrap();
        loop {
            if let Some(line) = text.line_with(needle) {
                return Ok(line);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || text.open == 0 {
                return Err(text.shown());
            }
            text = self.said.grown.wait_timeout(text, left).unwrap().0;
        }
    }

    /// Whether the program has said `needle` by now.
    pub fn has_said(&self, needle: &str) -> bool {
        self.said.text.lock().unwrap().line_with(needle).is_some()
    }

    /// How often the program has said `needle` by now.
    pub fn count(&self, needle: &str) -> usize {
        let text = self.said.text.lock().unwrap();
        [&text.stdout, &text.stderr]
            .map(|stream| String::from_utf8_lossy(stream).matches(needle).count())
            .iter()
            .sum()
    }

    /// Waits until the program has said `needle` so many times.
    #[track_caller]
    pub fn wait_for_count(&self, needle: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(needle) < times {
            assert!(Instant::now() < deadline, "not {times} times `{needle}`:\n{}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that the program has said by now, for a message.
    pub fn shown(&self) -> String {
        self.said.text.lock().unwrap().shown()
    }

    /// Types bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the input is open");
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Ends its input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until the program ends by itself.
    #[track_caller]
    pub fn wait(self) -> Ended {
        self.wait_at_most(2 * PATIENCE)
    }

    /// The same for programs that take long.
    #[track_caller]
    pub fn wait_at_most(mut self, patience: Duration) -> Ended {
        let deadline = Instant::now() + patience;
        let mut text = self.said.text.lock().unwrap();
        while text.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} did not end:\n{}", self.name, text.shown());
            text = self.said.grown.wait_timeout(text, left).unwrap().0;
        }
        let (stdout, stderr) = (text.stdout.clone(), text.stderr.clone());
        drop(text);
        Ended { status: self.child.wait().unwrap(), stdout, stderr }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects a stream until it is closed.
fn listen(mut stream: impl Read + Send + 'static, said: &Arc<Said>, which: fn(&mut Text) -> &mut Vec<u8>) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).unwrap_or(0);
            let mut text = said.text.lock().unwrap();
            which(&mut text).extend_from_slice(&buffer[..read]);
            text.open -= u8::from(read == 0);
            said.grown.notify_all();
            if read == 0 {
                return;
            }
        }
    });
}

/// The first of `count` neighbouring ports of the loopback address that nobody holds, UDP or TCP (libcoap's server wants
/// two of both). They lie below those that the system gives out by itself, and no two tests get the same.
pub fn free_ports(count: u16) -> u16 {
    const FIRST: u16 = 20_000;
    const RANGE: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(RANGE)) as u16;
    for _ in 0..RANGE {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed).wrapping_add(start);
        let port = FIRST + offset % RANGE;
        let free = (port..port + count).all(|port| {
            let address = (Ipv4Addr::LOCALHOST, port);
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        });
        if free {
            return port;
        }
    }
    panic!("no free port on the loopback address");
}

/// A file of this test run alone, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A path of its own under cargo's folder for such files. Nothing is there yet.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("{}-{number}-{name}", std::process::id());
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique))
    }

    /// Such a file with something in it.
    pub fn with(name: &str, contents: impl AsRef<[u8]>) -> Self {
        let scratch = Self::new(name);
        std::fs::write(&scratch.0, contents).unwrap();
        scratch
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// What somebody has written there, if anybody has.
    pub fn read(&self) -> Option<Vec<u8>> {
        std::fs::read(&self.0).ok()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Bytes in hexadecimal, as OpenSSL and GnuTLS want keys.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
