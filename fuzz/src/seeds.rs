//! The kept corpus: handshakes that come to a good end, and the attacks that other stacks fell to.

use crate::coap::hostile::Random;
use crate::script::{Edit, Setup, Step, write};

/// A file of the corpus: the target's name, the file's name and its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// Connections that others recorded, whose datagrams are seeds for the parsers.
const RECORDINGS: [&str; 4] = [
    include_str!("../../tests/vectors/openssl_ccm_8.txt"),
    include_str!("../../tests/vectors/openssl_ccm.txt"),
    include_str!("../../tests/vectors/openssl_gcm.txt"),
    include_str!("../../tests/vectors/gnutls_ccm_8_without_ems.txt"),
];

/// The messages of RFC 8448, a line each.
const TLS13_MESSAGES: &str = include_str!("../../tests/vectors/tls13_messages.txt");

pub const CHANGE_CIPHER_SPEC: u8 = 20;
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;
const TLS12_CID: u8 = 25;
pub const ACK: u8 = 26;

pub const CLIENT_HELLO: u8 = 1;
pub const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const SERVER_KEY_EXCHANGE: u8 = 12;
const SERVER_HELLO_DONE: u8 = 14;
const CLIENT_KEY_EXCHANGE: u8 = 16;
pub const FINISHED: u8 = 20;

/// Length in bytes of the ClientKeyExchange's record, for the first identity.
const CLIENT_KEY_EXCHANGE_RECORD: u16 = 13 + 12 + 2 + 7;
/// Length in bytes of the ChangeCipherSpec's record.
const CHANGE_CIPHER_SPEC_RECORD: u16 = 14;

pub fn all() -> Vec<Seed> {
    let mut seeds = messages();
    seeds.extend(server());
    seeds.extend(client());
    seeds.extend(crate::seeds13::all());
    seeds.extend(coap());
    seeds
}

/// A server that is asked for all there is, in messages that make sense more or less.
fn coap() -> impl Iterator<Item = Seed> {
    (0..24).map(|seed| ("coap", format!("script-{seed}"), Random::new(seed).script(40)))
}

