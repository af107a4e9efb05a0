//! The kept corpus of DTLS 1.3: handshakes of every configuration, and what comes after them.

use crate::attacks13;
use crate::script::{IdAction, Modes, Setup, Step, Versions, write};
use crate::seeds::{Seed, from_client, from_server, good, opening, talk};

pub const DTLS13: Setup = Setup {
    versions: Versions::Dtls13,
    modes: Modes::PskKe,
    suites: 0,
    hint: false,
    small_mtu: false,
    require_ems: false,
    transparent: false,
    connection_ids: false,
    resumption: false,
    no_cookies: false,
    no_client_ids: false,
    short_records: false,
    few_forgeries: false,
};
pub const IDS: Setup = Setup { connection_ids: true, ..DTLS13 };
pub const TRANSPARENT: Setup = Setup { transparent: true, ..DTLS13 };
pub const RESUMPTION: Setup = Setup { resumption: true, ..DTLS13 };

/// What follows a name: how the world is, and what happens in it.
pub type Scripts = Vec<(&'static str, Setup, Vec<Step>)>;

pub fn all() -> Vec<Seed> {
    let of = |target, name: &str, setup, steps: &[Step]| (target, name.to_string(), write(setup, steps));
    let mut seeds = Vec::new();
    for (name, setup, steps) in handshakes().into_iter().chain(sessions()).chain(attacks13::both()) {
        seeds.extend(["client", "server"].map(|target| of(target, name, setup, &steps)));
    }
    seeds.extend(
        attacks13::server().into_iter().map(|(name, setup, steps)| of("server", name, setup, &steps)),
    );
    seeds.extend(
        attacks13::client().into_iter().map(|(name, setup, steps)| of("client", name, setup, &steps)),
    );
    seeds
}

pub fn established() -> Vec<Step> {
    vec![from_client(&[]), Step::Settle]
}

pub fn again(which: u8) -> Step {
    Step::Again { which, client: 0, edits: vec![] }
}

pub fn update(by_server: bool, request_update: bool) -> Step {
    Step::UpdateKeys { client: 0, by_server, request_update }
}

/// Both sides of client 0 do it, and its sessions go on.
fn both(of: impl Fn(bool) -> Step) -> Vec<Step> {
    [vec![of(false), Step::Settle], talk(0).to_vec(), vec![of(true), Step::Settle], talk(0).to_vec()].concat()
}

/// Whole handshakes, one for each way to have one.
fn handshakes() -> Scripts {
    let with = |credentials| [vec![Step::Restart { client: 0, credentials }], good()].concat();
    let twice = || [good(), vec![Step::Restart { client: 0, credentials: 0 }], good()].concat();
    let both_versions = Setup { versions: Versions::Both, ..DTLS13 };
    vec![
        ("good13", DTLS13, [opening(6), talk(0).to_vec()].concat()),
        ("good13-suite-1", Setup { suites: 1, ..DTLS13 }, good()),
        ("good13-suite-2", Setup { suites: 2, ..DTLS13 }, good()),
        ("good13-suite-3", Setup { suites: 3, ..DTLS13 }, good()),
        ("good13-psk-dhe-ke", Setup { modes: Modes::PskDheKe, ..DTLS13 }, good()),
        ("good13-modes", Setup { modes: Modes::Both, ..DTLS13 }, good()),
        ("good13-modes-disagree", Setup { modes: Modes::ServerPrefersPskKe, ..DTLS13 }, good()),
        ("good13-versions", both_versions, good()),
        ("good13-versions-resumed", Setup { resumption: true, ..both_versions }, twice()),
        ("good13-old-server", Setup { versions: Versions::OldServer, ..DTLS13 }, good()),
        ("good13-no-cookies", Setup { no_cookies: true, ..DTLS13 }, [opening(4), good()].concat()),
        ("good13-no-cookies-cut", Setup { no_cookies: true, small_mtu: true, ..DTLS13 }, good()),
        (
            "no-cookies-hint-cut",
            Setup { versions: Versions::Dtls12, no_cookies: true, hint: true, small_mtu: true, ..DTLS13 },
            [good(), vec![Step::Advance { by: 70 }, Step::Settle], talk(0).to_vec()].concat(),
        ),
        ("good13-connection-ids", IDS, good()),
        ("good13-connection-ids-of-server", Setup { no_client_ids: true, ..IDS }, good()),
        ("good13-cut", Setup { small_mtu: true, ..DTLS13 }, good()),
        ("good13-short-records", Setup { short_records: true, ..RESUMPTION }, good()),
        ("good13-resumed", RESUMPTION, twice()),
        (
            "good13-resumed-everything",
            Setup { modes: Modes::Both, connection_ids: true, ..RESUMPTION },
            twice(),
        ),
        ("good13-transparent", TRANSPARENT, good()),
        ("good13-several-keys", DTLS13, with(4)),
        ("good13-imported", DTLS13, with(5)),
        ("good13-other-key", both_versions, with(3)),
        ("lost13", DTLS13, lost(5)),
        ("lost13-cut", Setup { small_mtu: true, ..RESUMPTION }, lost(6)),
        ("lost13-no-cookies", Setup { no_cookies: true, ..IDS }, lost(4)),
        ("reordered13", Setup { small_mtu: true, ..DTLS13 }, reordered()),
    ]
}

/// Each datagram of a handshake is lost once.
fn lost(datagrams: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for at in 0..datagrams {
        steps.extend([Step::Restart { client: 0, credentials: 0 }]);
        steps.extend(opening(at));
        steps.extend([
            Step::Lose { client: 0, from_server: at % 2 == 1 },
            Step::Advance { by: 70 },
            Step::Settle,
        ]);
    }
    [steps, good()].concat()
}

/// The last datagrams of both sides' flights come first, and what was lost comes after all.
fn reordered() -> Vec<Step> {
    let lose = |from_server| Step::Lose { client: 0, from_server };
    let pick = |which, records| Step::Pick { which, client: 0, records };
    [
        opening(3),
        vec![lose(true), from_server(&[]), from_server(&[]), again(3), Step::Settle],
        vec![pick(3, 0x83), pick(4, 1), Step::Advance { by: 70 }, Step::Settle],
        good(),
    ]
    .concat()
}

/// What sessions do.
fn sessions() -> Scripts {
    let id = |by_server, action| Step::ConnectionId { client: 0, by_server, action };
    let sleep = |by_server| Step::Sleep { client: 0, by_server };
    let checkpoint = |by_server| Step::Checkpoint { client: 0, by_server };
    let crash = |by_server| Step::Crash { client: 0, by_server };
    let saved = |change: Step, by_server| {
        [
            vec![checkpoint(by_server), change, Step::Settle],
            talk(0).to_vec(),
            vec![crash(by_server), Step::Settle],
            talk(0).to_vec(),
        ]
        .concat()
    };
    let lost = |change: Step| {
        let by_server = matches!(
            change,
            Step::UpdateKeys { by_server: true, .. } | Step::ConnectionId { by_server: true, .. }
        );
        let lose = |from_server| Step::Lose { client: 0, from_server };
        // The message, and then its ACK.
        let first = [change, lose(by_server), Step::Advance { by: 70 }];
        let come = if by_server { from_server(&[]) } else { from_client(&[]) };
        [
            first.to_vec(),
            vec![come, lose(!by_server), Step::Advance { by: 140 }, Step::Settle],
            talk(0).to_vec(),
        ]
        .concat()
    };
    let all_ids = || {
        let round = |by_server| {
            let actions = [IdAction::Request, IdAction::UseSpare, IdAction::Renew];
            actions.map(|action| [id(by_server, action), Step::Settle]).concat()
        };
        [round(false), talk(0).to_vec(), round(true), talk(0).to_vec()].concat()
    };
    let steps = |parts: &[Vec<Step>]| [established(), parts.concat()].concat();
    vec![
        ("good13-key-updates", DTLS13, steps(&[both(|by| update(by, false)), both(|by| update(by, true))])),
        (
            "good13-key-updates-cross",
            DTLS13,
            steps(&[vec![update(false, true), update(true, true), Step::Settle], talk(0).to_vec()]),
        ),
        ("good13-key-updates-lost", DTLS13, steps(&[lost(update(false, true)), lost(update(true, true))])),
        ("good13-ids", IDS, steps(&[all_ids(), all_ids()])),
        (
            "good13-ids-lost",
            IDS,
            steps(&[lost(id(false, IdAction::Request)), lost(id(true, IdAction::Renew))]),
        ),
        ("good13-asleep", RESUMPTION, steps(&[both(sleep)])),
        ("good13-asleep-with-ids", IDS, steps(&[all_ids(), both(sleep), all_ids()])),
        (
            "good13-asleep-in-update",
            DTLS13,
            steps(&[
                vec![
                    update(false, true),
                    from_client(&[]),
                    sleep(true),
                    sleep(false),
                    Step::Advance { by: 70 },
                ],
                vec![Step::Settle],
                talk(0).to_vec(),
            ]),
        ),
        (
            "good13-ids-cross",
            IDS,
            steps(&[
                vec![id(true, IdAction::Request), id(false, IdAction::Renew), from_server(&[]), Step::Settle],
                talk(0).to_vec(),
            ]),
        ),
        (
            "good13-asleep-in-request",
            IDS,
            steps(&[
                vec![id(false, IdAction::Request), from_client(&[]), sleep(true), sleep(false)],
                vec![Step::Advance { by: 70 }, Step::Settle],
                talk(0).to_vec(),
                vec![id(true, IdAction::Request), from_server(&[]), sleep(true), sleep(false)],
                vec![Step::Advance { by: 70 }, Step::Settle],
                talk(0).to_vec(),
            ]),
        ),
        ("good13-crash", DTLS13, steps(&[saved(Step::Settle, false), saved(Step::Settle, true)])),
        (
            "good13-crash-after-ids",
            IDS,
            steps(&[saved(id(false, IdAction::Request), false), saved(id(true, IdAction::Renew), true)]),
        ),
        ("crash13-after-update", DTLS13, steps(&[saved(update(false, true), false), good()])),
        ("moved13", IDS, {
            let send = Step::Send { client: 0, from_server: false, len: 4 };
            let copied = Step::Again { which: 7, client: 1, edits: vec![] };
            [good(), vec![send, copied, Step::Settle, Step::Advance { by: 70 }, Step::Settle], good()]
                .concat()
        }),
        ("reboot13", DTLS13, [good(), vec![Step::Restart { client: 0, credentials: 3 }], good()].concat()),
        ("revoked13", DTLS13, [good(), vec![Step::Revoke, Step::Settle]].concat()),
        (
            "closed13",
            DTLS13,
            [good(), vec![Step::Close { client: 0, by_server: false }, Step::Settle], talk(0).to_vec()]
                .concat(),
        ),
    ]
}
