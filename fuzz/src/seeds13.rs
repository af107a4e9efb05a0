//! The kept corpus of DTLS 1.3: handshakes in each configuration, and attacks.

use crate::script::{Setup, Step, write};
use crate::seeds::*;

const ENCRYPTED_EXTENSIONS: u8 = 8;
const NEW_SESSION_TICKET: u8 = 4;
const REQUEST_CONNECTION_ID: u8 = 9;
const NEW_CONNECTION_ID: u8 = 10;
const KEY_UPDATE: u8 = 24;

const DTLS13: u8 = 1;
const ANY: u8 = 2;

const PLAIN: Setup = Setup {
    suites: 0,
    hint: false,
    small_mtu: false,
    require_ems: false,
    transparent: false,
    connection_ids: false,
    resumption: false,
    versions: [DTLS13, DTLS13],
    psk_ke: false,
    without_cookies: false,
};
/// Whoever writes the script holds the keys.
const INSIDER: Setup = Setup { transparent: true, ..PLAIN };
const WITH_IDS: Setup = Setup { connection_ids: true, ..PLAIN };

pub fn all() -> Vec<Seed> {
    let mut seeds = both();
    seeds.extend(server());
    seeds.extend(client());
    seeds
}

/// A record under keys that are none: its number in the clear, with 16 bits, and a tag of zeros.
fn sealed(epoch: u8, number: u8, content_type: u8, content: &[u8]) -> Vec<u8> {
    sealed_for(b"", epoch, number, content_type, content)
}

fn sealed_for(id: &[u8], epoch: u8, number: u8, content_type: u8, content: &[u8]) -> Vec<u8> {
    let ciphertext = [content, &[content_type], &[0; 16]].concat();
    let mut out = vec![0x2C | u8::from(!id.is_empty()) << 4 | epoch & 3];
    out.extend(id);
    out.extend([0, number]);
    out.extend((ciphertext.len() as u16).to_be_bytes());
    out.extend(ciphertext);
    out
}

fn ack(numbers: &[(u8, u8)]) -> Vec<u8> {
    let list = numbers.iter().flat_map(|(epoch, number)| {
        [[0; 7], [0; 7]].into_iter().zip([*epoch, *number]).flat_map(|(zeros, last)| {
            let mut number = zeros.to_vec();
            number.push(last);
            number
        })
    });
    vec16(&list.collect::<Vec<u8>>())
}

fn again(which: u8) -> Step {
    Step::Again { which, client: 0, edits: vec![] }
}

fn update(by_server: bool, request: bool) -> Step {
    Step::UpdateKeys { client: 0, by_server, request }
}

fn connection_id(by_server: bool, what: u8) -> Step {
    Step::ConnectionId { client: 0, by_server, what }
}

fn established() -> Vec<Step> {
    vec![from_client(&[]), Step::Settle]
}