pub fn record(content_type: u8, epoch: u16, sequence_number: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![content_type, 0xFE, 0xFD];
    out.extend(epoch.to_be_bytes());
    out.extend(&sequence_number.to_be_bytes()[2..]);
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

/// A fragment with `body` at `offset` of a message of `length` bytes.
pub fn fragment(msg_type: u8, seq: u16, length: u32, offset: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![msg_type];
    out.extend(&length.to_be_bytes()[1..]);
    out.extend(seq.to_be_bytes());
    out.extend(&offset.to_be_bytes()[1..]);
    out.extend(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend(body);
    out
}

pub fn message(msg_type: u8, seq: u16, body: &[u8]) -> Vec<u8> {
    fragment(msg_type, seq, body.len() as u32, 0, body)
}

pub fn handshake_record(message: &[u8]) -> Vec<u8> {
    record(HANDSHAKE, 0, 9, message)
}

/// A ClientHello's body with these bytes where the length of the cipher suites should be.
fn hello(suites_len: [u8; 2]) -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend([7; 32]);
    body.extend([0, 0]);
    body.extend(suites_len);
    body.extend([0xC0, 0xA8, 0x00, 0xFF, 1, 0]);
    body
}

pub fn raw(datagram: Vec<u8>) -> Step {
    Step::Raw { client: 0, datagram }
}

pub fn from_client(edits: &[Edit]) -> Step {
    Step::FromClient { client: 0, edits: edits.to_vec() }
}

pub fn from_server(edits: &[Edit]) -> Step {
    Step::FromServer { edits: edits.to_vec() }
}

pub fn edit(at: u16, remove: u16, insert: &[u8]) -> Edit {
    Edit { at, remove, insert: insert.to_vec() }
}

/// The first datagrams of a handshake of client 0, as many as are asked for.
pub fn opening(datagrams: usize) -> Vec<Step> {
    [from_client(&[]), from_server(&[])].into_iter().cycle().take(datagrams).collect()
}

/// Data both ways.
pub fn talk(client: u8) -> [Step; 2] {
    [false, true].map(|from_server| Step::Send { client, from_server, len: 5 })
}

/// A datagram whose connection IDs have so many bytes.
fn records(name: &str, connection_id_len: u8, datagram: Vec<u8>) -> Seed {
    ("record", name.to_string(), [vec![connection_id_len], datagram].concat())
}

fn messages() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (at, recording) in RECORDINGS.iter().enumerate() {
        let datagrams = recording.lines().filter_map(|line| {
            let (side, bytes) = line.split_once(' ')?;
            ["client", "server"].contains(&side).then(|| unhex(bytes))
        });
        for (n, datagram) in datagrams.enumerate() {
            if datagram[0] == HANDSHAKE && datagram[3..5] == [0, 0] {
                let len = usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
                let message = &datagram[13..13 + len];
                seeds.push(("handshake", format!("recorded-{at}-{n}"), message.to_vec()));
                seeds.push(("handshake", format!("recorded-{at}-{n}-body"), message[12..].to_vec()));
                // The same, cut, with the second half first.
                let (length, (head, tail)) =
                    (message.len() as u32 - 12, message[12..].split_at((len - 12) / 2));
                let mut cut = fragment(message[0], 1, length, head.len() as u32, tail);
                cut.extend(fragment(message[0], 1, length, 0, head));
                seeds.push(("handshake", format!("recorded-{at}-{n}-cut"), cut));
            }
            seeds.push(records(&format!("recorded-{at}-{n}"), 0, datagram));
        }
    }
    let one = |name: &str, bytes| ("handshake", name.to_string(), bytes);
    seeds.push(one("attack-04-odd-suites", hello([0, 3])));
    seeds.push(one("attack-07-fragment-beyond-record", fragment(16, 2, 90, 0, &[1; 9])[..15].to_vec()));
    let fragments = |parts: &[Vec<u8>]| parts.concat();
    seeds.push(one(
        "attack-12-second-fragment-of-longer-message",
        fragments(&[fragment(16, 2, 9, 0, &[1; 4]), fragment(16, 2, 300, 4, &[2; 250])]),
    ));
    seeds.push(one("attack-13-16-megabytes", fragment(16, 2, 0x00FF_FFFF, 0x00FF_FFF0, &[1; 4])));
    seeds.push(one("attack-24-empty-fragments", fragments(&vec![fragment(16, 2, 9, 3, &[]); 20])));
    seeds.push(one(
        "longest",
        fragments(&[fragment(16, 2, 384, 200, &[1; 184]), fragment(16, 2, 384, 0, &[2; 200])]),
    ));
    // Hint, named group X25519, point; identity, point.
    seeds.push(one("ephemeral-key-of-server", [&[0, 4][..], b"hint", &[3, 0, 29, 32], &[9; 32]].concat()));
    seeds.push(one("ephemeral-key-of-client", [&[0, 7][..], b"client1", &[32], &[9; 32]].concat()));
    // Signaling suite; groups, formats.
    let mut with_groups = hello([0, 4]);
    with_groups.extend([0, 14, 0, 10, 0, 4, 0, 2, 0, 29, 0, 11, 0, 2, 1, 0]);
    seeds.push(one("hello-with-groups", with_groups));
    seeds.push(records("attack-03-huge-epoch", 0, record(HANDSHAKE, 0xFFFF, u64::MAX >> 16, &[])));
    seeds.push(records("beyond-the-end", 0, record(HANDSHAKE, 0, 0, &[0; 9])[..20].to_vec()));
    // The connection ID stands before the length.
    let mut with_id = record(TLS12_CID, 1, 5, &[0; 30]);
    with_id.splice(11..11, *b"id");
    seeds.push(records("connection-id", 2, [with_id.clone(), with_id.clone()].concat()));
    seeds.push(records("connection-id-unexpected", 0, with_id));
    seeds.extend(messages13());
    seeds
}

/// Bytes behind their length in one byte, or in two.
pub fn vec8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).expect("it fits")], bytes].concat()
}

pub fn vec16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("it fits").to_be_bytes()[..], bytes].concat()
}

