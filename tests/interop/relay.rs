//! A UDP relay that stands between a client and a server, writes down what passes, and can behave like a bad network.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::peers::PATIENCE;

/// How often something happens to a datagram, in percent.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    pub drop: u64,
    pub duplicate: u64,
    /// Held back until the next one has passed, or a moment if none comes.
    pub reorder: u64,
    /// How many datagrams of either direction are lost or held back at most. Each costs a timeout, and there are peers that
    /// give up after the fourth (libcoap's `max_retransmit`): with 2, whoever sends again as often as that gets through.
    pub most: u32,
    /// Where the dice start.
    pub seed: u64,
}

/// Nothing is lost.
pub const FAIR: Weather = Weather { drop: 0, duplicate: 0, reorder: 0, most: 0, seed: 0 };

/// The beginning of each association is lost, late and doubled.
pub const fn bad(seed: u64) -> Weather {
    Weather { drop: 40, duplicate: 20, reorder: 20, most: 2, seed }
}

/// Fails unless the weather was as bad as it was meant to be.
#[track_caller]
pub fn must_have_been_bad(records: &[Record]) {
    let total = |count: fn(&Record) -> usize| records.iter().map(count).sum::<usize>();
    let lost = total(|record| record.dropped);
    let late = total(|record| record.reordered);
    let doubled = total(|record| record.duplicated);
    assert!(
        lost >= records.len() && late + doubled >= 1,
        "the weather was fair: {lost} lost, {late} late, {doubled} doubled"
    );
}

/// One datagram that was passed on.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub from_client: bool,
    pub bytes: Vec<u8>,
}

impl Datagram {
    /// Whether it starts with a record of application data.
    pub fn is_data(&self) -> bool {
        self.bytes.first() == Some(&23)
    }

    /// The length of the ticket that a ClientHello offers (RFC 5077 §3.2), 0 where it only takes one.
    pub fn offered_ticket(&self) -> Option<usize> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let is_hello = self.bytes.first() == Some(&22) && self.bytes.get(13) == Some(&1);
        // Behind the headers of record and message, the version and the random.
        let mut rest = self.bytes.get(13 + 12 + 2 + 32..).filter(|_| is_hello)?;
        // Session id, cookie, suites, compression methods; then the length of all extensions.
        for width in [1, 1, 2, 1] {
            rest = &rest[width + number(&rest[..width])..];
        }
        rest = rest.get(2..)?;
        while let Some((header, after)) = rest.split_at_checked(4) {
            let length = number(&header[2..]);
            if number(&header[..2]) == 35 {
                return Some(length);
            }
            rest = &after[length..];
        }
        None
    }

    /// The types of the plaintext handshake messages that it holds a part of only, each with the part's length.
    pub fn fragments(&self) -> Vec<(u8, usize)> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let mut fragments = Vec::new();
        let mut rest = &self.bytes[..];
        while let Some((header, after)) = rest.split_at_checked(13) {
            let (record, next) = after.split_at(number(&header[11..]));
            rest = next;
            if header[0] != 22 || number(&header[3..5]) != 0 {
                continue;
            }
            let mut messages = record;
            while let Some((header, after)) = messages.split_at_checked(12) {
                let (whole, part) = (number(&header[1..4]), number(&header[9..]));
                if part < whole {
                    fragments.push((header[0], part));
                }
                messages = &after[part..];
            }
        }
        fragments
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// In the order in which they left.
    pub passed: Vec<Datagram>,
    pub dropped: usize,
    pub duplicated: usize,
    pub reordered: usize,
}

impl Record {
    /// Fails unless the last hello offered a ticket, or none where the session is known by its id.
    #[track_caller]
    pub fn must_show_resumption_by(&self, by: &str) {
        let ticket = self.passed.iter().rev().find_map(Datagram::offered_ticket);
        let offered = if ticket.is_some_and(|length| length > 0) { "ticket" } else { "id" };
        assert_eq!(offered, by, "{ticket:?}");
    }
}

/// The record, and who waits for it.
#[derive(Default)]
struct Notes {
    record: Mutex<Record>,
    grown: Condvar,
}

impl Notes {
    fn now(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }
}

