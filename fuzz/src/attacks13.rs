//! The kept corpus of DTLS 1.3: the attacks that other stacks fell to, and what insiders may say.

use crate::script::{Edit, IdAction, Insider, Setup, Step, Versions};
use crate::seeds::{
    ACK, ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, CLIENT_HELLO, FINISHED, HANDSHAKE, SERVER_HELLO, edit,
    fragment, from_client, from_server, good, handshake_record, message, opening, raw, record, talk, vec8,
    vec16,
};
use crate::seeds13::{DTLS13, IDS, RESUMPTION, Scripts, TRANSPARENT, again, established, update};

const NEW_SESSION_TICKET: u8 = 4;
const ENCRYPTED_EXTENSIONS: u8 = 8;
const REQUEST_CONNECTION_ID: u8 = 9;
const NEW_CONNECTION_ID: u8 = 10;
const CERTIFICATE_REQUEST: u8 = 13;
const KEY_UPDATE: u8 = 24;

/// The numbers of each side's first message behind the handshake, where there was a HelloRetryRequest and no ticket.
const NEXT_OF_CLIENT: u16 = 3;
const NEXT_OF_SERVER: u16 = 4;

/// How long the hellos of the first key are, the second one with a cookie of the server.
const HELLO_LEN: u16 = 136;
const SECOND_HELLO_LEN: u16 = 201;
/// Where the binder begins, and the extension that it is in, from the end.
const BINDER: u16 = 32;
const PRE_SHARED_KEY: u16 = 3 + BINDER + 15 + 4;

fn inside(content_type: u8, body: Vec<u8>) -> Step {
    Step::Inside { client: 0, content_type, body }
}

/// A record under epoch 3 for a world without a cipher, with 16 bits of its number.
fn transparent(content_type: u8, number: u16, body: &[u8]) -> Vec<u8> {
    sealed(3, content_type, number, body)
}

fn sealed(epoch: u8, content_type: u8, number: u16, body: &[u8]) -> Vec<u8> {
    let inner = [body, &[content_type], &[0; 8]].concat();
    [vec![0x2C | epoch], number.to_be_bytes().to_vec(), vec16(&inner)].concat()
}

/// A record that no key has sealed.
fn forged(epoch: u8, number: u16, len: usize) -> Vec<u8> {
    [vec![0x2C | epoch], number.to_be_bytes().to_vec(), vec16(&vec![0xA5; len])].concat()
}

/// An ACK of so many records.
fn ack(numbers: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    vec16(
        &numbers
            .flat_map(|(epoch, number)| [epoch, number].map(u64::to_be_bytes).concat())
            .collect::<Vec<u8>>(),
    )
}

