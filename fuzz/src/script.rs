//! The script that the fuzzer writes: what happens to a server and its clients, step by step.
//!
//! Any bytes are a script, and a script can be written as bytes, which is how the kept corpus is made.

/// How the world is set up, from the script's first two bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// 0 for every suite, else the plain one at that place of the list, of each version.
    pub suites: u8,
    /// The server sends an identity hint.
    pub hint: bool,
    /// The datagrams are as small as they may be, so messages are cut.
    pub small_mtu: bool,
    /// The server requires the extended master secret.
    pub require_ems: bool,
    /// The cipher lets everything through, so that forged records open: whoever writes the script holds the keys.
    pub transparent: bool,
    /// Both sides ask for connection IDs.
    pub connection_ids: bool,
    /// Both sides keep sessions, and resume them.
    pub resumption: bool,
    /// DTLS 1.2 alone, 1.3 alone, or what both agree on: by the client, and by the server.
    pub versions: [u8; 2],
    /// In DTLS 1.3, no ephemeral keys.
    pub psk_ke: bool,
    /// The server keeps something for hellos without a cookie, too.
    pub without_cookies: bool,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// The victim gets these bytes, by the path of `client`.
    Raw { client: u8, datagram: Vec<u8> },
    /// The next datagram of `client` reaches the server, after these edits where the server is the victim.
    FromClient { client: u8, edits: Vec<Edit> },
    /// The next datagram of the server reaches its client, after these edits where the client is the victim.
    FromServer { edits: Vec<Edit> },
    /// The victim gets a datagram that was on its way before, whoever had sent it, by the path of `client`.
    Again { which: u8, client: u8, edits: Vec<Edit> },
    /// All datagrams reach their ends until there are no more.
    Settle,
    /// Time goes on by so many units of 16 ms.
    Advance { by: u16 },
    /// Application data from `client` to the server, or the other way.
    Send { client: u8, from_server: bool, len: u8 },
    /// A side of the session with `client` closes it.
    Close { client: u8, by_server: bool },
    /// The key of the clients is taken back, and given again.
    Revoke,
    /// A side of the session with `client` changes its key, and may ask the other to do the same.
    UpdateKeys { client: u8, by_server: bool, request: bool },
    /// A side of the session with `client` asks for a connection ID, goes on with one, or has the other side do so.
    ConnectionId { client: u8, by_server: bool, what: u8 },
    /// `client` starts anew, with one of the [`CREDENTIALS`](crate::world::CREDENTIALS).
    Restart { client: u8, credentials: u8 },
}

/// Part of a datagram, replaced.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Where it starts, modulo the datagram's length and one.
    pub at: u16,
    /// How many bytes go.
    pub remove: u16,
    /// What comes instead.
    pub insert: Vec<u8>,
}

impl Edit {
    pub fn apply(&self, datagram: &mut Vec<u8>) {
        let at = usize::from(self.at) % (datagram.len() + 1);
        let end = (at + usize::from(self.remove)).min(datagram.len());
        datagram.splice(at..end, self.insert.iter().copied());
    }
}

