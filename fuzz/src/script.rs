//! The script that the fuzzer writes: what happens to a server and its clients, step by step.
//!
//! Any bytes are a script, and a script can be written as bytes, which is how the kept corpus is made.

/// How the world is set up, from the script's first two bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// 0 for every suite, else one of each version: that at this place of the lists of those without an ephemeral key.
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
    /// Which versions there are.
    pub versions: Versions,
    /// How DTLS 1.3 makes its secrets.
    pub modes: Modes,
    /// The server does without cookies.
    pub no_cookies: bool,
    /// The clients ask for records without a connection ID, where there are such IDs at all.
    pub no_client_ids: bool,
    /// Both sides take short records only.
    pub short_records: bool,
    /// A few forged records wear a key out.
    pub few_forgeries: bool,
}

/// Which versions both sides speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    #[default]
    Dtls12,
    Dtls13,
    Both,
    /// The clients speak both, and the server has not learned the new one.
    OldServer,
}

impl Versions {
    const ALL: [Self; 4] = [Self::Dtls12, Self::Dtls13, Self::Both, Self::OldServer];
}

/// How DTLS 1.3 makes its secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Modes {
    #[default]
    PskKe,
    PskDheKe,
    Both,
    /// The clients would have an ephemeral key, and the server would rather not.
    ServerPrefersPskKe,
}

impl Modes {
    const ALL: [Self; 4] = [Self::PskKe, Self::PskDheKe, Self::Both, Self::ServerPrefersPskKe];
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
    /// `client` starts anew, with one of the [credentials](crate::world::Credentials).
    Restart { client: u8, credentials: u8 },
    /// The other side's next datagram reaches the victim, with these edits made under the cipher: whoever writes the script
    /// holds the keys. The lengths stay.
    Altered { client: u8, edits: Vec<Edit> },
    /// The other side of the session with `client` seals these bytes, as a record of this type; none for one whose type is
    /// the last of the bytes.
    Inside { client: u8, content_type: u8, body: Vec<u8> },
    /// The next datagram of a side is lost. It may come [`Again`](Self::Again).
    Lose { client: u8, from_server: bool },
    /// The victim gets some of a datagram's records, in the other order if the highest bit of `records` says so.
    Pick { which: u8, client: u8, records: u8 },
    /// A side changes its keys, and asks for the other's.
    UpdateKeys { client: u8, by_server: bool, request_update: bool },
    /// A side has something done about connection IDs.
    ConnectionId { client: u8, by_server: bool, action: IdAction },
    /// A side of the session is saved, and wakes up again.
    Sleep { client: u8, by_server: bool },
    /// A side of the session is saved while it goes on.
    Checkpoint { client: u8, by_server: bool },
    /// A side of the session fails, and goes on from its checkpoint.
    Crash { client: u8, by_server: bool },
    /// The victim meets a peer of DTLS 1.3 that knows a key, and says whatever it likes.
    Insider(Insider),
}

/// What is done about connection IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdAction {
    Request,
    UseSpare,
    Renew,
}

impl IdAction {
    const ALL: [Self; 3] = [Self::Request, Self::UseSpare, Self::Renew];
}

/// What a peer says that knows a key, in a handshake whose transcript is right.
#[derive(Clone, Debug, Default)]
pub struct Insider {
    pub client: u8,
    /// How many HelloRetryRequests it sends if it is a server; more than one are not allowed.
    pub retries: u8,
    /// Leaves its Finished out.
    pub unfinished: bool,
    /// Added to its hello.
    pub extensions: Vec<(u16, Vec<u8>)>,
    /// The EncryptedExtensions of a server. If empty, the usual ones.
    pub encrypted_extensions: Vec<u8>,
    /// Before its Finished, under the keys of epoch 2: what type, and what.
    pub early: Vec<(u8, Vec<u8>)>,
    /// After its Finished, under the keys of epoch 3.
    pub late: Vec<(u8, Vec<u8>)>,
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