/// What comes to either side, and harms neither.
pub fn both() -> Scripts {
    let few = Setup { few_forgeries: true, ..DTLS13 };
    let steps = |datagrams: Vec<Vec<u8>>| {
        [
            established(),
            datagrams.into_iter().map(raw).collect(),
            vec![Step::Settle],
            talk(0).to_vec(),
            good(),
        ]
        .concat()
    };
    // Either side sends these by the numbers of both, so that one is the next.
    let said = |msg_type: u8, body: &[u8]| {
        let next = [NEXT_OF_CLIENT, NEXT_OF_SERVER, NEXT_OF_SERVER + 1];
        let all = next.map(|seq| inside(HANDSHAKE, message(msg_type, seq, body)));
        [established(), all.to_vec(), vec![Step::Settle], talk(0).to_vec(), good()].concat()
    };
    let storm = |msg_type: u8, body: &[u8]| {
        let all = (NEXT_OF_CLIENT..).take(20).map(|seq| inside(HANDSHAKE, message(msg_type, seq, body)));
        [established(), all.collect(), vec![Step::Settle], talk(0).to_vec(), good()].concat()
    };
    let ids = |ids: &[&[u8]], usage: u8| {
        [vec16(&ids.iter().flat_map(|id| vec8(id)).collect::<Vec<u8>>()), vec![usage]].concat()
    };
    let many: Vec<&[u8]> = vec![b"a"; 100];
    let everything = (0..12).map(again).collect::<Vec<_>>();
    let mut all = vec![
        ("attack-32-reflected13", DTLS13, [good(), everything.clone(), talk(0).to_vec()].concat()),
        ("attack-32-reflected13-with-ids", IDS, [good(), everything, talk(0).to_vec()].concat()),
        ("attack-05-short-aead13", DTLS13, steps(vec![forged(3, 7, 15), forged(3, 8, 16), forged(3, 9, 0)])),
        (
            "attack-11-other-epochs13",
            DTLS13,
            steps((0..20).map(|number| forged(number as u8 & 3, number, 40)).collect()),
        ),
        ("attack-15-far-ahead13", DTLS13, steps(vec![forged(3, 0x8000, 40)])),
        ("attack-16-forgeries13", few, steps((20..26).map(|number| forged(3, number, 24)).collect())),
        (
            "attack-20-data-in-epoch-0-13",
            DTLS13,
            steps(vec![record(APPLICATION_DATA, 0, 9, b"in the clear")]),
        ),
        ("attack-31-alert-in-the-clear13", DTLS13, steps(vec![record(ALERT, 0, 9, &[2, 40])])),
        ("attack-01-change-cipher-spec13", DTLS13, steps(vec![record(CHANGE_CIPHER_SPEC, 0, 9, &[1])])),
        (
            "ack13-in-the-clear",
            DTLS13,
            steps(vec![record(ACK, 0, 9, &ack([(0, 0), (2, 0), (3, 0)].into_iter()))]),
        ),
        ("ack13-oversized", DTLS13, steps(vec![record(ACK, 0, 9, &ack((0..70).map(|number| (2, number))))])),
        (
            "ack13-of-everything",
            DTLS13,
            [
                established(),
                vec![update(false, true), update(true, true)],
                vec![
                    inside(ACK, ack((0..60).map(|number| (3, number)))),
                    inside(ACK, ack([(u64::MAX, u64::MAX)].into_iter())),
                ],
                vec![inside(ACK, vec![0, 15, 1]), inside(ACK, vec![]), Step::Settle],
                talk(0).to_vec(),
                good(),
            ]
            .concat(),
        ),
        ("hello13-in-session", DTLS13, said(CLIENT_HELLO, &[0xFE; 60])),
        ("hello13-of-server-in-session", DTLS13, said(SERVER_HELLO, &[0xFE; 60])),
        ("finished13-in-session", DTLS13, said(FINISHED, &[7; 32])),
        ("certificate-request13-in-session", DTLS13, said(CERTIFICATE_REQUEST, &[0, 0, 0])),
        ("ticket13", RESUMPTION, said(NEW_SESSION_TICKET, &ticket(40))),
        ("ticket13-long", RESUMPTION, said(NEW_SESSION_TICKET, &ticket(700))),
        ("key-update13-storm", DTLS13, storm(KEY_UPDATE, &[1])),
        ("key-update13-odd", DTLS13, said(KEY_UPDATE, &[2])),
        ("key-update13-in-dtls12", Setup { versions: Versions::Dtls12, ..DTLS13 }, said(KEY_UPDATE, &[1])),
        ("key-update13-never-answered", DTLS13, {
            let round =
                |by| [update(by, true), Step::Lose { client: 0, from_server: by }, Step::Advance { by: 300 }];
            [
                established(),
                (0..12).flat_map(|at| round(at % 2 == 0)).collect(),
                vec![Step::Settle],
                talk(0).to_vec(),
            ]
            .concat()
        }),
        ("ids13-requested-storm", IDS, storm(REQUEST_CONNECTION_ID, &[255])),
        ("ids13-without-ids", DTLS13, said(REQUEST_CONNECTION_ID, &[1])),
        ("ids13-given-storm", IDS, storm(NEW_CONNECTION_ID, &ids(&[b"id", b"other"], 0))),
        ("ids13-spare", IDS, said(NEW_CONNECTION_ID, &ids(&[b"s"], 1))),
        ("ids13-many", IDS, said(NEW_CONNECTION_ID, &ids(&many, 0))),
        ("ids13-longest", IDS, said(NEW_CONNECTION_ID, &ids(&[&[7; 255]], 0))),
        ("ids13-none", IDS, said(NEW_CONNECTION_ID, &ids(&[], 0))),
        ("ids13-without-ids-given", DTLS13, said(NEW_CONNECTION_ID, &ids(&[b"id"], 0))),
        ("ids13-exhausted", IDS, {
            let id = |at: u8| Step::ConnectionId {
                client: 0,
                by_server: at.is_multiple_of(2),
                action: [IdAction::Renew, IdAction::Request, IdAction::UseSpare][usize::from(at / 2 % 3)],
            };
            [established(), (0..18).flat_map(|at| [id(at), Step::Settle]).collect(), talk(0).to_vec()]
                .concat()
        }),
        ("cut13-in-session", RESUMPTION, {
            let part =
                |offset, len| fragment(NEW_SESSION_TICKET, NEXT_OF_SERVER + 1, 60, offset, &vec![1; len]);
            [
                established(),
                vec![
                    inside(HANDSHAKE, part(30, 30)),
                    inside(HANDSHAKE, part(0, 0)),
                    inside(HANDSHAKE, part(0, 31)),
                ],
                vec![inside(HANDSHAKE, fragment(KEY_UPDATE, NEXT_OF_CLIENT, 1, 1, &[])), Step::Settle],
                good(),
            ]
            .concat()
        }),
        (
            "alert13-fatal",
            DTLS13,
            [established(), vec![inside(ALERT, vec![2, 80]), Step::Settle], good()].concat(),
        ),
        (
            "alert13-user-canceled",
            DTLS13,
            [established(), vec![inside(ALERT, vec![1, 90]), Step::Settle], good()].concat(),
        ),
        (
            "type13-inside",
            DTLS13,
            [
                established(),
                vec![inside(0, vec![1, 23]), inside(0, vec![0; 20]), inside(25, vec![1])],
                good(),
            ]
            .concat(),
        ),
        ("insider13", DTLS13, vec![Step::Insider(Insider::default()), Step::Settle]),
    ];
    all.push((
        "transparent13",
        TRANSPARENT,
        [
            established(),
            [
                transparent(HANDSHAKE, 40, &message(KEY_UPDATE, NEXT_OF_CLIENT, &[1])),
                sealed(0, APPLICATION_DATA, 0, b"next epoch"),
                sealed(2, HANDSHAKE, 5, &message(FINISHED, 2, &[0; 32])),
            ]
            .map(raw)
            .to_vec(),
            good(),
        ]
        .concat(),
    ));
    all
}