/// A record with a unified header of this form: its C, S, L and E bits.
fn unified(form: u8, connection_id: &[u8], ciphertext: usize) -> Vec<u8> {
    let mut out = vec![0b0010_0000 | form];
    out.extend(connection_id);
    out.extend(&[0xA5, 0x5A][..if form & 8 == 0 { 1 } else { 2 }]);
    if form & 4 != 0 {
        out.extend((ciphertext as u16).to_be_bytes());
    }
    out.extend(vec![0xC7; ciphertext]);
    out
}

/// What DTLS 1.3 alone knows: records, messages, and what is inside of extensions.
fn messages13() -> Vec<Seed> {
    let mut seeds = records13();
    let mut one = |name: &str, bytes| seeds.push(("handshake", name.to_string(), bytes));
    for line in TLS13_MESSAGES.lines() {
        let Some((name, bytes)) = line.split_once(' ').filter(|(name, _)| *name != "#") else { continue };
        let mut body = unhex(bytes)[4..].to_vec();
        let msg_type = unhex(bytes)[0];
        if msg_type == CLIENT_HELLO {
            // The old cookie, behind an empty session id.
            body.insert(2 + 32 + 1, 0);
        }
        one(&format!("tls13-{name}"), body.clone());
        one(&format!("tls13-{name}-message"), message(msg_type, 1, &body));
    }
    one("finished-of-dtls13", vec![7; 32]);
    one("key-update", vec![1]);
    one("key-update-odd", vec![2]);
    one("ack", vec16(&[[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9]; 3].concat()));
    one("ack-of-nothing", vec16(&[]));
    one("ack-cut", vec16(&[0; 24]));
    let ids = vec16(&[vec8(b"id"), vec8(b""), vec8(b"another")].concat());
    one("new-connection-ids", [&ids[..], &[1]].concat());
    one("new-connection-ids-of-odd-use", [&ids[..], &[2]].concat());
    one("imported-identity", [vec16(b"client1"), vec16(b"lamp"), vec![0xFE, 0xFC, 0, 1]].concat());
    one("selected-version", vec![0xFE, 0xFC]);
    one("versions", vec8(&[0xFE, 0xFC, 0xFE, 0xFD]));
    one("versions-and-a-half", vec8(&[0xFE, 0xFC, 0xFE]));
    let share = |group: u8| [vec![0, group], vec16(&[9; 32])].concat();
    one("key-share", share(29));
    one("key-shares", vec16(&[share(23), share(29)].concat()));
    one("key-shares-of-one-group", vec16(&[share(29), share(29)].concat()));
    one("key-share-without-a-key", vec16(&[0, 29, 0, 0]));
    let key = |identity: &[u8]| [vec16(identity), vec![0; 4]].concat();
    let binder = vec8(&[5; 32]);
    let psks =
        |keys: &[Vec<u8>], binders: &[Vec<u8>]| [vec16(&keys.concat()), vec16(&binders.concat())].concat();
    let two = [key(b"client1"), key(b"\0")];
    one("psk", psks(&two[..1], std::slice::from_ref(&binder)));
    one("psks", psks(&two, &[binder.clone(), binder.clone()]));
    one("psks-with-long-binder", psks(&two, &[vec8(&[5; 48]), binder.clone()]));
    one("psks-without-a-binder", psks(&two, std::slice::from_ref(&binder)));
    one("psk-with-two-binders", psks(&two[..1], &[binder.clone(), binder.clone()]));
    one("psk-with-short-binder", psks(&two[..1], &[vec8(&[5; 31])]));
    one("psk-without-identity", psks(&[key(b"")], std::slice::from_ref(&binder)));
    // In the block of an EncryptedExtensions, and at the end of a hello: the key is not the last one.
    let extension = |number: u8, data: &[u8]| [vec![0, number], vec16(data)].concat();
    let not_last = vec16(
        &[
            extension(43, &vec8(&[0xFE, 0xFC])),
            extension(41, &psks(&two[..1], &[binder])),
            extension(44, &vec16(b"cookie")),
            extension(45, &vec8(&[1, 0])),
            extension(51, &vec16(&share(29))),
        ]
        .concat(),
    );
    one("psk-not-last", not_last.clone());
    one("psk-not-last-of-hello", [hello([0, 4]), not_last].concat());
    one("no-extensions", vec16(&[]));
    one("extension-twice", vec16(&[extension(51, &[0, 0]), extension(51, &[0, 0])].concat()));
    seeds
}

