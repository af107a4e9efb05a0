//! A client with a session that does its worst, by a script of any bytes, and another one that is to be served all the same.
//!
//! [`attack`] takes whatever bytes a fuzzer has, and [`Random`] makes some that get far.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use coap_handler_implementations::{HandlerBuilder, SimpleRendered};
use coap_numbers::code;
use dtls_psk::coap::{Changes, Counters, Methods, Rule, Server, Upload};
use dtls_psk_reference::{SimulatedBoard, resources};
use rand_core::TryRng as _;

use super::peer::*;
use super::support::Repeatable;

const RULES: [Rule<'_>; 5] = [
    Rule::everyone(Methods::READ, "/*"),
    Rule::identity(b"client0", Methods::of(code::PUT), "/temperature").fresh(Duration::from_secs(10)),
    Rule::everyone(Methods::ALL, "/led"),
    Rule::everyone(Methods::ALL, "/slow"),
    Rule::everyone(Methods::of(code::PUT), "/firmware"),
];

const OBSERVERS: usize = 8;
const UPLOADS: usize = 4;
const ROOM: usize = 4_096;

/// Plays a script: the first byte says how the server is made, each further step is a byte that says what happens, and what it
/// needs. Panics if the server does, if it sends what is no message, or if it serves the other client no more.
pub fn attack(script: &[u8]) -> Counters {
    let Some((kind, script)) = script.split_first() else { return Counters::default() };
    match kind % 3 {
        0 => attack_with::<128>(script),
        1 => attack_with::<300>(script),
        _ => attack_with::<1152>(script),
    }
}

thread_local! {
    static SESSIONS: [Session; 2] = [session(0), session(1)];
}

fn attack_with<const SIZE: usize>(script: &[u8]) -> Counters {
    let time = Time::default();
    let wire = Wire::with_sessions(SESSIONS.with(|sessions| sessions.to_vec()));
    let changes = Changes::local(["/led", "/temperature", "/slow"]);
    let mut port = Port(&wire);
    let mut rooms = vec![vec![0; ROOM]; UPLOADS];
    let mut uploads: Vec<_> = rooms.iter_mut().map(|room| Upload::new(room)).collect();
    let mut server =
        Server::<_, _, _, SIZE, 16, 1536, OBSERVERS>::with_sizes(&mut port, &time, Repeatable(1))
            .with_changes(&changes)
            .with_policy(&RULES)
            .with_uploads(&mut uploads);
    let (text, slow) = ("a text that is longer than a block\n".repeat(40), Cell::new(0_u32));
    let board = RefCell::new(SimulatedBoard::default());
    let all = resources(&board, |path| {
        changes.notify(path);
    });
    let all = HandlerBuilder::at(all, &["text"], SimpleRendered(&text[..]));
    let mut handler = all.at(
        &["slow"],
        Does(|seen: Seen| {
            slow.set(slow.get() + 1);
            match slow.get() % 5 {
                0 => (0x45, vec![b'x'; 3_000]),
                1 => (0x84, vec![]),
                2 => (0x45, seen.payload),
                _ => (0, vec![]),
            }
        }),
    );

    let mut last = Coap::default();
    let mut script = Script(script);
    while let Some(step) = script.byte() {
        match step % 8 {
            0..=2 => wire.push_bytes(client(0), script.bytes()),
            // Someone without a session.
            3 => wire.push_bytes(client(9), script.bytes()),
            4 => {
                let until = time.millis() + 13 * u64::from(script.byte().unwrap_or(0)).pow(2);
                time.run_until(until, || drive(server.run(&mut handler)));
            }
            5 => {
                changes.notify(["/led", "/temperature", "/slow"][usize::from(step >> 3) % 3]);
            }
            // About the last message that the server has sent.
            6 => wire.push(client(0), &Coap::empty(2 + (step >> 3) % 2, last.id)),
            // The request again, with what it asked for.
            _ => {
                let echo = last.option(ECHO).unwrap_or(b"?").to_vec();
                let path = if step >> 3 & 1 == 0 { "/temperature" } else { "/led" };
                wire.push(
                    client(0),
                    &Coap::request(CON, PUT, u16::from(step), path).with(ECHO, echo).payload(b"1"),
                );
            }
        }
        wire.is_stuck.set(step >> 3 == 31);
        drive(server.run(&mut handler));
        wire.is_stuck.set(false);
        for (_, bytes) in wire.sent.take() {
            assert!(bytes.len() <= SIZE);
            last = Coap::read(&bytes);
        }
        assert!(server.observers() <= OBSERVERS);
    }

    // Right after that, the other one asks for all there is.
    let mut ids = 0;
    let mut ask = |request: Coap| {
        ids += 1;
        wire.push(client(1), &Coap { id: ids, ..request });
        drive(server.run(&mut handler));
        let mut sent = wire.take();
        let at = sent.iter().position(|(to, message)| *to == client(1) && message.kind == ACK);
        let reply = sent.remove(at.expect("a reply")).1;
        assert_eq!(reply.id, ids);
        reply
    };
    let get = |path| Coap::request(CON, GET, 0, path);
    assert_eq!(ask(get("/temperature")).payload, b"21.5");
    assert_eq!(ask(get("/text").with(BLOCK2, block(87, false, 16))).payload, b"a block\n");
    assert!(ask(get("/led").with(OBSERVE, [])).option(OBSERVE).is_some());
    assert_eq!(ask(Coap { code: PUT, ..get("/led") }.payload(b"0")).says(), 204);
    assert_eq!(ask(get("/led")).payload, b"0");
    let put = |number, more| {
        Coap { code: PUT, ..get("/firmware") }.with(BLOCK1, block(number, more, 64)).payload(&[7; 64])
    };
    assert_eq!(ask(put(0, true)).says(), 231);
    assert_eq!(ask(put(1, false)).says(), 204);
    let installed = ask(get("/firmware")).payload;
    assert!(installed.starts_with(b"128 bytes"));
    server.counters()
}