/// What comes to a good end, whoever is the victim.
fn both() -> Vec<Seed> {
    let mut scripts: Vec<(String, Setup, Vec<Step>)> = Vec::new();
    let mut add = |name: &str, setup: Setup, steps: Vec<Step>| scripts.push((name.to_string(), setup, steps));
    for suites in 0..4 {
        let close = Step::Close { client: 0, by_server: suites % 2 == 1 };
        let steps = [opening(6), talk(0).to_vec(), vec![close]].concat();
        add(&format!("good-13-suite-{suites}"), Setup { suites, ..PLAIN }, steps);
    }
    add("good-13-any", Setup { versions: [ANY, ANY], ..PLAIN }, good());
    add("good-13-any-meets-12", Setup { versions: [ANY, 0], ..PLAIN }, good());
    add("good-13-12-meets-any", Setup { versions: [0, ANY], ..PLAIN }, good());
    add("good-13-psk-ke", Setup { psk_ke: true, ..PLAIN }, good());
    add("good-13-psk-ke-any", Setup { psk_ke: true, versions: [ANY, ANY], ..PLAIN }, good());
    add("good-13-without-cookies", Setup { without_cookies: true, ..PLAIN }, good());
    add("good-13-transparent", INSIDER, good());
    // A flight that is longer than three hellos.
    let long = Setup { versions: [0, 0], hint: true, small_mtu: true, without_cookies: true, ..PLAIN };
    let in_parts = || [Step::Settle, Step::Advance { by: 70 }, Step::Settle, Step::Advance { by: 140 }];
    add(
        "good-12-without-cookies-cut",
        long,
        [&established()[..], &in_parts(), &good(), &in_parts(), &talk(0), &talk(1)].concat(),
    );
    add("good-13-connection-ids", WITH_IDS, good());
    add("good-13-cut", Setup { small_mtu: true, connection_ids: true, ..PLAIN }, good());
    let resumption = Setup { resumption: true, ..PLAIN };
    let restart = Step::Restart { client: 0, credentials: 0 };
    add("good-13-resumed", resumption, [good(), vec![restart.clone()], good()].concat());
    add("13-12-meets-13", Setup { versions: [0, DTLS13], ..PLAIN }, vec![from_client(&[]), Step::Settle]);
    add("good-13-key-updates", PLAIN, {
        let updates = [(false, true), (true, true), (false, false), (true, false)];
        let steps = updates.map(|(by_server, request)| {
            [vec![update(by_server, request), Step::Settle], talk(0).to_vec()].concat()
        });
        [good(), steps.concat()].concat()
    });
    add("good-13-other-connection-ids", WITH_IDS, {
        let steps =
            [(false, 0), (true, 0), (false, 1), (true, 1), (false, 2), (true, 2)].map(|(by_server, what)| {
                [vec![connection_id(by_server, what), Step::Settle], talk(0).to_vec()].concat()
            });
        [good(), steps.concat()].concat()
    });
    add("13-lost", PLAIN, {
        let mut steps = Vec::new();
        for lost_at in 0..6 {
            steps.extend(opening(lost_at));
            let lost = &[edit(0, 999, &[])];
            steps.push(if lost_at % 2 == 0 { from_client(lost) } else { from_server(lost) });
            steps.extend([Step::Advance { by: 20 }, Step::Settle, Step::Advance { by: 70 }, Step::Settle]);
            steps.push(restart.clone());
        }
        [steps, good()].concat()
    });
    add("13-update-lost", PLAIN, {
        let lost = from_client(&[edit(0, 999, &[])]);
        [good(), vec![update(false, true), lost, Step::Advance { by: 70 }, Step::Settle], good()].concat()
    });
    add("13-moved", WITH_IDS, {
        let send = Step::Send { client: 0, from_server: false, len: 4 };
        let copied = Step::Again { which: 8, client: 1, edits: vec![] };
        [good(), vec![send, copied, Step::Settle, Step::Advance { by: 70 }, Step::Settle], good()].concat()
    });
    let seeds = scripts.iter().flat_map(|(name, setup, steps)| {
        ["server", "client"].map(|target| (target, name.clone(), write(*setup, steps)))
    });
    seeds.collect()
}