fn records13() -> Vec<Seed> {
    // The forms with a length, as many as there are, and then one without.
    let with_lengths = (0..32u8).filter(|form| form & 4 != 0);
    let mut every = record(HANDSHAKE, 0, 0, &[1; 9]);
    for form in with_lengths {
        every.extend(unified(form, if form & 16 == 0 { b"" } else { b"id" }, 16));
    }
    let mut seeds = Vec::new();
    for form in [0, 8, 16, 24] {
        let last = unified(form | 3, if form & 16 == 0 { b"" } else { b"id" }, 20);
        seeds.push(records(&format!("unified-{form}"), 2, [every.clone(), last].concat()));
    }
    let short = [unified(0b0_1110, b"", 15), unified(0b0_1110, b"", 16), unified(0b0_1010, b"", 15)];
    seeds.push(records("unified-short", 0, short.concat()));
    seeds.push(records("unified-id-unexpected", 0, unified(0b1_1110, b"id", 16)));
    seeds.push(records("unified-beyond-the-end", 0, unified(0b0_1110, b"", 40)[..30].to_vec()));
    seeds.push(records("unified-header-alone", 2, unified(0b1_1110, b"id", 0)[..5].to_vec()));
    seeds.push(records("ack-in-the-clear", 0, record(ACK, 0, 3, &vec16(&[0; 16]))));
    seeds
}