/// Reads a script from its front. Where the bytes end, so does the script.
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn bytes(&mut self, len: u16) -> Vec<u8> {
        let (head, rest) = self.0.split_at(self.0.len().min(len.into()));
        self.0 = rest;
        head.to_vec()
    }

    fn edits(&mut self) -> Option<Vec<Edit>> {
        (0..self.u8()? % 4)
            .map(|_| {
                let (at, remove, len) = (self.u16()?, self.u16()?, self.u8()?);
                Some(Edit { at, remove, insert: self.bytes(len.into()) })
            })
            .collect()
    }

    pub fn setup(&mut self) -> Option<Setup> {
        let (bits, more) = (self.u8()?, self.u8()?);
        Some(Setup {
            suites: bits & 3,
            hint: bits & 4 != 0,
            small_mtu: bits & 8 != 0,
            require_ems: bits & 16 != 0,
            transparent: bits & 32 != 0,
            connection_ids: bits & 64 != 0,
            resumption: bits & 128 != 0,
            versions: [more & 3, more >> 2 & 3],
            psk_ke: more & 16 != 0,
            without_cookies: more & 32 != 0,
        })
    }

    pub fn step(&mut self) -> Option<Step> {
        Some(match self.u8()? % 12 {
            0 => {
                let (client, len) = (self.u8()?, self.u16()?);
                Step::Raw { client, datagram: self.bytes(len) }
            }
            1 => Step::FromClient { client: self.u8()?, edits: self.edits()? },
            2 => Step::FromServer { edits: self.edits()? },
            3 => Step::Again { which: self.u8()?, client: self.u8()?, edits: self.edits()? },
            4 => Step::Settle,
            5 => Step::Advance { by: self.u16()? },
            6 => {
                let (client, bits) = (self.u8()?, self.u8()?);
                Step::Send { client, from_server: bits & 1 == 1, len: bits >> 1 }
            }
            7 => Step::Close { client: self.u8()?, by_server: self.u8()? & 1 == 1 },
            8 => Step::Revoke,
            9 => {
                let (client, bits) = (self.u8()?, self.u8()?);
                Step::UpdateKeys { client, by_server: bits & 1 == 1, request: bits & 2 == 2 }
            }
            10 => {
                let (client, bits) = (self.u8()?, self.u8()?);
                Step::ConnectionId { client, by_server: bits & 1 == 1, what: bits >> 1 }
            }
            _ => Step::Restart { client: self.u8()?, credentials: self.u8()? },
        })
    }
}

impl Setup {
    fn write(&self, out: &mut Vec<u8>) {
        let flags = [
            self.hint,
            self.small_mtu,
            self.require_ems,
            self.transparent,
            self.connection_ids,
            self.resumption,
        ];
        let bits = flags.iter().zip(2..).map(|(flag, at)| u8::from(*flag) << at).sum::<u8>();
        out.push(bits | self.suites & 3);
        let [of_client, of_server] = self.versions;
        let flags = u8::from(self.psk_ke) << 4 | u8::from(self.without_cookies) << 5;
        out.push(of_client & 3 | (of_server & 3) << 2 | flags);
    }
}

impl Step {
    fn write(&self, out: &mut Vec<u8>) {
        fn edits_to(out: &mut Vec<u8>, edits: &[Edit]) {
            assert!(edits.len() < 4);
            out.push(edits.len() as u8);
            for edit in edits {
                out.extend(edit.at.to_be_bytes());
                out.extend(edit.remove.to_be_bytes());
                out.push(u8::try_from(edit.insert.len()).expect("up to 255 bytes"));
                out.extend(&edit.insert);
            }
        }
        match self {
            Self::Raw { client, datagram } => {
                out.extend([0, *client]);
                out.extend(u16::try_from(datagram.len()).expect("a datagram").to_be_bytes());
                out.extend(datagram);
            }
            Self::FromClient { client, edits } => {
                out.extend([1, *client]);
                edits_to(out, edits);
            }
            Self::FromServer { edits } => {
                out.push(2);
                edits_to(out, edits);
            }
            Self::Again { which, client, edits } => {
                out.extend([3, *which, *client]);
                edits_to(out, edits);
            }
            Self::Settle => out.push(4),
            Self::Advance { by } => {
                out.push(5);
                out.extend(by.to_be_bytes());
            }
            Self::Send { client, from_server, len } => {
                out.extend([6, *client, len << 1 | u8::from(*from_server)])
            }
            Self::Close { client, by_server } => out.extend([7, *client, u8::from(*by_server)]),
            Self::Revoke => out.push(8),
            Self::UpdateKeys { client, by_server, request } => {
                out.extend([9, *client, u8::from(*by_server) | u8::from(*request) << 1])
            }
            Self::ConnectionId { client, by_server, what } => {
                out.extend([10, *client, u8::from(*by_server) | what << 1])
            }
            Self::Restart { client, credentials } => out.extend([11, *client, *credentials]),
        }
    }
}

/// A script as bytes.
pub fn write(setup: Setup, steps: &[Step]) -> Vec<u8> {
    let mut out = Vec::new();
    setup.write(&mut out);
    steps.iter().for_each(|step| step.write(&mut out));
    out
}