fn server() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, setup: Setup, steps: Vec<Step>| {
        seeds.push(("server", name.to_string(), write(setup, &[steps, good()].concat())));
    };
    // The second hello ends with the binder.
    for (name, at) in [("attack-18-wrong-binder", 1), ("attack-22-binder-wrong-at-its-end", 32)] {
        let psk_ke = Setup { psk_ke: true, ..PLAIN };
        // Of the hello for `psk_ke`, with its cookie.
        let binder = 13 + 12 + 2 + 32 + 1 + 1 + 2 + 2 * 3 + 2 + 2 + HELLO_EXTENSIONS - 32;
        add(name, psk_ke, [opening(2), vec![from_client(&[edit(binder + at - 1, 1, &[0])])]].concat());
    }
    add("attack-18-second-hello-without-a-key", Setup { psk_ke: true, ..PLAIN }, {
        // The extension has another number, so there is none.
        let at = 13 + 12 + 2 + 32 + 1 + 1 + 2 + 2 * 3 + 2 + 2 + HELLO_EXTENSIONS - PRE_SHARED_KEY;
        [opening(2), vec![from_client(&[edit(at, 2, &[0xFF, 0xEE])])]].concat()
    });
    add("attack-32-reflected-13", PLAIN, [good(), (0..12).map(again).collect()].concat());
    let ids = [&vec8(b"i")[..], &vec8(b"j")].concat();
    let single = [
        ("13-forged-ack", PLAIN, opening(3), record(ACK, 0, 9, &ack(&[(0, 1), (2, 0), (2, 1)]))),
        ("13-oversized-ack", PLAIN, opening(3), record(ACK, 0, 9, &ack(&[(2, 9); 80]))),
        (
            "13-hello-in-epoch-2",
            PLAIN,
            opening(3),
            record(HANDSHAKE, 2, 9, &message(CLIENT_HELLO, 2, &[3; 90])),
        ),
        ("13-hello-in-parts", PLAIN, vec![], {
            let parts =
                [fragment(CLIENT_HELLO, 0, 90, 0, &[3; 40]), fragment(CLIENT_HELLO, 0, 90, 40, &[3; 50])];
            parts.map(|part| record(HANDSHAKE, 0, 9, &part)).concat()
        }),
        ("13-insider-ack-of-the-flight", INSIDER, opening(3), sealed(2, 9, ACK, &ack(&[(0, 1), (2, 0)]))),
        ("13-insider-oversized-ack", INSIDER, established(), sealed(3, 9, ACK, &ack(&[(3, 9); 80]))),
        ("13-insider-malformed-ack", INSIDER, established(), sealed(3, 9, ACK, &[0, 15, 1])),
        (
            "13-insider-hello",
            INSIDER,
            opening(3),
            sealed(2, 9, HANDSHAKE, &message(CLIENT_HELLO, 2, &[3; 90])),
        ),
        (
            "13-insider-finished",
            INSIDER,
            opening(3),
            sealed(2, 9, HANDSHAKE, &message(FINISHED, 2, &[0; 32])),
        ),
        (
            "13-insider-finished-in-parts",
            INSIDER,
            opening(3),
            [fragment(FINISHED, 2, 32, 16, &[0; 16]), fragment(FINISHED, 2, 32, 0, &[0; 16])]
                .map(|part| sealed(2, 9 + part[8], HANDSHAKE, &part))
                .concat(),
        ),
        (
            "13-insider-key-update",
            INSIDER,
            established(),
            sealed(3, 9, HANDSHAKE, &message(KEY_UPDATE, 3, &[1])),
        ),
        (
            "13-insider-key-updates",
            INSIDER,
            established(),
            (0..20_u8)
                .flat_map(|n| sealed(3 + n, 9, HANDSHAKE, &message(KEY_UPDATE, 3 + u16::from(n), &[n & 1])))
                .collect(),
        ),
        (
            "13-insider-ticket",
            INSIDER,
            established(),
            sealed(
                3,
                9,
                HANDSHAKE,
                &message(NEW_SESSION_TICKET, 3, &[0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 1, 7, 0, 0]),
            ),
        ),
        (
            "13-insider-requests-ids",
            Setup { transparent: true, ..WITH_IDS },
            established(),
            (0..20_u8)
                .flat_map(|n| {
                    let request = message(REQUEST_CONNECTION_ID, 3 + u16::from(n), &[255]);
                    sealed_for(&[n], 3, 9 + n, HANDSHAKE, &request)
                })
                .collect(),
        ),
        (
            "13-insider-new-ids",
            INSIDER,
            established(),
            sealed(3, 9, HANDSHAKE, &message(NEW_CONNECTION_ID, 3, &[&vec16(&ids)[..], &[0]].concat())),
        ),
        ("13-insider-data", INSIDER, established(), sealed(3, 9, APPLICATION_DATA, b"!")),
        ("13-insider-data-early", INSIDER, opening(3), sealed(3, 0, APPLICATION_DATA, b"!")),
        ("13-insider-nothing", INSIDER, established(), sealed(3, 9, 0, &[0; 20])),
        ("13-insider-alert", INSIDER, established(), sealed(3, 9, ALERT, &[1, 40])),
        ("13-short", PLAIN, established(), vec![0x2F, 0, 1, 0, 3, 1, 2, 3]),
        ("13-forged", PLAIN, established(), [0x23, 1].into_iter().chain([0xE5; 40]).collect()),
    ];
    for (name, setup, prologue, datagram) in single {
        add(name, setup, [prologue, vec![raw(datagram)]].concat());
    }
    add("13-key-update-storm", PLAIN, [good(), vec![update(false, true); 12], vec![Step::Settle]].concat());
    seeds
}

/// Length in bytes of the extensions of the second hello for `psk_ke`, and of the last one with the key.
const HELLO_EXTENSIONS: u16 = (4 + 1 + 2) + (4 + 1 + 1) + (4 + 2 + 49) + PRE_SHARED_KEY;
const PRE_SHARED_KEY: u16 = 4 + 2 + (2 + 7 + 4) + 2 + (1 + 32);