/// What is left of a script.
struct Script<'s>(&'s [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.0.split_off_first().copied()
    }

    /// As many as the next one says, or fewer at the end.
    fn bytes(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte().unwrap_or(0)).min(self.0.len());
        self.0.split_off(..len).unwrap_or_default().to_vec()
    }
}

/// Makes scripts, the same for the same seed.
pub struct Random(Repeatable);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Repeatable(seed))
    }

    fn below(&mut self, below: u32) -> u32 {
        self.0.try_next_u32().unwrap() % below
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize].clone()
    }

    /// A message that makes sense, more or less.
    fn message(&mut self) -> Vec<u8> {
        let path = self.of(&[
            "/led",
            "/temperature",
            "/about",
            "/firmware",
            "/slow",
            "/text",
            "/.well-known/core",
            "/x",
        ]);
        let (kind, code) = (self.of(&[CON, CON, NON]), self.of(&[GET, GET, PUT, PUT, POST, FETCH, 4, 0x1f]));
        let mut message =
            Coap::request(kind, code, self.below(200) as u16, path).token(&[self.below(12) as u8]);
        let mut len = 1;
        for _ in 0..self.below(4) {
            let size = 16 << self.below(7);
            let number = self.of(&[0, 0, 1, 2, 3, 100, (1 << 20) - 1]);
            let value = block(number, self.below(2) == 0, size);
            message = match self.below(10) {
                0 | 1 => message.with(OBSERVE, uint(self.below(2))),
                2 | 3 => message.with(BLOCK2, value),
                4 | 5 => {
                    // As long as the block says, more often than not.
                    len = size.min(220) as usize;
                    message.with(BLOCK1, value)
                }
                6 => message.with(REQUEST_TAG, [self.below(5) as u8]),
                7 => message.with(SIZE1, uint(self.below(9_000))),
                8 => message.with(ECHO, [7; 16]),
                _ => message.with(self.below(300) as u16, vec![1; self.below(20) as usize]),
            };
        }
        let len = if self.below(5) == 0 { self.below(200) as usize } else { len };
        let mut bytes = message.payload(&vec![b'1'; len]).bytes();
        for _ in 0..self.of(&[0, 0, 0, 1, 3]) {
            let at = self.below(bytes.len() as u32) as usize;
            match self.below(3) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, self.below(256) as u8),
            }
        }
        bytes.truncate(255);
        bytes
    }

    /// Messages that nearly make sense, changes, answers and pauses in any order.
    pub fn script(&mut self, steps: u32) -> Vec<u8> {
        let mut script = vec![self.below(3) as u8];
        for _ in 0..steps {
            let step = self.below(256) as u8;
            script.push(step);
            match step % 8 {
                0..=3 => {
                    let message = self.message();
                    script.push(message.len() as u8);
                    script.extend(message);
                }
                4 => script.push(self.below(256).saturating_sub(100) as u8),
                _ => {}
            }
        }
        script
    }
}