fn server() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, setup: Setup, steps: Vec<Step>| {
        seeds.push(("server", name.to_string(), write(setup, &steps)));
    };
    let plain = Setup::default();
    let transparent = Setup { transparent: true, ..plain };
    for suites in 0..4 {
        let steps =
            [opening(6), talk(0).to_vec(), vec![Step::Close { client: 0, by_server: suites % 2 == 1 }]];
        add(&format!("good-suite-{suites}"), Setup { suites, ..plain }, steps.concat());
    }
    add("good-ems-required", Setup { require_ems: true, ..plain }, good());
    add("good-hint-cut", Setup { hint: true, small_mtu: true, ..plain }, good());
    add("good-transparent", transparent, good());
    let ids = Setup { connection_ids: true, ..plain };
    let resumption = Setup { resumption: true, ..plain };
    let again =
        |steps: Vec<Step>| [steps.clone(), vec![Step::Restart { client: 0, credentials: 0 }], steps].concat();
    add("good-connection-ids", ids, good());
    add("good-resumed", resumption, again(good()));
    add("good-resumed-with-connection-ids", Setup { resumption: true, ..ids }, again(good()));
    // The newest record of a session is copied and comes by another path: a challenge goes there.
    let copied = |client| Step::Again { which: 7, client, edits: vec![] };
    add("moved", ids, {
        let send = Step::Send { client: 0, from_server: false, len: 4 };
        [good(), vec![send, copied(1), Step::Settle, Step::Advance { by: 70 }, Step::Settle], good()].concat()
    });
    add("revoked", plain, [good(), vec![Step::Revoke, Step::Settle]].concat());
    add("reboot", plain, [good(), vec![Step::Restart { client: 0, credentials: 3 }], good()].concat());
    add("lost-answers", plain, {
        let lost = |step| [step, Step::Advance { by: 70 }];
        let mut steps = Vec::new();
        for lost_at in 0..5 {
            steps.extend(opening(lost_at));
            steps.extend(lost(from_client(&[edit(0, 999, &[])])));
            steps.push(Step::Settle);
            steps.push(Step::Restart { client: 0, credentials: 0 });
        }
        [steps, good()].concat()
    });

    for (name, setup, prologue, datagram) in server_attacks() {
        add(name, setup, [prologue, vec![raw(datagram)], good()].concat());
    }

    let hello_with_zeros = || from_client(&[edit(13 + 12 + 2, 32, &[0; 32])]);
    add(
        "attack-19-zero-random",
        plain,
        [vec![hello_with_zeros(), from_server(&[]), hello_with_zeros()], good()].concat(),
    );
    let cookie_at = 13 + 12 + 2 + 32 + 1 + 1;
    add(
        "attack-21-wrong-cookie",
        plain,
        [opening(2), vec![from_client(&[edit(cookie_at, 1, &[0])])], good()].concat(),
    );
    add(
        "attack-10-finished-before-change-cipher-spec",
        plain,
        [
            opening(4),
            vec![from_client(&[edit(CLIENT_KEY_EXCHANGE_RECORD, CHANGE_CIPHER_SPEC_RECORD, &[])])],
            good(),
        ]
        .concat(),
    );
    add(
        "attack-31-change-cipher-spec-twice",
        plain,
        [
            opening(4),
            vec![from_client(&[edit(
                CLIENT_KEY_EXCHANGE_RECORD,
                0,
                &record(CHANGE_CIPHER_SPEC, 0, 3, &[1]),
            )])],
            good(),
        ]
        .concat(),
    );
    add("attack-14-finished-under-other-epochs", plain, {
        let epoch_at = CLIENT_KEY_EXCHANGE_RECORD + CHANGE_CIPHER_SPEC_RECORD + 3;
        let again = |epoch: u16| Step::Again {
            which: 4,
            client: 0,
            edits: vec![edit(epoch_at, 2, &epoch.to_be_bytes())],
        };
        [good(), vec![again(0), again(2), again(1)], good()].concat()
    });
    add("attack-23-explicit-nonces", plain, {
        // A record whose explicit nonce is not its number, and one whose number is another.
        let again = |at: u16, bytes: &[u8]| Step::Again {
            which: 6,
            client: 0,
            edits: vec![edit(at, bytes.len() as u16, bytes)],
        };
        let send = Step::Send { client: 0, from_server: false, len: 5 };
        [opening(6), vec![send, again(13, &[0; 8]), again(5, &[0, 0, 0, 0, 0, 9])], good()].concat()
    });
    add("attack-26-wrong-keys", plain, {
        let wrong = |credentials| {
            let tries = [
                Step::Settle,
                Step::Advance { by: 70 },
                Step::Settle,
                Step::Advance { by: 130 },
                Step::Settle,
            ];
            [vec![Step::Restart { client: 1, credentials }], tries.to_vec()].concat()
        };
        [wrong(1), wrong(2), wrong(1), wrong(2), good()].concat()
    });
    add("attack-29-stuck-handshakes", plain, {
        let stuck = |client| {
            let hello = Step::FromClient { client, edits: vec![] };
            [hello.clone(), from_server(&[]), hello]
        };
        [stuck(1).to_vec(), stuck(2).to_vec(), vec![Step::Advance { by: 70 }], good()].concat()
    });
    add("attack-30-hellos-from-everywhere", plain, {
        let again = |client| Step::Again { which: 0, client, edits: vec![] };
        [opening(1), (1..4).map(again).collect(), vec![Step::Settle], good()].concat()
    });
    add("attack-32-reflected", plain, {
        // Everything that was on its way once comes to the server, its own datagrams too.
        let again = |which| Step::Again { which, client: 0, edits: vec![] };
        [good(), (0..10).map(again).collect(), talk(0).to_vec()].concat()
    });
    add("attack-28-coalesced", plain, {
        let flight = Step::Again { which: 2, client: 1, edits: vec![] };
        [
            opening(4),
            vec![flight],
            vec![raw([record(CHANGE_CIPHER_SPEC, 0, 1, &[1]), record(HANDSHAKE, 1, 0, &[3; 40])].concat())],
            good(),
        ]
        .concat()
    });
    add("attack-31-after-close", plain, {
        let data = Step::Again { which: 6, client: 0, edits: vec![] };
        [good(), vec![Step::Close { client: 0, by_server: false }, Step::Settle, data], talk(0).to_vec()]
            .concat()
    });
    add("no-bytes", plain, vec![raw(vec![]), raw(vec![22])]);
    seeds
}