fn client() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, setup: Setup, steps: Vec<Step>| {
        seeds.push(("client", name.to_string(), write(setup, &[steps, good()].concat())));
    };
    // A HelloRetryRequest once more, with another number, so that it is a second one.
    add("13-second-hello-retry-request", PLAIN, {
        let second = Step::Again { which: 1, client: 0, edits: vec![edit(13 + 5, 1, &[1])] };
        [opening(3), vec![second]].concat()
    });
    // Its suite, behind the headers, version, random and session id.
    let suite = 13 + 12 + 2 + 32 + 1;
    add("13-switched-suite", PLAIN, [opening(3), vec![from_server(&[edit(suite, 2, &[0x13, 1])])]].concat());
    add("13-session-id", PLAIN, {
        let lengths = [edit(11, 2, &[0, 200]), edit(14, 3, &[0, 0, 188]), edit(suite - 1, 1, &[1, 7])];
        [opening(3), vec![from_server(&lengths)]].concat()
    });
    add("13-downgraded", Setup { versions: [ANY, 0], ..PLAIN }, {
        // As a server would say that knows DTLS 1.3 (RFC 8446 §4.1.3).
        let sentinel = edit(13 + 12 + 2 + 24, 8, b"DOWNGRD\x01");
        [opening(3), vec![from_server(&[sentinel])]].concat()
    });
    add("attack-32-reflected-13", PLAIN, [good(), (0..12).map(again).collect()].concat());
    let extensions = message(ENCRYPTED_EXTENSIONS, 2, &[0, 0]);
    let single = [
        ("13-forged-ack", PLAIN, opening(5), record(ACK, 0, 9, &ack(&[(2, 0), (2, 1)]))),
        ("13-hello-verify-request", PLAIN, opening(1), {
            record(HANDSHAKE, 0, 9, &message(HELLO_VERIFY_REQUEST, 0, &[0xFE, 0xFF, 1, 1]))
        }),
        ("13-plaintext-extensions", PLAIN, opening(3), record(HANDSHAKE, 0, 9, &extensions)),
        (
            "13-short-server-hello",
            PLAIN,
            opening(3),
            record(HANDSHAKE, 0, 9, &message(SERVER_HELLO, 1, &[0xFE, 0xFD])),
        ),
        ("13-change-cipher-spec", PLAIN, opening(3), record(CHANGE_CIPHER_SPEC, 0, 9, &[1])),
        ("13-sealed-too-early", PLAIN, opening(1), sealed(2, 0, HANDSHAKE, &extensions)),
        ("13-insider-ack", INSIDER, established(), sealed(3, 9, ACK, &ack(&[(2, 0), (2, 1), (3, 0)]))),
        (
            "13-insider-ticket",
            Setup { resumption: true, ..INSIDER },
            established(),
            sealed(
                3,
                9,
                HANDSHAKE,
                &message(NEW_SESSION_TICKET, 5, &[0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 1, 7, 0, 0]),
            ),
        ),
        (
            "13-insider-ticket-in-parts",
            Setup { resumption: true, ..INSIDER },
            established(),
            [(0, 5), (5, 10)]
                .map(|(at, len)| {
                    let whole = [0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 1, 7, 0, 0];
                    let part = &whole[usize::from(at)..usize::from(at + len)];
                    sealed(3, 9 + at, HANDSHAKE, &fragment(NEW_SESSION_TICKET, 5, 15, at.into(), part))
                })
                .concat(),
        ),
        (
            "13-insider-key-update",
            INSIDER,
            established(),
            sealed(3, 9, HANDSHAKE, &message(KEY_UPDATE, 4, &[1])),
        ),
        ("13-insider-data", INSIDER, established(), sealed(3, 9, APPLICATION_DATA, b"!")),
        ("13-insider-alert", INSIDER, established(), sealed(3, 9, ALERT, &[1, 40])),
        ("13-insider-nothing", INSIDER, established(), sealed(3, 9, 0, &[0; 20])),
    ];
    for (name, setup, prologue, datagram) in single {
        add(name, setup, [prologue, vec![raw(datagram)]].concat());
    }
    seeds
}