/// A running relay for one client.
pub struct Relay {
    /// Where the client speaks to.
    pub address: SocketAddr,
    record: Arc<Notes>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Stands before a server.
    pub fn new(server: SocketAddr, weather: Weather) -> Self {
        Self::lopsided(server, weather, weather)
    }

    /// The same with a weather for what the client sends and another for what the server does.
    pub fn lopsided(server: SocketAddr, clients: Weather, servers: Weather) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        back.connect(server).unwrap();
        let address = front.local_addr().unwrap();
        let record = Arc::new(Notes::default());
        let stop = Arc::new(AtomicBool::new(false));
        let client = Arc::new(Mutex::new(None));

        let lane = |from_client: bool, weather: Weather| Lane {
            from_client,
            front: front.try_clone().unwrap(),
            back: back.try_clone().unwrap(),
            client: Arc::clone(&client),
            record: Arc::clone(&record),
            stop: Arc::clone(&stop),
            weather,
            troubles: 0,
            dice: Dice::new(weather.seed ^ u64::from(from_client) << 32),
            held: None,
        };
        let threads =
            [lane(true, clients), lane(false, servers)].map(|lane| thread::spawn(move || lane.run())).into();
        Self { address, record, stop, threads }
    }

    /// What happened so far.
    pub fn record(&self) -> Record {
        self.record.now().clone()
    }

    /// Waits until what happened is what the caller waits for.
    #[track_caller]
    pub fn wait_until(&self, enough: impl Fn(&Record) -> bool) -> Record {
        let record = self.record.now();
        let (record, timeout) =
            self.record.grown.wait_timeout_while(record, PATIENCE, |record| !enough(record)).unwrap();
        assert!(!timeout.timed_out(), "not all that was waited for came: {record:?}");
        record.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One direction.
struct Lane {
    from_client: bool,
    front: UdpSocket,
    back: UdpSocket,
    client: Arc<Mutex<Option<SocketAddr>>>,
    record: Arc<Notes>,
    stop: Arc<AtomicBool>,
    weather: Weather,
    /// How many datagrams were lost or held back so far.
    troubles: u32,
    dice: Dice,
    held: Option<Vec<u8>>,
}

impl Lane {
    fn run(mut self) {
        let incoming = if self.from_client { self.front.try_clone() } else { self.back.try_clone() }.unwrap();
        incoming.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut buffer = [0; 2048];
        while !self.stop.load(Ordering::Relaxed) {
            match incoming.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    if self.from_client {
                        *self.client.lock().unwrap() = Some(from);
                    }
                    self.decide(&buffer[..length]);
                }
                // Nothing came for a moment, or an earlier datagram found nobody at its port.
                Err(_) => self.release(),
            }
        }
        // What was sent before the end, as a goodbye is, still passes.
        incoming.set_nonblocking(true).unwrap();
        while let Ok((length, _)) = incoming.recv_from(&mut buffer) {
            self.decide(&buffer[..length]);
        }
    }

    fn decide(&mut self, datagram: &[u8]) {
        let enough = self.troubles == self.weather.most;
        if !enough && self.dice.percent(self.weather.drop) {
            self.troubles += 1;
            self.record.now().dropped += 1;
        } else if !enough && self.held.is_none() && self.dice.percent(self.weather.reorder) {
            self.troubles += 1;
            self.record.now().reordered += 1;
            self.held = Some(datagram.to_vec());
        } else {
            self.pass(datagram);
            if self.dice.percent(self.weather.duplicate) {
                self.record.now().duplicated += 1;
                self.pass(datagram);
            }
            self.release();
        }
    }

    /// Lets go of what was held back.
    fn release(&mut self) {
        if let Some(datagram) = self.held.take() {
            self.pass(&datagram);
        }
    }

    fn pass(&self, datagram: &[u8]) {
        // Written down before it leaves, so that its answer cannot be written down earlier.
        let passed = Datagram { from_client: self.from_client, bytes: datagram.to_vec() };
        self.record.now().passed.push(passed);
        let client = *self.client.lock().unwrap();
        // A port that nobody holds (any more) is no concern of a network.
        let _ = match client {
            _ if self.from_client => self.back.send(datagram),
            Some(client) => self.front.send_to(datagram, client),
            None => Ok(0),
        };
        self.record.grown.notify_all();
    }
}

/// A small generator (xorshift64*): the same seed gives the same weather.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % 100 < percent
    }
}