    /// Up to seven of what `item` reads.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.u8()? % 8).map(|_| item(self)).collect()
    }

    /// A type or a number before its bytes.
    fn record(&mut self) -> Option<(u8, Vec<u8>)> {
        let (content_type, len) = (self.u8()?, self.u16()?);
        Some((content_type, self.bytes(len)))
    }

    fn insider(&mut self) -> Option<Insider> {
        let (client, bits) = (self.u8()?, self.u8()?);
        Some(Insider {
            client,
            retries: bits & 3,
            unfinished: bits & 4 != 0,
            extensions: self.list(|it| {
                let (number, len) = (it.u16()?, it.u8()?);
                Some((number, it.bytes(len.into())))
            })?,
            encrypted_extensions: {
                let len = self.u8()?;
                self.bytes(len.into())
            },
            early: self.list(Self::record)?,
            late: self.list(Self::record)?,
        })
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
            versions: Versions::ALL[usize::from(more & 3)],
            modes: Modes::ALL[usize::from(more >> 2 & 3)],
            no_cookies: more & 16 != 0,
            no_client_ids: more & 32 != 0,
            short_records: more & 64 != 0,
            few_forgeries: more & 128 != 0,
        })
    }

    pub fn step(&mut self) -> Option<Step> {
        Some(match self.u8()? % 20 {
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
            9 => Step::Restart { client: self.u8()?, credentials: self.u8()? },
            10 => Step::Altered { client: self.u8()?, edits: self.edits()? },
            11 => {
                let client = self.u8()?;
                let (content_type, body) = self.record()?;
                Step::Inside { client, content_type, body }
            }
            12 => Step::Lose { client: self.u8()?, from_server: self.u8()? & 1 == 1 },
            13 => Step::Pick { which: self.u8()?, client: self.u8()?, records: self.u8()? },
            14 => {
                let (client, bits) = (self.u8()?, self.u8()?);
                Step::UpdateKeys { client, by_server: bits & 1 == 1, request_update: bits & 2 == 2 }
            }
            15 => {
                let (client, bits) = (self.u8()?, self.u8()?);
                let action = IdAction::ALL[usize::from(bits >> 1) % IdAction::ALL.len()];
                Step::ConnectionId { client, by_server: bits & 1 == 1, action }
            }
            16 => Step::Sleep { client: self.u8()?, by_server: self.u8()? & 1 == 1 },
            17 => Step::Checkpoint { client: self.u8()?, by_server: self.u8()? & 1 == 1 },
            18 => Step::Crash { client: self.u8()?, by_server: self.u8()? & 1 == 1 },
            _ => Step::Insider(self.insider()?),
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
        let flags = [self.no_cookies, self.no_client_ids, self.short_records, self.few_forgeries];
        let bits = flags.iter().zip(4..).map(|(flag, at)| u8::from(*flag) << at).sum::<u8>();
        out.push(bits | self.versions as u8 | (self.modes as u8) << 2);
    }
}

impl Insider {
    fn write(&self, out: &mut Vec<u8>) {
        assert!(self.extensions.len().max(self.early.len()).max(self.late.len()) < 8);
        out.extend([self.client, self.retries & 3 | u8::from(self.unfinished) << 2]);
        out.push(self.extensions.len() as u8);
        for (number, data) in &self.extensions {
            out.extend(number.to_be_bytes());
            out.push(u8::try_from(data.len()).expect("up to 255 bytes"));
            out.extend(data);
        }
        out.push(u8::try_from(self.encrypted_extensions.len()).expect("up to 255 bytes"));
        out.extend(&self.encrypted_extensions);
        for records in [&self.early, &self.late] {
            out.push(records.len() as u8);
            records.iter().for_each(|(content_type, body)| write_record(*content_type, body, out));
        }
    }
}

fn write_record(content_type: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(content_type);
    out.extend(u16::try_from(body.len()).expect("a record").to_be_bytes());
    out.extend(body);
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
            Self::Restart { client, credentials } => out.extend([9, *client, *credentials]),
            Self::Altered { client, edits } => {
                out.extend([10, *client]);
                edits_to(out, edits);
            }
            Self::Inside { client, content_type, body } => {
                out.extend([11, *client]);
                write_record(*content_type, body, out);
            }
            Self::Lose { client, from_server } => out.extend([12, *client, u8::from(*from_server)]),
            Self::Pick { which, client, records } => out.extend([13, *which, *client, *records]),
            Self::UpdateKeys { client, by_server, request_update } => {
                out.extend([14, *client, u8::from(*by_server) | u8::from(*request_update) << 1])
            }
            Self::ConnectionId { client, by_server, action } => {
                out.extend([15, *client, u8::from(*by_server) | (*action as u8) << 1])
            }
            Self::Sleep { client, by_server } => out.extend([16, *client, u8::from(*by_server)]),
            Self::Checkpoint { client, by_server } => out.extend([17, *client, u8::from(*by_server)]),
            Self::Crash { client, by_server } => out.extend([18, *client, u8::from(*by_server)]),
            Self::Insider(insider) => {
                out.push(19);
                insider.write(out);
            }
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