/// A NewSessionTicket with a ticket of so many bytes.
fn ticket(len: usize) -> Vec<u8> {
    [&[0, 0, 14, 16, 1, 2, 3, 4][..], &vec8(b"nonce"), &vec16(&vec![0x71; len]), &[0, 0]].concat()
}

/// What clients alone may do.
pub fn server() -> Scripts {
    let second = |edits: &[Edit]| [opening(2), vec![from_client(edits), Step::Settle], good()].concat();
    let first = |edits: &[Edit]| [vec![from_client(edits), Step::Settle], good()].concat();
    let insider =
        |insider| vec![Step::Insider(insider), Step::Settle, Step::Advance { by: 300 }, Step::Settle];
    let hello =
        [&[0xFE, 0xFD][..], &[7; 32], &[0, 0], &[0, 2, 0x13, 5, 1, 0], &vec16(&[0, 43, 0, 3, 2, 0xFE, 0xFC])]
            .concat();
    let fragments = |from: usize| {
        let (head, tail) = hello.split_at(from);
        let length = hello.len() as u32;
        [(0, head), (from as u32, tail)]
            .map(|(offset, part)| raw(handshake_record(&fragment(CLIENT_HELLO, 0, length, offset, part))))
    };
    let stuck = |client| {
        vec![
            Step::FromClient { client, edits: vec![] },
            from_server(&[]),
            Step::FromClient { client, edits: vec![] },
        ]
    };
    let no_cookies = Setup { no_cookies: true, ..DTLS13 };
    vec![
        ("attack-18-wrong-binder", no_cookies, first(&[edit(HELLO_LEN - BINDER, 2, &[0xA5; 2])])),
        (
            "attack-18-wrong-binder-of-second-hello",
            DTLS13,
            second(&[edit(SECOND_HELLO_LEN - BINDER, 2, &[0xA5; 2])]),
        ),
        (
            "attack-18-second-hello-without-psk",
            DTLS13,
            second(&[edit(SECOND_HELLO_LEN - PRE_SHARED_KEY, 2, &[0xFA, 0xFA])]),
        ),
        (
            "attack-18-hello-without-psk",
            no_cookies,
            first(&[edit(HELLO_LEN - PRE_SHARED_KEY, 2, &[0xFA, 0xFA])]),
        ),
        (
            "attack-18-second-hello-of-another-client",
            DTLS13,
            [
                opening(2),
                vec![
                    Step::Restart { client: 0, credentials: 3 },
                    Step::Lose { client: 0, from_server: false },
                    again(1),
                ],
                good(),
            ]
            .concat(),
        ),
        ("attack-22-binder-wrong-at-its-end", no_cookies, first(&[edit(HELLO_LEN - 1, 1, &[0])])),
        ("attack-22-no-binder", no_cookies, first(&[edit(HELLO_LEN - BINDER - 1, 33, &[])])),
        ("attack-19-zero-random13", no_cookies, first(&[edit(13 + 12 + 2, 32, &[0; 32])])),
        (
            "attack-21-wrong-cookie13",
            DTLS13,
            second(&[edit(SECOND_HELLO_LEN - PRE_SHARED_KEY - 20, 1, &[0])]),
        ),
        ("attack-31-legacy-cookie13", DTLS13, first(&[edit(13 + 12 + 2 + 32 + 1, 1, &[1, 7])])),
        ("attack-31-session-id13", DTLS13, first(&[edit(13 + 12 + 2 + 32, 1, &[2, 7, 7])])),
        ("attack-09-hello-1-13", DTLS13, first(&[edit(13 + 4, 2, &[0, 1])])),
        (
            "attack-02-hello13-in-epoch-2",
            DTLS13,
            [established(), vec![raw(record(HANDSHAKE, 2, 9, &message(CLIENT_HELLO, 0, &hello)))], good()]
                .concat(),
        ),
        ("hello13-cut", DTLS13, [fragments(20).to_vec(), fragments(0).to_vec(), good()].concat()),
        ("attack-26-wrong-keys13", DTLS13, {
            let wrong = |credentials| {
                vec![
                    Step::Restart { client: 1, credentials },
                    Step::Settle,
                    Step::Advance { by: 70 },
                    Step::Settle,
                ]
            };
            [wrong(1), wrong(2), wrong(1), wrong(2), good()].concat()
        }),
        (
            "attack-29-stuck-handshakes13",
            DTLS13,
            [stuck(1), stuck(2), vec![Step::Advance { by: 70 }], good()].concat(),
        ),
        ("attack-30-hellos-from-everywhere13", no_cookies, {
            let again = |client| Step::Again { which: 0, client, edits: vec![] };
            [
                opening(1),
                (1..4).map(again).collect(),
                vec![Step::Settle, Step::Advance { by: 70 }, Step::Settle],
                good(),
            ]
            .concat()
        }),
        ("attack-30-old-hello-beside-session13", no_cookies, {
            let updates = [false, false, false].map(|_| [update(false, true), Step::Settle]).concat();
            [
                established(),
                vec![Step::Restart { client: 0, credentials: 0 }],
                established(),
                updates,
                vec![again(0)],
                talk(0).to_vec(),
            ]
            .concat()
        }),
        (
            "altered13-finished",
            DTLS13,
            [opening(4), vec![Step::Altered { client: 0, edits: vec![edit(20, 1, &[0])] }], good()].concat(),
        ),
        (
            "altered13-key-update",
            DTLS13,
            [
                established(),
                vec![
                    update(false, true),
                    Step::Altered { client: 0, edits: vec![edit(12, 1, &[9])] },
                    Step::Settle,
                ],
                good(),
            ]
            .concat(),
        ),
        (
            "insider13-early",
            DTLS13,
            insider(Insider {
                early: vec![
                    (APPLICATION_DATA, b"too early".to_vec()),
                    (ACK, ack((0..60).map(|number| (2, number)))),
                    (HANDSHAKE, fragment(FINISHED, 2, 32, 16, &[0; 4])),
                    (HANDSHAKE, fragment(FINISHED, 2, 32, 0, &[])),
                    (ALERT, vec![1, 90]),
                ],
                late: vec![(APPLICATION_DATA, b"in time".to_vec())],
                ..Insider::default()
            }),
        ),
        (
            "key-update13-early",
            DTLS13,
            insider(Insider {
                early: vec![(HANDSHAKE, message(KEY_UPDATE, 2, &[0]))],
                late: vec![(APPLICATION_DATA, b"in time".to_vec())],
                ..Insider::default()
            }),
        ),
        (
            "unfinished13",
            DTLS13,
            insider(Insider {
                unfinished: true,
                late: vec![
                    (APPLICATION_DATA, b"unproven".to_vec()),
                    (HANDSHAKE, message(KEY_UPDATE, 3, &[1])),
                ],
                ..Insider::default()
            }),
        ),
        (
            "insider13-ids",
            IDS,
            insider(Insider {
                extensions: vec![(54, vec![3, 1, 2, 3]), (61, vec![]), (0xFAFA, vec![9; 9])],
                late: vec![
                    (HANDSHAKE, message(REQUEST_CONNECTION_ID, 3, &[9])),
                    (HANDSHAKE, message(NEW_CONNECTION_ID, 4, &[0, 2, 1, 9, 0])),
                ],
                ..Insider::default()
            }),
        ),
        (
            "insider13-finished-again",
            DTLS13,
            insider(Insider {
                late: vec![
                    (HANDSHAKE, message(FINISHED, 2, &[0; 32])),
                    (HANDSHAKE, message(CLIENT_HELLO, 3, &hello)),
                    (ACK, ack([(3, 0), (2, 0)].into_iter())),
                ],
                ..Insider::default()
            }),
        ),
    ]
}