/// Attacks of a single datagram: what comes before it, and what it holds.
fn server_attacks() -> Vec<(&'static str, Setup, Vec<Step>, Vec<u8>)> {
    let plain = Setup::default();
    let transparent = Setup { transparent: true, ..plain };
    let established = || vec![from_client(&[]), Step::Settle];
    let in_handshake = || opening(3);
    let identity = [&[0, 7][..], b"client1"].concat();
    let hello_message = message(CLIENT_HELLO, 0, &hello([0, 4]));
    vec![
        ("attack-01-bare-change-cipher-spec", plain, vec![], record(CHANGE_CIPHER_SPEC, 0, 0, &[1])),
        ("attack-01-early-change-cipher-spec", plain, in_handshake(), record(CHANGE_CIPHER_SPEC, 0, 0, &[1])),
        ("attack-02-hello-in-epoch-1", plain, vec![], record(HANDSHAKE, 1, 0, &hello_message)),
        (
            "attack-02-key-exchange-in-epoch-1",
            plain,
            in_handshake(),
            record(HANDSHAKE, 1, 0, &message(CLIENT_KEY_EXCHANGE, 2, &identity)),
        ),
        (
            "attack-02-change-cipher-spec-in-epoch-1",
            plain,
            in_handshake(),
            record(CHANGE_CIPHER_SPEC, 1, 0, &[1]),
        ),
        ("attack-03-huge-epoch", plain, vec![], record(HANDSHAKE, 0xFFFF, u64::MAX >> 16, &hello_message)),
        ("attack-04-odd-suites", plain, vec![], handshake_record(&message(CLIENT_HELLO, 0, &hello([0, 3])))),
        ("attack-05-short-aead", plain, established(), record(APPLICATION_DATA, 1, 7, &[0; 15])),
        ("attack-05-shorter-aead", plain, established(), record(APPLICATION_DATA, 1, 7, &[0; 7])),
        (
            "attack-06-empty-records",
            plain,
            in_handshake(),
            [0u8, 20, 21, 22, 23, 24, 255].map(|of| record(of, 0, 1, &[])).concat(),
        ),
        (
            "attack-07-fragment-beyond-record",
            plain,
            in_handshake(),
            handshake_record(&fragment(CLIENT_KEY_EXCHANGE, 2, 90, 0, &[0; 80])[..40]),
        ),
        (
            "attack-08-short-key-exchange",
            plain,
            in_handshake(),
            handshake_record(&message(CLIENT_KEY_EXCHANGE, 2, &[0])),
        ),
        (
            "attack-08-short-hello",
            plain,
            vec![],
            handshake_record(&message(CLIENT_HELLO, 0, &[0xFE, 0xFD, 1])),
        ),
        ("attack-09-hello-255", plain, vec![], handshake_record(&message(CLIENT_HELLO, 255, &hello([0, 4])))),
        (
            "attack-10-finished-in-the-clear",
            plain,
            in_handshake(),
            handshake_record(&message(FINISHED, 2, &[0; 12])),
        ),
        (
            "attack-11-future-epochs",
            plain,
            established(),
            (0..20).map(|n| record(HANDSHAKE, 2, n, &[0; 40])).collect::<Vec<_>>().concat(),
        ),
        (
            "attack-12-second-fragment-of-longer-message",
            plain,
            in_handshake(),
            [
                fragment(CLIENT_KEY_EXCHANGE, 2, 9, 0, &[0; 4]),
                fragment(CLIENT_KEY_EXCHANGE, 2, 300, 4, &[0; 90]),
            ]
            .map(|it| handshake_record(&it))
            .concat(),
        ),
        (
            "attack-13-16-megabytes",
            plain,
            in_handshake(),
            handshake_record(&fragment(CLIENT_KEY_EXCHANGE, 2, 0x00FF_FFFF, 0, &[0; 12])),
        ),
        ("attack-15-far-ahead", plain, established(), record(APPLICATION_DATA, 1, u64::MAX >> 16, &[0; 40])),
        ("attack-16-short-forgery", plain, established(), record(ALERT, 1, 9, &[2; 18])),
        (
            "attack-17-two-types-of-one-number",
            plain,
            in_handshake(),
            [fragment(CLIENT_KEY_EXCHANGE, 2, 9, 0, &[0; 4]), fragment(SERVER_HELLO_DONE, 2, 9, 4, &[0; 5])]
                .map(|it| handshake_record(&it))
                .concat(),
        ),
        ("attack-20-data-in-epoch-0", plain, established(), record(APPLICATION_DATA, 0, 9, b"in the clear")),
        (
            "attack-24-empty-fragments",
            plain,
            in_handshake(),
            vec![handshake_record(&fragment(CLIENT_KEY_EXCHANGE, 2, 9, 3, &[])); 20].concat(),
        ),
        (
            "attack-27-fragment-of-another-number",
            plain,
            in_handshake(),
            handshake_record(&fragment(CLIENT_KEY_EXCHANGE, 7, 50, 0, &[0; 10])),
        ),
        (
            "attack-31-unexpected-message",
            plain,
            in_handshake(),
            handshake_record(&message(SERVER_HELLO, 2, &[0; 40])),
        ),
        ("attack-31-alert-in-the-clear", plain, in_handshake(), record(ALERT, 0, 9, &[2, 40])),
        ("attack-31-alert-in-the-clear-to-session", plain, established(), record(ALERT, 0, 9, &[2, 40])),
        (
            "insider-hello",
            transparent,
            established(),
            record(HANDSHAKE, 1, 9, &[&[0; 8][..], &hello_message, &[0; 8]].concat()),
        ),
        (
            "insider-fatal-alert",
            transparent,
            established(),
            record(ALERT, 1, 9, &[&[0; 8][..], &[2, 80], &[0; 8]].concat()),
        ),
        ("insider-data", transparent, established(), record(APPLICATION_DATA, 1, 9, &[0; 16])),
        (
            "insider-finished",
            transparent,
            established(),
            record(HANDSHAKE, 1, 9, &[&[0; 8][..], &message(FINISHED, 3, &[0; 12]), &[0; 8]].concat()),
        ),
    ]
}

/// Client 1 gets through, whatever was done to client 0; and so does client 0 if it can.
pub fn good() -> Vec<Step> {
    let come = [from_client(&[]), Step::Restart { client: 1, credentials: 0 }, Step::Settle];
    [come.to_vec(), talk(0).to_vec(), talk(1).to_vec()].concat()
}

fn client() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, setup: Setup, steps: Vec<Step>| {
        seeds.push(("client", name.to_string(), write(setup, &steps)));
    };
    let plain = Setup::default();
    let transparent = Setup { transparent: true, ..plain };
    let cut = Setup { hint: true, small_mtu: true, ..plain };
    for suites in 0..4 {
        let steps =
            [opening(6), talk(0).to_vec(), vec![Step::Close { client: 0, by_server: suites % 2 == 0 }]];
        add(&format!("good-suite-{suites}"), Setup { suites, ..plain }, steps.concat());
    }
    add("good-hint-cut", cut, good());
    add("good-transparent", transparent, good());
    add("wrong-key", plain, {
        let tries = [Step::Settle, Step::Advance { by: 70 }, Step::Settle, Step::Advance { by: 4000 }];
        [vec![Step::Restart { client: 0, credentials: 1 }], tries.to_vec(), good()].concat()
    });
    add("lost-answers", plain, {
        let mut steps = Vec::new();
        for lost_at in [1, 3, 5] {
            steps.extend(opening(lost_at));
            steps.extend([from_server(&[edit(0, 999, &[])]), Step::Advance { by: 70 }, Step::Settle]);
            steps.push(Step::Restart { client: 0, credentials: 0 });
        }
        [steps, good()].concat()
    });

    let server_hello = [&[0xFE, 0xFD][..], &[7; 32], &[0, 0xC0, 0xA8, 0]].concat();
    let hello_verify_request = |version: u8, len: u8, cookie: &[u8]| {
        handshake_record(&message(HELLO_VERIFY_REQUEST, 0, &[&[0xFE, version, len][..], cookie].concat()))
    };
    let sent = || opening(1);
    let hello_seen = || [opening(3), vec![from_server(&[edit(13 + 12 + 38 + 11, 999, &[])])]].concat();
    let established = || vec![from_client(&[]), Step::Settle];
    let single = [
        ("attack-01-early-change-cipher-spec", plain, sent(), record(CHANGE_CIPHER_SPEC, 0, 0, &[1])),
        ("attack-05-short-aead", plain, established(), record(APPLICATION_DATA, 1, 7, &[0; 15])),
        (
            "attack-08-short-server-hello",
            plain,
            opening(3),
            handshake_record(&message(SERVER_HELLO, 1, &[0xFE, 0xFD])),
        ),
        (
            "attack-13-16-megabytes",
            plain,
            opening(3),
            handshake_record(&fragment(SERVER_HELLO, 1, 0x00FF_FFFF, 0, &[0; 12])),
        ),
        ("attack-15-far-ahead", plain, established(), record(APPLICATION_DATA, 1, u64::MAX >> 16, &[0; 40])),
        ("attack-16-short-forgery", plain, established(), record(ALERT, 1, 9, &[2; 18])),
        ("attack-20-data-in-epoch-0", plain, established(), record(APPLICATION_DATA, 0, 9, b"in the clear")),
        (
            "attack-25-hint-out-of-bounds",
            plain,
            hello_seen(),
            handshake_record(&message(SERVER_KEY_EXCHANGE, 2, &[0, 200, 1, 2])),
        ),
        ("attack-25-cookie-out-of-bounds", plain, sent(), hello_verify_request(0xFF, 255, &[1; 20])),
        ("attack-25-longest-cookie", plain, sent(), hello_verify_request(0xFF, 255, &[1; 255])),
        (
            "attack-27-fragment-of-another-number",
            plain,
            opening(3),
            handshake_record(&fragment(SERVER_HELLO, 7, 50, 0, &[0; 10])),
        ),
        ("attack-28-hello-verify-request-of-1.2", plain, sent(), hello_verify_request(0xFD, 20, &[1; 20])),
        (
            "attack-31-hello-verify-request-late",
            plain,
            hello_seen(),
            handshake_record(&message(HELLO_VERIFY_REQUEST, 2, &[0xFE, 0xFF, 1, 1])),
        ),
        (
            "attack-31-second-server-hello",
            plain,
            hello_seen(),
            handshake_record(&message(SERVER_HELLO, 2, &server_hello)),
        ),
        ("attack-31-done-too-early", plain, sent(), handshake_record(&message(SERVER_HELLO_DONE, 0, &[]))),
        ("attack-31-alert-in-the-clear", plain, sent(), record(ALERT, 0, 9, &[2, 115])),
        ("attack-31-alert-in-the-clear-to-session", plain, established(), record(ALERT, 0, 9, &[2, 40])),
        (
            "insider-hello-request",
            transparent,
            established(),
            record(HANDSHAKE, 1, 9, &[&[0; 8][..], &message(0, 0, &[]), &[0; 8]].concat()),
        ),
        (
            "insider-wrong-finished",
            transparent,
            opening(5),
            [
                record(CHANGE_CIPHER_SPEC, 0, 9, &[1]),
                record(HANDSHAKE, 1, 0, &[&[0; 8][..], &message(FINISHED, 3, &[0; 12]), &[0; 8]].concat()),
            ]
            .concat(),
        ),
    ];
    for (name, setup, prologue, datagram) in single {
        add(name, setup, [prologue, vec![raw(datagram)], good()].concat());
    }
    // Of the ServerHello: version, random, suite, compression, extensions.
    let body = 13 + 12;
    let suite_at = body + 2 + 32 + 1;
    for (name, change) in [
        ("attack-19-zero-random", edit(body + 2, 32, &[0; 32])),
        ("attack-31-switched-suite", edit(suite_at, 2, &[0, 0x2F])),
        ("attack-31-other-suite", edit(suite_at, 2, &[0, 0xA8])),
        ("attack-31-compression", edit(suite_at + 2, 1, &[1])),
        ("attack-31-other-version", edit(body, 2, &[0xFE, 0xFF])),
    ] {
        add(name, plain, [opening(3), vec![from_server(&[change])], good()].concat());
    }
    add(
        "attack-12-lengths-disagree",
        cut,
        [opening(3), vec![from_server(&[edit(14, 3, &[0, 1, 0])])], good()].concat(),
    );
    add("attack-32-reflected", plain, {
        let again = |which| Step::Again { which, client: 0, edits: vec![] };
        [good(), (0..10).map(again).collect(), talk(0).to_vec()].concat()
    });
    seeds
}

fn unhex(word: &str) -> Vec<u8> {
    let digits = word.as_bytes().chunks(2).map(|pair| core::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}