/// What servers alone may do.
pub fn client() -> Scripts {
    let insider =
        |insider| vec![Step::Insider(insider), Step::Settle, Step::Advance { by: 300 }, Step::Settle];
    let retry = |retries| insider(Insider { retries, ..Insider::default() });
    let hello = |extensions: &[(u16, &[u8])]| {
        let extensions = extensions.iter().map(|(number, data)| (*number, data.to_vec())).collect();
        insider(Insider { extensions, ..Insider::default() })
    };
    let encrypted =
        |list: &[u8]| insider(Insider { encrypted_extensions: vec16(list), ..Insider::default() });
    let body = 13 + 12;
    vec![
        ("insider13-retry", DTLS13, retry(1)),
        ("attack-31-second-hello-retry-request", DTLS13, retry(2)),
        (
            "attack-31-hello-retry-request-in-the-clear",
            DTLS13,
            [opening(3), vec![again(1), Step::Settle], good()].concat(),
        ),
        (
            "attack-31-hello-retry-request-late",
            DTLS13,
            [established(), vec![again(1), again(3)], talk(0).to_vec()].concat(),
        ),
        ("attack-18-no-key-selected", DTLS13, hello(&[(41, &[0, 1])])),
        ("attack-31-version-of-dtls12", DTLS13, hello(&[(43, &[0xFE, 0xFD])])),
        ("hello13-key-share", DTLS13, hello(&[(51, &[0, 29, 0, 2, 1, 1])])),
        ("hello13-cookie", DTLS13, hello(&[(44, &[0, 1, 1])])),
        ("insider13-ids", IDS, hello(&[(54, &[2, 8, 8])])),
        ("insider13-several-extensions", Setup { versions: Versions::OldServer, ..DTLS13 }, encrypted(&[])),
        ("encrypted-extensions13-unknown", DTLS13, encrypted(&[0xFA, 0xFA, 0, 1, 1])),
        ("encrypted-extensions13-twice", DTLS13, encrypted(&[0, 28, 0, 2, 1, 0, 0, 28, 0, 2, 1, 0])),
        ("encrypted-extensions13-misplaced", DTLS13, encrypted(&[0, 41, 0, 2, 0, 0])),
        (
            "attack-31-echoed-session-id13",
            DTLS13,
            [opening(3), vec![from_server(&[edit(body + 34, 1, &[1, 7])]), Step::Settle], good()].concat(),
        ),
        (
            "attack-31-other-suite13",
            DTLS13,
            [opening(3), vec![from_server(&[edit(body + 35, 2, &[0x13, 4])]), Step::Settle], good()].concat(),
        ),
        (
            "attack-19-downgrade-sentinel",
            Setup { versions: Versions::OldServer, ..DTLS13 },
            [opening(3), vec![from_server(&[edit(body + 2 + 24, 8, b"DOWNGRD\x01")]), Step::Settle], good()]
                .concat(),
        ),
        (
            "altered13-encrypted-extensions",
            DTLS13,
            [
                opening(3),
                vec![Step::Altered { client: 0, edits: vec![edit(0, 1, &[ENCRYPTED_EXTENSIONS + 5])] }],
                good(),
            ]
            .concat(),
        ),
        (
            "altered13-ticket",
            RESUMPTION,
            [opening(5), vec![Step::Altered { client: 0, edits: vec![edit(13, 3, &[0xFF; 3])] }], good()]
                .concat(),
        ),
        (
            "insider13-early",
            DTLS13,
            insider(Insider {
                early: vec![
                    (APPLICATION_DATA, b"too early".to_vec()),
                    (HANDSHAKE, message(KEY_UPDATE, 3, &[0])),
                    (ACK, ack((0..60).map(|number| (2, number)))),
                    (HANDSHAKE, fragment(FINISHED, 2, 32, 16, &[0; 4])),
                    (ALERT, vec![1, 90]),
                ],
                late: vec![(APPLICATION_DATA, b"in time".to_vec())],
                ..Insider::default()
            }),
        ),
        (
            "certificate-request13",
            DTLS13,
            insider(Insider {
                early: vec![(HANDSHAKE, message(CERTIFICATE_REQUEST, 2, &[0, 0, 0]))],
                ..Insider::default()
            }),
        ),
        (
            "unfinished13",
            DTLS13,
            insider(Insider {
                unfinished: true,
                late: vec![
                    (APPLICATION_DATA, b"unproven".to_vec()),
                    (HANDSHAKE, message(KEY_UPDATE, 3, &[1])),
                ],
                ..Insider::default()
            }),
        ),
        (
            "insider13-never-acknowledges",
            DTLS13,
            insider(Insider {
                late: vec![
                    (HANDSHAKE, message(NEW_SESSION_TICKET, 3, &ticket(60))),
                    (HANDSHAKE, fragment(NEW_SESSION_TICKET, 4, 300, 100, &[1; 200])),
                    (HANDSHAKE, fragment(NEW_SESSION_TICKET, 4, 300, 0, &[1; 120])),
                    (HANDSHAKE, message(KEY_UPDATE, 4, &[1])),
                    (ACK, ack([(9, 0), (3, 0)].into_iter())),
                ],
                ..Insider::default()
            }),
        ),
    ]
}
